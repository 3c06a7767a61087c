//! Why a call failed.

use std::time::Duration;

use humantime::format_duration;
use operator_model::Secrets;
use operator_plugin_api::ErrorKind;

use crate::{file::error::LoadError, worker::protocol::Call};

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The plugin returned an error.
    #[error("{call}: {message}")]
    Plugin {
        /// The call.
        call: &'static str,
        /// The kind of error.
        kind: ErrorKind,
        /// The plugin's message.
        message: String,
        /// Whether a later attempt can succeed, according to the plugin.
        retryable: bool,
    },
    /// The call exceeded its deadline. A worker was killed.
    #[error("{call} took longer than its deadline of {}", format_duration(*.deadline))]
    Deadline {
        /// The call.
        call: &'static str,
        /// The deadline.
        deadline: Duration,
    },
    /// The plugin's process ended during the call, or between calls.
    #[error("{call}: the plugin's process {how}{}", last_line(.log.as_deref()))]
    Died {
        /// The call, or `between calls`.
        call: &'static str,
        /// `exited with status 1`, `was killed by signal 11 (SIGSEGV)`.
        how: String,
        /// The last line of its output.
        log: Option<String>,
    },
    /// The plugin's answer is malformed.
    #[error("{call}: {why}")]
    BadAnswer {
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The plugin cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin failed recently and is restarted after a pause.
    #[error("waits {} before it is started again, after: {after}", format_duration(*.wait))]
    BackingOff {
        /// The rest of the pause.
        wait: Duration,
        /// The last failure.
        after: Box<CallError>,
    },
    /// An earlier call, on a thread of the operator, has passed its deadline and has not returned.
    #[error("{call}: the plugin is still busy with {with}, since {}", format_duration(*.since))]
    Busy {
        /// The call that was not made.
        call: &'static str,
        /// The call that has not returned.
        with: &'static str,
        /// How long that call has taken so far.
        since: Duration,
    },
    /// The subject was shut down.
    #[error("{call}: the subject has been shut down")]
    Closed {
        /// The call that was not made.
        call: &'static str,
    },
}

impl CallError {
    /// The call that failed; `None` if no call was made.
    pub fn call(&self) -> Option<&'static str> {
        match self {
            Self::Plugin { call, .. }
            | Self::Deadline { call, .. }
            | Self::Died { call, .. }
            | Self::BadAnswer { call, .. }
            | Self::Busy { call, .. }
            | Self::Closed { call } => Some(call),
            Self::Load(_) | Self::BackingOff { .. } => None,
        }
    }

    /// Whether the subject is at fault, according to the plugin, and not the plugin itself.
    pub fn is_subjects_fault(&self) -> bool {
        match self {
            Self::Plugin { kind, .. } => !matches!(
                kind,
                ErrorKind::Panic | ErrorKind::Internal | ErrorKind::Config
            ),
            Self::BackingOff { after, .. } => after.is_subjects_fault(),
            _ => false,
        }
    }

    /// What a person can do about it; `None` if the message says it, or if the subject is at fault.
    pub fn fix(&self) -> Option<String> {
        const TELL_THE_AUTHOR: &str = "tell the author of the plugin";
        match self {
            Self::Plugin { kind, .. } => match kind {
                ErrorKind::Config => {
                    Some("fix the subject's `config`, and start the operator again".into())
                }
                ErrorKind::Panic | ErrorKind::Internal => Some(TELL_THE_AUTHOR.into()),
                _ => None,
            },
            Self::Died { .. } => Some(format!(
                "it is started again after a pause; {TELL_THE_AUTHOR}"
            )),
            Self::BadAnswer { .. } => Some(TELL_THE_AUTHOR.into()),
            Self::Deadline { call, .. } => Some(format!(
                "raise `deadlines.{}` of the subject if it needs more time",
                deadline_setting(call)
            )),
            Self::Busy { .. } => Some(
                "it cannot be ended; start the operator again, with isolation = \"worker\"".into(),
            ),
            Self::BackingOff { after, .. } => after.fix(),
            Self::Load(_) | Self::Closed { .. } => None,
        }
    }

    /// Whether a later attempt can succeed: the plugin says so, or was not called.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Plugin { retryable, .. } => *retryable,
            Self::BackingOff { .. } => true,
            _ => false,
        }
    }

    /// Whether the plugin rejects its configuration.
    pub fn is_config(&self) -> bool {
        matches!(
            self,
            Self::Plugin {
                kind: ErrorKind::Config,
                ..
            }
        )
    }

    /// Whether the plugin's process ended by itself. A plugin that does so repeatedly is quarantined.
    pub fn is_crash(&self) -> bool {
        matches!(self, Self::Died { .. })
    }

    /// Whether an action can have had an effect although its call failed: the request can have reached the plugin's `invoke`,
    /// and the plugin did not report that nothing was done.
    pub fn outcome_unknown(&self) -> bool {
        let may_have_begun = match self {
            Self::Plugin { kind, .. } => !matches!(
                kind,
                ErrorKind::Config
                    | ErrorKind::Invalid
                    | ErrorKind::Unsupported
                    | ErrorKind::Refused
            ),
            Self::Deadline { .. } | Self::Died { .. } | Self::BadAnswer { .. } => true,
            _ => false,
        };
        may_have_begun && self.call() == Some(Call::Invoke.as_str())
    }

    /// The same error with all secrets masked.
    pub(crate) fn masked(mut self, secrets: &Secrets) -> Self {
        match &mut self {
            Self::Plugin { message: text, .. }
            | Self::BadAnswer { why: text, .. }
            | Self::Load(LoadError { why: text, .. }) => *text = secrets.mask(text),
            Self::Died { log, .. } => *log = log.take().map(|line| secrets.mask(&line)),
            // The error before a pause was masked when it happened.
            Self::Deadline { .. }
            | Self::Busy { .. }
            | Self::BackingOff { .. }
            | Self::Closed { .. } => {}
        }
        self
    }
}

/// The setting with the deadline of a call.
fn deadline_setting(call: &str) -> &'static str {
    match call {
        "observe" => "observe",
        "invoke" => "invoke",
        "check" | "list_actions" | "drop" => "check",
        _ => "create",
    }
}

fn last_line(line: Option<&str>) -> String {
    line.map(|line| format!("; the last line of its output: {line}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(call: &'static str, kind: ErrorKind) -> CallError {
        CallError::Plugin {
            call,
            kind,
            message: "no".into(),
            retryable: false,
        }
    }

    #[test]
    fn only_an_invoke_that_may_have_begun_has_an_unknown_outcome() {
        let died = |call| CallError::Died {
            call,
            how: "exited".into(),
            log: None,
        };
        assert!(died("invoke").outcome_unknown());
        assert!(!died("between calls").outcome_unknown());
        assert!(!died("create").outcome_unknown());
        assert!(plugin("invoke", ErrorKind::Panic).outcome_unknown());
        assert!(plugin("invoke", ErrorKind::Unavailable).outcome_unknown());
        assert!(plugin("invoke", ErrorKind::Deadline).outcome_unknown());
        for nothing_done in [
            ErrorKind::Config,
            ErrorKind::Invalid,
            ErrorKind::Unsupported,
            ErrorKind::Refused,
        ] {
            assert!(!plugin("invoke", nothing_done).outcome_unknown());
        }
        assert!(!plugin("create", ErrorKind::Unavailable).outcome_unknown());
        assert!(!plugin("observe", ErrorKind::Panic).outcome_unknown());
        assert!(!CallError::Closed { call: "invoke" }.outcome_unknown());
    }

    #[test]
    fn a_pause_is_attributed_to_the_error_before_it() {
        let pause = |after| CallError::BackingOff {
            wait: Duration::from_secs(2),
            after: Box::new(after),
        };
        let unreachable = pause(plugin("create", ErrorKind::Unavailable));
        assert!(unreachable.is_subjects_fault());
        assert_eq!(unreachable.fix(), None);
        let late = pause(CallError::Deadline {
            call: "list_actions",
            deadline: Duration::from_secs(1),
        });
        assert!(!late.is_subjects_fault());
        assert!(late.fix().unwrap().contains("`deadlines.check`"));
        assert_eq!(
            late.to_string(),
            "waits 2s before it is started again, after: list_actions took longer than its deadline of 1s"
        );
    }

    #[test]
    fn only_a_death_is_a_crash() {
        let deadline = CallError::Deadline {
            call: "observe",
            deadline: Duration::from_secs(1),
        };
        assert!(!deadline.is_crash());
        assert!(!plugin("observe", ErrorKind::Panic).is_crash());
    }
}
