//! The control API: injects faults into the cluster, undoes them, and advances its clock. It also serves the stores'
//! metrics.

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
use crate::go_format;
use crate::metrics;
use crate::sim::Sim;
use crate::world::members;
use crate::world::store::{Store, StoreProcess};
use crate::world::{Nanos, StoreId, World};

/// The largest clock jump per request.
const MAX_ADVANCE: Nanos = 7 * 24 * 3_600 * crate::world::SECOND;

#[derive(Debug, Clone)]
pub(crate) struct Control {
    sim: Arc<Sim>,
    url: Arc<str>,
}

/// The error message names the problem and a correct example.
struct ControlError(StatusCode, String);

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"error": self.1}))).into_response()
    }
}

type HandlerResult = Result<axum::Json<Value>, ControlError>;

fn bad_request(text: impl Into<String>) -> ControlError {
    ControlError(StatusCode::BAD_REQUEST, text.into())
}

fn not_found(text: impl Into<String>) -> ControlError {
    ControlError(StatusCode::NOT_FOUND, text.into())
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
        .route("/stores/{id}/{action}", post(to_store))
        .route("/pds/{name}/{action}", post(to_pd))
        .route("/regions/{action}", post(to_regions))
        .route("/operators/{action}", post(to_operators))
        .route("/requests/{action}", post(to_requests))
        .route("/metrics/stores/{id}", get(store_metrics))
        .route("/prometheus/targets", get(targets::targets))
        .with_state(control)
}

async fn state(State(control): State<Control>) -> HandlerResult {
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
            "leaders": world.regions.totals_of(store.id).leaders,
            "regions": world.regions.totals_of(store.id).regions,
        })
    };
    let member = |(place, member): (usize, &members::Member)| {
        json!({
            "name": member.name,
            "url": member.client_url,
            "runs": member.process == members::PdProcess::Running,
            "leads": world.members.leader == Some(place),
        })
    };
    json!({
        "time": go_format::rfc3339(world.now),
        "rate": rate,
        "pds": world.members.present().map(member).collect::<Vec<Value>>(),
        "stores": world.stores.values().map(store).collect::<Vec<Value>>(),
        "regions": world.regions.totals().count,
        "operators": world.operators.running.len(),
    })
}

/// `?rate=60` seconds per second, `?advance=5m` at once.
async fn clock(State(control): State<Control>, query: Query) -> HandlerResult {
    let rate = query.first("rate").map(args::rate).transpose();
    let rate = rate.map_err(|error| bad_request(format!("rate: {error}")))?;
    let advance = query.first("advance").map(|text| {
        let nanos = go_format::parse_duration(text).filter(|nanos| *nanos <= MAX_ADVANCE);
        nanos.ok_or_else(|| bad_request(format!("advance: `{text}`; write 5m, at most 168h")))
    });
    let advance = advance.transpose()?;
    if rate.is_none() && advance.is_none() {
        return Err(bad_request("write rate=60 or advance=5m"));
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

async fn heal(State(control): State<Control>) -> HandlerResult {
    control.sim.world().heal();
    done("everything is undone")
}

#[expect(clippy::unnecessary_wraps, reason = "what a handler ends with")]
fn done(text: &str) -> HandlerResult {
    tracing::info!("{text}");
    Ok(axum::Json(json!({"done": text})))
}

/// A number that a query must contain.
fn number(query: &Query, name: &str, example: &str) -> Result<f64, ControlError> {
    let number = query.number::<f64>(name);
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| bad_request(format!("write {name}={example}")))
}

fn share(query: &Query, name: &str, example: &str) -> Result<f64, ControlError> {
    let share = number(query, name, example)?;
    if share > 1.0 {
        return Err(bad_request(format!(
            "{name} is a share from 0 to 1, such as {example}"
        )));
    }
    Ok(share)
}

async fn to_store(
    State(control): State<Control>,
    Path((id, action)): Path<(StoreId, String)>,
    query: Query,
) -> HandlerResult {
    let mut world = control.sim.world();
    if !world.stores.contains_key(&id) {
        return Err(not_found(format!("no store {id}")));
    }
    match action.as_str() {
        "kill" => world.stop_store(id, StoreProcess::Killed),
        "stop" => world.stop_store(id, StoreProcess::Stopped),
        "start" => world.start_store(id),
        "restart" => {
            world.stop_store(id, StoreProcess::Killed);
            world.start_store(id);
        }
        "heal" => world.heal_store(id),
        "lead" => {
            let share = share(&query, "share", "0.9")?;
            world.gather_leaders(id, share);
        }
        "decommission" => {
            let refused = |refusal| bad_request(format!("PD rejects it: {refusal:?}"));
            world.take_offline(id, false).map_err(refused)?;
        }
        fault => inject_fault(&mut world, id, fault, &query)?,
    }
    done(&format!("store {id}: {action}"))
}

/// Injects a fault into a running store.
fn inject_fault(
    world: &mut World,
    id: StoreId,
    fault: &str,
    query: &Query,
) -> Result<(), ControlError> {
    let Some(store) = world.stores.get_mut(&id) else {
        return Ok(());
    };
    match fault {
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
        "slow" => store.faults.latency_ms = number(query, "ms", "200")?,
        "write-stall" => store.faults.write_stall_us = number(query, "us", "500000")?,
        "raft-lag" => store.faults.raft_lag = number(query, "entries", "9000")?,
        "busy" => store.faults.busy_per_second = number(query, "per_second", "5")?,
        _ => {
            return Err(not_found(format!(
                "`{fault}` is not an action on a store; use kill, stop, start, restart, fill, slow, \
                 write-stall, raft-lag, busy, lead, decommission, heal"
            )));
        }
    }
    Ok(())
}

async fn to_pd(
    State(control): State<Control>,
    Path((name, action)): Path<(String, String)>,
    query: Query,
) -> HandlerResult {
    let mut world = control.sim.world();
    let now = world.now;
    let missing = || not_found(format!("no PD named {name}"));
    let place = world.members.find(&name).ok_or_else(missing)?;
    match action.as_str() {
        "kill" => world.members.list[place].process = members::PdProcess::Killed,
        "hang" => world.members.list[place].process = members::PdProcess::Hung,
        "start" => world.members.list[place].process = members::PdProcess::Running,
        "lead" => {
            let text = query.first("deaf_for").unwrap_or("0s");
            let deaf = go_format::parse_duration(text);
            let deaf = deaf.ok_or_else(|| bad_request(format!("deaf_for: `{text}`; write 5m")))?;
            world.faults.heartbeat_delay_after_leader_change = deaf;
            if !world.members.hand_over(Some(place), now) {
                return Err(bad_request(format!("{name} cannot lead")));
            }
        }
        _ => return Err(not_found("actions on a PD: kill, hang, start, lead")),
    }
    done(&format!("{name}: {action}"))
}

/// `?count=3`, or `?id=14` for one.
async fn to_regions(
    State(control): State<Control>,
    Path(action): Path<String>,
    query: Query,
) -> HandlerResult {
    let mut world = control.sim.world();
    let count = query.number("count").unwrap_or(1);
    let picked = world.pick_regions(query.number("id"), count);
    match action.as_str() {
        "heal" => world.heal_regions(),
        _ if picked.is_empty() => return Err(not_found("no such region")),
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
            let text = "actions on regions: lose-leader, lose-peer, heat, heal";
            return Err(not_found(text));
        }
    }
    done(&format!("regions: {action}"))
}

async fn to_operators(State(control): State<Control>, Path(action): Path<String>) -> HandlerResult {
    let stall = match action.as_str() {
        "stall" => true,
        "heal" => false,
        _ => return Err(not_found("actions on operators: stall, heal")),
    };
    control.sim.world().faults.operators_stall = stall;
    done(&format!("operators: {action}"))
}

async fn to_requests(State(control): State<Control>, Path(action): Path<String>) -> HandlerResult {
    let refuse = match action.as_str() {
        "refuse" => true,
        "heal" => false,
        _ => return Err(not_found("actions on requests: refuse, heal")),
    };
    control.sim.world().faults.too_many_requests = refuse;
    done(&format!("requests: {action}"))
}

async fn store_metrics(State(control): State<Control>, Path(id): Path<StoreId>) -> Response {
    metrics::of_store(&control.sim, id).await
}
