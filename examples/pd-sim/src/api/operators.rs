//! `/operators`.

use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Pd;
use super::reply::{HandlerResult, Reply, parse_error};
use super::request::{self, Query, object};
use crate::go_format;
use crate::world::operator::{Operator, Status, kind};
use crate::world::region::{RegionId, Role, table};
use crate::world::{SECOND, StoreId, World};

type Input = Map<String, Value>;

fn not_found() -> Reply {
    Reply::text(500, "[PD:operator:ErrOperatorNotFound]operator not found")
}

fn region_id(text: &str) -> Result<RegionId, Reply> {
    text.parse()
        .map_err(|_| Reply::text(400, parse_error(text)))
}

fn text(world: &World, operator: &Operator) -> String {
    operator.text(world.origin, |at| world.shown(at))
}

#[derive(Serialize)]
struct Epoch {
    conf_ver: u32,
    version: u32,
}

#[derive(Serialize)]
struct Object<'a> {
    desc: &'a str,
    brief: &'a str,
    region_id: RegionId,
    region_epoch: Epoch,
    kind: u32,
    timeout: String,
    status: u8,
}

fn as_object(operator: &Operator) -> Object<'_> {
    Object {
        desc: &operator.desc,
        brief: &operator.brief,
        region_id: operator.region,
        region_epoch: Epoch {
            conf_ver: operator.conf_ver,
            version: operator.version,
        },
        kind: operator.kind,
        timeout: go_format::duration(operator.timeout()),
        status: operator.status.number(),
    }
}

pub(crate) async fn list(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let kinds = query.all("kind");
    let wanted = kinds.iter().fold(0, |bits, name| {
        bits | match *name {
            "admin" => kind::ADMIN,
            "leader" => kind::LEADER,
            "region" => kind::REGION,
            // `waiting` and unknown kinds: operators never wait here.
            _ => 0,
        }
    });
    let world = pd.sim.world();
    let running = world.operators.running.values();
    let found = running.filter(|it| kinds.is_empty() || it.kind & wanted != 0);
    let found: Vec<&Operator> = found.collect();
    if found.is_empty() && !kinds.is_empty() {
        return Ok(Reply::json(&Value::Null));
    }
    if query.has("object") && world.release.lists_operators_as_objects() {
        let objects: Vec<Object> = found.into_iter().map(as_object).collect();
        return Ok(Reply::json(&objects));
    }
    let texts = found.into_iter().map(|operator| text(&world, operator));
    Ok(Reply::json(&texts.collect::<Vec<String>>()))
}

pub(crate) async fn one(State(pd): State<Pd>, Path(region): Path<String>) -> HandlerResult {
    let region = region_id(&region)?;
    let world = pd.sim.world();
    let latest = world.operators.latest(region, world.now);
    let operator = latest.ok_or_else(not_found)?;
    let status = operator.status.word();
    let text = text(&world, operator);
    Ok(Reply::text(
        200,
        format!("status: {status}, operator: {text}"),
    ))
}

pub(crate) async fn records(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let world = pd.sim.world();
    let from = match query.first("from") {
        None => 0,
        Some(text) => {
            let refusal = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
            text.parse::<i64>().map_err(|_| Reply::text(400, refusal))?
        }
    };
    let from = from.saturating_mul(SECOND) - world.offset;
    let ended = world.operators.ended_since(from, world.now);
    let records = ended.map(|it| it.record(world.origin, |at| world.shown(at)));
    let records: Vec<String> = records.collect();
    if records.is_empty() {
        return Err(not_found());
    }
    Ok(Reply::json(&records))
}

pub(crate) async fn cancel(State(pd): State<Pd>, Path(region): Path<String>) -> HandlerResult {
    let region = region_id(&region)?;
    let mut world = pd.sim.world();
    let now = world.now;
    let operator = world.operators.running.get(&region).ok_or_else(not_found)?;
    let pair = operator.merges_with();
    world.operators.end(region, Status::Canceled, now);
    if let Some(pair) = pair {
        world.operators.end(pair, Status::Canceled, now);
    }
    Reply::done("The pending operator is canceled.")
}

pub(crate) async fn cancel_all(State(pd): State<Pd>) -> HandlerResult {
    let mut world = pd.sim.world();
    let now = world.now;
    let regions: Vec<RegionId> = world.operators.running.keys().copied().collect();
    for region in regions {
        world.operators.end(region, Status::Canceled, now);
    }
    Reply::done("All pending operators are canceled.")
}

pub(crate) async fn create(State(pd): State<Pd>, body: String) -> HandlerResult {
    let input = object(&body)?;
    let missing = || Reply::text(400, "missing operator name");
    let name = request::text(&input, "name").ok_or_else(missing)?;
    let mut world = pd.sim.world();
    let done = match name {
        "transfer-leader" => transfer_leader(&mut world, &input)?,
        "transfer-peer" => transfer_peer(&mut world, &input)?,
        "transfer-region" => transfer_region(&mut world, &input)?,
        "add-peer" | "add-learner" => add_peer(&mut world, &input, name)?,
        "remove-peer" => {
            let from = need(&input, "store_id", "invalid store id to transfer peer to")?;
            world.remove_peer(region(&input)?, from)
        }
        "split-region" => split(&mut world, &input)?,
        "merge-region" => merge(&mut world, &input)?,
        "scatter-region" => world.scatter_region(region(&input)?),
        "scatter-regions" => return Ok(scatter_many(&mut world, &input)),
        _ => return Err(Reply::text(400, "unknown operator")),
    };
    done.map_err(|refusal| Reply::text(500, refusal))?;
    Reply::done("The operator is created.")
}

fn need(input: &Input, key: &str, refusal: &str) -> Result<u64, Reply> {
    request::id(input, key).ok_or_else(|| Reply::text(400, refusal))
}

fn region(input: &Input) -> Result<RegionId, Reply> {
    need(input, "region_id", "missing region id")
}

type Done = Result<Result<(), String>, Reply>;

fn transfer_leader(world: &mut World, input: &Input) -> Done {
    let region = region(input)?;
    let to = need(
        input,
        "to_store_id",
        "missing store id to transfer leader to",
    )?;
    Ok(world.transfer_leader(region, to))
}

fn transfer_peer(world: &mut World, input: &Input) -> Done {
    let region = region(input)?;
    let from = need(
        input,
        "from_store_id",
        "invalid store id to transfer peer from",
    )?;
    let to = need(input, "to_store_id", "invalid store id to transfer peer to")?;
    Ok(world.transfer_peer(region, from, to))
}

fn add_peer(world: &mut World, input: &Input, name: &str) -> Done {
    let region = region(input)?;
    let to = need(input, "store_id", "invalid store id to transfer peer to")?;
    let role = if name == "add-learner" {
        Role::Learner
    } else {
        Role::Voter
    };
    Ok(world.add_peer(region, to, role))
}

fn transfer_region(world: &mut World, input: &Input) -> Done {
    let region = region(input)?;
    let array = |key: &str| input.get(key).and_then(Value::as_array);
    let invalid = || Reply::text(400, "invalid store ids to transfer region to");
    let stores = array("to_store_ids").ok_or_else(invalid)?;
    let stores: Option<Vec<StoreId>> = stores.iter().map(Value::as_u64).collect();
    let stores = stores.ok_or_else(invalid)?;
    let Some(roles) = array("peer_roles") else {
        let text =
            "transfer region without peer role is not supported when placement rules enabled";
        return Ok(Err(text.to_owned()));
    };
    let roles: Vec<String> = roles
        .iter()
        .map(|role| role.as_str().unwrap_or_default().to_owned())
        .collect();
    if stores.is_empty() || stores.len() != roles.len() {
        return Err(invalid());
    }
    let to: Vec<(StoreId, String)> = stores.into_iter().zip(roles).collect();
    Ok(world.transfer_region(region, &to))
}

fn split(world: &mut World, input: &Input) -> Done {
    let region = region(input)?;
    let missing = || Reply::text(400, "missing split policy");
    let policy = request::text(input, "policy").ok_or_else(missing)?;
    let keys = input.get("keys").and_then(Value::as_array);
    let keys = keys.into_iter().flatten();
    let keys: Vec<u64> = keys.filter_map(|key| table(key.as_str()?)).collect();
    Ok(world.split_region(region, policy, &keys))
}

fn merge(world: &mut World, input: &Input) -> Done {
    let source = need(input, "source_region_id", "missing region id")?;
    let refusal = "invalid target region id to merge to";
    let target = need(input, "target_region_id", refusal)?;
    Ok(world.merge_regions(source, target))
}

#[derive(Serialize)]
struct Scattered {
    #[serde(rename = "processed-percentage")]
    percentage: u8,
    error: String,
}

fn scatter_many(world: &mut World, input: &Input) -> Reply {
    let ids = input.get("region_ids").and_then(Value::as_array);
    let ids: Vec<u64> = ids
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    let mut error = String::new();
    let mut done = 0;
    for id in &ids {
        match world.scatter_region(*id) {
            Ok(()) => done += 1,
            Err(refusal) => error = refusal,
        }
    }
    Reply::json(&Scattered {
        percentage: u8::try_from(done * 100 / ids.len().max(1)).unwrap_or(100),
        error,
    })
}
