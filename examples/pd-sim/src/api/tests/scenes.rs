//! The clusters from which PD's replies were recorded, all at the same moment.

use std::sync::Arc;

use crate::clock::Clock;
use crate::sim::Sim;
use crate::world::members::PdProcess;
use crate::world::region::{Peer, Region, Role};
use crate::world::store::{GIB, StoreProcess, TargetState};
use crate::world::{ClusterSpec, Nanos, SECOND, StoreId, World};

/// 2026-08-20T09:31:04.512345678Z.
const NOW: Nanos = 1_787_218_264_512_345_678;
/// 5821.204417391 s earlier.
const PD_STARTED: Nanos = NOW - 5_821_204_417_391;
const TIKV_STARTED: Nanos = 1_787_044_684 * SECOND;
/// The time of the last heartbeats.
const JUST_NOW: Nanos = 1_787_218_261_512_345_678;
const DISCONNECTED: Nanos = 1_787_218_217_512_345_678;
const DOWN: Nanos = 1_787_216_404_512_345_678;

pub(super) fn scene(name: &str, release: &str) -> Arc<Sim> {
    let mut release: crate::release::Release = release.parse().unwrap();
    // The samples name this version whichever release they come from.
    release.shown = "v8.5.7".to_owned();
    let spec = ClusterSpec {
        release,
        stores: 0,
        regions: 0,
        replicas: 3,
        pd_urls: (0..3).map(|pd| format!("http://pd{pd}:2379")).collect(),
    };
    let mut world = World::empty(&spec, NOW);
    world.origin = PD_STARTED;
    world.bootstrapped = 1_787_044_255_128_311_409;
    prepare(&mut world, name);
    Arc::new(Sim::of(world, Clock::standing(NOW)))
}

fn prepare(world: &mut World, name: &str) {
    match name {
        "empty" => {}
        "silent" => silent(world),
        "buried" => buried(world),
        "leaving" => leaving(world),
        "regions" => regions(world),
        "ailing" => ailing(world),
        "busy" => busy(world),
        "whole" => whole(world),
        "evicted" => {
            stores(world, &[1, 4, 5]);
            many(world, &[(1, 0), (4, 55), (5, 41)]);
            set_space(world, 1, 100.0 * GIB, 71.0 * GIB, 9.0 * GIB);
            world.schedulers.evict(1);
        }
        "unheard" => {
            stores(world, &[1, 8]);
            let store = world.stores.get_mut(&8).unwrap();
            store.process = StoreProcess::Killed(NOW);
            store.known = None;
        }
        "four" => {
            stores(world, &[1, 4, 5, 6]);
            many(world, &[(1, 41), (4, 30), (5, 25)]);
        }
        "uneven" => {
            three(world);
            for at in world.regions.all().take(3).collect::<Vec<_>>() {
                world.regions.edit(at, |region| region.size = 5);
            }
        }
        other => {
            three(world);
            trouble(world, other);
        }
    }
}

/// A healthy cluster with a fault that is outside of it.
fn trouble(world: &mut World, name: &str) {
    let members = &mut world.members.list;
    match name {
        "three" => {}
        "status" => world.origin = 1_787_036_000 * SECOND,
        "too many" => world.faults.too_many_requests = true,
        "pd0 dead" => members[0].process = PdProcess::Killed,
        "pd2 dead" => members[2].process = PdProcess::Killed,
        "no quorum" => {
            members[0].process = PdProcess::Killed;
            members[2].process = PdProcess::Killed;
            world.members.leader = None;
        }
        unknown => panic!("there is no scene `{unknown}`"),
    }
}

/// Stores by id, with the names they had when they joined.
fn stores(world: &mut World, ids: &[StoreId]) {
    for id in ids {
        let place = match id {
            1 => 0,
            other => other - 3,
        };
        let store = world.add_store(*id, TIKV_STARTED);
        store.address = format!("tikv{place}:20160");
        store.status_address = format!("tikv{place}:20180");
        store.heartbeats_from = JUST_NOW;
    }
}

fn set_space(world: &mut World, id: StoreId, capacity: f64, available: f64, used: f64) {
    let store = world.stores.get_mut(&id).unwrap();
    store.capacity = capacity;
    store.used = Some(used);
    store.foreign = capacity - used - available;
}

fn silence(world: &mut World, id: StoreId, last: Nanos, died: Nanos) {
    let store = world.stores.get_mut(&id).unwrap();
    store.known = Some(last);
    store.process = StoreProcess::Killed(died);
}

fn add_region(world: &mut World, id: u64, start: u64, on: &[StoreId], leader: StoreId) {
    let peers = (id + 1..).zip(on);
    let peers = peers.map(|(peer, store)| Peer::new(peer, *store, Role::Voter));
    world
        .regions
        .add(Region::new(id, start, peers.collect(), leader));
}

/// 96 regions on the first three stores, with this many leaders on each.
fn many(world: &mut World, leaders: &[(StoreId, usize)]) {
    let on: Vec<StoreId> = leaders.iter().map(|(store, _)| *store).collect();
    let leaders = leaders
        .iter()
        .flat_map(|(store, count)| vec![*store; *count]);
    let leaders: Vec<StoreId> = leaders.chain(std::iter::repeat(0)).take(96).collect();
    for (number, leader) in (0_u64..).zip(leaders) {
        add_region(world, 10 + 4 * number, 2 * number, &on, leader);
    }
}

fn three(world: &mut World) {
    stores(world, &[1, 4, 5]);
    many(world, &[(1, 41), (4, 30), (5, 25)]);
}

/// One up, one disconnected, one down; the regions of the last one have no leader.
fn silent(world: &mut World) {
    stores(world, &[1, 4, 5]);
    many(world, &[(1, 41), (4, 30), (5, 0)]);
    set_space(world, 1, 100.0 * GIB, 71.29 * GIB, 9.0 * GIB);
    set_space(world, 4, 100.0 * GIB, 70.0 * GIB, 9.0 * GIB);
    set_space(
        world,
        5,
        1_636.0 * 1.024 * GIB,
        1_555.0 * 1.024 * GIB,
        79.3 * GIB,
    );
    silence(world, 4, DISCONNECTED, DISCONNECTED);
    silence(world, 5, DOWN, DOWN);
}

fn buried(world: &mut World) {
    stores(world, &[1, 7]);
    silence(world, 7, 1_787_124_664_512_345_678, NOW);
    world.stores.get_mut(&7).unwrap().target_state = TargetState::Tombstone;
}

/// Store 6 has moved away most of its regions.
fn leaving(world: &mut World) {
    stores(world, &[1, 4, 6]);
    for number in 0..17 {
        add_region(world, 10 + 4 * number, 2 * number, &[1, 4, 6], 1);
    }
    world.stores.get_mut(&6).unwrap().heartbeats_from = 1_787_218_262_512_345_678;
    set_space(world, 6, 100.0 * GIB, 88.0 * GIB, 2.0 * GIB);
    world.take_offline(6, true).unwrap();
    world.stores.get_mut(&6).unwrap().destroyed = false;
    // 6,816 of 8,312 MiB in this many seconds: 1.25 MiB/s.
    world.set_leaving(6, 8_312, NOW - 5_452_800_000_000);
}

/// Store 5 has been dead for a while, and one region's leader reports it.
fn regions(world: &mut World) {
    stores(world, &[1, 4, 5, 6]);
    silence(world, 5, NOW - 1_261 * SECOND, NOW - 1_261 * SECOND);
    add_region(world, 26, 0, &[1, 4, 5], 1);
    add_region(world, 14, 10, &[1, 4, 5], 1);
    add_region(world, 18, 12, &[1, 4, 5], 1);
    let (pending, down) = (world.region(26).unwrap(), world.region(18).unwrap());
    world
        .regions
        .edit(pending, |region| region.peers[2].pending = true);
    world
        .regions
        .edit(down, |region| region.peers[2].down = true);
    world.set_next_id(70);
}

/// Regions with a missing peer, an extra peer, no data, or no leader; other regions fill the range.
fn ailing(world: &mut World) {
    stores(world, &[1, 4, 5, 6]);
    add_region(world, 50, 0, &[1, 4, 5], 1);
    add_region(world, 30, 32, &[1, 4], 1);
    add_region(world, 34, 34, &[1, 4, 5], 1);
    add_region(world, 40, 36, &[1, 4, 5], 1);
    add_region(world, 44, 38, &[1, 4, 5], 0);
    add_region(world, 60, 40, &[1, 4, 5], 1);
    let (learning, empty) = (world.region(34).unwrap(), world.region(40).unwrap());
    world.regions.edit(learning, |region| {
        region.peers.push(Peer::new(38, 6, Role::Learner));
    });
    world.regions.edit(empty, |region| {
        (region.size, region.keys) = (1, 0);
        (region.written, region.read) = (0, 0);
    });
}

/// One region has all the traffic.
fn busy(world: &mut World) {
    stores(world, &[1, 4, 5]);
    add_region(world, 26, 0, &[1, 4, 5], 1);
    add_region(world, 14, 10, &[1, 4, 5], 1);
    add_region(world, 18, 12, &[1, 4, 5], 1);
    for id in [26, 18] {
        let at = world.region(id).unwrap();
        world.regions.edit(at, |region| region.written = 0);
    }
}

fn whole(world: &mut World) {
    stores(world, &[1, 4, 5, 6]);
    for (id, start) in [(26, 0), (14, 10), (18, 12), (30, 32)] {
        add_region(world, id, start, &[1, 4, 5], 1);
    }
}
