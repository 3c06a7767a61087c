//! Follows the wall clock when somebody sets it: stored times move with it, so that no duration changes.

use std::time::Duration;

use operator_config::Config;
use operator_model::{MachineClock, OPERATOR, Timestamp};
use operator_monitor::{Event, Hub, chain};
use operator_store::{Store, StoreError};

/// Between two looks at the wall clock.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Keeps this process and the stored times of its subjects in line with the wall clock.
pub(super) struct ClockFollower {
    store: Store,
    hub: Hub,
    subjects: Vec<String>,
    /// Whether stored times are still to be moved.
    is_behind: bool,
}

impl ClockFollower {
    /// For the configured subjects, and `operator`, which stands for all of them.
    pub(super) fn new(store: Store, hub: Hub, config: &Config) -> Self {
        let subjects = config.subjects.iter().map(|subject| subject.name.clone());
        Self {
            store,
            hub,
            subjects: subjects.chain([OPERATOR.to_owned()]).collect(),
            is_behind: true,
        }
    }

    pub(super) async fn turn(&mut self) -> Result<(), String> {
        let followed = self.follow(&MachineClock::measured()).await;
        followed.map_err(|error| chain(&error))
    }

    /// Of the two steps, moving the stored times and adopting the clock, the one comes first that leaves stored times in the
    /// future in between: for a moment that delays, whereas the other order would end grace periods and leases too early.
    pub(super) async fn follow(&mut self, clock: &MachineClock) -> Result<(), StoreError> {
        let ahead_ms = clock.ahead_ms();
        if ahead_ms == 0 && !self.is_behind {
            return Ok(());
        }
        if ahead_ms != 0 && !self.is_behind {
            self.tell(ahead_ms, "was set");
        }
        self.is_behind = true;
        if ahead_ms < 0 {
            clock.adopt();
        }
        let subjects: Vec<_> = self.subjects.iter().map(String::as_str).collect();
        let now = Timestamp::now().plus(Duration::from_millis(ahead_ms.max(0).unsigned_abs()));
        let moved_ms = self.store.follow_clock(&subjects, clock, now).await?;
        if ahead_ms == 0 && moved_ms != 0 {
            self.tell(moved_ms, "was set, since the operator last ran,");
        }
        clock.adopt();
        self.is_behind = false;
        Ok(())
    }

    fn tell(&self, by_ms: i64, was_set: &str) {
        let by = Duration::from_millis(by_ms.unsigned_abs()).as_secs_f64();
        let direction = if by_ms < 0 { "back" } else { "forward" };
        self.hub.publish(Event::Trouble {
            subject: OPERATOR.to_owned(),
            message: format!(
                "the clock of this machine {was_set} {direction} by {by:.0} s; stored times move with it, and no duration changes"
            ),
        });
    }
}
