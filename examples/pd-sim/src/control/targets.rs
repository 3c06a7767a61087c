//! Scrape targets in the format of Prometheus's HTTP service discovery: every store's metrics are served on this port, with
//! the store's status address as `instance`.

use axum::extract::State;
use serde::Serialize;

use super::Control;
use crate::world::members::PdProcess;
use crate::world::store::TargetState;

#[derive(Serialize)]
pub(super) struct Group {
    targets: [String; 1],
    labels: Labels,
}

#[derive(Serialize)]
struct Labels {
    job: &'static str,
    instance: String,
    #[serde(rename = "__metrics_path__")]
    path: String,
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

pub(super) async fn targets(State(control): State<Control>) -> axum::Json<Vec<Group>> {
    let world = control.sim.world();
    let stores = world
        .stores
        .values()
        .filter(|it| it.target_state != TargetState::Tombstone);
    let stores = stores.map(|store| Group {
        targets: [host(&control.url)],
        labels: Labels {
            job: "tikv",
            instance: store.status_address.clone(),
            path: format!("/metrics/stores/{}", store.id),
        },
    });
    let members = world
        .members
        .present()
        .filter(|(_, it)| it.process != PdProcess::Removed);
    let members = members.map(|(_, member)| Group {
        targets: [host(&member.client_url)],
        labels: Labels {
            job: "pd",
            instance: host(&member.client_url),
            path: "/metrics".to_owned(),
        },
    });
    axum::Json(stores.chain(members).collect())
}
