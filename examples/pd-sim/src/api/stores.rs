//! `/stores` and `/store/{id}`.

mod change;
mod view;

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use serde::Serialize;

pub(crate) use self::change::{
    delete_label, limits, remove_tombstones, set_label, set_limit, set_limits, set_state,
    set_weight, take_offline,
};
pub(crate) use self::view::limits_by_store;

use self::view::StoreView;
use super::Pd;
use super::reply::{HandlerResult, Reply};
use super::request::Query;
use crate::go_format::Float;
use crate::world::store::{Store, StoreState, TargetState};
use crate::world::{StoreId, World};

#[derive(Serialize)]
struct List<'a> {
    count: usize,
    stores: Vec<StoreView<'a>>,
}

fn listed(world: &World, is_listed: impl Fn(&Store) -> bool) -> Reply {
    let stores = world.stores.values().filter(|store| is_listed(store));
    let stores: Vec<StoreView> = stores.map(|store| StoreView::new(world, store)).collect();
    Reply::json(&List {
        count: stores.len(),
        stores,
    })
}

pub(crate) async fn list(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let mut states = Vec::new();
    for text in query.all("state") {
        let number: Result<i64, _> = text.parse();
        let refusal = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
        states.push(number.map_err(|_| Reply::text(500, refusal))?);
    }
    if states.is_empty() {
        states = vec![0, 1];
    }
    let number = |store: &Store| match store.target_state {
        TargetState::Up => 0,
        TargetState::Offline => 1,
        TargetState::Tombstone => 2,
    };
    Ok(listed(&pd.sim.world(), |store| {
        states.contains(&number(store))
    }))
}

pub(crate) async fn check(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let mut wanted = Vec::new();
    for text in query.all("state") {
        let known = StoreState::ALL.into_iter();
        let found = known
            .clone()
            .find(|state| state.name().eq_ignore_ascii_case(text));
        let refusal = || Reply::text(400, format!("unknown StoreState: {text}"));
        wanted.push(found.ok_or_else(refusal)?);
    }
    let world = pd.sim.world();
    let down_after = world.config.down_after(world.now);
    let state = |store: &Store| store.state_name(world.now, down_after);
    Ok(listed(&world, |store| {
        wanted.is_empty() || wanted.contains(&state(store))
    }))
}

/// The store that a path names, or PD's error.
fn known(world: &World, id: StoreId, status: u16) -> Result<&Store, Reply> {
    let refusal = || {
        Reply::text(
            status,
            format!("[PD:core:ErrStoreNotFound]store {id} not found"),
        )
    };
    world.stores.get(&id).ok_or_else(refusal)
}

fn id(text: &str) -> Result<StoreId, Reply> {
    text.parse().map_err(|_| Reply::not_a_number(text))
}

pub(crate) async fn one(State(pd): State<Pd>, Path(text): Path<String>) -> HandlerResult {
    let id = id(&text)?;
    let world = pd.sim.world();
    let store = known(&world, id, 404)?;
    Ok(Reply::json(&StoreView::new(&world, store)))
}

#[derive(Serialize)]
pub(crate) struct Progress {
    pub(crate) action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_id: Option<StoreId>,
    pub(crate) progress: Float,
    pub(crate) current_speed: Float,
    pub(crate) left_seconds: Float,
}

/// A share rounded to two decimals, as PD does.
fn share(done: f64) -> Float {
    Float((done * 100.0).floor() / 100.0)
}

pub(crate) async fn progress(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let world = pd.sim.world();
    if let Some(text) = query.first("id") {
        let id = id(text)?;
        let text = format!(
            "[PD:progress:ErrProgressNotFound]no progress found for the given store ID: {id}"
        );
        let progress = world.progress(id).ok_or_else(|| Reply::text(404, text))?;
        return Ok(Reply::json(&Progress {
            action: "removing",
            store_id: Some(id),
            progress: share(progress.done),
            current_speed: Float(progress.speed),
            left_seconds: Float(progress.left_seconds),
        }));
    }
    let Some(action) = query.first("action") else {
        return Err(Reply::text(400, "need query parameters"));
    };
    let leaving: BTreeMap<_, _> = world.leaving().collect();
    if leaving.is_empty() || !action.eq_ignore_ascii_case("removing") {
        let text =
            format!("[PD:progress:ErrProgressNotFound]no progress found for the action: {action}");
        return Err(Reply::text(404, text));
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "there are at most a few thousand stores"
    )]
    let count = leaving.len() as f64;
    let mean = |of: fn(&crate::world::Progress) -> f64| {
        Float(leaving.values().map(of).sum::<f64>() / count)
    };
    Ok(Reply::json(&Progress {
        action: "removing",
        store_id: None,
        progress: mean(|it| it.done),
        current_speed: mean(|it| it.speed),
        left_seconds: mean(|it| it.left_seconds),
    }))
}
