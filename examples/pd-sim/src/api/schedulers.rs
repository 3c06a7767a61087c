//! `/schedulers`, `/scheduler-config` and `/checker`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::Pd;
use super::reply::{HandlerResult, Reply};
use super::request::{self, Query, object};
use crate::go_format;
use crate::world::World;
use crate::world::schedulers::{BATCH, CHECKERS, EVICT_LEADER, Schedulers};

const NOT_FOUND: &str = "[PD:scheduler:ErrSchedulerNotFound]scheduler not found";

#[derive(Serialize)]
struct Paused<'a> {
    name: &'a str,
    paused_at: String,
    resume_at: String,
}

pub(crate) async fn list(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let world = pd.sim.world();
    if query.first("status") != Some("paused") {
        let none: [&str; 0] = [];
        return Ok(match query.first("status") {
            None => Reply::json(&world.schedulers.running),
            Some(_) => Reply::json(&none),
        });
    }
    let running = world.schedulers.running.iter();
    let paused = running.filter_map(|name| {
        let pause = world.schedulers.paused(name, world.now)?;
        Some(Paused {
            name,
            paused_at: go_format::rfc3339_seconds(world.shown(pause.from)),
            resume_at: go_format::rfc3339_seconds(world.shown(pause.until)),
        })
    });
    let paused: Vec<Paused> = paused.collect();
    if query.has("timestamp") {
        return Ok(Reply::json(&paused));
    }
    let names: Vec<&str> = paused.iter().map(|paused| paused.name).collect();
    Ok(Reply::json(&names))
}

pub(crate) async fn add(State(pd): State<Pd>, body: String) -> HandlerResult {
    let input = object(&body)?;
    let missing = || Reply::text(400, "missing scheduler name");
    let name = request::text(&input, "name").ok_or_else(missing)?;
    if !Schedulers::is_known(name) {
        return Err(Reply::text(400, "unknown scheduler"));
    }
    let mut world = pd.sim.world();
    if name == EVICT_LEADER {
        return evict(&mut world, &input);
    }
    if world.schedulers.runs(name) {
        let status = if world.release.is_newest() { 400 } else { 500 };
        let text = "[PD:scheduler:ErrSchedulerExisted]scheduler existed";
        return Err(Reply::text(status, text));
    }
    world.schedulers.running.push(name.to_owned());
    Reply::done("The scheduler is created.")
}

fn evict(world: &mut World, input: &serde_json::Map<String, Value>) -> HandlerResult {
    let newest = world.release.is_newest();
    let Some(store) = request::id(input, "store_id") else {
        let is_other = newest && input.contains_key("store_id");
        let text = if is_other {
            "please input a right store id"
        } else {
            "missing store id"
        };
        return Err(Reply::text(400, text));
    };
    let runs = world.schedulers.runs(EVICT_LEADER);
    if !world.stores.contains_key(&store) {
        let text = format!("[PD:core:ErrStoreNotFound]store {store} not found");
        // A running scheduler replies in JSON, which PD encodes once more.
        let nested = go_format::pretty(&text);
        return Err(match (runs, newest) {
            (true, _) => Reply::text(500, nested),
            (false, true) => Reply::text(400, text),
            (false, false) => Reply::text(500, text),
        });
    }
    world.schedulers.evict(store);
    Reply::done(if runs {
        "The scheduler has been applied to the store."
    } else {
        "The scheduler is created."
    })
}

pub(crate) async fn remove(State(pd): State<Pd>, Path(name): Path<String>) -> HandlerResult {
    let mut world = pd.sim.world();
    let store = name
        .strip_prefix(EVICT_LEADER)
        .and_then(|rest| rest.strip_prefix('-'));
    if let Some(store) = store {
        let held = store
            .parse()
            .is_ok_and(|store| world.schedulers.stop_evicting(store));
        let null = Reply::json(&Value::Null);
        return Ok(if held {
            null
        } else {
            null.with(StatusCode::NOT_FOUND)
        });
    }
    if !world.schedulers.remove(&name) {
        return Err(Reply::text(404, NOT_FOUND));
    }
    Reply::done("The scheduler is removed.")
}

/// The requested duration of a pause, in seconds.
fn delay(body: &str) -> Result<i64, Reply> {
    let input = object(body)?;
    let value = input.get("delay");
    let missing = || Reply::text(400, "missing pause time");
    let seconds = value.and_then(Value::as_f64).ok_or_else(missing)?;
    if seconds.fract() != 0.0 {
        let text = format!("json: cannot unmarshal number {seconds} into Go value of type int");
        return Err(Reply::input(&text, serde_json::json!({})));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of seconds")]
    let seconds = seconds as i64;
    Ok(seconds)
}

pub(crate) async fn pause(
    State(pd): State<Pd>,
    Path(name): Path<String>,
    body: String,
) -> HandlerResult {
    let seconds = delay(&body)?;
    let mut world = pd.sim.world();
    let now = world.now;
    let names = if name == "all" {
        world.schedulers.running.clone()
    } else if world.schedulers.runs(&name) {
        vec![name]
    } else {
        return Err(Reply::text(500, NOT_FOUND));
    };
    for name in names {
        world.schedulers.pause(&name, seconds, now);
    }
    Reply::done("Pause or resume the scheduler successfully.")
}

#[derive(Serialize)]
struct Range {
    #[serde(rename = "start-key")]
    start: &'static str,
    #[serde(rename = "end-key")]
    end: &'static str,
}

#[derive(Serialize)]
struct EvictConfig {
    #[serde(rename = "store-id-ranges")]
    ranges: BTreeMap<String, [Range; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
}

pub(crate) async fn config(State(pd): State<Pd>, Path(name): Path<String>) -> HandlerResult {
    let world = pd.sim.world();
    if name != EVICT_LEADER || !world.schedulers.runs(EVICT_LEADER) {
        return Err(Reply::plain(StatusCode::NOT_FOUND, "404 page not found"));
    }
    let stores = world.schedulers.evicted.iter();
    let everything = || [Range { start: "", end: "" }];
    Ok(Reply::json(&EvictConfig {
        ranges: stores
            .map(|store| (store.to_string(), everything()))
            .collect(),
        batch: world.release.evicts_in_batches().then_some(BATCH),
    }))
}

fn checker_name(name: &str) -> Result<&'static str, Reply> {
    let text = "[PD:checker:ErrCheckerNotFound]checker not found";
    let known = CHECKERS.into_iter().find(|known| *known == name);
    known.ok_or_else(|| Reply::text(500, text))
}

#[derive(Serialize)]
struct CheckerStatus {
    paused: bool,
}

pub(crate) async fn checker(State(pd): State<Pd>, Path(name): Path<String>) -> HandlerResult {
    let name = checker_name(&name)?;
    let world = pd.sim.world();
    let paused = world.schedulers.is_checker_paused(name, world.now);
    Ok(Reply::json(&CheckerStatus { paused }))
}

pub(crate) async fn pause_checker(
    State(pd): State<Pd>,
    Path(name): Path<String>,
    body: String,
) -> HandlerResult {
    let seconds = delay(&body)?;
    let name = checker_name(&name)?;
    let mut world = pd.sim.world();
    let now = world.now;
    world.schedulers.pause_checker(name, seconds, now);
    Reply::done(if seconds > 0 {
        "Pause the checker successfully."
    } else {
        "Resume the checker successfully."
    })
}
