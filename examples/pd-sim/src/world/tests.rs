//! Behaviour of the cluster over time.

use serde_json::json;

use super::members::PdProcess;
use super::region::Role;
use super::store::{StoreProcess, StoreState};
use super::*;

const START: Nanos = 1_800_000_000 * SECOND;

struct Scene(World);

impl Scene {
    fn new(stores: u64, regions: u64) -> Self {
        Self(World::create(
            &ClusterSpec {
                release: "8.5.7".parse().unwrap(),
                stores,
                regions,
                replicas: 3,
                pd_urls: (0..3).map(|pd| format!("http://pd{pd}:2379")).collect(),
            },
            START,
        ))
    }

    fn after(&mut self, time: Nanos) -> &mut World {
        let now = self.0.now + time;
        self.0.advance(Reading { now, offset: 0 });
        &mut self.0
    }

    fn state(&self, id: StoreId) -> StoreState {
        let down_after = self.0.config.down_after(self.0.now);
        self.0.stores[&id].state_name(self.0.now, down_after)
    }

    fn count(&self, check: Check) -> usize {
        self.0.found_by(check).len()
    }

    fn limit(&mut self, key: &str, limit: u64) {
        let now = self.0.now;
        self.0.config.set(key, &json!(limit), now).unwrap();
    }
}

fn led(world: &World) -> u64 {
    world
        .stores
        .keys()
        .map(|id| world.regions.totals_of(*id).leaders)
        .sum()
}

#[test]
fn a_dead_store_loses_its_leaders_then_its_name_then_its_peers_are_reported() {
    let mut scene = Scene::new(3, 300);
    scene.0.stop_store(1, StoreProcess::Killed);
    scene.after(5 * SECOND);
    assert_eq!(scene.0.regions.totals_of(1).leaders, 100);
    scene.after(16 * SECOND);
    assert_eq!(scene.0.regions.totals_of(1).leaders, 0);
    assert_eq!(led(&scene.0), 300);
    scene.after(10 * SECOND);
    assert_eq!(scene.state(1), StoreState::Disconnected);
    assert_eq!(
        (scene.count(Check::DownPeer), scene.count(Check::MissPeer)),
        (0, 0)
    );
    scene.after(11 * MINUTE);
    assert_eq!(
        (scene.count(Check::DownPeer), scene.count(Check::MissPeer)),
        (300, 0)
    );
    assert_eq!(scene.0.regions.totals_of(1).regions, 300);
    scene.after(20 * MINUTE);
    assert_eq!(scene.state(1), StoreState::Down);
    // Three replicas on two stores: nothing can be done.
    assert_eq!(scene.count(Check::DownPeer), 300);
    scene.0.start_store(1);
    assert_eq!(scene.state(1), StoreState::Up);
    scene.after(MINUTE + SECOND);
    assert_eq!(scene.count(Check::DownPeer), 0);
}

#[test]
fn with_a_fourth_store_the_peers_of_a_down_one_are_replaced() {
    let mut scene = Scene::new(4, 40);
    scene.0.stop_store(1, StoreProcess::Killed);
    scene.after(29 * MINUTE);
    assert_eq!(scene.0.regions.totals_of(1).regions, 30);
    scene.after(10 * MINUTE);
    assert_eq!(scene.0.regions.totals_of(1).regions, 0);
    assert_eq!(
        (scene.count(Check::DownPeer), scene.count(Check::MissPeer)),
        (0, 0)
    );
}

#[test]
fn a_decommissioned_store_is_emptied_and_buried() {
    let mut scene = Scene::new(4, 40);
    scene.0.take_offline(2, false).unwrap();
    assert_eq!(scene.state(2), StoreState::Offline);
    assert_eq!(scene.count(Check::OfflinePeer), 30);
    scene.after(SECOND);
    assert!(
        scene
            .0
            .progress(2)
            .is_some_and(|progress| progress.done < 1.0)
    );
    scene.after(10 * MINUTE);
    assert_eq!(scene.state(2), StoreState::Tombstone);
    assert_eq!(scene.count(Check::OfflinePeer), 0);
    assert_eq!(scene.0.regions.totals().count, 40);
}

#[test]
fn of_three_stores_none_can_go() {
    let mut scene = Scene::new(3, 10);
    assert_eq!(
        scene.0.take_offline(1, false),
        Err(OfflineError::NotEnough(2, 3))
    );
}

#[test]
fn two_of_three_stores_away_leave_regions_without_a_majority() {
    let mut scene = Scene::new(3, 30);
    scene.0.stop_store(1, StoreProcess::Killed);
    scene.0.stop_store(2, StoreProcess::Killed);
    scene.after(MINUTE);
    assert_eq!(scene.0.leader_missing(3), 30);
    scene.0.start_store(2);
    scene.after(MINUTE);
    assert_eq!(scene.0.leader_missing(3), 0);
    assert_eq!(scene.0.regions.totals_of(1).leaders, 0);
}

#[test]
fn evicted_leaders_come_back_once_nothing_evicts_them() {
    let mut scene = Scene::new(3, 90);
    scene.0.schedulers.evict(1);
    scene.after(MINUTE);
    assert_eq!(scene.0.regions.totals_of(1).leaders, 0);
    scene.0.schedulers.stop_evicting(1);
    scene.after(2 * MINUTE);
    let leaders = scene.0.regions.totals_of(1).leaders;
    assert!((28..=32).contains(&leaders), "{leaders}");
}

#[test]
fn without_room_for_leader_operators_an_imbalance_stays() {
    let mut scene = Scene::new(3, 90);
    scene.limit("leader-schedule-limit", 0);
    scene.0.gather_leaders(1, 1.0);
    scene.after(5 * MINUTE);
    assert_eq!(scene.0.regions.totals_of(1).leaders, 90);
    scene.limit("leader-schedule-limit", 4);
    scene.after(5 * MINUTE);
    assert!(scene.0.regions.totals_of(1).leaders <= 32);
}

#[test]
fn a_new_leader_of_pd_forgets_operators_pauses_and_heartbeats_but_not_evictions() {
    let mut scene = Scene::new(3, 30);
    scene.after(4 * MINUTE);
    scene.0.stop_store(3, StoreProcess::Killed);
    scene.after(12 * MINUTE);
    let now = scene.0.now;
    scene.0.schedulers.evict(2);
    scene
        .0
        .schedulers
        .pause("balance-leader-scheduler", 3_600, now);
    scene.0.faults.operators_stall = true;
    let at = scene.0.regions.led_by(1)[0];
    let region = scene.0.regions.get(at).id;
    scene.0.add_peer(region, 3, Role::Voter).unwrap_err();
    scene.0.split_region(region, "scan", &[]).unwrap();
    scene.0.members.list[0].process = PdProcess::Killed;
    scene.after(6 * SECOND);
    assert_eq!(scene.0.members.leader, Some(1));
    assert!(scene.0.operators.latest(region, scene.0.now).is_none());
    assert!(
        scene
            .0
            .schedulers
            .paused("balance-leader-scheduler", scene.0.now)
            .is_none()
    );
    assert!(scene.0.schedulers.evicts(2));
    assert!(scene.count(Check::DownPeer) < 30);
    scene.after(MINUTE);
    assert_eq!(scene.count(Check::DownPeer), 30);
}

#[test]
fn after_a_change_of_pds_leader_stores_can_stay_unheard() {
    let mut scene = Scene::new(3, 30);
    scene.after(MINUTE);
    scene.0.faults.heartbeat_delay_after_leader_change = 5 * MINUTE;
    let now = scene.0.now;
    scene.0.members.hand_over(Some(1), now);
    scene.after(2 * SECOND);
    assert_eq!(scene.state(1), StoreState::Disconnected);
    scene.after(4 * MINUTE);
    assert_eq!(scene.state(1), StoreState::Disconnected);
    scene.after(2 * MINUTE);
    assert_eq!(scene.state(1), StoreState::Up);
}

#[test]
fn an_operator_runs_to_its_end_or_into_its_timeout() {
    let mut scene = Scene::new(4, 4);
    let region = scene.0.regions.get(0).clone();
    let (from, free) = (region.peers[1].store(), 4);
    assert!(region.peer_on(free).is_none());
    scene.0.transfer_peer(region.id, from, free).unwrap();
    scene.after(MINUTE);
    let status = |scene: &Scene| {
        scene
            .0
            .operators
            .latest(region.id, scene.0.now)
            .unwrap()
            .status
    };
    assert_eq!(status(&scene), operator::Status::Success);
    assert_eq!(scene.0.regions.get(0).stores().len(), 3);
    assert!(scene.0.regions.get(0).peer_on(free).is_some());
    scene.0.faults.operators_stall = true;
    scene.0.transfer_peer(region.id, free, from).unwrap();
    scene.after(16 * MINUTE);
    assert_eq!(status(&scene), operator::Status::Started);
    scene.after(2 * MINUTE);
    assert_eq!(status(&scene), operator::Status::Timeout);
}

#[test]
fn a_requested_operator_replaces_a_schedulers() {
    let mut scene = Scene::new(3, 9);
    scene.0.gather_leaders(1, 1.0);
    scene.0.faults.operators_stall = true;
    scene.after(SECOND);
    let (region, other) = {
        let operator = scene.0.operators.running.values().next().unwrap();
        assert_eq!(operator.desc, "balance-leader");
        (operator.region, operator.clone())
    };
    scene.0.transfer_leader(region, 3).unwrap();
    assert_eq!(
        scene.0.operators.running[&region].desc,
        "admin-transfer-leader"
    );
    assert!(!other.urgent);
    assert!(
        scene
            .0
            .transfer_leader(region, 2)
            .unwrap_err()
            .contains("ErrAddOperator")
    );
}

#[test]
fn a_region_is_split_and_merged_again() {
    let mut scene = Scene::new(3, 2);
    let id = scene.0.regions.get(0).id;
    scene.0.split_region(id, "approximate", &[]).unwrap();
    scene.after(2 * SECOND);
    assert_eq!(scene.0.regions.totals().count, 3);
    let at = scene.0.region(id).unwrap();
    let left = scene.0.regions.previous(at).unwrap();
    let left = scene.0.regions.get(left).id;
    scene.0.merge_regions(left, id).unwrap();
    scene.after(10 * SECOND);
    assert_eq!(scene.0.regions.totals().count, 2);
    assert!(scene.0.region(left).is_err());
    assert!(scene.0.operators.running.is_empty());
}

#[test]
fn a_lost_peer_is_replaced_unless_pd_may_not() {
    let mut scene = Scene::new(3, 10);
    scene.limit("replica-schedule-limit", 0);
    let picked = scene.0.pick_regions(None, 3);
    scene.0.lose_peers(&picked);
    scene.after(5 * MINUTE);
    assert_eq!(scene.count(Check::MissPeer), 3);
    scene.limit("replica-schedule-limit", 64);
    scene.after(MINUTE);
    assert_eq!(scene.count(Check::MissPeer), 0);
}

#[test]
fn regions_without_a_leader_have_none_until_they_are_healed() {
    let mut scene = Scene::new(3, 10);
    let picked = scene.0.pick_regions(None, 2);
    scene.0.lose_leaders(&picked);
    scene.after(5 * MINUTE);
    assert_eq!((led(&scene.0), scene.0.leader_missing(1)), (8, 2));
    scene.0.heal();
    assert_eq!((led(&scene.0), scene.0.leader_missing(1)), (10, 0));
}

#[test]
fn a_million_regions_are_created_and_simulated() {
    let mut scene = Scene::new(1_000, 1_000_000);
    let tally = scene.0.regions.totals_of(500);
    assert_eq!((tally.leaders, tally.regions), (1_000, 3_000));
    scene.0.stop_store(500, StoreProcess::Killed);
    scene.after(12 * MINUTE);
    assert_eq!(scene.0.regions.totals_of(500).leaders, 0);
    assert_eq!(scene.count(Check::DownPeer), 3_000);
}
