//! PD's replies, byte for byte: `tests/samples.json` contains requests and PD's replies to them, in groups that each start
//! with a scene from this module.

mod scenes;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tower::ServiceExt as _;

use super::cluster::RegionStats;
use super::hotspot::{Hot, HotRegion, HotStore, HotStores};
use super::*;
use crate::go_format::{self, Float};
use crate::world::World;
use crate::world::operator::Status;
use crate::world::region::Role;

#[derive(Deserialize)]
struct Group {
    scene: String,
    release: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    name: String,
    ask: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Which PD receives the request.
    #[serde(default)]
    place: usize,
    /// Absent if the step only prepares the next ones.
    answer: Option<String>,
    #[serde(default)]
    status: u16,
    #[serde(default, rename = "type")]
    content_type: String,
    #[serde(default)]
    answer_headers: BTreeMap<String, String>,
}

async fn ask(sim: &Arc<Sim>, step: &Step) -> Response<Body> {
    let (method, path) = step.ask.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in &step.headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(step.body.clone())).unwrap();
    let pd = Pd {
        sim: sim.clone(),
        place: step.place,
    };
    router(pd).oneshot(request).await.unwrap()
}

/// How a reply differs from the expected one, at the first differing line.
fn difference(is: &str, due: &str) -> Option<String> {
    let place = is.lines().zip(due.lines()).position(|(is, due)| is != due);
    let line = |text: &str| place.and_then(|place| text.lines().nth(place).map(str::to_owned));
    (is != due).then(|| format!("{:?} in place of {:?}", line(is), line(due)))
}

async fn check(sim: &Arc<Sim>, step: &Step) -> Vec<String> {
    let (head, body) = ask(sim, step).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let Some(answer) = &step.answer else {
        assert!(
            head.status.is_success(),
            "{}: {} {body}",
            step.ask,
            head.status
        );
        return Vec::new();
    };
    let header = |name: &str| {
        let value = head.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    };
    let status = difference(&head.status.as_u16().to_string(), &step.status.to_string());
    let kind = difference(header("content-type"), &step.content_type);
    let others = step.answer_headers.iter();
    let others = others.filter_map(|(name, value)| difference(header(name), value));
    let found = [difference(&body, answer), status, kind]
        .into_iter()
        .flatten();
    found.chain(others).collect()
}

#[tokio::test]
async fn every_reply_matches_pd() {
    let groups = include_str!("../../tests/samples.json");
    let groups: Vec<Group> = serde_json::from_str(groups).unwrap();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for group in groups {
        let sim = scenes::scene(&group.scene, &group.release);
        for step in &group.steps {
            let asked = format!("{}: {}: {} {}", group.scene, step.name, step.ask, step.body);
            let found = check(&sim, step).await;
            wrong.extend(found.into_iter().map(|found| format!("{asked}: {found}")));
            checked += usize::from(step.answer.is_some());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= 150, "{checked}");
}

fn transfer(world: &mut World) -> crate::world::operator::Operator {
    world.transfer_leader(14, 4).unwrap();
    world.operators.running[&14].clone()
}

/// A time of day that is not on one of the simulator's ticks.
#[test]
fn an_ended_operator_is_formatted_as_by_pd() {
    let sim = scenes::scene("regions", "26.3.4");
    let mut world = sim.world();
    let mut operator = transfer(&mut world);
    operator.current = 1;
    operator.status = Status::Success;
    operator.finished = operator.created + 1_098_854_667;
    let text = "admin-transfer-leader {transfer leader: store 1 to 4} (kind:admin,leader, region:14(61, 5), \
        createAt:2026-08-20 09:31:04.512345678 +0000 UTC m=+5821.204417391, \
        startAt:2026-08-20 09:31:04.512377801 +0000 UTC m=+5821.204449514, currentStep:1, size:88, \
        steps:[0:{transfer leader from store 1 to store 4}], timeout:[1m0s]) finished";
    assert_eq!(operator.text(world.origin, |at| at), text);
    let record = format!(
        "{text} (finishAt:2026-08-20 09:31:05.611200345 +0000 UTC m=+5822.303272058, duration:1.098822544s)"
    );
    assert_eq!(operator.record(world.origin, |at| at), record);
}

#[test]
fn an_evicting_operator_names_every_store_that_could_lead() {
    let sim = scenes::scene("whole", "26.3.4");
    let mut world = sim.world();
    world.schedulers.evict(1);
    world.schedule();
    let operator = world.operators.running.values().next().unwrap();
    let brief = "evict leader: from store 1 to one in [4 5], or to 4 (for compatibility)";
    assert_eq!(operator.brief, brief);
    let text = operator.text(world.origin, |at| at);
    assert!(text.contains("(kind:leader, region:"), "{text}");
}

#[test]
fn a_region_without_a_leader_or_in_a_joint_state_is_refused() {
    let sim = scenes::scene("ailing", "26.3.4");
    let mut world = sim.world();
    let refusal = "cannot build operator for region with no leader";
    assert_eq!(world.add_peer(44, 6, Role::Voter), Err(refusal.to_owned()));
    let at = world.region(30).unwrap();
    world
        .regions
        .edit(at, |region| region.peers[1].role = Role::Incoming);
    let refusal = "cannot build operator for region which is in joint state";
    assert_eq!(world.add_peer(30, 6, Role::Voter), Err(refusal.to_owned()));
}

fn hot_store(store: u64, rates: [f64; 6], statistics: Vec<HotRegion>) -> (String, HotStore) {
    let [bytes, keys, query, total, total_keys, total_query] = rates.map(Float);
    let hot = HotStore {
        store_bytes: bytes,
        store_keys: keys,
        store_query: query,
        store_cpu: Some(Float(0.0)),
        total_flow_bytes: total,
        total_flow_keys: total_keys,
        total_flow_query: total_query,
        total_flow_cpu: Some(Float(0.0)),
        regions_count: statistics.len(),
        statistics,
    };
    (store.to_string(), hot)
}

#[test]
fn hot_regions_have_pds_shape() {
    let region = || HotRegion {
        store_id: 1,
        stores: vec![1, 4, 5],
        is_leader: true,
        is_learner: false,
        region_id: 14,
        hot_degree: 12,
        flow_bytes: Float(1_799_321.1),
        flow_keys: Float(1_100.5),
        flow_query: Float(900.25),
        flow_cpu: Some(Float(0.0)),
        anti_count: 2,
        last_update_time: "2026-08-20T09:30:44.512345678Z".to_owned(),
    };
    let rates = [1_903_321.5, 1_208.25, 960.5, 1_799_321.1, 1_100.5, 900.25];
    let stores = || {
        let busy = hot_store(1, rates, vec![region()]);
        BTreeMap::from([busy, hot_store(4, [0.0; 6], Vec::new())])
    };
    let hot = Hot {
        as_peer: stores(),
        as_leader: stores(),
    };
    assert_eq!(
        go_format::pretty(&hot),
        include_str!("../../tests/hot-write.json")
    );
}

#[test]
fn hot_stores_have_pds_shape() {
    let rates = |one, four| {
        let rates = [("1", Float(one)), ("4", Float(four))];
        rates.map(|(store, rate)| (store.to_owned(), rate)).into()
    };
    let stores = HotStores {
        bytes_write_rate: rates(1_903_321.5, 0.0),
        bytes_read_rate: rates(8_021.75, 16.5),
        keys_write_rate: rates(1_208.25, 0.0),
        keys_read_rate: rates(55.5, 1.0),
        query_write_rate: rates(960.5, 0.0),
        query_read_rate: rates(30.25, 1.0),
        cpu_read_rate: rates(12.5, 0.0),
    };
    assert_eq!(
        go_format::pretty(&stores),
        include_str!("../../tests/hot-stores.json")
    );
    assert_eq!(go_format::pretty(&HotStores::default()), "{}\n");
}

#[test]
fn the_count_alone_has_no_maps() {
    let counted = go_format::pretty(&RegionStats::default());
    assert!(counted.contains("\"store_peer_size\": null"), "{counted}");
    assert!(!counted.contains("store_peer_keys"), "{counted}");
}
