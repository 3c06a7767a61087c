//! One call, and what can end the wait for it: the kill switch, a lost lease, or the end of this process.

use std::time::Duration;

use operator_loader::{CallError, Invoker, Observer};
use operator_model::{ExecutionEnd, Timestamp, bounded};
use operator_plugin_api::{CheckReport, Outcome};
use operator_policy::ValidCall;
use operator_subject::PreparedSubject;
use serde_json::{Value, json};

use super::{
    begin::Begun,
    context::{ActionContext, LEASE, Shutdown, new_key},
    error::chain,
};

/// How often the kill switch is read while a call is under way: it takes effect within a second.
const POLL: Duration = Duration::from_millis(250);
/// How often the lease is renewed, in polls.
const RENEW_EVERY: u32 = 12;
/// Longer messages are cut. Characters.
const LONGEST_MESSAGE: usize = 2_000;
/// Larger details are left out of the record. Bytes.
const LARGEST_DETAILS: usize = 64 << 10;
/// How many violations, and unknowns, are kept of an observation.
const MOST_FINDINGS: usize = 20;

/// A call that has ended or is no longer waited for.
pub(super) struct CallEnd {
    pub(super) end: ExecutionEnd,
    pub(super) is_retryable: bool,
    /// Why it is no longer waited for.
    pub(super) stopped: Option<Stop>,
}

/// Why a call is no longer waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    KillSwitch,
    LeaseLost,
    Shutdown(Shutdown),
}

impl Stop {
    /// Whether the next process runs the step again: after a graceful shutdown it goes on with what was left.
    pub(super) fn is_resumed(self) -> bool {
        matches!(self, Self::Shutdown(Shutdown::None | Shutdown::Graceful))
    }

    fn why(self) -> String {
        match self {
            Self::KillSwitch => "the kill switch was engaged".to_owned(),
            Self::LeaseLost => "another process took this one for dead".to_owned(),
            Self::Shutdown(Shutdown::Immediate(signal)) => format!("{signal} was received"),
            Self::Shutdown(_) => "the daemon was shut down".to_owned(),
        }
    }
}

impl ActionContext {
    /// Makes a call that has begun, and waits for its end.
    pub(super) async fn call(&self, begun: &Begun, connected: &PreparedSubject) -> CallEnd {
        let call = begun.approved.call();
        tokio::select! {
            ended = make(begun, connected) => ended,
            stop = self.watch_over(begun, call.is_tool()) => {
                let invoker = Invoker::new(&connected.observer, operator_policy::Acting);
                stopped(stop, call, &begun.key, invoker.kill().await)
            }
        }
    }

    /// What the plugin predicts of a call; none where it offers no dry run. Nothing is done and nothing is recorded.
    pub async fn preview(
        &self,
        call: &ValidCall,
        connected: &PreparedSubject,
    ) -> Result<Option<String>, CallError> {
        let invoker = Invoker::new(&connected.observer, operator_policy::Acting);
        let result = invoker.preview(call, &new_key()).await?;
        Ok(result.map(|result| result.message))
    }

    /// Renews the lease while a call is under way, and returns when the call must not be waited for any more. A call of an
    /// action is finished even when the process is to end, as long as its deadline allows.
    async fn watch_over(&self, begun: &Begun, is_tool: bool) -> Stop {
        let mut polls = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                shutdown = self.shutdown(is_tool) => return Stop::Shutdown(shutdown),
            }
            polls += 1;
            match self.store.engagements().await {
                Ok(now) if now != begun.engagements => return Stop::KillSwitch,
                Ok(_) => {}
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
            if polls % RENEW_EVERY == 0 && !self.renew_lease(begun).await {
                return Stop::LeaseLost;
            }
        }
    }

    /// False if another process has given the proposal up.
    async fn renew_lease(&self, begun: &Begun) -> bool {
        let until = Timestamp::now().plus(LEASE);
        let id = begun.proposal.id;
        let renewed = self.store.renew_lease(id, &self.owner, until).await;
        renewed.unwrap_or_else(|error| {
            tracing::warn!("{}", chain(&error));
            true
        })
    }
}

async fn make(begun: &Begun, connected: &PreparedSubject) -> CallEnd {
    let call = begun.approved.call();
    match call.definition().name.as_str() {
        _ if !call.is_tool() => invoke(begun, connected).await,
        operator_policy::WAIT => {
            let time = operator_policy::wait(call.params()).unwrap_or_default();
            tokio::time::sleep(time).await;
            done(
                format!("waited {}", humantime::format_duration(time)),
                Value::Null,
            )
        }
        operator_policy::OBSERVE_NOW => observe(&connected.observer).await,
        _ => {
            let message = call.params().get("message").and_then(Value::as_str);
            done(message.unwrap_or_default().to_owned(), Value::Null)
        }
    }
}

async fn invoke(begun: &Begun, connected: &PreparedSubject) -> CallEnd {
    let invoker = Invoker::new(&connected.observer, operator_policy::Acting);
    match invoker.invoke(&begun.approved, &begun.key).await {
        Ok(result) => CallEnd {
            end: ExecutionEnd {
                at: Timestamp::now(),
                outcome: result.outcome,
                message: bounded(&result.message, LONGEST_MESSAGE),
                details: small(result.details),
            },
            is_retryable: false,
            stopped: None,
        },
        Err(error) => failed(&error),
    }
}

fn done(message: String, details: Value) -> CallEnd {
    CallEnd {
        end: ExecutionEnd {
            at: Timestamp::now(),
            outcome: Outcome::Done,
            message,
            details,
        },
        is_retryable: false,
        stopped: None,
    }
}

fn failed(error: &CallError) -> CallEnd {
    let outcome = if error.outcome_unknown() {
        Outcome::Unknown
    } else {
        Outcome::Failed
    };
    CallEnd {
        end: ExecutionEnd {
            at: Timestamp::now(),
            outcome,
            message: bounded(&error.to_string(), LONGEST_MESSAGE),
            details: Value::Null,
        },
        is_retryable: error.is_retryable(),
        stopped: None,
    }
}

/// A call that is no longer waited for, and whether its process has ended. A tool that was stopped has had no effect.
fn stopped(stop: Stop, call: &ValidCall, key: &str, has_ended: bool) -> CallEnd {
    let (outcome, message) = if call.is_tool() {
        (Outcome::Failed, stop.why())
    } else {
        let process = if has_ended {
            "the plugin's process was killed"
        } else {
            "the plugin's process was sent SIGKILL, but has not ended yet and may still act"
        };
        let message = format!(
            "{} before the answer: {process}; inspect the subject before it is done again (idempotency key {key})",
            stop.why()
        );
        (Outcome::Unknown, message)
    };
    CallEnd {
        end: ExecutionEnd {
            at: Timestamp::now(),
            outcome,
            message,
            details: Value::Null,
        },
        is_retryable: false,
        stopped: Some(stop),
    }
}

/// Details that are small enough to be kept for ever.
fn small(details: Value) -> Value {
    let size = details.to_string().len();
    if size <= LARGEST_DETAILS {
        return details;
    }
    json!({"left_out": format!("{size} bytes, more than the {LARGEST_DETAILS} that are kept")})
}

/// The tool `observe_now`.
async fn observe(observer: &Observer) -> CallEnd {
    let observed = async {
        let observation = observer.observe().await?;
        let report = observer.check(&observation).await?;
        Ok::<_, CallError>((observation.summary, report))
    };
    match observed.await {
        Ok((summary, report)) => done(bounded(&summary, LONGEST_MESSAGE), details(&report)),
        Err(error) => failed(&error),
    }
}

fn details(report: &CheckReport) -> Value {
    json!({
        "healthy": report.violations.is_empty() && report.unknown.is_empty(),
        "violations": report.violations.iter().take(MOST_FINDINGS).collect::<Vec<_>>(),
        "unknown": report.unknown.iter().take(MOST_FINDINGS).collect::<Vec<_>>(),
    })
}
