//! `/members`, `/leader` and `/health`.

use std::time::Duration;

use axum::extract::{Path, State};
use serde::Serialize;

use super::Pd;
use super::reply::{HandlerResult, Reply};
use super::request::object;
use crate::world::World;
use crate::world::members::{Member, PdProcess};

/// The build of PD.
pub(crate) const GIT_HASH: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";
/// How long a member may take to answer a ping.
const PING: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct Health {
    name: String,
    member_id: u64,
    client_urls: [String; 1],
    health: bool,
}

pub(crate) async fn health(State(pd): State<Pd>) -> HandlerResult {
    let hangs = |world: &World| {
        world
            .members
            .present()
            .any(|(_, it)| it.process == PdProcess::Hung)
    };
    let waits = hangs(&pd.sim.world());
    if waits {
        tokio::time::sleep(PING).await;
    }
    let world = pd.sim.world();
    let members = world.members.present().map(|(_, member)| Health {
        name: member.name.clone(),
        member_id: member.id,
        client_urls: [member.client_url.clone()],
        health: member.process == PdProcess::Running,
    });
    Ok(Reply::json(&members.collect::<Vec<Health>>()))
}

/// Identity and version of a member.
#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    member_id: u64,
    peer_urls: [&'a str; 1],
    client_urls: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    leader_priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy_path: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    git_hash: Option<&'static str>,
}

fn short(member: &Member) -> View<'_> {
    View {
        name: &member.name,
        member_id: member.id,
        peer_urls: [&member.peer_url],
        client_urls: [&member.client_url],
        leader_priority: None,
        deploy_path: None,
        binary_version: None,
        git_hash: None,
    }
}

fn full<'a>(world: &'a World, member: &'a Member) -> View<'a> {
    View {
        leader_priority: Some(member.priority).filter(|priority| *priority != 0),
        deploy_path: Some("/"),
        binary_version: Some(&world.release.shown),
        git_hash: Some(GIT_HASH),
        ..short(member)
    }
}

#[derive(Serialize)]
struct Header {
    cluster_id: u64,
}

#[derive(Serialize)]
struct List<'a> {
    header: Header,
    members: Vec<View<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<View<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etcd_leader: Option<View<'a>>,
}

pub(crate) async fn list(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    let leader = || {
        world
            .members
            .leader
            .map(|place| full(&world, &world.members.list[place]))
    };
    Ok(Reply::json(&List {
        header: Header {
            cluster_id: world.cluster_id,
        },
        members: world
            .members
            .present()
            .map(|(_, member)| full(&world, member))
            .collect(),
        leader: leader(),
        etcd_leader: leader(),
    }))
}

pub(crate) async fn leader(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    let leader = world
        .members
        .leader
        .map(|place| short(&world.members.list[place]));
    Ok(Reply::json(&leader))
}

pub(crate) async fn resign(State(pd): State<Pd>) -> HandlerResult {
    let mut world = pd.sim.world();
    let now = world.now;
    // With a single member, the leader stays.
    let _handed_over = world.members.hand_over(None, now);
    Reply::done("The resign command is submitted.")
}

pub(crate) async fn transfer(State(pd): State<Pd>, Path(name): Path<String>) -> HandlerResult {
    let mut world = pd.sim.world();
    let now = world.now;
    let to = world.members.find(&name);
    if to.is_none() || !world.members.hand_over(to, now) {
        return Err(Reply::text(500, "no valid pd to transfer etcd leader"));
    }
    Reply::done("The transfer command is submitted.")
}

fn remove_member(world: &mut World, place: Option<usize>, asked: &str) -> HandlerResult {
    let not_found = || Reply::text(404, format!("not found, pd: {asked}"));
    let place = place.ok_or_else(not_found)?;
    let member = &mut world.members.list[place];
    member.process = PdProcess::Removed;
    Ok(Reply::text(200, format!("removed, pd: {}", member.name)))
}

pub(crate) async fn remove(State(pd): State<Pd>, Path(name): Path<String>) -> HandlerResult {
    let mut world = pd.sim.world();
    let place = world.members.find(&name);
    remove_member(&mut world, place, &name)
}

pub(crate) async fn remove_by_id(State(pd): State<Pd>, Path(id): Path<String>) -> HandlerResult {
    let mut world = pd.sim.world();
    let has_id = |(_, member): &(usize, &Member)| member.id.to_string() == id;
    let place = world.members.present().find(has_id).map(|(place, _)| place);
    remove_member(&mut world, place, &id)
}

pub(crate) async fn set_priority(
    State(pd): State<Pd>,
    Path(name): Path<String>,
    body: String,
) -> HandlerResult {
    let input = object(&body)?;
    let mut world = pd.sim.world();
    let not_found = || Reply::text(404, format!("not found, pd: {name}"));
    let place = world.members.find(&name).ok_or_else(not_found)?;
    let priority = input
        .get("leader-priority")
        .and_then(serde_json::Value::as_i64);
    let bad = || Reply::text(400, "bad format leader priority");
    world.members.list[place].priority = priority.ok_or_else(bad)?;
    Reply::done("success")
}
