use proptest::prelude::*;

use super::*;

const STORES: u64 = 4;

fn region(id: RegionId, start: u64) -> Region {
    let peers = (1..=3).map(|store| Peer::new(id * 10 + store, store, Role::Voter));
    Region::new(id, start, peers.collect(), 1 + id % 3)
}

#[derive(Debug, Clone)]
enum Change {
    Lead(u64),
    LoseLeader,
    Drop(usize),
    Add(u64),
    Resize(u32),
    Down(usize, bool),
    Split,
    MergeNext,
    Removing(u64, bool),
}

fn changes() -> impl Strategy<Value = Vec<(usize, Change)>> {
    let change = prop_oneof![
        (1..=STORES).prop_map(Change::Lead),
        Just(Change::LoseLeader),
        (0..5_usize).prop_map(Change::Drop),
        (1..=STORES).prop_map(Change::Add),
        (0..500_u32).prop_map(Change::Resize),
        (0..5_usize, any::<bool>()).prop_map(|(place, down)| Change::Down(place, down)),
        Just(Change::Split),
        Just(Change::MergeNext),
        (1..=STORES, any::<bool>()).prop_map(|(store, is)| Change::Removing(store, is)),
    ];
    proptest::collection::vec((0..50_usize, change), 0..60)
}

fn apply(regions: &mut Regions, number: u64, which: usize, change: &Change) {
    let all: Vec<RegionIndex> = regions.all().collect();
    let at = all[which % all.len()];
    match change {
        Change::Lead(store) => {
            if regions.get(at).voter_on(*store).is_some() {
                regions.edit(at, |region| region.leader = u32::try_from(*store).unwrap());
            }
        }
        Change::LoseLeader => regions.edit(at, |region| region.leader = 0),
        Change::Drop(place) => regions.edit(at, |region| {
            if region.peers.len() > 1 {
                let gone = region.peers.remove(place % region.peers.len());
                if region.leader == gone.store {
                    region.leader = 0;
                }
            }
        }),
        Change::Add(store) => {
            if regions.get(at).peer_on(*store).is_none() {
                let peer = Peer::new(9_000 + number, *store, Role::Learner);
                regions.edit(at, |region| region.peers.push(peer));
            }
        }
        Change::Resize(size) => regions.edit(at, |region| region.size = *size),
        Change::Down(place, down) => regions.edit(at, |region| {
            let place = place % region.peers.len();
            region.peers[place].down = *down;
        }),
        Change::Split => {
            let start = regions.get(at).start;
            let end = regions.end(at).unwrap_or(start + 1_000);
            if end - start > 1 {
                regions.split(at, u64::midpoint(start, end), 1_000 + number, &[1, 2, 3, 4]);
            }
        }
        Change::MergeNext => {
            if let Some(next) = regions.next(at) {
                regions.merge(at, next);
            }
        }
        Change::Removing(store, is) => regions.set_removing(*store, *is),
    }
}

proptest! {
    /// The totals match the regions after any sequence of changes.
    #[test]
    fn sums_follow_every_change(changes in changes()) {
        let mut regions = Regions::new(3);
        for id in 0..8 {
            regions.add(region(100 + id, id * 1_000));
        }
        for (number, (which, change)) in (0..).zip(&changes) {
            apply(&mut regions, number, *which, change);
        }
        let all: Vec<RegionIndex> = regions.all().collect();
        let size = |at: &RegionIndex| u64::from(regions.get(*at).size);
        prop_assert_eq!(regions.totals().count, all.len() as u64);
        prop_assert_eq!(regions.totals().size, all.iter().map(size).sum::<u64>());
        for store in 1..=STORES {
            let held = regions.on_store(store);
            let led = held.iter().filter(|at| regions.get(**at).leader() == Some(store));
            prop_assert_eq!(regions.totals_of(store).regions, held.len() as u64);
            prop_assert_eq!(regions.totals_of(store).leaders, led.count() as u64);
            prop_assert_eq!(regions.led_by(store).len() as u64, regions.totals_of(store).leaders);
        }
        for (check, _) in Check::ALL {
            let found = all.iter().filter(|at| regions.classify(regions.get(**at)) & check.bit() != 0);
            prop_assert_eq!(regions.found_by(check), &found.copied().collect());
        }
        for at in all {
            prop_assert_eq!(regions.find(regions.get(at).id), Some(at));
        }
    }
}
