//! Steps of the clock, over the real store: they change no transition.

use operator_model::MachineClock;
use operator_store::{Applied, Store};
use tempfile::TempDir;

use super::*;

const TEN_YEARS: i64 = 10 * 365 * 24 * 3_600;

/// A subject whose tickets are in a store, watched by a clock that can be set.
struct Kept {
    _folder: TempDir,
    store: Store,
    world: World,
    clock: MachineClock,
}

impl Kept {
    async fn new(grace_s: u64, keep_s: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}/operator.db", folder.path().display());
        let mut world = World::new(grace_s, keep_s);
        world.now = Timestamp(1_700_000_000_000);
        let kept = Self {
            _folder: folder,
            store: Store::open(&database).await.unwrap(),
            world,
            clock: MachineClock {
                boot: "a".to_owned(),
                offset_ms: 0,
            },
        };
        kept.follow().await;
        kept
    }

    async fn follow(&self) {
        let followed = self
            .store
            .follow_clock(&["db"], &self.clock, self.world.now);
        followed.await.unwrap();
    }

    /// One cycle, this many seconds after the last one; the clock was set by so many seconds in between.
    async fn cycle(&mut self, after_s: u64, step_s: i64, outcome: &CycleOutcome) {
        self.world.now = self.world.now.plus(Duration::from_secs(after_s));
        self.world.now.0 += step_s * 1_000;
        self.clock.offset_ms += step_s * 1_000;
        self.follow().await;
        let since = self.world.now.minus(REOPEN);
        let state = self.store.subject_state("db", since).await.unwrap();
        self.world.tickets = state.tickets;
        let changes = self.world.changes(outcome);
        let applied = self.store.apply("db", state.revision, &changes, None);
        assert!(matches!(applied.await, Ok(Applied::Done { .. })));
    }

    /// What people see of the tickets.
    async fn tickets(&self) -> Vec<(TicketKey, TicketState, u32, bool)> {
        let state = self.store.subject_state("db", Timestamp(i64::MIN)).await;
        let tickets = state.unwrap().tickets.into_iter();
        tickets
            .map(|one| (one.key, one.state, one.occurrences, one.flapping))
            .collect()
    }
}

fn any_step() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => Just(0),
        1 => -TEN_YEARS..=TEN_YEARS,
        1 => prop_oneof![Just(-3_600), Just(3_600), Just(-30), Just(30)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_step_of_the_clock_changes_a_transition(
        grace in 0_u64..40,
        keep in 0_u64..40,
        cycles in proptest::collection::vec((1_u64..30, any_step(), any_outcome()), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut steady = Kept::new(grace, keep).await;
            let mut stepped = Kept::new(grace, keep).await;
            for (after, step, outcome) in cycles {
                steady.cycle(after, 0, &outcome).await;
                stepped.cycle(after, step, &outcome).await;
                assert_eq!(steady.tickets().await, stepped.tickets().await);
            }
        });
    }
}

/// Nobody knows how long the machine was off, so a grace period may begin again; it does not last until the clock that was
/// ahead is reached.
#[test]
fn after_another_start_a_time_that_lies_ahead_delays_by_no_more_than_the_grace_period() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut kept = Kept::new(30, 0).await;
        kept.cycle(0, 0, &broken()).await;
        kept.clock.boot = "b".to_owned();
        kept.cycle(1, -TEN_YEARS, &broken()).await;
        kept.cycle(30, 0, &broken()).await;
        let (_, state, ..) = kept.tickets().await.remove(0);
        assert_eq!(state, TicketState::Open);
    });
}
