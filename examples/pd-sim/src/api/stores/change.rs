//! Changes to stores.

use axum::extract::{Path, State};

use super::super::Pd;
use super::super::reply::{HandlerResult, Reply};
use super::super::request::{self, Query, object};
use super::view::limits_by_store;
use super::{id, known};
use crate::world::store::{Store, TargetState};
use crate::world::{OfflineError, StoreId, World};

pub(crate) async fn take_offline(
    State(pd): State<Pd>,
    Path(text): Path<String>,
    query: Query,
) -> HandlerResult {
    let id = id(&text)?;
    let done = pd.sim.world().take_offline(id, query.has("force"));
    done.map_err(|refusal| refused(id, &refusal))?;
    Reply::done("The store is set as Offline.")
}

fn refused(id: StoreId, refusal: &OfflineError) -> Reply {
    match refusal {
        OfflineError::NotFound => Reply::text(
            404,
            format!("[PD:core:ErrStoreNotFound]store {id} not found"),
        ),
        OfflineError::Removed => Reply::text(
            410,
            format!("[PD:core:ErrStoreRemoved]store {id} has been removed"),
        ),
        OfflineError::Destroyed => Reply::text(
            400,
            format!("[PD:core:ErrStoreDestroyed]store {id} has been physically destroyed"),
        ),
        OfflineError::NotEnough(left, needed) => Reply::text(
            400,
            format!(
                "[PD:core:ErrStoresNotEnough]can not remove store {id} since the number of up stores would be {left} \
                 while need {needed}"
            ),
        ),
        OfflineError::NoLeaders => Reply::text(
            400,
            format!(
                "[PD:core:ErrNoStoreForRegionLeader]can not remove store {id} since there are no extra up store to \
                 store the leader"
            ),
        ),
    }
}

pub(crate) async fn set_state(
    State(pd): State<Pd>,
    Path(text): Path<String>,
    query: Query,
) -> HandlerResult {
    let id = id(&text)?;
    let state = query.first("state").unwrap_or_default();
    let mut world = pd.sim.world();
    known(&world, id, 404)?;
    let done = match state.to_ascii_lowercase().as_str() {
        "up" => world.bring_back(id),
        "offline" => world.take_offline(id, false),
        _ => return Err(Reply::text(400, format!("invalid state {state}"))),
    };
    done.map_err(|refusal| refused(id, &refusal))?;
    Reply::done("The store's state is updated.")
}

fn change(world: &mut World, id: StoreId) -> Result<&mut Store, Reply> {
    known(world, id, 500)?;
    let store = world.stores.get_mut(&id);
    store.ok_or_else(Reply::not_bootstrapped)
}

pub(crate) async fn set_weight(
    State(pd): State<Pd>,
    Path(text): Path<String>,
    body: String,
) -> HandlerResult {
    let id = id(&text)?;
    let input = object(&body)?;
    let weight = |key: &str| match input.get(key) {
        None => Err(Reply::text(400, format!("{key} weight unset"))),
        Some(value) => value
            .as_f64()
            .filter(|weight| *weight >= 0.0)
            .ok_or_else(|| Reply::text(400, format!("bad format {key} weight"))),
    };
    let (leader, region) = (weight("leader")?, weight("region")?);
    let mut world = pd.sim.world();
    let store = change(&mut world, id)?;
    (store.leader_weight, store.region_weight) = (leader, region);
    Reply::done("The store's weight is updated.")
}

pub(crate) async fn set_label(
    State(pd): State<Pd>,
    Path(text): Path<String>,
    query: Query,
    body: String,
) -> HandlerResult {
    let id = id(&text)?;
    let input = object(&body)?;
    let mut world = pd.sim.world();
    let refusal = format!("[PD:cluster:ErrInvalidStoreID]invalid store id {id}, not found");
    let store = world
        .stores
        .get_mut(&id)
        .ok_or_else(|| Reply::text(500, refusal))?;
    if query.has("force") {
        store.labels.clear();
    }
    for (key, value) in input {
        let value = value.as_str().unwrap_or_default().to_owned();
        if value.is_empty() {
            store.labels.remove(&key);
        } else {
            store.labels.insert(key, value);
        }
    }
    Reply::done("The store's label is updated.")
}

pub(crate) async fn delete_label(
    State(pd): State<Pd>,
    Path(text): Path<String>,
    body: String,
) -> HandlerResult {
    let id = id(&text)?;
    let label: String = serde_json::from_str(&body)
        .map_err(|error| Reply::input(&error.to_string(), serde_json::json!({})))?;
    let mut world = pd.sim.world();
    let refusal = format!("[PD:cluster:ErrInvalidStoreID]invalid store id {id}, not found");
    let store = world
        .stores
        .get_mut(&id)
        .ok_or_else(|| Reply::text(500, refusal))?;
    store.labels.remove(&label);
    Ok(Reply::text(
        200,
        format!("The label {label} is deleted for store {id}."),
    ))
}

/// The limits to set, and their value.
fn read_limit(body: &str) -> Result<(f64, bool, bool), Reply> {
    let input = object(body)?;
    let rate = request::number(&input, "rate").ok_or_else(|| Reply::text(400, "rate unset"))?;
    if rate <= 0.0 {
        return Err(Reply::text(
            400,
            "invalid rate which should be larger than 0",
        ));
    }
    match request::text(&input, "type") {
        None => Ok((rate, true, true)),
        Some("add-peer") => Ok((rate, true, false)),
        Some("remove-peer") => Ok((rate, false, true)),
        Some(_) => Err(Reply::text(400, "unknown type")),
    }
}

fn apply_limit(store: &mut Store, (rate, add, remove): (f64, bool, bool)) {
    if add {
        store.limits.add_peer = rate;
    }
    if remove {
        store.limits.remove_peer = rate;
    }
}

pub(crate) async fn set_limit(
    State(pd): State<Pd>,
    Path(text): Path<String>,
    query: Query,
    body: String,
) -> HandlerResult {
    let id = id(&text)?;
    let mut world = pd.sim.world();
    if query.has("ttlSecond") && world.release.is_newest() {
        return Err(Reply::text(400, "ttlSecond is deprecated"));
    }
    let limit = read_limit(&body)?;
    apply_limit(change(&mut world, id)?, limit);
    Reply::done("The store's limit is updated.")
}

pub(crate) async fn limits(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let tombstones = query.first("include_tombstone") == Some("true");
    Ok(Reply::json(&limits_by_store(&pd.sim.world(), tombstones)))
}

pub(crate) async fn set_limits(State(pd): State<Pd>, body: String) -> HandlerResult {
    let limit = read_limit(&body)?;
    let input = object(&body)?;
    let labels = input.get("labels").and_then(serde_json::Value::as_object);
    let has = |store: &Store| {
        let mut labels = labels.into_iter().flatten();
        labels.all(|(key, value)| store.labels.get(key).map(String::as_str) == value.as_str())
    };
    let mut world = pd.sim.world();
    for store in world.stores.values_mut().filter(|store| has(store)) {
        apply_limit(store, limit);
    }
    Reply::done("Set store limit successfully.")
}

pub(crate) async fn remove_tombstones(State(pd): State<Pd>) -> HandlerResult {
    let mut world = pd.sim.world();
    world
        .stores
        .retain(|_, store| store.target_state != TargetState::Tombstone);
    Reply::done("Remove tombstone successfully.")
}
