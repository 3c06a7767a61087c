//! The control API: breaks the cluster, mends it, and turns its clock. And what Prometheus needs to find the stores.

mod targets;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::api::Query;
use crate::args;
use crate::go;
use crate::metrics;
use crate::sim::Sim;
use crate::world::members;
use crate::world::store::{Life, Store};
use crate::world::{Nanos, StoreId, World};

/// How far one request may turn the clock.
const FARTHEST: Nanos = 7 * 24 * 3_600 * crate::world::SECOND;

/// Who is controlled.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    sim: Arc<Sim>,
    url: Arc<str>,
}

/// A refusal says what is wrong and what would be right.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"error": self.1}))).into_response()
    }
}

type Answer = Result<axum::Json<Value>, Refusal>;

fn wrong(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

fn unknown(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, text.into())
}

pub(crate) fn router(sim: Arc<Sim>, url: &str) -> Router {
    let control = Control {
        sim,
        url: url.into(),
    };
    Router::new()
        .route("/state", get(state))
        .route("/clock", post(clock))
        .route("/heal", post(heal))
        .route("/stores/{id}/{deed}", post(to_store))
        .route("/pds/{name}/{deed}", post(to_pd))
        .route("/regions/{deed}", post(to_regions))
        .route("/operators/{deed}", post(to_operators))
        .route("/requests/{deed}", post(to_requests))
        .route("/metrics/stores/{id}", get(store_metrics))
        .route("/prometheus/targets", get(targets::targets))
        .with_state(control)
}

async fn state(State(control): State<Control>) -> Answer {
    let rate = control.sim.clock().rate();
    let mut state = describe(&control.sim.world(), rate);
    state["pd_requests"] = control.sim.requests.load(Ordering::Relaxed).into();
    Ok(axum::Json(state))
}

fn describe(world: &World, rate: f64) -> Value {
    let down_after = world.config.down_after(world.now);
    let store = |store: &Store| {
        json!({
            "id": store.id,
            "state": store.state_name(world.now, down_after).name(),
            "runs": store.is_running(),
            "leaders": world.regions.tally(store.id).leaders,
            "regions": world.regions.tally(store.id).regions,
        })
    };
    let member = |(place, member): (usize, &members::Member)| {
        json!({
            "name": member.name,
            "url": member.client_url,
            "runs": member.life == members::Life::Running,
            "leads": world.members.leader == Some(place),
        })
    };
    json!({
        "time": go::rfc3339(world.now),
        "rate": rate,
        "pds": world.members.present().map(member).collect::<Vec<Value>>(),
        "stores": world.stores.values().map(store).collect::<Vec<Value>>(),
        "regions": world.regions.totals().count,
        "operators": world.operators.running.len(),
    })
}

/// `?rate=60` seconds per second, `?advance=5m` at once.
async fn clock(State(control): State<Control>, query: Query) -> Answer {
    let rate = query.first("rate").map(args::rate).transpose();
    let rate = rate.map_err(|error| wrong(format!("rate: {error}")))?;
    let advance = query.first("advance").map(|text| {
        let nanos = go::parse_duration(text).filter(|nanos| *nanos <= FARTHEST);
        nanos.ok_or_else(|| wrong(format!("advance: `{text}`; write 5m, at most 168h")))
    });
    let advance = advance.transpose()?;
    if rate.is_none() && advance.is_none() {
        return Err(wrong("write rate=60 or advance=5m"));
    }
    {
        let mut clock = control.sim.clock();
        if let Some(rate) = rate {
            clock.set_rate(rate);
        }
        if let Some(by) = advance {
            clock.advance(by);
        }
    }
    state(State(control)).await
}

async fn heal(State(control): State<Control>) -> Answer {
    control.sim.world().heal();
    done("everything is undone")
}

#[expect(clippy::unnecessary_wraps, reason = "what a handler ends with")]
fn done(text: &str) -> Answer {
    tracing::info!("{text}");
    Ok(axum::Json(json!({"done": text})))
}

/// A number that a query must give.
fn number(query: &Query, name: &str, example: &str) -> Result<f64, Refusal> {
    let number = query.number::<f64>(name);
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| wrong(format!("write {name}={example}")))
}

fn share(query: &Query, name: &str, example: &str) -> Result<f64, Refusal> {
    let share = number(query, name, example)?;
    if share > 1.0 {
        return Err(wrong(format!(
            "{name} is a share from 0 to 1, such as {example}"
        )));
    }
    Ok(share)
}

async fn to_store(
    State(control): State<Control>,
    Path((id, deed)): Path<(StoreId, String)>,
    query: Query,
) -> Answer {
    let mut world = control.sim.world();
    if !world.stores.contains_key(&id) {
        return Err(unknown(format!("there is no store {id}")));
    }
    match deed.as_str() {
        "kill" => world.end_store(id, Life::Killed),
        "stop" => world.end_store(id, Life::Stopped),
        "start" => world.begin_store(id),
        "restart" => {
            world.end_store(id, Life::Killed);
            world.begin_store(id);
        }
        "heal" => world.heal_store(id),
        "lead" => {
            let share = share(&query, "share", "0.9")?;
            world.gather_leaders(id, share);
        }
        "decommission" => {
            let refused = |refusal| wrong(format!("PD refuses: {refusal:?}"));
            world.take_offline(id, false).map_err(refused)?;
        }
        ailment => ail(&mut world, id, ailment, &query)?,
    }
    done(&format!("store {id}: {deed}"))
}

/// What a running store can suffer from.
fn ail(world: &mut World, id: StoreId, ailment: &str, query: &Query) -> Result<(), Refusal> {
    let Some(store) = world.stores.get_mut(&id) else {
        return Ok(());
    };
    match ailment {
        "fill" if query.has("available") => {
            let left = share(query, "available", "0.1")?;
            store.foreign = 0.0;
            let free = store.capacity - store.used.unwrap_or(0.0);
            store.foreign = (free - left * store.capacity).max(0.0);
            store.used = Some(store.used.unwrap_or(0.0));
        }
        "fill" => {
            let used = share(query, "used", "0.75")?;
            store.used = Some(used * store.capacity);
        }
        "slow" => store.ailments.latency_ms = number(query, "ms", "200")?,
        "write-stall" => store.ailments.write_stall_us = number(query, "us", "500000")?,
        "raft-lag" => store.ailments.raft_lag = number(query, "entries", "9000")?,
        "busy" => store.ailments.busy_per_second = number(query, "per_second", "5")?,
        _ => {
            return Err(unknown(format!(
                "`{ailment}` is nothing that can be done to a store; there are kill, stop, start, restart, fill, slow, \
                 write-stall, raft-lag, busy, lead, decommission, heal"
            )));
        }
    }
    Ok(())
}

async fn to_pd(
    State(control): State<Control>,
    Path((name, deed)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let mut world = control.sim.world();
    let now = world.now;
    let missing = || unknown(format!("there is no PD named {name}"));
    let place = world.members.find(&name).ok_or_else(missing)?;
    match deed.as_str() {
        "kill" => world.members.list[place].life = members::Life::Killed,
        "hang" => world.members.list[place].life = members::Life::Hung,
        "start" => world.members.list[place].life = members::Life::Running,
        "lead" => {
            let text = query.first("deaf_for").unwrap_or("0s");
            let deaf = go::parse_duration(text);
            let deaf = deaf.ok_or_else(|| wrong(format!("deaf_for: `{text}`; write 5m")))?;
            world.faults.next_reign_is_deaf_for = deaf;
            if !world.members.hand_over(Some(place), now) {
                return Err(wrong(format!("{name} cannot lead")));
            }
        }
        _ => return Err(unknown("what can be done to a PD: kill, hang, start, lead")),
    }
    done(&format!("{name}: {deed}"))
}

/// `?count=3`, or `?id=14` for one.
async fn to_regions(
    State(control): State<Control>,
    Path(deed): Path<String>,
    query: Query,
) -> Answer {
    let mut world = control.sim.world();
    let count = query.number("count").unwrap_or(1);
    let picked = world.pick_regions(query.number("id"), count);
    match deed.as_str() {
        "heal" => world.heal_regions(),
        _ if picked.is_empty() => return Err(unknown("there is no such region")),
        "lose-leader" => world.lose_leaders(&picked),
        "lose-peer" => world.lose_peers(&picked),
        "heat" => {
            let per_minute = number(&query, "bytes_per_second", "2000000")? * 60.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, which is hot enough"
            )]
            let per_minute = per_minute as u32;
            world.heat(&picked, per_minute);
        }
        _ => {
            let text = "what can be done to regions: lose-leader, lose-peer, heat, heal";
            return Err(unknown(text));
        }
    }
    done(&format!("regions: {deed}"))
}

async fn to_operators(State(control): State<Control>, Path(deed): Path<String>) -> Answer {
    let stall = match deed.as_str() {
        "stall" => true,
        "heal" => false,
        _ => return Err(unknown("what can be done to operators: stall, heal")),
    };
    control.sim.world().faults.operators_stall = stall;
    done(&format!("operators: {deed}"))
}

async fn to_requests(State(control): State<Control>, Path(deed): Path<String>) -> Answer {
    let refuse = match deed.as_str() {
        "refuse" => true,
        "heal" => false,
        _ => return Err(unknown("what can be done to requests: refuse, heal")),
    };
    control.sim.world().faults.too_many_requests = refuse;
    done(&format!("requests: {deed}"))
}

async fn store_metrics(State(control): State<Control>, Path(id): Path<StoreId>) -> Response {
    metrics::of_store(&control.sim, id).await
}
