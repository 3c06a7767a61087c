//! What may be done to a subject, by whom, and how often; and the workflows that its people wrote down.

use std::{collections::BTreeMap, time::Duration};

use operator_plugin_api::Risk;

use super::{
    Fault, Faults, KeyPath, Origins, SubjectConfig,
    nearest::suggestion,
    section::{Reading, Section},
    value::{self, Wrong},
    window::MaintenanceWindow,
};
use crate::model::{Mode, OnFailure, Plan, PlanStep, When};

/// Who must agree before an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approve {
    /// Nobody.
    Off,
    /// A person, if the action is at least so risky.
    From(Risk),
}

impl Approve {
    /// Whether an action of this risk needs a person's yes.
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
    /// How long a yes counts.
    pub approval_expires: Duration,
    /// Names of actions that never run; `*` stands for any text.
    pub deny: Vec<String>,
    /// Actions run only within one of these; at any time when there is none.
    pub maintenance_windows: Vec<MaintenanceWindow>,
    /// At least so much time lies between two calls of one action.
    pub cooldown: Duration,
    /// At most so many calls of all actions within an hour.
    pub max_per_hour: u32,
    /// At most so many calls of one action within an hour.
    pub max_per_action_per_hour: u32,
    /// At most so many different resources are touched within the window.
    pub blast_radius: u32,
    /// That window.
    pub blast_window: Duration,
    /// How many times a call is tried again that failed, if its action is idempotent and the error says that it can help.
    pub retries: u32,
    /// For how long all must be well after an action before it counts as verified.
    pub verify_window: Duration,
    /// An action that has not been verified so long after its end has not helped.
    pub verify_within: Duration,
    /// Whether an action that did not help is taken back without asking again.
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
    /// How long all must be well.
    pub verify_window: Option<Duration>,
    /// By when.
    pub verify_within: Option<Duration>,
    /// Whether it is taken back.
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

    /// Whether an action that did not help is taken back.
    pub fn undo(&self, action: &str) -> bool {
        self.of(action).undo.unwrap_or(self.undo)
    }

    /// The entry of the deny list that an action falls under.
    pub fn denied(&self, action: &str) -> Option<&str> {
        let mut entries = self.deny.iter().map(String::as_str);
        entries.find(|pattern| matches(pattern, action))
    }
}

/// Whether everything that a subject's own rules name is there: a rule for an action that nobody has guards nothing. What the
/// rules of all subjects name may be another subject's.
pub fn check_names(
    subject: &SubjectConfig,
    actions: &[&str],
    origins: &Origins,
) -> Result<(), Faults> {
    let rules = KeyPath::new(["subjects", &subject.name, "actions"]);
    let fault = |key: KeyPath, name: &str| Fault {
        origin: origins.around(&key),
        key: Some(key),
        what: format!("the plugin has no action that is called {name}"),
        mend: suggestion(name, actions.iter().copied()),
    };
    let fits = |pattern: &str| actions.iter().any(|action| matches(pattern, action));
    let deny = rules.join("deny");
    let of_deny = subject.actions.deny.iter().filter(|pattern| !fits(pattern));
    let of_deny = of_deny.filter(|_| origins.of(&deny).is_some());
    let by_name = rules.join("by_name");
    let of_names = subject.actions.by_name.keys().filter(|name| {
        let is_own = origins.of(&by_name.join(name.as_str())).is_some();
        is_own && !actions.contains(&name.as_str())
    });
    let faults = of_deny
        .map(|name| fault(deny.clone(), name))
        .chain(of_names.map(|name| fault(by_name.join(name), name)));
    Faults(faults.collect()).or(())
}

/// Whether a name is like a pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
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

/// Lays what a section says over the rules.
pub(super) fn rules(mut section: Section<'_>, rules: &mut ActionRules, reading: &mut Reading<'_>) {
    section.set("mode", &mut rules.mode, reading, value::mode);
    section.set("approve", &mut rules.approve, reading, value::approve);
    let wait = value::duration(value::WAIT);
    let soon = value::duration(value::SOON);
    section.set(
        "approval_expires",
        &mut rules.approval_expires,
        reading,
        &soon,
    );
    section.set("deny", &mut rules.deny, reading, value::texts);
    let windows = &mut rules.maintenance_windows;
    section.set("maintenance_windows", windows, reading, value::windows);
    section.set("cooldown", &mut rules.cooldown, reading, &wait);
    let per_action = &mut rules.max_per_action_per_hour;
    section.set(
        "max_per_action_per_hour",
        per_action,
        reading,
        value::number(value::COUNT),
    );
    section.set(
        "max_per_hour",
        &mut rules.max_per_hour,
        reading,
        value::number(value::COUNT),
    );
    section.set(
        "blast_radius",
        &mut rules.blast_radius,
        reading,
        value::number(value::COUNT),
    );
    section.set("blast_window", &mut rules.blast_window, reading, &soon);
    section.set(
        "retries",
        &mut rules.retries,
        reading,
        value::number(value::FEW),
    );
    section.set("verify_window", &mut rules.verify_window, reading, &soon);
    section.set("verify_within", &mut rules.verify_within, reading, &soon);
    section.set("undo", &mut rules.undo, reading, value::boolean);
    if let Some(names) = section.section("by_name", reading) {
        for (name, section) in names.named(reading) {
            let decided = one_action(section, reading);
            rules.by_name.insert(name.to_owned(), decided);
        }
    }
    if rules.verify_within < rules.verify_window {
        let wrong = Wrong::new(
            "verify_within is shorter than verify_window: nothing could ever be verified",
            "raise verify_within or lower verify_window",
        );
        reading.wrong(section.start, section.at.clone(), wrong);
    }
    section.finish(reading);
}

fn one_action(mut section: Section<'_>, reading: &mut Reading<'_>) -> ActionOverride {
    let wait = value::duration(value::WAIT);
    let soon = value::duration(value::SOON);
    let decided = ActionOverride {
        approve: section.take("approve", reading, value::approve),
        cooldown: section.take("cooldown", reading, &wait),
        max_per_hour: section.take("max_per_hour", reading, value::number(value::COUNT)),
        verify_window: section.take("verify_window", reading, &soon),
        verify_within: section.take("verify_within", reading, &soon),
        undo: section.take("undo", reading, value::boolean),
    };
    section.finish(reading);
    decided
}

pub(super) fn workflows(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
) -> BTreeMap<String, Workflow> {
    let named = section.named(reading).into_iter();
    named
        .map(|(name, section)| (name.to_owned(), workflow(name, section, reading)))
        .collect()
}

fn workflow(name: &str, mut section: Section<'_>, reading: &mut Reading<'_>) -> Workflow {
    if let Err(wrong) = value::name(name) {
        reading.wrong(section.start, section.at.clone(), wrong);
    }
    let description = section.take("description", reading, value::text);
    let on_failure = section.take("on_failure", reading, value::on_failure);
    let sections = section.sections("steps", reading);
    if sections.is_empty() {
        let wrong = Wrong::new(
            "it has no steps",
            r#"write them like steps = [{ action = "wait", params = { for = "10s" } }]"#,
        );
        reading.wrong(section.start, section.at.join("steps"), wrong);
    }
    let steps = sections.into_iter().map(|section| step(section, reading));
    let plan = Plan {
        name: name.to_owned(),
        steps: steps.collect(),
        on_failure: on_failure.unwrap_or(OnFailure::Stop),
        has_secrets: false,
    };
    section.finish(reading);
    Workflow {
        description: description.unwrap_or_default(),
        plan,
    }
}

fn step(mut section: Section<'_>, reading: &mut Reading<'_>) -> PlanStep {
    let action = section.take("action", reading, value::text);
    if action.is_none() && !section.has("action") {
        let wrong = Wrong::new(
            "it is missing",
            r#"name what to do, such as action = "wait""#,
        );
        reading.wrong(section.start, section.at.join("action"), wrong);
    }
    let params = section.take("params", reading, value::table);
    let when = section.take("when", reading, value::when);
    section.finish(reading);
    PlanStep {
        action: action.unwrap_or_default(),
        params: params.unwrap_or_default(),
        when: when.unwrap_or(When::Done),
    }
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
