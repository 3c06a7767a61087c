//! Starts and failures of a subject's plugin, and the pause before it is started again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::error::CallError;

/// The pause after the first failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Starts and failures of a subject's plugin since `connect`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginHealth {
    /// Starts, including the first one.
    pub starts: u64,
    /// Deaths: it crashed, exited, or closed its connection.
    pub deaths: u64,
    /// Calls that exceeded their deadline.
    pub overdue: u64,
    /// Consecutive deaths in the same call, without a success of that call between them.
    pub deaths_in_a_row: u32,
    /// The error of the latest failed call, even if later calls succeeded.
    pub last_error: Option<String>,
}

/// Counts starts and failures, and decides when the plugin can be started again.
///
/// Each call is counted separately: successes of `observe` do not reset the failures of `check`.
#[derive(Default)]
pub(crate) struct HealthRecord {
    pub(crate) health: PluginHealth,
    last_error: Option<CallError>,
    streaks: HashMap<&'static str, Streak>,
    not_before: Option<Instant>,
}

/// Consecutive failures of one call.
#[derive(Default)]
struct Streak {
    failures: u32,
    deaths: u32,
}

impl HealthRecord {
    pub(crate) fn started(&mut self) {
        self.health.starts += 1;
    }

    pub(crate) fn succeeded(&mut self, call: &'static str) {
        if self.streaks.remove(call).is_some() {
            self.count_deaths();
        }
    }

    /// Counts a failed call. If it `ended` the plugin, the next start is delayed.
    pub(crate) fn failed(&mut self, call: &'static str, error: &CallError, ended: bool) {
        self.health.last_error = Some(error.to_string());
        self.last_error = Some(error.clone());
        self.health.overdue += u64::from(matches!(error, CallError::Deadline { .. }));
        if !ended {
            return;
        }
        let streak = self.streaks.entry(call).or_default();
        streak.failures += 1;
        if error.is_crash() {
            streak.deaths += 1;
            self.health.deaths += 1;
        }
        self.not_before = Some(Instant::now() + self.pause());
        self.count_deaths();
    }

    /// The error while the next start is delayed.
    pub(crate) fn wait(&self) -> Option<CallError> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        // Whole milliseconds are easier to read.
        let wait = Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let after = Box::new(self.last_error.clone()?);
        (!wait.is_zero()).then_some(CallError::BackingOff { wait, after })
    }

    fn pause(&self) -> Duration {
        let failures = self
            .streaks
            .values()
            .map(|streak| streak.failures)
            .max()
            .unwrap_or(0);
        let doublings = failures.saturating_sub(1).min(16);
        (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
    }

    fn count_deaths(&mut self) {
        self.health.deaths_in_a_row = self
            .streaks
            .values()
            .map(|streak| streak.deaths)
            .max()
            .unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died() -> CallError {
        CallError::Died {
            call: "check",
            how: "exited with status 1".into(),
            log: None,
        }
    }

    #[test]
    fn pauses_double_to_a_limit_and_a_success_of_the_call_resets_them() {
        let mut record = HealthRecord::default();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            record.failed("check", &died(), true);
            record.succeeded("observe");
            pauses.push(record.pause().as_millis());
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(record.health.deaths_in_a_row, 8);
        record.succeeded("check");
        assert_eq!(record.health.deaths_in_a_row, 0);
        assert_eq!(record.health.deaths, 8);
        record.failed("check", &died(), true);
        assert_eq!(record.pause().as_millis(), 500);
    }

    #[test]
    fn an_error_that_leaves_the_plugin_running_causes_no_pause() {
        let mut record = HealthRecord::default();
        record.failed("check", &died(), false);
        assert!(record.wait().is_none());
    }
}
