//! The rules of the gate for one subject, and the workflows that its configuration defines.

use std::{collections::BTreeMap, time::Duration};

use operator_plugin_api::Risk;

use super::{MaintenanceWindow, Mode, Plan};

/// Who must agree before an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approve {
    /// No person.
    Off,
    /// A person, if the action has at least this risk.
    From(Risk),
}

impl Approve {
    /// Whether an action of this risk needs the approval of a person.
    pub fn is_needed(self, risk: Risk) -> bool {
        matches!(self, Self::From(least) if risk >= least)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::From(Risk::Low) => "on",
            Self::From(risk) => risk.as_str(),
        }
    }
}

/// The rules of the gate for one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRules {
    /// Whether anything runs, unless a person chose otherwise while the operator ran.
    pub mode: Mode,
    /// Who must agree.
    pub approve: Approve,
    /// How long an approval is valid.
    pub approval_expires: Duration,
    /// Names of actions that never run; `*` stands for any text.
    pub deny: Vec<String>,
    /// Actions run only within one of these; at any time when there is none.
    pub maintenance_windows: Vec<MaintenanceWindow>,
    /// At least this much time lies between two calls of one action.
    pub cooldown: Duration,
    /// At most this many calls of all actions within an hour.
    pub max_per_hour: u32,
    /// At most this many calls of one action within an hour.
    pub max_per_action_per_hour: u32,
    /// At most this many different resources are affected within the window.
    pub blast_radius: u32,
    /// That window.
    pub blast_window: Duration,
    /// How often a failed call is retried, if its action is idempotent and the error is retryable.
    pub retries: u32,
    /// How long everything must hold after an action before it is verified.
    pub verify_window: Duration,
    /// An action that is not verified within this time after its end has not helped.
    pub verify_within: Duration,
    /// Whether an action that did not help is undone without another approval.
    pub undo: bool,
    /// What is decided otherwise for one action.
    pub by_name: BTreeMap<String, ActionOverride>,
}

/// What is decided otherwise for one action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActionOverride {
    /// Who must agree.
    pub approve: Option<Approve>,
    /// Time between two calls.
    pub cooldown: Option<Duration>,
    /// Calls within an hour.
    pub max_per_hour: Option<u32>,
    /// How long everything must hold.
    pub verify_window: Option<Duration>,
    /// By when.
    pub verify_within: Option<Duration>,
    /// Whether it is undone.
    pub undo: Option<bool>,
}

impl Default for ActionRules {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            approve: Approve::From(Risk::Low),
            approval_expires: Duration::from_mins(15),
            deny: Vec::new(),
            maintenance_windows: Vec::new(),
            cooldown: Duration::from_secs(30),
            max_per_hour: 20,
            max_per_action_per_hour: 10,
            blast_radius: 5,
            blast_window: Duration::from_hours(1),
            retries: 3,
            verify_window: Duration::from_mins(1),
            verify_within: Duration::from_mins(10),
            undo: true,
            by_name: BTreeMap::new(),
        }
    }
}

impl ActionRules {
    fn of(&self, action: &str) -> ActionOverride {
        self.by_name.get(action).cloned().unwrap_or_default()
    }

    /// Who must agree to an action.
    pub fn approve(&self, action: &str) -> Approve {
        self.of(action).approve.unwrap_or(self.approve)
    }

    /// Time between two calls of an action.
    pub fn cooldown(&self, action: &str) -> Duration {
        self.of(action).cooldown.unwrap_or(self.cooldown)
    }

    /// Calls of an action within an hour.
    pub fn max_per_hour(&self, action: &str) -> u32 {
        self.of(action)
            .max_per_hour
            .unwrap_or(self.max_per_action_per_hour)
    }

    /// How long all must be well after an action.
    pub fn verify_window(&self, action: &str) -> Duration {
        self.of(action).verify_window.unwrap_or(self.verify_window)
    }

    /// By when an action must be verified.
    pub fn verify_within(&self, action: &str) -> Duration {
        self.of(action).verify_within.unwrap_or(self.verify_within)
    }

    /// Whether an action that did not help is undone.
    pub fn undo(&self, action: &str) -> bool {
        self.of(action).undo.unwrap_or(self.undo)
    }

    /// The entry of the deny list that an action falls under.
    pub fn denied(&self, action: &str) -> Option<&str> {
        let mut entries = self.deny.iter().map(String::as_str);
        entries.find(|pattern| matches(pattern, action))
    }
}

/// Whether a name matches a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(left) = name.strip_prefix(first) else {
        return false;
    };
    (0..=left.len())
        .filter_map(|start| left.get(start..))
        .any(|left| matches(rest, left))
}

/// A workflow as its people wrote it down.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    /// What it is for, in a sentence.
    pub description: String,
    /// What is to be done; its parameters are not proven yet.
    pub plan: Plan,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("drain_node", "drain_node", true),
            ("drain_node", "drain_nodes", false),
            ("drain_*", "drain_node", true),
            ("*_node", "drain_node", true),
            ("*", "", true),
            ("d*_n*e", "drain_node", true),
            ("d*x", "drain_node", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn who_must_agree_goes_by_risk() {
        let high = Approve::From(Risk::High);
        assert!(high.is_needed(Risk::High) && !high.is_needed(Risk::Medium));
        assert!(!Approve::Off.is_needed(Risk::High));
        assert!(Approve::From(Risk::Low).is_needed(Risk::Low));
    }
}
