//! The sections `actions` (the rules of the gate) and `workflows`.

use std::{collections::BTreeMap, time::Duration};

use operator_model::{
    ActionOverride, ActionRules, Approve, OnFailure, Plan, PlanStep, When, Workflow,
    pattern_matches, suggestion,
};

use serde_json::{Value, json};

use super::{
    Fault, Faults, KeyPath, Origins, SubjectConfig,
    section::{Reading, Section},
    setting::{Setting, at, duration},
    value::{self, Wrong},
};

/// Checks that every action exists that a subject's own rules name: a rule for an action that does not exist guards nothing. The
/// rules for all subjects may name another subject's actions.
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
        fix: suggestion(name, actions.iter().copied()),
    };
    let fits = |pattern: &str| {
        actions
            .iter()
            .any(|action| pattern_matches(pattern, action))
    };
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

/// The rules as they are shown.
pub(super) fn settings(rules: &ActionRules) -> Vec<Setting> {
    let windows = rules.maintenance_windows.iter().map(ToString::to_string);
    let windows: Vec<_> = windows.collect();
    let by_name = rules.by_name.iter().flat_map(|(name, decided)| {
        let optional = |time: Option<Duration>| time.map_or(Value::Null, duration);
        [
            ("approve", json!(decided.approve.map(Approve::as_str))),
            ("cooldown", optional(decided.cooldown)),
            ("max_per_hour", json!(decided.max_per_hour)),
            ("verify_window", optional(decided.verify_window)),
            ("verify_within", optional(decided.verify_within)),
            ("undo", json!(decided.undo)),
        ]
        .map(|(key, value)| at(["actions", "by_name", name, key], value))
    });
    let settings = [
        ("mode", json!(rules.mode.as_str())),
        ("approve", json!(rules.approve.as_str())),
        ("approval_expires", duration(rules.approval_expires)),
        ("deny", json!(rules.deny)),
        ("maintenance_windows", json!(windows)),
        ("cooldown", duration(rules.cooldown)),
        ("max_per_hour", json!(rules.max_per_hour)),
        (
            "max_per_action_per_hour",
            json!(rules.max_per_action_per_hour),
        ),
        ("blast_radius", json!(rules.blast_radius)),
        ("blast_window", duration(rules.blast_window)),
        ("retries", json!(rules.retries)),
        ("verify_window", duration(rules.verify_window)),
        ("verify_within", duration(rules.verify_within)),
        ("undo", json!(rules.undo)),
    ];
    let settings = settings.map(|(key, value)| at(["actions", key], value));
    settings.into_iter().chain(by_name).collect()
}

/// A workflow as it is shown; its steps are a list with a line for each.
pub(super) fn workflow_settings(name: &str, workflow: &Workflow) -> [Setting; 3] {
    let plan = &workflow.plan;
    let steps: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    [
        ("description", json!(workflow.description)),
        ("on_failure", json!(plan.on_failure)),
        ("steps", json!(steps)),
    ]
    .map(|(key, value)| at(["workflows", name, key], value))
}

/// Overrides the rules with those of a section.
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
