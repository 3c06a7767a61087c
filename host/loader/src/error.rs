//! Why a plugin could not be loaded, and why a call gave nothing.

use std::{path::PathBuf, time::Duration};

use humantime::format_duration;
use operator_model::Secrets;
use operator_plugin_api::ErrorKind;
use serde::{Deserialize, Serialize};

use super::call::Call;

/// Why a call gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The plugin answered with an error of its own.
    #[error("{call}: {message}")]
    Plugin {
        /// The call.
        call: &'static str,
        /// What kind of error.
        kind: ErrorKind,
        /// The plugin's words.
        message: String,
        /// Whether the plugin says that trying again can help.
        retryable: bool,
    },
    /// It took longer than its deadline; a worker was ended.
    #[error("{call} took longer than its deadline of {}", format_duration(*.deadline))]
    Deadline {
        /// The call.
        call: &'static str,
        /// The deadline.
        deadline: Duration,
    },
    /// The plugin's process ended during the call, or between calls.
    #[error("{call}: the plugin's process {how}{}", last_words(.log.as_deref()))]
    Died {
        /// The call, or `between calls`.
        call: &'static str,
        /// `exited with status 1`, `was killed by signal 11 (SIGSEGV)`.
        how: String,
        /// The last line that it printed, if any.
        log: Option<String>,
    },
    /// The answer is not one that the host can use.
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
    /// The plugin failed a moment ago and is given time.
    #[error("waits {} before it is started again, after: {after}", format_duration(*.wait))]
    BackingOff {
        /// How much longer.
        wait: Duration,
        /// What went wrong the last time.
        after: Box<CallError>,
    },
    /// An earlier call, in the operator's own process, has not come back since its deadline.
    #[error("{call}: the plugin is still busy with {with}, since {}", format_duration(*.since))]
    Busy {
        /// The call that was not made.
        call: &'static str,
        /// The call that has not come back.
        with: &'static str,
        /// How long ago that one began.
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
    /// The call that failed; `None` when none was made.
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

    /// Whether the plugin did its part and says that the subject, not the plugin, is at fault.
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

    /// What a person can do about a plugin that fails; `None` where the error says it, or where the subject is at fault.
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

    /// Whether trying again can help: the plugin says so, or it was not reached.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Plugin { retryable, .. } => *retryable,
            Self::BackingOff { .. } => true,
            _ => false,
        }
    }

    /// Whether the plugin says that what it was given is not usable.
    pub fn is_config(&self) -> bool {
        matches!(
            self,
            Self::Plugin {
                kind: ErrorKind::Config,
                ..
            }
        )
    }

    /// Whether the plugin's process ended by itself. A plugin that keeps doing so is not worth starting again.
    pub fn is_crash(&self) -> bool {
        matches!(self, Self::Died { .. })
    }

    /// Whether an action may have had an effect all the same: the request may have reached the plugin's `invoke`, and the
    /// plugin did not say that nothing was done.
    pub fn outcome_unknown(&self) -> bool {
        let silent = match self {
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
        silent && self.call() == Some(Call::Invoke.as_str())
    }

    /// The same error without what must stay secret.
    pub(super) fn masked(mut self, secrets: &Secrets) -> Self {
        match &mut self {
            Self::Plugin { message: text, .. }
            | Self::BadAnswer { why: text, .. }
            | Self::Load(LoadError { why: text, .. }) => *text = secrets.mask(text),
            Self::Died { log, .. } => *log = log.take().map(|line| secrets.mask(&line)),
            // What a pause comes after was masked when it happened.
            Self::Deadline { .. }
            | Self::Busy { .. }
            | Self::BackingOff { .. }
            | Self::Closed { .. } => {}
        }
        self
    }
}

/// The setting that bounds a call.
fn deadline_setting(call: &str) -> &'static str {
    match call {
        "observe" => "observe",
        "invoke" => "invoke",
        "check" | "list_actions" | "drop" => "check",
        _ => "create",
    }
}

fn last_words(line: Option<&str>) -> String {
    line.map(|line| format!("; its last words: {line}"))
        .unwrap_or_default()
}

/// Why a plugin file is refused. Each message names the file and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct LoadError {
    /// The file, or the name under which it was looked for.
    pub path: PathBuf,
    /// What is wrong with it, and what to do, in one line.
    pub why: String,
    /// For programs to tell apart.
    pub refusal: LoadErrorKind,
}

/// What is wrong with a plugin file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadErrorKind {
    /// It is no library, cut short, or for another machine.
    File,
    /// It has no manifest, or one that cannot be read.
    Manifest,
    /// It does not export the root module.
    Symbol,
    /// It speaks another ABI.
    Abi,
    /// A panic in it would end the process.
    Panic,
    /// The dynamic linker does not open it.
    Linker,
    /// Its root module does not come up, or is of other types.
    Layout,
    /// Anything else: it cannot be read, is not trusted, or its worker cannot be started.
    Other,
}

impl LoadError {
    pub(super) fn new(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::refused(path, LoadErrorKind::Other, why)
    }

    pub(super) fn refused(
        path: impl Into<PathBuf>,
        refusal: LoadErrorKind,
        why: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            why: why.into(),
            refusal,
        }
    }
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
    fn a_pause_is_told_as_what_it_comes_after() {
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
