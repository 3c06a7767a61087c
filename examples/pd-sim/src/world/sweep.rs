//! What happens to many regions within some time, such as the elections after a store's death.

use super::region::Role;
use super::regions::At;
use super::{MINUTE, Nanos, SECOND, StoreId, World};

/// When regions elect another leader, after the last one's death: ten ticks of a second, and as much again.
const ELECTION: (Nanos, Nanos) = (10 * SECOND, 20 * SECOND);
/// When leaders report a silent peer: `max-peer-down-duration`, and the next heartbeat of each region.
const REPORT: (Nanos, Nanos) = (10 * MINUTE, 11 * MINUTE);
/// Between two heartbeats of a region.
pub(crate) const REGION_HEARTBEAT: Nanos = MINUTE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elect,
    ReportDown,
    ReportBack,
}

/// See the module. The regions' turns are spread evenly over the time.
#[derive(Debug)]
pub(crate) struct Sweep {
    kind: Kind,
    store: StoreId,
    from: Nanos,
    to: Nanos,
    regions: Vec<At>,
    done: usize,
}

impl Sweep {
    /// Regions whose turn has come by now.
    fn due(&self, now: Nanos) -> usize {
        if now >= self.to {
            return self.regions.len();
        }
        let share = i128::from((now - self.from).max(0)) * self.regions.len() as i128;
        usize::try_from(share / i128::from(self.to - self.from)).unwrap_or(0)
    }
}

impl World {
    /// What follows from the end of a store's process.
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

    /// What follows from its return.
    pub(super) fn sweep_after_return(&mut self, store: StoreId) {
        self.sweeps.retain(|sweep| sweep.store != store);
        let held = self.regions.on_store(store);
        self.begin_sweep(Kind::ReportBack, store, (0, REGION_HEARTBEAT), held);
        // With this store, regions may have a majority again that lost it with another.
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
        regions: Vec<At>,
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

    fn take_turn(&mut self, kind: Kind, store: StoreId, at: At) {
        match kind {
            Kind::Elect => self.elect(at, store),
            Kind::ReportDown => self.report(at, store, true),
            Kind::ReportBack => self.report(at, store, false),
        }
    }

    /// Another leader than the one on this dead store, if a majority is left.
    fn elect(&mut self, at: At, dead: StoreId) {
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
        // Whoever calls the election first: any of them.
        let elected = candidates[at as usize % candidates.len()];
        let elected = u32::try_from(elected).unwrap_or(0);
        self.regions.edit(at, |region| region.leader = elected);
    }

    fn report(&mut self, at: At, store: StoreId, down: bool) {
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

    /// Whether more than half of a region's voters run.
    pub(crate) fn has_majority(&self, at: At) -> bool {
        let region = self.regions.get(at);
        let runs = |store: StoreId| self.runs(store);
        let running = region.voters().filter(|peer| runs(peer.store())).count();
        running * 2 > region.voters().count()
    }
}
