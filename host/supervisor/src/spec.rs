//! What a loop is, and how long it may take.

use std::time::Duration;

use operator_model::loop_id;

/// This many periods without a turn are a stall.
const MISSED: u32 = 3;
/// No turn is expected to be quicker: a database that another process is writing to holds each of them up for up to 10 s.
const LEAST_TURN: Duration = Duration::from_secs(5);
/// However short the period: a busy machine may hold up the start of a turn for this long.
const LEAST_WAIT: Duration = Duration::from_secs(5);

/// A loop, before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopSpec {
    /// What it does, in a word.
    pub(crate) name: &'static str,
    /// The subject it works for; absent where it works for all.
    pub(crate) subject: Option<String>,
    /// Between two turns.
    pub(crate) period: Duration,
    longest_turn: Duration,
    shutdown: Option<Duration>,
}

impl LoopSpec {
    /// A loop that works for all subjects, and whose turns are short.
    pub fn new(name: &'static str, period: Duration) -> Self {
        Self {
            name,
            subject: None,
            period,
            longest_turn: LEAST_TURN,
            shutdown: None,
        }
    }

    /// It works for one subject alone.
    #[must_use]
    pub fn of_subject(self, subject: &str) -> Self {
        Self {
            subject: Some(subject.to_owned()),
            ..self
        }
    }

    /// A turn may rightly take this long.
    #[must_use]
    pub fn with_longest_turn(self, longest_turn: Duration) -> Self {
        Self {
            longest_turn: longest_turn.max(LEAST_TURN),
            ..self
        }
    }

    /// At shutdown it may take this long to finish what it has begun; else three times its longest turn.
    #[must_use]
    pub fn with_shutdown(self, shutdown: Duration) -> Self {
        Self {
            shutdown: Some(shutdown),
            ..self
        }
    }

    /// The name with the subject: `watch:db`, `engine`.
    pub(crate) fn id(&self) -> String {
        loop_id(self.name, self.subject.as_deref())
    }

    /// A turn that takes longer is a stall.
    pub(crate) fn turn_limit(&self) -> Duration {
        MISSED * crate::fault::shortened(self.longest_turn)
    }

    /// A wait for the next turn that takes longer is a stall, however long a turn may take.
    pub(crate) fn wait_limit(&self) -> Duration {
        (MISSED * self.period).max(LEAST_WAIT)
    }

    /// How long its end is waited for at shutdown.
    pub(crate) fn shutdown_limit(&self) -> Duration {
        self.shutdown.unwrap_or_else(|| self.turn_limit())
    }
}
