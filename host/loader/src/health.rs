//! How a subject's plugin has fared, and how long a failed one is left alone.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::error::CallError;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a subject's plugin has fared since `connect`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginHealth {
    /// How often it was started, the first time included.
    pub starts: u64,
    /// How often it died: crashed, exited, or closed its connection.
    pub deaths: u64,
    /// How many calls passed their deadline.
    pub overdue: u64,
    /// How often the same call has made it die, with no success of that call in between.
    pub deaths_in_a_row: u32,
    /// Why the latest failed call failed, even if all has been well since.
    pub last_error: Option<String>,
}

/// Counts what goes wrong, and decides how long to wait before the next start.
///
/// Counted for each call apart: a plugin that dies in every `check` is no better for answering every `observe`.
#[derive(Default)]
pub(super) struct Record {
    pub(super) health: PluginHealth,
    /// The latest failed call's error.
    last: Option<CallError>,
    rows: HashMap<&'static str, Row>,
    not_before: Option<Instant>,
}

#[derive(Default)]
struct Row {
    failures: u32,
    deaths: u32,
}

impl Record {
    pub(super) fn started(&mut self) {
        self.health.starts += 1;
    }

    pub(super) fn succeeded(&mut self, call: &'static str) {
        if self.rows.remove(call).is_some() {
            self.count_rows();
        }
    }

    /// A call failed; if it `ended` the plugin, the next start has to wait.
    pub(super) fn failed(&mut self, call: &'static str, error: &CallError, ended: bool) {
        self.health.last_error = Some(error.to_string());
        self.last = Some(error.clone());
        self.health.overdue += u64::from(matches!(error, CallError::Deadline { .. }));
        if !ended {
            return;
        }
        let row = self.rows.entry(call).or_default();
        row.failures += 1;
        if error.is_crash() {
            row.deaths += 1;
            self.health.deaths += 1;
        }
        self.not_before = Some(Instant::now() + self.pause());
        self.count_rows();
    }

    /// How much longer the next start has to wait, and after what.
    pub(super) fn wait(&self) -> Option<CallError> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        // Whole milliseconds, for people.
        let wait = Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let after = Box::new(self.last.clone()?);
        (!wait.is_zero()).then_some(CallError::BackingOff { wait, after })
    }

    fn pause(&self) -> Duration {
        let failures = self
            .rows
            .values()
            .map(|row| row.failures)
            .max()
            .unwrap_or(0);
        let doublings = failures.saturating_sub(1).min(16);
        (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
    }

    fn count_rows(&mut self) {
        self.health.deaths_in_a_row = self.rows.values().map(|row| row.deaths).max().unwrap_or(0);
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
    fn pauses_double_to_a_limit_and_a_success_of_the_call_ends_the_row() {
        let mut record = Record::default();
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
    fn an_error_that_leaves_the_plugin_running_asks_for_no_pause() {
        let mut record = Record::default();
        record.failed("check", &died(), false);
        assert!(record.wait().is_none());
    }
}
