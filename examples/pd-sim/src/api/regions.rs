//! `/regions` and `/region`.

mod view;

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use serde::Serialize;

use self::view::{NO_REGION, list_of, write_region};
use super::Pd;
use super::reply::{HandlerResult, Reply, parse_error};
use super::request::{self, Query, object};
use crate::world::region::{Region, RegionId, Role, table};
use crate::world::regions::{Check, RegionIndex};
use crate::world::{StoreId, World};

/// Default and maximum number of regions per reply.
const LIMIT: (usize, usize) = (16, 10_240);

fn limit(query: &Query) -> Result<usize, Reply> {
    let Some(text) = query.first("limit") else {
        return Ok(LIMIT.0);
    };
    let refusal = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
    let limit: usize = text.parse().map_err(|_| Reply::text(400, refusal))?;
    Ok(limit.min(LIMIT.1))
}

fn id(text: &str) -> Result<u64, Reply> {
    text.parse()
        .map_err(|_| Reply::text(400, parse_error(text)))
}

pub(crate) async fn all(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    Ok(Reply::regions(list_of(&world, world.regions.all())))
}

#[derive(Serialize)]
struct Count {
    count: u64,
    regions: Option<()>,
}

pub(crate) async fn count(State(pd): State<Pd>) -> HandlerResult {
    let count = pd.sim.world().regions.totals().count;
    Ok(Reply::json(&Count {
        count,
        regions: None,
    }))
}

pub(crate) async fn scan(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let limit = limit(&query)?;
    let from = table(query.first("key").unwrap_or_default()).unwrap_or(0);
    let to = query.first("end_key").and_then(table);
    let world = pd.sim.world();
    let within = |at: &RegionIndex| to.is_none_or(|to| world.regions.get(*at).start < to);
    let found = world
        .regions
        .starting_at(from)
        .take_while(within)
        .take(limit);
    Ok(Reply::regions(list_of(&world, found)))
}

pub(crate) async fn on_store(
    State(pd): State<Pd>,
    Path(text): Path<String>,
    query: Query,
) -> HandlerResult {
    let store = id(&text)?;
    let kind = query.first("type").unwrap_or("all");
    let world = pd.sim.world();
    if kind == "leader" {
        let led = world.regions.led_by(store).iter().copied();
        return Ok(Reply::regions(list_of(&world, led)));
    }
    let is_of_kind: fn(&Region, StoreId) -> bool = match kind {
        "all" => |_, _| true,
        "follower" => {
            |region, store| region.leader() != Some(store) && region.voter_on(store).is_some()
        }
        "learner" => |region, store| {
            region
                .peer_on(store)
                .is_some_and(|peer| peer.role == Role::Learner)
        },
        "witness" => |_, _| false,
        "pending" => |region, store| region.peer_on(store).is_some_and(|peer| peer.pending),
        _ => {
            let text = format!("unknown sub tree region type {kind}");
            return Err(Reply::text(400, text));
        }
    };
    let held = world.regions.on_store(store).into_iter();
    let found = held.filter(|at| is_of_kind(world.regions.get(*at), store));
    Ok(Reply::regions(list_of(&world, found)))
}

pub(crate) async fn siblings(State(pd): State<Pd>, Path(text): Path<String>) -> HandlerResult {
    let id = id(&text)?;
    let world = pd.sim.world();
    let refusal = |_| unknown(id);
    let at = world.region(id).map_err(refusal)?;
    let both = [world.regions.previous(at), world.regions.next(at)];
    let mut body = "{\"count\":2,\"regions\":[".to_owned();
    for (place, sibling) in both.into_iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        match sibling {
            Some(at) => write_region(&world, at, &mut body),
            None => body.push_str(NO_REGION),
        }
    }
    body.push_str("]}");
    Ok(Reply::regions(body))
}

pub(crate) async fn check(State(pd): State<Pd>, Path(name): Path<String>) -> HandlerResult {
    let known = Check::ALL.into_iter().find(|(_, known)| *known == name);
    let not_found = || Reply::plain(axum::http::StatusCode::NOT_FOUND, "404 page not found");
    let (check, _) = known.ok_or_else(not_found)?;
    let world = pd.sim.world();
    Ok(Reply::regions(list_of(
        &world,
        world.found_by(check).into_iter(),
    )))
}

#[derive(Serialize)]
struct Bar {
    start: u64,
    end: u64,
    count: u64,
}

fn histogram(world: &World, bound: u64, of: fn(&Region) -> u32) -> Reply {
    let mut bars: BTreeMap<u64, u64> = BTreeMap::new();
    for at in world.regions.all() {
        let value = u64::from(of(world.regions.get(at)));
        *bars.entry(value / bound).or_default() += 1;
    }
    let bars = bars.into_iter().map(|(bar, count)| Bar {
        start: bar * bound,
        end: (bar + 1) * bound - 1,
        count,
    });
    Reply::json(&bars.collect::<Vec<Bar>>())
}

pub(crate) async fn size_histogram(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let bound = query.number("bound").unwrap_or(1).max(1);
    Ok(histogram(&pd.sim.world(), bound, |region| region.size))
}

pub(crate) async fn keys_histogram(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let bound = query.number("bound").unwrap_or(1_000).max(1_000);
    Ok(histogram(&pd.sim.world(), bound, |region| region.keys))
}

/// The first regions by some order.
pub(crate) async fn top(
    State(pd): State<Pd>,
    Path(order): Path<String>,
    query: Query,
) -> HandlerResult {
    let of: fn(&Region) -> u32 = match order.as_str() {
        "writeflow" => |region| region.written,
        "readflow" => |region| region.read,
        "writequery" => Region::written_keys,
        "readquery" => Region::read_keys,
        "size" => |region| region.size,
        "keys" => |region| region.keys,
        "confver" => |region| region.conf_ver,
        "version" => |region| region.version,
        "cpu" => |_| 3,
        _ => {
            let status = axum::http::StatusCode::NOT_FOUND;
            return Err(Reply::plain(status, "404 page not found"));
        }
    };
    let limit = limit(&query)?;
    let world = pd.sim.world();
    let mut all: Vec<RegionIndex> = world.regions.all().collect();
    let by = |at: &RegionIndex| std::cmp::Reverse(of(world.regions.get(*at)));
    if all.len() > limit && limit > 0 {
        all.select_nth_unstable_by_key(limit - 1, by);
    }
    all.truncate(limit);
    all.sort_by_key(by);
    Ok(Reply::regions(list_of(&world, all.into_iter())))
}

fn unknown(id: RegionId) -> Reply {
    Reply::text(
        404,
        format!("[PD:region:ErrRegionNotFound]region {id} not found"),
    )
}

pub(crate) async fn one(State(pd): State<Pd>, Path(text): Path<String>) -> HandlerResult {
    let id = id(&text)?;
    let world = pd.sim.world();
    let is_404 = world.release.unknown_region_is_404();
    if id == 0 && is_404 {
        // PD itself fails to encode this reply, and sends the error.
        return Err(Reply::json(&serde_json::Map::new()).with(axum::http::StatusCode::BAD_REQUEST));
    }
    match world.regions.find(id) {
        Some(at) => {
            let mut body = String::new();
            write_region(&world, at, &mut body);
            Ok(Reply::regions(body))
        }
        None if is_404 => Err(unknown(id)),
        None => Ok(Reply::regions(NO_REGION.to_owned())),
    }
}

pub(crate) async fn by_key(State(pd): State<Pd>, Path(key): Path<String>) -> HandlerResult {
    let world = pd.sim.world();
    let number = table(&key);
    let found = number.and_then(|number| world.regions.starting_at(number).next());
    let Some(at) = found else {
        if world.release.unknown_region_is_404() {
            // PD forgets the argument, so `%v` stays in the message.
            let text = "[PD:region:ErrRegionNotFound]region %v not found";
            return Err(Reply::text(404, text));
        }
        return Ok(Reply::regions(NO_REGION.to_owned()));
    };
    let mut body = String::new();
    write_region(&world, at, &mut body);
    Ok(Reply::regions(body))
}

#[derive(Serialize)]
struct Processed {
    #[serde(rename = "processed-percentage")]
    percentage: u8,
    #[serde(rename = "regions-id", skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<RegionId>>,
}

pub(crate) async fn split(State(pd): State<Pd>, body: String) -> HandlerResult {
    let input = object(&body)?;
    let keys = input
        .get("split_keys")
        .and_then(serde_json::Value::as_array);
    let keys = keys.ok_or_else(|| Reply::text(400, "split_keys should be provided."))?;
    let tables: Vec<u64> = keys.iter().filter_map(|key| table(key.as_str()?)).collect();
    let mut world = pd.sim.world();
    let before = world.regions.totals().count;
    let regions: Vec<RegionId> = tables
        .iter()
        .filter_map(|key| world.split_at(*key))
        .collect();
    let made = world.regions.totals().count - before;
    let asked = u64::try_from(keys.len()).unwrap_or(u64::MAX).max(1);
    Ok(Reply::json(&Processed {
        percentage: u8::try_from(made * 100 / asked).unwrap_or(100),
        regions: Some(regions),
    }))
}

pub(crate) async fn scatter(State(pd): State<Pd>, body: String) -> HandlerResult {
    let input = object(&body)?;
    let mut world = pd.sim.world();
    let ids = input
        .get("regions_id")
        .and_then(serde_json::Value::as_array);
    let ids: Vec<RegionId> = if let Some(ids) = ids {
        ids.iter().filter_map(serde_json::Value::as_u64).collect()
    } else {
        let from = request::text(&input, "start_key").and_then(table);
        let from = from.ok_or_else(|| Reply::text(400, "start_key should be provided."))?;
        let to = request::text(&input, "end_key").and_then(table);
        let all = world
            .regions
            .starting_at(from)
            .map(|at| world.regions.get(at));
        let within = all.take_while(|region| to.is_none_or(|to| region.start < to));
        within.take(LIMIT.1).map(|region| region.id).collect()
    };
    let done = ids
        .iter()
        .filter(|id| world.scatter_region(**id).is_ok())
        .count();
    Ok(Reply::json(&Processed {
        percentage: u8::try_from(done * 100 / ids.len().max(1)).unwrap_or(100),
        regions: None,
    }))
}
