//! What Prometheus is to scrape, in the form of its HTTP service discovery: every store's metrics lie under this port, and are
//! named by the store's status address, as if they came from there.

use axum::extract::State;
use serde::Serialize;

use super::Control;
use crate::world::members::Life;
use crate::world::store::Wanted;

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
        .filter(|it| it.wanted != Wanted::Tombstone);
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
        .filter(|(_, it)| it.life != Life::Removed);
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
