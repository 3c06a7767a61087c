//! PD's HTTP API: the routes of one PD server.

mod cluster;
mod config;
mod forward;
mod hotspot;
mod members;
mod operators;
mod regions;
mod reply;
mod request;
mod schedulers;
mod stores;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

pub(crate) use self::request::Query;

use self::reply::Reply;
use crate::metrics;
use crate::sim::Sim;

/// One PD server, by its index among the members.
#[derive(Debug, Clone)]
pub(crate) struct Pd {
    pub(crate) sim: Arc<Sim>,
    pub(crate) place: usize,
}

/// The service on one PD's client URL.
pub(crate) fn router(pd: Pd) -> Router {
    Router::new()
        .nest("/pd/api/v1", v1())
        .nest("/pd/api/v2", v2())
        .fallback(|| async { Reply::plain(StatusCode::NOT_FOUND, "404 page not found") })
        .layer(from_fn_with_state(pd.clone(), forward::forward))
        .route("/metrics", get(metrics::of_pd))
        .with_state(pd)
}

fn v1() -> Router<Pd> {
    Router::new()
        .merge(stores_routes())
        .merge(regions_routes())
        .merge(operators_routes())
        .merge(members_routes())
        .merge(config_routes())
}

fn stores_routes() -> Router<Pd> {
    Router::new()
        .route("/stores", get(stores::list))
        .route("/stores/check", get(stores::check))
        .route("/stores/progress", get(stores::progress))
        .route(
            "/stores/limit",
            get(stores::limits).post(stores::set_limits),
        )
        .route(
            "/stores/remove-tombstone",
            delete(stores::remove_tombstones),
        )
        .route("/store/{id}", get(stores::one).delete(stores::take_offline))
        .route("/store/{id}/state", post(stores::set_state))
        .route("/store/{id}/weight", post(stores::set_weight))
        .route(
            "/store/{id}/label",
            post(stores::set_label).delete(stores::delete_label),
        )
        .route("/store/{id}/limit", post(stores::set_limit))
        .route("/stats/region", get(cluster::region_stats))
        .route("/hotspot/regions/write", get(hotspot::write))
        .route("/hotspot/regions/read", get(hotspot::read))
        .route("/hotspot/stores", get(hotspot::stores))
}

fn regions_routes() -> Router<Pd> {
    Router::new()
        .route("/regions", get(regions::all))
        .route("/regions/count", get(regions::count))
        .route("/regions/key", get(regions::scan))
        .route("/regions/store/{id}", get(regions::on_store))
        .route("/regions/sibling/{id}", get(regions::siblings))
        .route("/regions/check/hist-size", get(regions::size_histogram))
        .route("/regions/check/hist-keys", get(regions::keys_histogram))
        .route("/regions/check/{check}", get(regions::check))
        .route("/regions/{order}", get(regions::top))
        .route("/regions/split", post(regions::split))
        .route("/regions/scatter", post(regions::scatter))
        .route("/region/id/{id}", get(regions::one))
        .route("/region/key/{key}", get(regions::by_key))
}

fn operators_routes() -> Router<Pd> {
    Router::new()
        .route(
            "/operators",
            get(operators::list)
                .post(operators::create)
                .delete(operators::cancel_all),
        )
        .route("/operators/records", get(operators::records))
        .route(
            "/operators/{region}",
            get(operators::one).delete(operators::cancel),
        )
        .route("/schedulers", get(schedulers::list).post(schedulers::add))
        .route(
            "/schedulers/{name}",
            post(schedulers::pause).delete(schedulers::remove),
        )
        .route("/scheduler-config/{name}/list", get(schedulers::config))
        .route(
            "/checker/{name}",
            get(schedulers::checker).post(schedulers::pause_checker),
        )
}

fn members_routes() -> Router<Pd> {
    Router::new()
        .route("/health", get(members::health))
        .route("/ping", get(|| async { StatusCode::OK }))
        .route("/members", get(members::list))
        .route(
            "/members/name/{name}",
            post(members::set_priority).delete(members::remove),
        )
        .route("/members/id/{id}", delete(members::remove_by_id))
        .route("/leader", get(members::leader))
        .route("/leader/resign", post(members::resign))
        .route("/leader/transfer/{name}", post(members::transfer))
}

fn config_routes() -> Router<Pd> {
    Router::new()
        .route("/config", get(config::all).post(config::set))
        .route(
            "/config/schedule",
            get(config::schedule).post(config::set_schedule),
        )
        .route(
            "/config/replicate",
            get(config::replicate).post(config::set_schedule),
        )
        .route("/config/rules", get(config::rules))
        .route("/cluster", get(cluster::cluster))
        .route("/cluster/status", get(cluster::cluster_status))
        .route("/status", get(cluster::status))
        .route("/version", get(cluster::version))
        .route("/min-resolved-ts", get(cluster::min_resolved_ts))
}

fn v2() -> Router<Pd> {
    Router::new()
        .route("/ready", get(cluster::ready))
        .route("/livez", get(cluster::livez))
        .route("/readyz", get(cluster::readyz))
}

#[cfg(test)]
mod tests;
