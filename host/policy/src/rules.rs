//! The rules of the gate: what each decides about a call, and the permission that follows. Pure.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use operator_model::{
    ActionRules, Approval, Consequence, Execution, GateView, Mark, Mode, ProposalParts,
    ProposalState, Rule, RuleRefusal, Ruling, TicketView, Timestamp,
};
use operator_plugin_api::ActionDefinition;

use super::{ValidCall, ValidPlan, changes::changes};

/// How long an approval is valid for which no person was asked.
const BY_RULE_EXPIRES: Duration = Duration::from_hours(24 * 7);
/// Of the budgets.
const HOUR: Duration = Duration::from_hours(1);

/// The permission to make one call of a plan. Only this module can make one.
#[derive(Debug)]
pub struct Approved {
    plan: Arc<ValidPlan>,
    call: ValidCall,
    by: String,
}

impl Approved {
    /// What may be called.
    pub fn call(&self) -> &ValidCall {
        &self.call
    }

    /// The whole of which it is a part.
    pub fn plan(&self) -> &ValidPlan {
        &self.plan
    }

    /// Who approved it.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// What it is called with, for people.
    pub fn described(&self) -> String {
        let call = self.call();
        let params = call.shown_params().into_iter();
        let params = params.map(|(name, value)| format!(" {name}={value}"));
        format!("{}{}", call.definition().name, params.collect::<String>())
    }
}

/// What a call is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The plan that it is part of.
    pub plan: &'a ValidPlan,
    /// Its place in the plan.
    pub step: usize,
    /// The proposal of the plan.
    pub proposal: &'a ProposalParts,
    /// How things are.
    pub view: &'a GateView,
    /// The subject's rules.
    pub rules: &'a ActionRules,
    /// The moment.
    pub now: Timestamp,
}

/// The permission to make a call, and what every rule decided; or the rule that refuses it. Of several that refuse, the one
/// with the gravest consequence.
pub fn permit(
    plan: &Arc<ValidPlan>,
    case: Case<'_>,
) -> Result<(Approved, Vec<Ruling>), (RuleRefusal, Vec<Ruling>)> {
    let rulings = rulings(case);
    let worst = rulings
        .iter()
        .filter_map(Ruling::refusal)
        // The first of equals: rules are listed by their rank.
        .rev()
        .max_by_key(|refusal| refusal.consequence);
    if let Some(refusal) = worst {
        return Err((refusal, rulings));
    }
    if let (Some(call), Some(approval)) = (case.plan.call(case.step), &case.proposal.approval) {
        let approved = Approved {
            plan: plan.clone(),
            call: call.clone(),
            by: approval.mark.by.clone(),
        };
        return Ok((approved, rulings));
    }
    let refusal = RuleRefusal {
        rule: Rule::Approval,
        consequence: Consequence::Lapse,
        reason: "it has no such step".to_owned(),
    };
    Err((refusal, rulings))
}

/// What every rule decides, in the order of their rank.
pub fn rulings(case: Case<'_>) -> Vec<Ruling> {
    vec![
        kill_switch(case),
        mode(case),
        deny(case),
        approval(case),
        not_before(case),
        maintenance_windows(case),
        one_at_a_time(case),
        cooldown(case),
        max_per_action_per_hour(case),
        max_per_hour(case),
        blast_radius(case),
    ]
}

/// How far back the rules consider what was done.
pub fn memory(rules: &ActionRules) -> Duration {
    let cooldowns = rules
        .by_name
        .values()
        .filter_map(|decided| decided.cooldown);
    cooldowns
        .chain([HOUR, rules.blast_window, rules.cooldown])
        .max()
        .unwrap_or(HOUR)
}

/// Whether a person must agree to a plan: to one of its calls, or to what undoes a call without asking again.
pub fn needs_a_person(plan: &ValidPlan, rules: &ActionRules) -> bool {
    let is_needed =
        |definition: &ActionDefinition| rules.approve(&definition.name).is_needed(definition.risk);
    let mut calls = plan.calls().filter(|call| !call.is_tool());
    calls.any(|call| {
        let definition = call.definition();
        let inverse = call.inverse().filter(|_| rules.undo(&definition.name));
        is_needed(definition) || inverse.is_some_and(is_needed)
    })
}

/// Whether what undoes a plan may run without another approval: the rules ask no person for it, or a person has approved the plan
/// with the definitions as they are now, those of its inverses included.
pub fn may_undo(
    undo: &ValidPlan,
    undone: &ValidPlan,
    approval: Option<&Approval>,
    rules: &ActionRules,
) -> bool {
    let mut calls = undone.calls().filter(|call| !call.is_tool());
    let is_wanted = calls.all(|call| rules.undo(&call.definition().name));
    let was_seen = approval
        .is_some_and(|approval| !approval.by_rule && approval.definitions == undone.definitions());
    let mut calls = undo.calls().filter(|call| !call.is_tool());
    let is_free = !calls.any(|call| {
        let definition = call.definition();
        rules.approve(&definition.name).is_needed(definition.risk)
    });
    is_wanted && (was_seen || is_free)
}

/// An approval of a plan as it is, bound to its ticket as it is.
pub fn approval_by(
    mark: Mark,
    by_rule: bool,
    plan: &ValidPlan,
    proposal: &ProposalParts,
    view: &GateView,
    rules: &ActionRules,
) -> Approval {
    let expires = if by_rule {
        BY_RULE_EXPIRES
    } else {
        rules.approval_expires
    };
    // What is to begin later is approved for then.
    let from = mark.at.max(proposal.not_before.unwrap_or(mark.at));
    Approval {
        by_rule,
        expires_at: from.plus(expires),
        digest: plan.digest(proposal.ticket),
        definitions: plan.definitions(),
        ticket: view.ticket.as_ref().map(TicketView::from),
        mark,
    }
}

/// Why an approval is not for this plan.
fn other_than_approved(plan: &ValidPlan, approval: &Approval) -> String {
    let by = &approval.mark.by;
    let now = plan.definitions();
    if approval.definitions.is_empty() && !now.is_empty() {
        return format!(
            "{by} approved it with an earlier version of the operator, which did not record what the actions were; it must be approved again"
        );
    }
    match changes(&approval.definitions, &now).as_slice() {
        [] => format!("the approval of {by} is for other calls or parameters"),
        changed => format!("since {by} approved it, {}", changed.join("; ")),
    }
}

fn pass(rule: Rule, reason: impl Into<String>) -> Ruling {
    Ruling {
        rule,
        refuses: None,
        reason: reason.into(),
    }
}

fn refuse(rule: Rule, consequence: Consequence, reason: impl Into<String>) -> Ruling {
    Ruling {
        rule,
        refuses: Some(consequence),
        reason: reason.into(),
    }
}

fn kill_switch(case: Case<'_>) -> Ruling {
    match &case.view.control.kill_switch {
        None => pass(Rule::KillSwitch, "it is not engaged"),
        Some(mark) => refuse(
            Rule::KillSwitch,
            Consequence::Lapse,
            format!("it was engaged by {} at {}", mark.by, mark.at),
        ),
    }
}

fn mode(case: Case<'_>) -> Ruling {
    let mode = case
        .view
        .control
        .mode(&case.proposal.subject, case.rules.mode);
    match mode {
        Mode::Execute => pass(Rule::Mode, "it is `execute`"),
        Mode::Observe => refuse(
            Rule::Mode,
            Consequence::Lapse,
            "it is `observe`: proposals are recorded, and nothing runs; `operator mode execute` lets them run",
        ),
    }
}

fn deny(case: Case<'_>) -> Ruling {
    let denied = case.plan.calls().find_map(|call| {
        let name = &call.definition().name;
        Some((name, case.rules.denied(name)?))
    });
    match denied {
        None => pass(Rule::Deny, "none of its actions is on the list"),
        Some((name, entry)) => refuse(
            Rule::Deny,
            Consequence::Reject,
            format!("`{name}` falls under `{entry}` of the deny list"),
        ),
    }
}

/// Whether there is a valid approval of this very plan. Later steps use the approval that the first began with.
fn approval(case: Case<'_>) -> Ruling {
    let lapses = |why: String| refuse(Rule::Approval, Consequence::Lapse, why);
    let Some(approval) = &case.proposal.approval else {
        return lapses("it is not approved".to_owned());
    };
    let by = &approval.mark.by;
    if approval.digest != case.plan.digest(case.proposal.ticket) {
        return lapses(other_than_approved(case.plan, approval));
    }
    let by_rule = approval.by_rule && case.proposal.undoes.is_none();
    if by_rule && needs_a_person(case.plan, case.rules) {
        return lapses("a person must approve it".to_owned());
    }
    if case.proposal.state == ProposalState::Executing || case.step > 0 {
        return pass(Rule::Approval, format!("approved by {by}, and begun"));
    }
    if expiry(case, approval) < case.now {
        return lapses(format!(
            "the approval of {by} expired at {}",
            approval.expires_at
        ));
    }
    let ticket = case.view.ticket.as_ref().map(TicketView::from);
    if case.step == 0 && case.proposal.attempt == 0 && approval.ticket != ticket {
        return lapses(format!("the ticket has changed since {by} approved it"));
    }
    pass(
        Rule::Approval,
        format!("approved by {by} at {}", approval.mark.at),
    )
}

/// What follows another proposal is approved for the time after that.
fn expiry(case: Case<'_>, approval: &Approval) -> Timestamp {
    let followed = case.view.follows.and_then(|(_, ended_at)| ended_at);
    let from_there = followed.map(|at| at.plus(case.rules.approval_expires));
    match (case.proposal.follows, from_there) {
        (Some(_), None) => Timestamp(i64::MAX),
        (Some(_), Some(from_there)) => approval.expires_at.max(from_there),
        (None, _) => approval.expires_at,
    }
}

fn not_before(case: Case<'_>) -> Ruling {
    match case.proposal.not_before {
        Some(at) if at > case.now => {
            return refuse(
                Rule::NotBefore,
                Consequence::Defer,
                format!("it does not begin before {at}"),
            );
        }
        _ => {}
    }
    let Some(followed) = case.proposal.follows else {
        return pass(Rule::NotBefore, "it is due");
    };
    match case.view.follows.map(|(state, _)| state) {
        Some(ProposalState::Completed | ProposalState::Verified) => {
            pass(Rule::NotBefore, format!("{followed} is done"))
        }
        Some(state) if state.is_pending() || state == ProposalState::Executing => refuse(
            Rule::NotBefore,
            Consequence::Defer,
            format!("it follows {followed}, which is not over"),
        ),
        state => {
            let state = state.map_or("gone", ProposalState::as_str);
            refuse(
                Rule::NotBefore,
                Consequence::Reject,
                format!("it follows {followed}, which is {state}"),
            )
        }
    }
}

fn maintenance_windows(case: Case<'_>) -> Ruling {
    let windows = &case.rules.maintenance_windows;
    if windows.is_empty() {
        return pass(Rule::MaintenanceWindows, "none are configured");
    }
    if let Some(window) = windows.iter().find(|window| window.contains(case.now)) {
        return pass(Rule::MaintenanceWindows, format!("within {window}"));
    }
    let all: Vec<_> = windows.iter().map(ToString::to_string).collect();
    refuse(
        Rule::MaintenanceWindows,
        Consequence::Defer,
        format!("outside of {}", all.join(" and ")),
    )
}

fn one_at_a_time(case: Case<'_>) -> Ruling {
    let other = case.view.busy.iter().find(|id| **id != case.proposal.id);
    match other {
        None => pass(Rule::OneAtATime, "nothing else runs on the subject"),
        Some(other) => refuse(
            Rule::OneAtATime,
            Consequence::Defer,
            format!("{other} runs on the subject"),
        ),
    }
}

/// Neither a plan's own steps and attempts nor what takes a plan back are kept apart.
fn cooldown(case: Case<'_>) -> Ruling {
    let Some(call) = case.plan.call(case.step).filter(|call| !call.is_tool()) else {
        return pass(Rule::Cooldown, "it applies to actions only");
    };
    let name = &call.definition().name;
    let cooldown = case.rules.cooldown(name);
    let mut others =
        case.view.recent.iter().rev().filter(|execution| {
            &execution.action == name && execution.proposal != case.proposal.id
        });
    match others.next() {
        Some(last) if case.proposal.undoes.is_none() && last.begun_at.plus(cooldown) > case.now => {
            refuse(
                Rule::Cooldown,
                Consequence::Defer,
                format!(
                    "`{name}` was called at {}; not again before {}",
                    last.begun_at,
                    last.begun_at.plus(cooldown)
                ),
            )
        }
        _ => pass(
            Rule::Cooldown,
            format!(
                "no other `{name}` within {}",
                humantime::format_duration(cooldown)
            ),
        ),
    }
}

fn within(case: Case<'_>, time: Duration) -> impl Iterator<Item = &Execution> {
    let since = case.now.minus(time);
    case.view
        .recent
        .iter()
        .filter(move |execution| execution.begun_at >= since)
}

fn max_per_action_per_hour(case: Case<'_>) -> Ruling {
    let Some(call) = case.plan.call(case.step).filter(|call| !call.is_tool()) else {
        return pass(Rule::MaxPerActionPerHour, "it applies to actions only");
    };
    let name = &call.definition().name;
    let made = within(case, HOUR).filter(|execution| &execution.action == name);
    budget(
        Rule::MaxPerActionPerHour,
        made.count(),
        case.rules.max_per_hour(name),
        &format!("`{name}`"),
    )
}

fn max_per_hour(case: Case<'_>) -> Ruling {
    if case.plan.call(case.step).is_none_or(ValidCall::is_tool) {
        return pass(Rule::MaxPerHour, "it applies to actions only");
    }
    let made = within(case, HOUR).count();
    budget(Rule::MaxPerHour, made, case.rules.max_per_hour, "actions")
}

fn budget(rule: Rule, made: usize, most: u32, of: &str) -> Ruling {
    let reason = format!("{made} of {most} calls of {of} within the hour");
    if made < most as usize {
        pass(rule, reason)
    } else {
        refuse(rule, Consequence::Defer, reason)
    }
}

/// Before the first step all that the plan touches counts: half a plan does not help.
fn blast_radius(case: Case<'_>) -> Ruling {
    let touched = within(case, case.rules.blast_window).flat_map(|execution| &execution.resources);
    let mut resources: BTreeSet<String> = touched.cloned().collect();
    let before = resources.len();
    if case.step == 0 {
        resources.extend(case.plan.resources());
    } else {
        resources.extend(
            case.plan
                .call(case.step)
                .into_iter()
                .flat_map(ValidCall::resources),
        );
    }
    let most = case.rules.blast_radius as usize;
    let window = humantime::format_duration(case.rules.blast_window);
    let reason = format!(
        "{} of {most} resources touched within {window}",
        resources.len()
    );
    if resources.len() <= most || resources.len() == before {
        pass(Rule::BlastRadius, reason)
    } else {
        refuse(Rule::BlastRadius, Consequence::Defer, reason)
    }
}

#[cfg(test)]
#[path = "tests/rules.rs"]
mod tests;
