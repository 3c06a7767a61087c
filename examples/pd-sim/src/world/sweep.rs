//! Events that reach many regions over some time, such as the elections after a store's death.

use super::region::Role;
use super::regions::RegionIndex;
use super::{MINUTE, Nanos, SECOND, StoreId, World};

/// Regions elect a new leader this long after the old one's death: ten ticks of one second, up to twice as much.
const ELECTION: (Nanos, Nanos) = (10 * SECOND, 20 * SECOND);
/// Leaders report a silent peer this long after its last message: `max-peer-down-duration`, plus a region heartbeat.
const REPORT: (Nanos, Nanos) = (10 * MINUTE, 11 * MINUTE);
/// Interval between two heartbeats of a region.
pub(crate) const REGION_HEARTBEAT: Nanos = MINUTE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elect,
    ReportDown,
    ReportBack,
}

/// An event that reaches regions one after the other, spread evenly over its duration.
#[derive(Debug)]
pub(crate) struct Sweep {
    kind: Kind,
    store: StoreId,
    from: Nanos,
    to: Nanos,
    regions: Vec<RegionIndex>,
    done: usize,
}

impl Sweep {
    /// The regions that it has reached by now.
    fn due(&self, now: Nanos) -> usize {
        if now >= self.to {
            return self.regions.len();
        }
        let share = i128::from((now - self.from).max(0)) * self.regions.len() as i128;
        usize::try_from(share / i128::from(self.to - self.from)).unwrap_or(0)
    }
}

impl World {
    /// The consequences of the end of a store's process.
    pub(super) fn sweep_after_death(&mut self, store: StoreId) {
        self.sweeps.retain(|sweep| sweep.store != store);
        self.begin_sweep(
            Kind::Elect,
            store,
            ELECTION,
            self.regions.led_by(store).to_vec(),
        );
        self.begin_sweep(
            Kind::ReportDown,
            store,
            REPORT,
            self.regions.on_store(store),
        );
    }

    /// The consequences of its return.
    pub(super) fn sweep_after_return(&mut self, store: StoreId) {
        self.sweeps.retain(|sweep| sweep.store != store);
        let held = self.regions.on_store(store);
        self.begin_sweep(Kind::ReportBack, store, (0, REGION_HEARTBEAT), held);
        // With this store, regions can regain a majority that they lost with another store.
        let others = self.stores.values().filter(|store| !store.is_running());
        for other in others.map(|store| store.id).collect::<Vec<_>>() {
            let led = self.regions.led_by(other).to_vec();
            self.begin_sweep(Kind::Elect, other, ELECTION, led);
        }
    }

    fn begin_sweep(
        &mut self,
        kind: Kind,
        store: StoreId,
        within: (Nanos, Nanos),
        regions: Vec<RegionIndex>,
    ) {
        self.sweeps.push(Sweep {
            kind,
            store,
            from: self.now + within.0,
            to: self.now + within.1,
            regions,
            done: 0,
        });
    }

    pub(super) fn run_sweeps(&mut self) {
        let mut sweeps = std::mem::take(&mut self.sweeps);
        for sweep in &mut sweeps {
            let due = sweep.due(self.now);
            for place in sweep.done..due {
                self.take_turn(sweep.kind, sweep.store, sweep.regions[place]);
            }
            sweep.done = due;
        }
        sweeps.retain(|sweep| sweep.done < sweep.regions.len());
        self.sweeps = sweeps;
    }

    fn take_turn(&mut self, kind: Kind, store: StoreId, at: RegionIndex) {
        match kind {
            Kind::Elect => self.elect(at, store),
            Kind::ReportDown => self.report(at, store, true),
            Kind::ReportBack => self.report(at, store, false),
        }
    }

    /// Elects another leader than the one on this dead store, if a majority is left.
    fn elect(&mut self, at: RegionIndex, dead: StoreId) {
        let region = self.regions.get(at);
        if region.leader() != Some(dead) || !self.has_majority(at) {
            return;
        }
        let running = |store: &StoreId| self.runs(*store);
        let voters = region.peers.iter().filter(|peer| peer.role == Role::Voter);
        let candidates: Vec<StoreId> = voters
            .map(super::region::Peer::store)
            .filter(running)
            .collect();
        if candidates.is_empty() {
            return;
        }
        // Any voter can win; which one is arbitrary.
        let elected = candidates[at as usize % candidates.len()];
        let elected = u32::try_from(elected).unwrap_or(0);
        self.regions.edit(at, |region| region.leader = elected);
    }

    fn report(&mut self, at: RegionIndex, store: StoreId, down: bool) {
        let region = self.regions.get(at);
        let led = region.leader().and_then(|leader| self.stores.get(&leader));
        let held = region.peer_on(store).is_some_and(|peer| peer.down != down);
        if held && led.is_some_and(super::store::Store::is_running) {
            self.regions.edit(at, |region| {
                let peers = region.peers.iter_mut();
                for peer in peers.filter(|peer| peer.store() == store) {
                    peer.down = down;
                }
            });
        }
    }

    /// Whether more than half of a region's voters are running.
    pub(crate) fn has_majority(&self, at: RegionIndex) -> bool {
        let region = self.regions.get(at);
        let runs = |store: StoreId| self.runs(store);
        let running = region.voters().filter(|peer| runs(peer.store())).count();
        running * 2 > region.voters().count()
    }
}
