//! Decides who answers a request: the PD that received it, the leader, or neither.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::sleep;

use super::Pd;
use super::reply::Reply;
use crate::world::members::PdProcess;
use crate::world::{SECOND, World};

/// How long a follower waits for a leader, in steps.
const WAIT_STEPS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_500),
];
/// Paths that every PD answers itself.
const LOCAL: [&str; 6] = [
    "/status",
    "/health",
    "/ping",
    "/version",
    "/admin/log",
    "/config",
];
/// Paths under these prefixes need the running cluster, so only the leader answers them.
const LEADER_ONLY: [&str; 8] = [
    "/stores",
    "/store/",
    "/stats",
    "/config/rules",
    "/min-resolved-ts",
    "/hotspot",
    "/operators",
    "/schedulers",
];

#[derive(Debug, PartialEq, Eq)]
enum Destination {
    Handler,
    /// The leader is not running, and its lease has not expired.
    Broken,
    NoLeader,
    /// This process does not reply.
    Silent,
}

/// Every request to a PD goes through here.
pub(crate) async fn forward(State(pd): State<Pd>, request: Request, next: Next) -> Response {
    pd.sim.requests.fetch_add(1, Ordering::Relaxed);
    let path = request.uri().path();
    let path = path.strip_prefix("/pd/api/v1").unwrap_or("").to_owned();
    let is_get = request.method() == "GET";
    let headers = request.headers().clone();
    let early = decide(&pd, &path, is_get, &headers).await;
    let mut response = match early {
        Some(reply) => reply.into_response(),
        None => next.run(request).await,
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    // The process's own clock, which PD sends with every reply.
    let seconds = pd.sim.world().wall() / SECOND;
    if let Some(date) = http_date(seconds) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

fn http_date(seconds: i64) -> Option<HeaderValue> {
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    let text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).ok()
}

/// The reply that replaces the path's own, if any.
async fn decide(pd: &Pd, path: &str, is_get: bool, headers: &HeaderMap) -> Option<Reply> {
    let (waits, too_many, leads, is_bootstrapped) = {
        let world = pd.sim.world();
        let leads = world.members.leader == Some(pd.place);
        let waits = world.release.waits_for_a_leader();
        (
            waits,
            world.faults.too_many_requests,
            leads,
            world.is_bootstrapped(),
        )
    };
    if destination(&pd.sim.world(), pd.place) == Destination::Silent {
        std::future::pending::<()>().await;
    }
    if too_many {
        return Some(Reply::plain(
            StatusCode::TOO_MANY_REQUESTS,
            "Too Many Requests",
        ));
    }
    let is_local = waits && LOCAL.contains(&path) && (is_get || path == "/admin/log");
    if is_local || path.is_empty() {
        return None;
    }
    let is_of_the_cluster =
        LEADER_ONLY.iter().any(|known| path.starts_with(known)) || path.starts_with("/region");
    if headers.contains_key("pd-allow-follower-handle") && !leads {
        let is_region = path.starts_with("/region");
        return (is_of_the_cluster && !is_region).then(Reply::not_bootstrapped);
    }
    if headers.contains_key("pd-redirector") && !leads {
        let text = "[PD:apiutil:ErrRedirectToNotLeader]redirect to not leader";
        return Some(Reply::plain(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    match find_leader(pd, waits).await {
        Destination::Handler if is_of_the_cluster && !is_bootstrapped => {
            Some(Reply::not_bootstrapped())
        }
        Destination::Handler => None,
        Destination::NoLeader if waits => {
            let text = "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader";
            Some(Reply::plain(StatusCode::SERVICE_UNAVAILABLE, text))
        }
        Destination::NoLeader => Some(Reply::plain(StatusCode::SERVICE_UNAVAILABLE, "no leader")),
        Destination::Broken | Destination::Silent => {
            let text = "[PD:apiutil:ErrRedirect]redirect failed";
            Some(Reply::plain(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

async fn find_leader(pd: &Pd, waits: bool) -> Destination {
    let mut found = to_leader(&pd.sim.world(), pd.place);
    for wait in WAIT_STEPS {
        let is_worth_it =
            matches!(found, Destination::NoLeader if waits) || found == Destination::Silent;
        if !is_worth_it {
            break;
        }
        sleep(wait).await;
        found = to_leader(&pd.sim.world(), pd.place);
    }
    found
}

fn destination(world: &World, place: usize) -> Destination {
    match world.members.list[place].process {
        PdProcess::Running => Destination::Handler,
        PdProcess::Hung => Destination::Silent,
        PdProcess::Killed | PdProcess::Removed => Destination::Broken,
    }
}

fn to_leader(world: &World, place: usize) -> Destination {
    match world.members.leader {
        None => Destination::NoLeader,
        Some(leader) if leader == place => Destination::Handler,
        Some(leader) => destination(world, leader),
    }
}
