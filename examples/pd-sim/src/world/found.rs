//! How a cluster is founded.

use std::collections::{BTreeMap, HashMap};

use super::config::Config;
use super::controller::Controller;
use super::faults::Faults;
use super::members::{Life, Member, Members};
use super::region::{Peer, Region, Role};
use super::regions::Regions;
use super::schedulers::Schedulers;
use super::store::Store;
use super::{MINUTE, Nanos, SECOND, StoreId, World};
use crate::release::Release;

/// Member ids of PD, random 64-bit numbers beyond what a double can hold.
const MEMBER_IDS: [u64; 3] = [
    3_474_484_975_246_189_105,
    9_724_873_857_558_226_554,
    12_718_447_653_389_213_562,
];
const CLUSTER_ID: u64 = 7_587_412_043_984_312_345;
/// How old everything is at the start.
const AGE: Nanos = 48 * 60 * MINUTE;
/// A store is at most a quarter full at the start.
const ROOM: f64 = 4.0 * 1_048_576.0;

/// What a cluster begins with.
#[derive(Debug, Clone)]
pub(crate) struct Founding {
    pub(crate) release: Release,
    pub(crate) stores: u64,
    pub(crate) regions: u64,
    pub(crate) replicas: usize,
    /// Where each PD is reached.
    pub(crate) pd_urls: Vec<String>,
}

impl World {
    pub(crate) fn found(founding: &Founding, now: Nanos) -> Self {
        let mut world = Self::empty(founding, now);
        for id in 1..=founding.stores {
            world.add_store(
                id,
                now - AGE - Nanos::try_from(id).unwrap_or(0) * SECOND / 100,
            );
        }
        world.next_id = founding.stores.max(10);
        for number in 0..founding.regions {
            world.add_region(number, founding.stores, founding.replicas);
        }
        for store in world.stores.keys().copied().collect::<Vec<_>>() {
            #[expect(clippy::cast_precision_loss, reason = "MiB stay far below 2^52")]
            let size = world.regions.tally(store).region_size as f64;
            if let Some(store) = world.stores.get_mut(&store) {
                store.capacity = store.capacity.max(size * ROOM);
            }
        }
        world
    }

    /// PD alone: no store has ever registered.
    pub(crate) fn empty(founding: &Founding, now: Nanos) -> Self {
        let newest = founding.release.is_newest();
        Self {
            now,
            offset: 0,
            ticked: now,
            release: founding.release.clone(),
            cluster_id: CLUSTER_ID,
            origin: now - AGE,
            bootstrapped: now - AGE,
            members: Members::new(members(&founding.pd_urls), now - AGE),
            stores: BTreeMap::new(),
            regions: Regions::new(founding.replicas),
            operators: Controller::default(),
            schedulers: Schedulers::default(),
            config: Config::new(founding.replicas, newest),
            faults: Faults::default(),
            meters: HashMap::new(),
            sweeps: Vec::new(),
            reports_from: now - AGE,
            lost: Vec::new(),
            leaving: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// A store that has run for a while.
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

    /// Peers on neighbouring stores, in ever other company; the first of them leads.
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
        // Room between tables for those that come by splitting.
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
            life: Life::Running,
        })
        .collect()
}

/// By custom, the port after that of the clients.
fn peer_url(client_url: &str) -> String {
    let split = client_url.rsplit_once(':');
    let next =
        split.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?.checked_add(1)?)));
    next.map_or_else(
        || client_url.to_owned(),
        |(host, port)| format!("{host}:{port}"),
    )
}
