//! Whether one kind of a node's work on Redis succeeds, judged by its outcome alone.
//!
//! A Redis that answers PING can refuse every check: as a read-only replica, without permission, or without memory.
//! So a node says that its work fails from the first failure on, until the same work has succeeded again.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::reason::Reason;

/// Each reason is logged at most once in this time, with the number of failures since the last line.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// The outcome of the latest work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Working,
    Failing,
    /// Nothing was tried yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What has failed since the last success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failing {
    /// Of the latest failure.
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// The first failure.
    pub(crate) since: String,
    /// Including the first one.
    pub(crate) failures: u64,
}

/// Keeps the outcome of one kind of work, and logs when it fails and when it succeeds again.
pub(crate) struct Working {
    /// What fails, for the log.
    work: &'static str,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tried_at: Option<Instant>,
    failing: Option<(Reason, Timestamp, u64)>,
    log: Log,
}

/// Decides what is logged.
#[derive(Default)]
struct Log {
    since: Option<Instant>,
    told: HashSet<Reason>,
    untold: u64,
    /// Whether a failure was logged and no success after it.
    open: bool,
}

impl Log {
    /// Returns the number of failures to log, if this one is due.
    fn failed(&mut self, reason: Reason, count: u64, now: Instant) -> Option<u64> {
        self.untold += count;
        if self.since.is_none_or(|since| now >= since + LOG_EVERY) {
            self.since = Some(now);
            self.told.clear();
        }
        if !self.told.insert(reason) {
            return None;
        }
        self.open = true;
        Some(std::mem::take(&mut self.untold))
    }

    /// Whether the end of a failure must be logged.
    fn worked(&mut self) -> bool {
        std::mem::take(&mut self.open)
    }
}

impl Working {
    pub(crate) fn new(work: &'static str) -> Self {
        Self {
            work,
            inner: Mutex::default(),
        }
    }

    /// The work was done, writes included.
    pub(crate) fn worked(&self) {
        let mut inner = self.inner();
        inner.tried_at = Some(Instant::now());
        let Some((_, since, failures)) = inner.failing.take() else {
            return;
        };
        if inner.log.worked() {
            let seconds = since.duration_until(Timestamp::now()).as_secs();
            tracing::info!(
                work = self.work,
                failures,
                seconds,
                "works again after failures"
            );
        }
    }

    pub(crate) fn failed(&self, reason: Reason, count: u64, error: &dyn std::fmt::Display) {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.tried_at = Some(now);
        let failing = inner.failing.get_or_insert((reason, Timestamp::now(), 0));
        failing.0 = reason;
        failing.2 += count;
        if let Some(failures) = inner.log.failed(reason, count, now) {
            let (work, reason) = (self.work, reason.name());
            tracing::warn!(work, reason, failures, %error, "fails on redis");
        }
    }

    /// Why it fails now.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.inner().failing.map(|(reason, ..)| reason)
    }

    /// Whether nothing was tried for this long, so that only a trial can tell.
    pub(crate) fn is_idle_for(&self, time: Duration) -> bool {
        let tried_at = self.inner().tried_at;
        tried_at.is_none_or(|at| at.elapsed() >= time)
    }

    pub(crate) fn state(&self) -> (State, Option<Failing>) {
        let inner = self.inner();
        match inner.failing {
            Some((reason, since, failures)) => {
                let failing = Failing {
                    reason,
                    message: reason.text().to_owned(),
                    since: format!("{since:.3}"),
                    failures,
                };
                (State::Failing, Some(failing))
            }
            None if inner.tried_at.is_some() => (State::Working, None),
            None => (State::Unknown, None),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_fails_from_the_first_failure_to_the_next_success() {
        let working = Working::new("checks");
        assert_eq!(working.state(), (State::Unknown, None));
        assert!(working.is_idle_for(Duration::ZERO));
        working.failed(Reason::Timeout, 1, &"");
        working.failed(Reason::ReadOnly, 3, &"");
        let (state, failing) = working.state();
        let failing = failing.unwrap();
        assert_eq!(state, State::Failing);
        assert_eq!((failing.reason, failing.failures), (Reason::ReadOnly, 4));
        assert!(!working.is_idle_for(LOG_EVERY));
        working.worked();
        assert_eq!(working.state(), (State::Working, None));
    }

    #[test]
    fn a_reason_is_logged_once_a_minute_with_the_failures_in_between() {
        let mut log = Log::default();
        let start = Instant::now();
        assert_eq!(log.failed(Reason::Timeout, 1, start), Some(1));
        assert_eq!(log.failed(Reason::Timeout, 5, start), None);
        assert_eq!(log.failed(Reason::ReadOnly, 1, start), Some(6));
        assert!(log.worked());
        assert!(!log.worked(), "its end is logged once");
        assert_eq!(log.failed(Reason::Timeout, 2, start), None, "flapping");
        assert!(!log.worked(), "what was not logged has no end");
        let later = start + LOG_EVERY;
        assert_eq!(log.failed(Reason::Timeout, 1, later), Some(3));
    }
}
