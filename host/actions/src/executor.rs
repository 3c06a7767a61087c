//! Carries out what was approved, call by call: the intent is recorded before each call, the outcome after it.

use std::{sync::Arc, time::Duration};

use operator_config::SubjectConfig;
use operator_loader::{CallError, Invoker, Observer};
use operator_model::{
    ExecutionEnd, Isolation, Proposal, ProposalId, ProposalState, Timestamp, bounded,
};
use operator_plugin_api::{CheckReport, Outcome};
use operator_store::{Store, StoreError};
use operator_subject::{self as subject, PreparedSubject, SubjectContext, SubjectError};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    CallFault, Registry, ValidCall, ValidPlan,
    call::{self, Begun},
    crash::crash_point,
    gate::{self, GateError},
};

/// Between two looks at the kill switch while a call is under way: it works within a second.
const LOOK: Duration = Duration::from_millis(250);
/// How long whoever executes may be silent before it is taken for dead.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How often it says that it lives, in looks.
const RENEW_EVERY: u32 = 12;
/// Longer messages are cut. Characters.
const LONGEST_MESSAGE: usize = 2_000;
/// Larger details are left out of the record. Bytes.
const LARGEST_DETAILS: usize = 64 << 10;
/// So many violations, and unknowns, are kept of a look.
const MOST_FINDINGS: usize = 20;
/// Between attempts to record a known outcome. The outcome is worth some patience.
const RECORDING_PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Why something could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] GateError),
    /// The calls do not fit the plugin as it is now.
    #[error(transparent)]
    Fault(#[from] CallFault),
    /// The subject's plugin cannot be reached.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The subject's plugin is in quarantine.
    #[error("the plugin is quarantined: {0}")]
    Quarantined(String),
    /// The subject's plugin does not say what it can do.
    #[error(transparent)]
    Plugin(#[from] CallError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A call was made, and how it ended could not be recorded.
    #[error("{what}; but this could not be recorded: {}", chain(cause))]
    Unrecorded {
        /// The call and its outcome.
        what: String,
        /// Why not.
        cause: StoreError,
    },
}

/// Where the actions of one subject are carried out.
#[derive(Debug, Clone)]
pub struct ActionContext {
    /// Where all is recorded.
    pub store: Store,
    /// The subject and its rules.
    pub subject: SubjectConfig,
    /// How to get at its plugin.
    pub around: Arc<SubjectContext>,
    /// Identifies this process among those that share the store.
    pub owner: String,
    /// Whether the process is to end.
    pub ending: watch::Receiver<Shutdown>,
}

/// Whether a process that executes is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// No.
    #[default]
    None,
    /// A call of an action that is under way is finished; nothing more is begun.
    Graceful,
    /// Nothing is waited for. The name of the signal.
    Immediate(&'static str),
}

/// The daemon ends in good order: what it leaves, the next one goes on with.
const DAEMON_ENDS: &str = "the end of the daemon";

/// Why a call is no longer waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    KillSwitch,
    LeaseLost,
    /// The process ends.
    Shutdown(&'static str),
}

impl Stop {
    fn why(self) -> String {
        match self {
            Self::KillSwitch => "the kill switch was engaged".to_owned(),
            Self::LeaseLost => "another process took this one for dead".to_owned(),
            Self::Shutdown(signal) => format!("{signal} came"),
        }
    }
}

/// A call that has ended or is no longer waited for.
struct Called {
    end: ExecutionEnd,
    is_retryable: bool,
    stop: Option<Stop>,
}

impl ActionContext {
    /// A plugin instance of its own: what is done does not keep the subject from being watched, and can be ended alone.
    pub async fn connect(&self) -> Result<(PreparedSubject, Registry), ActError> {
        let plugin = subject::open(&self.subject, &self.around).map_err(SubjectError::from)?;
        let quarantined = self.store.quarantined().await?;
        if let Some(entry) = quarantined
            .iter()
            .find(|entry| entry.sha256 == plugin.sha256)
        {
            return Err(ActError::Quarantined(entry.reason.clone()));
        }
        let plugin = Arc::new(plugin);
        // Whatever the subject is watched in: only a process can be ended by the kill switch.
        let subject = SubjectConfig {
            isolation: Isolation::Worker,
            ..self.subject.clone()
        };
        let kept = self.store.descriptor(&subject.name).await?;
        let connected = match kept.filter(|kept| kept.sha256 == plugin.sha256) {
            Some(kept) => subject::prepare(&subject, plugin, kept.descriptor, &self.around)?,
            None => Box::pin(subject::start(&subject, plugin, &self.around)).await?,
        };
        match connected.observer.list_actions().await {
            Ok(list) => Ok((connected, Registry::new(&self.subject.name, list))),
            Err(error) => {
                connected.observer.shutdown().await;
                Err(error.into())
            }
        }
    }

    /// Carries out an approved proposal, to its end or to the point where it has to wait. `given` is the plan as whoever
    /// proposed it in this very process wrote it, with its secrets.
    pub async fn perform(
        &self,
        id: ProposalId,
        given: Option<ValidPlan>,
    ) -> Result<Proposal, ActError> {
        // Each time another: what one task has begun, no other goes on with.
        let stage = Self {
            owner: new_key(),
            ..self.clone()
        };
        let (connected, registry) = stage.connect().await?;
        let performed = stage.perform_with(id, given, &connected, &registry).await;
        // One that was killed, or is busy still, is not waited for.
        if matches!(&performed, Ok(proposal) if proposal.state != ProposalState::OutcomeUnknown) {
            connected.observer.shutdown().await;
        } else {
            Invoker::new(&connected.observer).kill();
        }
        performed
    }

    async fn perform_with(
        &self,
        id: ProposalId,
        given: Option<ValidPlan>,
        connected: &PreparedSubject,
        registry: &Registry,
    ) -> Result<Proposal, ActError> {
        let proposal = self.store.proposal(id).await?;
        let plan = match given {
            Some(plan) => plan,
            None => match registry.prove(&proposal.plan) {
                Ok(plan) => plan,
                Err(fault) => {
                    gate::reject(self, id, &fault.to_string()).await?;
                    return Err(fault.into());
                }
            },
        };
        let plan = Arc::new(plan);
        loop {
            crash_point("approved");
            let begun = call::begin(self, id, &plan).await?;
            crash_point("begun");
            let called = self.call(&begun, connected).await;
            crash_point("answered");
            let proposal = self.record(begun, called).await?;
            crash_point("recorded");
            match (proposal.state, proposal.not_before) {
                (ProposalState::Executing, _) => {}
                (ProposalState::Approved, Some(at)) if self.waits(at).await => {}
                _ => return Ok(proposal),
            }
        }
    }

    /// Waits for the time of another attempt. False when the process ends first; then another one makes it.
    async fn waits(&self, until: Timestamp) -> bool {
        tokio::select! {
            () = tokio::time::sleep(Timestamp::now().until(until)) => true,
            _ = self.ends(true) => false,
        }
    }

    async fn call(&self, begun: &Begun, connected: &PreparedSubject) -> Called {
        let call = begun.approved.call();
        tokio::select! {
            called = self.make(begun, call, connected) => called,
            stop = self.watch_over(begun, call.is_tool()) => {
                Invoker::new(&connected.observer).kill();
                stopped(stop, call, &begun.key)
            }
        }
    }

    async fn make(&self, begun: &Begun, call: &ValidCall, connected: &PreparedSubject) -> Called {
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
            operator_policy::OBSERVE_NOW => look(&connected.observer).await,
            _ => {
                let message = call.params().get("message").and_then(Value::as_str);
                done(message.unwrap_or_default().to_owned(), Value::Null)
            }
        }
    }

    /// What the plugin says that a call would do; none where it offers no dry run. Nothing is done and nothing is recorded.
    pub async fn preview(
        &self,
        call: &ValidCall,
        connected: &PreparedSubject,
    ) -> Result<Option<String>, CallError> {
        let invoker = Invoker::new(&connected.observer);
        let result = invoker.preview(call, &new_key()).await?;
        Ok(result.map(|result| result.message))
    }

    /// Waits until the process is to end at once, or at all.
    async fn ends(&self, soon_is_enough: bool) -> &'static str {
        let mut ending = self.ending.clone();
        let told = ending.wait_for(|ending| match ending {
            Shutdown::None => false,
            Shutdown::Graceful => soon_is_enough,
            Shutdown::Immediate(_) => true,
        });
        let told = told.await.map(|ending| *ending);
        match told {
            Ok(Shutdown::Immediate(signal)) => signal,
            Ok(_) => DAEMON_ENDS,
            // Whoever could have told is gone, and so will nobody.
            Err(_) => std::future::pending().await,
        }
    }

    /// Says that this process lives while a call is under way; comes back when the call must not be waited for any more.
    /// A call of an action is finished even when the process is to end, as long as its deadline allows.
    async fn watch_over(&self, begun: &Begun, is_tool: bool) -> Stop {
        let mut looks = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                signal = self.ends(is_tool) => return Stop::Shutdown(signal),
            }
            looks += 1;
            match self.store.engagements().await {
                Ok(now) if now != begun.engagements => return Stop::KillSwitch,
                Ok(_) => {}
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
            if looks % RENEW_EVERY == 0 {
                let until = Timestamp::now().plus(LEASE);
                match self
                    .store
                    .renew_lease(begun.proposal.id, &self.owner, until)
                    .await
                {
                    Ok(true) => {}
                    Ok(false) => return Stop::LeaseLost,
                    Err(error) => tracing::warn!("{}", chain(&error)),
                }
            }
        }
    }

    /// Records how a call ended, trying a few times.
    async fn record(&self, begun: Begun, called: Called) -> Result<Proposal, ActError> {
        let ending = call::CallEnd {
            end: called.end,
            is_retryable: called.is_retryable,
            stopped: called.stop.map(|stop| call::Stopped {
                resumes: stop == Stop::Shutdown(DAEMON_ENDS),
            }),
        };
        for pause in RECORDING_PAUSES {
            match call::end(self, &begun, &ending).await {
                Err(ActError::Store(error)) => {
                    tracing::debug!("tried again in {pause:?}: {}", chain(&error));
                }
                recorded => return recorded,
            }
            tokio::time::sleep(pause).await;
        }
        call::end(self, &begun, &ending)
            .await
            .map_err(|error| match error {
                ActError::Store(cause) => ActError::Unrecorded {
                    what: format!("{}: {}", word(ending.end.outcome), ending.end.message),
                    cause,
                },
                error => error,
            })
    }
}

async fn invoke(begun: &Begun, connected: &PreparedSubject) -> Called {
    let invoker = Invoker::new(&connected.observer);
    match invoker.invoke(&begun.approved, &begun.key).await {
        Ok(result) => Called {
            end: ExecutionEnd {
                at: Timestamp::now(),
                outcome: result.outcome,
                message: bounded(&result.message, LONGEST_MESSAGE),
                details: small(result.details),
            },
            is_retryable: false,
            stop: None,
        },
        Err(error) => failed(&error),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "outcome unknown",
    }
}

fn done(message: String, details: Value) -> Called {
    Called {
        end: ExecutionEnd {
            at: Timestamp::now(),
            outcome: Outcome::Done,
            message,
            details,
        },
        is_retryable: false,
        stop: None,
    }
}

fn failed(error: &CallError) -> Called {
    let outcome = if error.outcome_unknown() {
        Outcome::Unknown
    } else {
        Outcome::Failed
    };
    Called {
        end: ExecutionEnd {
            at: Timestamp::now(),
            outcome,
            message: bounded(&error.to_string(), LONGEST_MESSAGE),
            details: Value::Null,
        },
        is_retryable: error.is_retryable(),
        stop: None,
    }
}

/// A call of which nobody waits for the answer. A tool that was stopped has done nothing.
fn stopped(stop: Stop, call: &ValidCall, key: &str) -> Called {
    let (outcome, message) = if call.is_tool() {
        (Outcome::Failed, stop.why())
    } else {
        let message = format!(
            "{} before the answer; look at the subject before it is done again (idempotency key {key})",
            stop.why()
        );
        (Outcome::Unknown, message)
    };
    Called {
        end: ExecutionEnd {
            at: Timestamp::now(),
            outcome,
            message,
            details: Value::Null,
        },
        is_retryable: false,
        stop: Some(stop),
    }
}

/// What is kept for ever must not be large.
fn small(details: Value) -> Value {
    let size = details.to_string().len();
    if size <= LARGEST_DETAILS {
        return details;
    }
    json!({"left_out": format!("{size} bytes, of which {LARGEST_DETAILS} are kept at most")})
}

/// The tool `observe_now`.
async fn look(observer: &Observer) -> Called {
    let looked = async {
        let observed = observer.observe().await?;
        let report = observer.check(&observed).await?;
        Ok::<_, CallError>((observed.summary, report))
    };
    match looked.await {
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

pub(super) fn new_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// An error and its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    let messages: Vec<_> = std::iter::once(error.to_string())
        .chain(sources.map(ToString::to_string))
        .collect();
    messages.join(": ")
}
