//! The events of the audit, each with what is recorded about it. They are kept as a name and a JSON body.

use operator_plugin_api::{Outcome, Risk};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Approval, Mode, Proof, ProposalId, RuleRefusal, Ruling, Timestamp};

/// What happened. No body holds secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "body", rename_all = "snake_case")]
pub enum AuditEvent {
    /// A proposal was recorded.
    Proposed(Proposed),
    /// Its calls were checked and fit.
    Validated(Nothing),
    /// It was approved.
    Approved(Approved),
    /// It was refused for good.
    Rejected(End),
    /// It was ended before it did anything more.
    Cancelled(End),
    /// Its approval is no longer valid.
    Lapsed(End),
    /// A rule keeps it from beginning for now.
    HeldBack(Refused),
    /// A call is about to be made.
    Begun(Begun),
    /// A call has ended, and the plan goes on.
    Called(Called),
    /// A call will be made again.
    Postponed(Called),
    /// A call has ended, after the proposal had been given up.
    AnsweredLate(AnsweredLate),
    /// All of it was done.
    Completed(Called),
    /// It failed.
    Failed(End),
    /// The effect of a call is not known.
    OutcomeUnknown(End),
    /// It has helped and broken nothing.
    Verified(Judged),
    /// It has not.
    NotVerified(Judged),
    /// What it did is not undone, or not all of it, although that was declared possible.
    NotUndone(Why),
    /// A person has inspected what it left behind.
    Settled(Why),
    /// A person chose a mode.
    Mode(ModeChosen),
    /// A person stopped everything.
    KillSwitchEngaged(Engaged),
    /// A person lifted the kill switch.
    KillSwitchLifted(Why),
}

/// There is nothing to add.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// A proposal as it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Proposed {
    /// Its calls fit.
    Valid {
        /// In their order.
        calls: Vec<String>,
        /// The highest of them.
        risk: Risk,
        /// The words of who proposed it.
        why: String,
        /// What it undoes.
        undoes: Option<ProposalId>,
        /// What an approval would be given for.
        digest: String,
    },
    /// They do not.
    Invalid {
        /// In their order, without parameters.
        calls: Vec<String>,
        /// The words of who proposed it.
        why: String,
    },
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Approved {
    /// By a person, who saw the calls.
    ByPerson {
        /// The approval.
        approval: Box<Approval>,
        /// In their order.
        calls: Vec<String>,
        /// What every rule decided about the first call.
        rules: Vec<Ruling>,
    },
    /// The rules require no person.
    ByRule(Box<Approval>),
}

/// The end of a proposal, or of its approval, and what led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum End {
    /// A call.
    Call(Called),
    /// A rule.
    Rule(Refused),
    /// The process that executed it was lost.
    Process {
        /// What is known of it.
        message: String,
    },
    /// A person, or the operator itself.
    Decision(Why),
}

/// The refusal of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Which rule, and why.
    pub refusal: RuleRefusal,
}

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// In words; may be empty.
    pub why: String,
}

/// The beginning of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// The action and its parameters.
    pub call: String,
    /// From 1.
    pub step: usize,
    /// From 1.
    pub attempt: u32,
    /// Who approved it.
    pub approved_by: String,
    /// What every rule decided.
    pub rules: Vec<Ruling>,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// The action and its parameters.
    pub call: String,
    /// What is known of the effect.
    pub outcome: Outcome,
    /// One sentence.
    pub message: String,
    /// What the subject answered.
    pub details: Value,
    /// When it is tried again.
    pub retry_at: Option<Timestamp>,
}

/// The end of a call that was no longer waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredLate {
    /// The action and its parameters.
    pub call: String,
    /// What is known of the effect.
    pub outcome: Outcome,
    /// One sentence.
    pub message: String,
}

/// Whether it helped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// One sentence.
    pub message: String,
    /// What was known.
    pub proof: Option<Proof>,
}

/// A mode that a person chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChosen {
    /// Which.
    pub mode: ChosenMode,
    /// In the person's words.
    pub why: String,
}

/// What a person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChosenMode {
    /// Nothing runs.
    Observe,
    /// What passes the gate runs.
    Execute,
    /// The mode of the configuration.
    #[serde(rename = "as configured")]
    AsConfigured,
}

impl From<Option<Mode>> for ChosenMode {
    fn from(mode: Option<Mode>) -> Self {
        match mode {
            Some(Mode::Observe) => Self::Observe,
            Some(Mode::Execute) => Self::Execute,
            None => Self::AsConfigured,
        }
    }
}

impl ChosenMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Observe => Mode::Observe.as_str(),
            Self::Execute => Mode::Execute.as_str(),
            Self::AsConfigured => "as configured",
        }
    }
}

/// Everything was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engaged {
    /// In the person's words.
    pub why: String,
    /// How many proposals were pending.
    pub cancels: usize,
}

impl AuditEvent {
    /// As it is kept: the event's name, and the JSON text of its body.
    pub(crate) fn kept(&self) -> (String, String) {
        let document = json!(self);
        let name = document["event"].as_str().unwrap_or_default();
        (name.to_owned(), document["body"].to_string())
    }

    /// From what was kept; none if only a newer version knows it.
    pub(crate) fn read(name: &str, body: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(body).ok()?;
        serde_json::from_value(json!({"event": name, "body": body})).ok()
    }

    /// In one line, for listings.
    pub fn summary(&self) -> String {
        match self {
            Self::Proposed(
                Proposed::Valid { calls, why, .. } | Proposed::Invalid { calls, why },
            ) => joined(&[&calls.join(", "), why]),
            Self::Validated(_) => String::new(),
            Self::Approved(Approved::ByPerson { calls, .. }) => calls.join(", "),
            Self::Approved(Approved::ByRule(approval)) => approval.mark.note.clone(),
            Self::Rejected(end)
            | Self::Cancelled(end)
            | Self::Lapsed(end)
            | Self::Failed(end)
            | Self::OutcomeUnknown(end) => end.summary(),
            Self::HeldBack(refused) => refused.summary(),
            Self::Begun(begun) => begun.call.clone(),
            Self::Called(called) | Self::Postponed(called) | Self::Completed(called) => {
                called.summary()
            }
            Self::AnsweredLate(answer) => joined(&[&answer.call, &answer.message]),
            Self::Verified(judged) | Self::NotVerified(judged) => judged.message.clone(),
            Self::NotUndone(reason) | Self::Settled(reason) | Self::KillSwitchLifted(reason) => {
                reason.why.clone()
            }
            Self::Mode(chosen) => joined(&[chosen.mode.as_str(), &chosen.why]),
            Self::KillSwitchEngaged(engaged) => engaged.why.clone(),
        }
    }
}

impl End {
    fn summary(&self) -> String {
        match self {
            Self::Call(called) => called.summary(),
            Self::Rule(refused) => refused.summary(),
            Self::Process { message } => message.clone(),
            Self::Decision(reason) => reason.why.clone(),
        }
    }
}

impl Refused {
    fn summary(&self) -> String {
        format!("{}: {}", self.refusal.rule, self.refusal.reason)
    }
}

impl Called {
    fn summary(&self) -> String {
        joined(&[&self.call, &self.message])
    }
}

fn joined(parts: &[&str]) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty()).copied();
    parts.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
