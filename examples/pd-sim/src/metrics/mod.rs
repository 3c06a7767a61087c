//! Metrics of TiKV and PD processes for Prometheus.

mod meter;
mod pd;
mod text;
mod tikv;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(crate) use self::meter::Meter;

use crate::api::Pd;
use crate::sim::Sim;
use crate::world::StoreId;
use crate::world::members;
use crate::world::store::StoreProcess;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

fn page(text: String) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

/// `/metrics` of one PD, served by its embedded etcd, so it works on followers too.
pub(crate) async fn of_pd(State(pd): State<Pd>) -> Response {
    let hangs = pd.sim.world().members.list[pd.place].process == members::PdProcess::Hung;
    if hangs {
        std::future::pending::<()>().await;
    }
    let world = pd.sim.world();
    page(pd::render(&world, pd.place))
}

/// The metrics of one store, as its status address would serve them; 503 for a store that is not running.
pub(crate) async fn of_store(sim: &Sim, store: StoreId) -> Response {
    let process = sim.world().stores.get(&store).map(|store| store.process);
    if let Some(StoreProcess::Stopped(_)) = process {
        std::future::pending::<()>().await;
    }
    let mut world = sim.world();
    match tikv::render(&mut world, store) {
        Some(text) => page(text),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
