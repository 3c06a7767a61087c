use crate::{
    Registry,
    testing::{actions, plan, registry},
};
use operator_model::{
    ActionOverride, Control, ProposalId, Ticket, TicketId, TicketKey, TicketState,
};
use operator_plugin_api::{Risk, Severity};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp(100_000_000);

/// Everything that a case refers to.
#[derive(Clone)]
struct Scene {
    plan: Arc<ValidPlan>,
    step: usize,
    proposal: ProposalParts,
    view: GateView,
    rules: ActionRules,
}

impl Scene {
    /// One that may run.
    fn new(steps: &[(&str, Value)]) -> Self {
        let plan = Arc::new(registry().prove(&plan(steps)).unwrap());
        let rules = ActionRules {
            mode: Mode::Execute,
            ..ActionRules::default()
        };
        let view = GateView {
            control: Control::default(),
            ticket: Some(ticket()),
            live: vec![ticket()],
            busy: vec![],
            recent: vec![],
            follows: None,
        };
        let mut proposal = proposal(&plan);
        let ada = Mark {
            at: NOW,
            ..Mark::now("ada", "")
        };
        proposal.approval = Some(approval_by(ada, false, &plan, &proposal, &view, &rules));
        Self {
            plan,
            step: 0,
            proposal,
            view,
            rules,
        }
    }

    fn case(&self) -> Case<'_> {
        Case {
            plan: &self.plan,
            step: self.step,
            proposal: &self.proposal,
            view: &self.view,
            rules: &self.rules,
            now: NOW,
        }
    }

    /// The rule that refuses, and what follows.
    fn refused(&self) -> Option<(Rule, Consequence)> {
        let (refusal, _) = permit(&self.plan, self.case()).err()?;
        Some((refusal.rule, refusal.consequence))
    }

    fn done(&mut self, action: &str, resource: &str, ago: Duration) {
        self.view.recent.push(Execution {
            id: String::new(),
            proposal: ProposalId(99),
            step: 0,
            attempt: 1,
            subject: "db".to_owned(),
            action: action.to_owned(),
            params: Value::Null,
            resources: vec![resource.to_owned()],
            is_tool: false,
            begun_at: NOW.minus(ago),
            end: None,
        });
    }
}

fn restart() -> Scene {
    Scene::new(&[("restart", json!({"node": "a"}))])
}

fn ticket() -> Ticket {
    Ticket {
        id: TicketId(12),
        subject: "db".to_owned(),
        key: TicketKey::new("up", Some("a")),
        severity: Severity::Critical,
        state: TicketState::Open,
        message: String::new(),
        evidence: Value::Null,
        first_seen: Timestamp(0),
        violated_since: Timestamp(0),
        last_seen: Timestamp(0),
        opened_at: Some(Timestamp(0)),
        holding_since: None,
        resolved_at: None,
        occurrences: 1,
        acknowledged: None,
        held: None,
        flapping: false,
        transitions: vec![],
    }
}

fn proposal(plan: &ValidPlan) -> ProposalParts {
    ProposalParts {
        id: ProposalId(7),
        ticket: Some(TicketId(12)),
        state: ProposalState::Approved,
        ..ProposalParts::new("db", plan.shown(), plan.risk(), Mark::now("ada", ""))
    }
}

#[test]
fn what_no_rule_refuses_is_permitted() {
    let scene = restart();
    let (approved, rulings) = permit(&scene.plan, scene.case()).unwrap();
    assert_eq!(approved.by(), "ada");
    assert_eq!(approved.call().params()["node"], "a");
    assert_eq!(rulings.len(), 11);
}

#[test]
fn an_approval_is_bound_to_calls_time_and_ticket() {
    let lapses = Some((Rule::Approval, Consequence::Lapse));
    let mut none = restart();
    none.proposal.approval = None;
    assert_eq!(none.refused(), lapses);

    let mut other = restart();
    other.plan = Scene::new(&[("restart", json!({"node": "b"}))]).plan;
    assert_eq!(other.refused(), lapses);

    let mut expired = restart();
    expired.proposal.approval.as_mut().unwrap().expires_at = Timestamp(NOW.0 - 1);
    assert_eq!(expired.refused(), lapses);

    let changes: [fn(&mut Ticket); 3] = [
        |ticket| ticket.state = TicketState::Recovering,
        |ticket| ticket.severity = Severity::Info,
        |ticket| ticket.occurrences = 2,
    ];
    for change in changes {
        let mut changed = restart();
        change(changed.view.ticket.as_mut().unwrap());
        assert_eq!(changed.refused(), lapses);
    }
    let mut gone = restart();
    gone.view.ticket = None;
    assert_eq!(gone.refused(), lapses);

    let mut newer_numbers = restart();
    newer_numbers.view.ticket.as_mut().unwrap().message = "worse".to_owned();
    assert_eq!(newer_numbers.refused(), None);
}

#[test]
fn a_yes_of_the_operators_own_counts_only_where_nobody_is_asked() {
    let mut scene = restart();
    scene.proposal.approval.as_mut().unwrap().by_rule = true;
    assert_eq!(scene.refused(), Some((Rule::Approval, Consequence::Lapse)));
    scene.rules.approve = operator_model::Approve::From(Risk::Medium);
    assert_eq!(scene.refused(), None);
    let by_name = ActionOverride {
        approve: Some(operator_model::Approve::From(Risk::Low)),
        ..ActionOverride::default()
    };
    scene.rules.by_name.insert("restart".to_owned(), by_name);
    assert_eq!(scene.refused(), Some((Rule::Approval, Consequence::Lapse)));
}

#[test]
fn nothing_runs_in_observe_mode_or_under_the_kill_switch() {
    let mut scene = restart();
    scene.rules.mode = Mode::Observe;
    assert_eq!(scene.refused(), Some((Rule::Mode, Consequence::Lapse)));
    let chosen = (Mode::Execute, Mark::now("ada", ""));
    scene.view.control.modes.insert("db".to_owned(), chosen);
    assert_eq!(scene.refused(), None);
    scene.view.control.kill_switch = Some(Mark::now("bob", ""));
    assert_eq!(
        scene.refused(),
        Some((Rule::KillSwitch, Consequence::Lapse))
    );
}

#[test]
fn the_deny_list_is_for_good() {
    let mut scene = restart();
    scene.rules.deny = vec!["re*".to_owned()];
    // Also with something else in the way.
    scene.rules.mode = Mode::Observe;
    assert_eq!(scene.refused(), Some((Rule::Deny, Consequence::Reject)));
}

#[test]
fn limits_make_it_wait() {
    let waits = |rule| Some((rule, Consequence::Defer));
    let mut scene = restart();
    scene.done("restart", "a", Duration::from_secs(29));
    assert_eq!(scene.refused(), waits(Rule::Cooldown));

    let mut scene = restart();
    for minutes in 1..=10 {
        scene.done("restart", "a", Duration::from_mins(minutes));
    }
    assert_eq!(scene.refused(), waits(Rule::MaxPerActionPerHour));
    scene.rules.max_per_action_per_hour = 11;
    assert_eq!(scene.refused(), None);
    scene.rules.max_per_hour = 10;
    assert_eq!(scene.refused(), waits(Rule::MaxPerHour));

    let mut scene = restart();
    for (minutes, node) in ["b", "c", "d", "e"].iter().enumerate() {
        scene.done("drain", node, Duration::from_mins(minutes as u64));
    }
    assert_eq!(scene.refused(), None);
    scene.done("drain", "f", Duration::from_mins(59));
    assert_eq!(scene.refused(), waits(Rule::BlastRadius));
    scene.done("drain", "a", Duration::from_mins(59));
    assert_eq!(scene.refused(), None, "it has been touched already");

    let mut scene = restart();
    scene.view.busy = vec![ProposalId(7)];
    assert_eq!(scene.refused(), None);
    scene.view.busy.push(ProposalId(8));
    assert_eq!(scene.refused(), waits(Rule::OneAtATime));

    let mut scene = restart();
    scene.proposal.not_before = Some(Timestamp(NOW.0 + 1));
    assert_eq!(scene.refused(), waits(Rule::NotBefore));

    // The moment is 1970-01-02T03:46:40Z, a Friday.
    let mut scene = restart();
    scene.rules.maintenance_windows = vec!["Sat 00:00-24:00".parse().unwrap()];
    assert_eq!(scene.refused(), waits(Rule::MaintenanceWindows));
    scene
        .rules
        .maintenance_windows
        .push("Fri 03:00-04:00".parse().unwrap());
    assert_eq!(scene.refused(), None);
}

#[test]
fn half_of_a_plan_that_touches_too_much_does_not_run() {
    let nodes = ["a", "b", "c", "d", "e", "f"];
    let steps = nodes.map(|node| ("restart", json!({"node": node})));
    let mut scene = Scene::new(&steps);
    assert_eq!(
        scene.refused(),
        Some((Rule::BlastRadius, Consequence::Defer))
    );
    scene.rules.blast_radius = 6;
    assert_eq!(scene.refused(), None);
}

#[test]
fn what_follows_another_waits_for_it_or_never_runs() {
    let mut scene = restart();
    scene.proposal.follows = Some(ProposalId(3));
    for (state, expected) in [
        (
            ProposalState::Approved,
            Some((Rule::NotBefore, Consequence::Defer)),
        ),
        (
            ProposalState::Executing,
            Some((Rule::NotBefore, Consequence::Defer)),
        ),
        (ProposalState::Completed, None),
        (ProposalState::Verified, None),
        (
            ProposalState::NotVerified,
            Some((Rule::NotBefore, Consequence::Reject)),
        ),
        (
            ProposalState::Failed,
            Some((Rule::NotBefore, Consequence::Reject)),
        ),
    ] {
        scene.view.follows = Some((state, Some(NOW)));
        assert_eq!(scene.refused(), expected, "{state:?}");
    }
}

proptest! {
    /// Whatever the circumstances: a permission needs a yes to these very calls, in `execute` mode, with the switch off.
    #[test]
    fn no_circumstance_permits_without_a_yes(
        has_yes: bool, fits: bool, in_time: bool, same_ticket: bool, executes: bool, killed: bool, busy: bool,
        state in prop::sample::select(vec![ProposalState::Approved, ProposalState::Executing]),
        cooldown_s in 0_u64..100, most in 1_u32..4, done in 0_usize..4, step in 0_usize..3,
    ) {
        let mut scene = Scene::new(&[("restart", json!({"node": "a"})), ("drain", json!({"node": "a"}))]);
        scene.step = step;
        scene.proposal.state = state;
        scene.rules.cooldown = Duration::from_secs(cooldown_s);
        scene.rules.max_per_hour = most;
        for _ in 0..done { scene.done("restart", "a", Duration::from_secs(50)); }
        if !executes { scene.rules.mode = Mode::Observe; }
        if killed { scene.view.control.kill_switch = Some(Mark::now("bob", "")); }
        if busy { scene.view.busy.push(ProposalId(8)); }
        if !same_ticket { scene.view.ticket.as_mut().unwrap().occurrences += 1; }
        let yes = scene.proposal.approval.as_mut().unwrap();
        if !in_time { yes.expires_at = Timestamp(0); }
        if !fits { yes.digest = "0".repeat(64); }
        if !has_yes { scene.proposal.approval = None; }
        if permit(&scene.plan, scene.case()).is_ok() {
            prop_assert!(has_yes && fits && executes && !killed && !busy && step < 2);
            if state == ProposalState::Approved && step == 0 {
                prop_assert!(in_time && same_ticket);
            }
            prop_assert!(done < most as usize);
        }
    }
}

/// The subject with one of its actions changed.
fn changed(name: &str, change: impl FnOnce(&mut ActionDefinition)) -> Registry {
    let mut actions = actions();
    change(actions.iter_mut().find(|it| it.name == name).unwrap());
    Registry::new("db", operator_plugin_api::ActionList { actions })
}

fn drain_in(registry: &Registry) -> ValidPlan {
    let steps = plan(&[("drain", json!({"node": "a"}))]);
    registry.prove(&steps).unwrap()
}

#[test]
fn the_risk_of_an_inverse_counts_when_it_runs_unasked() {
    let mut rules = ActionRules {
        approve: operator_model::Approve::From(Risk::High),
        ..ActionRules::default()
    };
    assert!(!needs_a_person(&drain_in(&registry()), &rules));
    let risky = drain_in(&changed("undrain", |it| it.risk = Risk::High));
    assert!(needs_a_person(&risky, &rules));
    rules.undo = false;
    assert!(!needs_a_person(&risky, &rules), "a person is asked later");
}

#[test]
fn what_undoes_a_plan_runs_unasked_only_if_it_was_seen_or_needs_no_person() {
    let scene = Scene::new(&[("drain", json!({"node": "a"}))]);
    let by_person = scene.proposal.approval.clone().unwrap();
    let by_rule = Approval {
        by_rule: true,
        ..by_person.clone()
    };
    let before = Approval {
        definitions: Vec::new(),
        ..by_person.clone()
    };
    let strict = &scene.rules;
    let lenient = ActionRules {
        approve: operator_model::Approve::From(Risk::High),
        ..strict.clone()
    };
    let may = |registry: &Registry, approval: &Approval, rules: &ActionRules| {
        let undo = plan(&[("undrain", json!({"node": "a"}))]);
        let undo = registry.prove(&undo).unwrap();
        may_undo(&undo, &drain_in(registry), Some(approval), rules)
    };
    let same = registry();
    assert!(may(&same, &by_person, strict));
    assert!(!may(&same, &by_rule, strict) && !may(&same, &before, strict));
    assert!(may(&same, &by_rule, &lenient) && may(&same, &before, &lenient));
    let risky = changed("undrain", |it| it.risk = Risk::High);
    for approval in [&by_person, &by_rule, &before] {
        assert!(!may(&risky, approval, &lenient));
    }
    let other = changed("drain", |it| it.description.push('!'));
    assert!(!may(&other, &by_person, strict));
    let never = ActionRules {
        undo: false,
        ..lenient
    };
    assert!(!may(&same, &by_person, &never));
}

#[test]
fn an_approval_lapses_with_what_was_approved_and_says_what_changed() {
    let mut scene = Scene::new(&[("drain", json!({"node": "a"}))]);
    let says = |scene: &Scene| {
        let (refusal, _) = permit(&scene.plan, scene.case()).unwrap_err();
        assert_eq!(
            (refusal.rule, refusal.consequence),
            (Rule::Approval, Consequence::Lapse)
        );
        refusal.reason
    };
    let raised = changed("drain", |it| it.risk = Risk::High);
    scene.plan = Arc::new(drain_in(&raised));
    assert_eq!(
        says(&scene),
        r#"since ada approved it, risk of `drain` was "medium" and is "high""#
    );
    let of_inverse = changed("undrain", |it| it.description = "Wipes it.".to_owned());
    scene.plan = Arc::new(drain_in(&of_inverse));
    assert!(says(&scene).contains("description of `undrain`"));
    // As an earlier version recorded it.
    let approval = scene.proposal.approval.as_mut().unwrap();
    approval.definitions.clear();
    approval.digest = "0".repeat(64);
    assert!(says(&scene).contains("earlier version"));
}
