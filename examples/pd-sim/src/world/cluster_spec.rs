//! Construction of a new cluster.

use std::collections::{BTreeMap, HashMap};

use super::config::Config;
use super::controller::Controller;
use super::faults::Faults;
use super::members::{Member, Members, PdProcess};
use super::region::{Peer, Region, Role};
use super::regions::Regions;
use super::schedulers::Schedulers;
use super::store::Store;
use super::{MINUTE, Nanos, SECOND, StoreId, World};
use crate::release::Release;

/// Member ids of PD, random 64-bit numbers that exceed the precision of a double.
const MEMBER_IDS: [u64; 3] = [
    3_474_484_975_246_189_105,
    9_724_873_857_558_226_554,
    12_718_447_653_389_213_562,
];
const CLUSTER_ID: u64 = 7_587_412_043_984_312_345;
/// The age of all processes at the start.
const AGE: Nanos = 48 * 60 * MINUTE;
/// A store is at most a quarter full at the start.
const ROOM: f64 = 4.0 * 1_048_576.0;

/// Parameters of a new cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterSpec {
    pub(crate) release: Release,
    pub(crate) stores: u64,
    pub(crate) regions: u64,
    pub(crate) replicas: usize,
    /// The client URL of each PD.
    pub(crate) pd_urls: Vec<String>,
}

impl World {
    pub(crate) fn create(spec: &ClusterSpec, now: Nanos) -> Self {
        let mut world = Self::empty(spec, now);
        for id in 1..=spec.stores {
            world.add_store(
                id,
                now - AGE - Nanos::try_from(id).unwrap_or(0) * SECOND / 100,
            );
        }
        world.next_id = spec.stores.max(10);
        for number in 0..spec.regions {
            world.add_region(number, spec.stores, spec.replicas);
        }
        for store in world.stores.keys().copied().collect::<Vec<_>>() {
            #[expect(clippy::cast_precision_loss, reason = "MiB stay far below 2^52")]
            let size = world.regions.totals_of(store).region_size as f64;
            if let Some(store) = world.stores.get_mut(&store) {
                store.capacity = store.capacity.max(size * ROOM);
            }
        }
        world
    }

    /// PD alone: no store has ever registered.
    pub(crate) fn empty(spec: &ClusterSpec, now: Nanos) -> Self {
        let newest = spec.release.is_newest();
        Self {
            now,
            offset: 0,
            ticked: now,
            release: spec.release.clone(),
            cluster_id: CLUSTER_ID,
            origin: now - AGE,
            bootstrapped: now - AGE,
            members: Members::new(members(&spec.pd_urls), now - AGE),
            stores: BTreeMap::new(),
            regions: Regions::new(spec.replicas),
            operators: Controller::default(),
            schedulers: Schedulers::default(),
            config: Config::new(spec.replicas, newest),
            faults: Faults::default(),
            meters: HashMap::new(),
            sweeps: Vec::new(),
            reports_from: now - AGE,
            lost: Vec::new(),
            leaving: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Adds a store that has been running since `started`.
    pub(crate) fn add_store(&mut self, id: StoreId, started: Nanos) -> &mut Store {
        let address = format!("tikv-{id}:20160");
        let status_address = format!("tikv-{id}:20180");
        let mut store = Store::new(id, address, status_address, started);
        self.release
            .shown
            .trim_start_matches('v')
            .clone_into(&mut store.version);
        self.stores.entry(id).or_insert(store)
    }

    /// Places peers on varying combinations of neighbouring stores; the first peer leads.
    fn add_region(&mut self, number: u64, stores: u64, replicas: usize) {
        let first = number % stores;
        let shift = (number / stores) % stores.saturating_sub(replicas as u64 - 1).max(1);
        let others = (1..replicas as u64).map(|step| (first + shift + step) % stores);
        let homes = std::iter::once(first)
            .chain(others)
            .take(usize::try_from(stores).unwrap_or(1));
        let id = self.new_id();
        let peers = homes.map(|home| Peer::new(self.new_id(), home + 1, Role::Voter));
        let peers = peers.collect();
        // Leaves room between table ids for regions created by splits.
        let region = Region::new(id, number << 20, peers, first + 1);
        self.regions.add(region);
    }
}

fn members(urls: &[String]) -> Vec<Member> {
    let members = urls.iter().enumerate();
    members
        .map(|(number, url)| Member {
            name: format!("pd{number}"),
            id: MEMBER_IDS
                .get(number)
                .copied()
                .unwrap_or(MEMBER_IDS[0] ^ (number as u64) << 40),
            client_url: url.clone(),
            peer_url: peer_url(url),
            priority: 0,
            process: PdProcess::Running,
        })
        .collect()
}

/// By convention the port after the client port.
fn peer_url(client_url: &str) -> String {
    let split = client_url.rsplit_once(':');
    let next =
        split.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?.checked_add(1)?)));
    next.map_or_else(
        || client_url.to_owned(),
        |(host, port)| format!("{host}:{port}"),
    )
}
