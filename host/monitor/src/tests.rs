//! The life of tickets, as examples and as properties.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use operator_model::{
    EventKind, Mark, Ticket, TicketChange, TicketId, TicketKey, TicketState, Timestamp,
};
use operator_plugin_api::{CheckReport, Resource, Severity, Unknown, Violation};
use proptest::prelude::*;

use super::*;

mod clock;
mod resources;

const REOPEN: Duration = Duration::from_mins(15);

/// A subject's tickets and a clock.
struct World {
    tickets: Vec<Ticket>,
    policies: BTreeMap<String, Policy>,
    /// What each observation lists.
    resources: Vec<Resource>,
    now: Timestamp,
    events: Vec<EventKind>,
}

impl World {
    fn new(grace_s: u64, keep_s: u64) -> Self {
        let policy = Policy {
            severity: Severity::Critical,
            severity_overridden: false,
            grace_period: Duration::from_secs(grace_s),
            keep_firing_for: Duration::from_secs(keep_s),
            on: None,
            enabled: true,
        };
        let own = OWN.map(|(name, severity, _)| {
            let policy = Policy {
                severity,
                grace_period: Duration::from_mins(5),
                keep_firing_for: Duration::ZERO,
                ..policy.clone()
            };
            (name.to_owned(), policy)
        });
        Self {
            tickets: Vec::new(),
            policies: own
                .into_iter()
                .chain([("node_down".to_owned(), policy)])
                .collect(),
            resources: Vec::new(),
            now: Timestamp(1_000_000_000),
            events: Vec::new(),
        }
    }

    fn changes(&self, outcome: &CycleOutcome) -> Vec<TicketChange> {
        let rules = Rules {
            subject: "db",
            policies: &self.policies,
            reopen_within: REOPEN,
        };
        let verdicts = self.verdicts(outcome);
        reconcile(&self.tickets, &verdicts, rules, self.now)
    }

    fn verdicts(&self, outcome: &CycleOutcome) -> Verdicts {
        let seen = Seen {
            resources: &self.resources,
            tickets: &self.tickets,
        };
        verdicts(outcome, seen, &self.policies)
    }

    /// One cycle, this many seconds after the last one.
    fn cycle(&mut self, after_s: u64, outcome: &CycleOutcome) -> &mut Self {
        self.now = self.now.plus(Duration::from_secs(after_s));
        self.events.clear();
        for change in self.changes(outcome) {
            match change {
                TicketChange::Drop(id) => self.tickets.retain(|ticket| ticket.id != id),
                TicketChange::Put { mut ticket, events } => {
                    self.events.extend(events.iter().map(|event| event.kind));
                    if ticket.id == TicketId(0) {
                        let highest = self.tickets.iter().map(|t| t.id.0).max().unwrap_or(0);
                        ticket.id = TicketId(highest + 1);
                    }
                    self.tickets.retain(|known| known.id != ticket.id);
                    self.tickets.push(*ticket);
                }
            }
        }
        self
    }

    fn ticket(&self) -> &Ticket {
        self.tickets
            .iter()
            .find(|ticket| ticket.key.invariant == "node_down")
            .expect("a ticket for node_down")
    }

    fn state(&self) -> TicketState {
        self.ticket().state
    }
}

fn broken() -> CycleOutcome {
    CycleOutcome::Judged(CheckReport {
        violations: vec![violation("a")],
        unknown: vec![],
    })
}

fn violation(resource: &str) -> Violation {
    Violation {
        invariant: "node_down".into(),
        resource: Some(resource.into()),
        severity: None,
        message: format!("{resource} does not answer"),
        evidence: serde_json::Value::Null,
    }
}

fn whole() -> CycleOutcome {
    CycleOutcome::Judged(CheckReport::default())
}

fn unknown(resource: Option<&str>) -> CycleOutcome {
    let mut unknown = Unknown::new("node_down", "the registry did not answer");
    unknown.resource = resource.map(Into::into);
    CycleOutcome::Judged(CheckReport {
        violations: vec![],
        unknown: vec![unknown],
    })
}

fn unobservable() -> CycleOutcome {
    CycleOutcome::Unobservable("nothing answered".into())
}

fn failing() -> CycleOutcome {
    CycleOutcome::PluginFailing("it died".into())
}

#[test]
fn without_a_grace_period_a_ticket_opens_and_resolves_at_once() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    assert_eq!(world.state(), TicketState::Open);
    assert_eq!(world.events, [EventKind::Seen, EventKind::Opened]);
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
    assert_eq!(world.events, [EventKind::Resolved]);
}

#[test]
fn a_ticket_opens_when_its_grace_period_is_over_and_not_before() {
    let mut world = World::new(30, 0);
    world.cycle(0, &broken()).cycle(29, &broken());
    assert_eq!(world.state(), TicketState::Pending);
    world.cycle(1, &broken());
    assert_eq!(world.state(), TicketState::Open);
}

#[test]
fn a_violation_that_goes_away_within_its_grace_period_leaves_nothing() {
    let mut world = World::new(30, 0);
    world.cycle(0, &broken()).cycle(10, &whole());
    assert!(world.tickets.is_empty());
}

#[test]
fn a_ticket_recovers_for_as_long_as_it_is_kept_firing() {
    let mut world = World::new(0, 60);
    world.cycle(0, &broken()).cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    world.cycle(59, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn a_relapse_makes_a_recovering_ticket_open_without_a_new_grace_period() {
    let mut world = World::new(30, 60);
    world.cycle(0, &broken()).cycle(30, &broken());
    world.cycle(1, &whole()).cycle(1, &broken());
    assert_eq!(world.state(), TicketState::Open);
    assert_eq!(world.events, [EventKind::Relapsed]);
    assert_eq!(world.ticket().occurrences, 1);
}

#[test]
fn time_in_which_nothing_is_known_is_not_time_in_which_it_held() {
    let mut world = World::new(0, 60);
    world.cycle(0, &broken()).cycle(1, &whole());
    world.cycle(50, &unknown(None)).cycle(20, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    world.cycle(59, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn nothing_resolves_while_nothing_is_known() {
    for outcome in [unknown(None), unknown(Some("a")), unobservable(), failing()] {
        let mut world = World::new(0, 0);
        world.cycle(0, &broken()).cycle(3600, &outcome);
        assert_eq!(world.state(), TicketState::Open, "{outcome:?}");
    }
}

#[test]
fn what_is_unknown_of_one_resource_says_nothing_of_another() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken()).cycle(1, &unknown(Some("b")));
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn an_invariant_that_stays_unknown_becomes_a_ticket_of_the_host() {
    let mut world = World::new(0, 0);
    world.cycle(0, &unknown(Some("a")));
    world.cycle(299, &unknown(Some("a")));
    assert_eq!(world.tickets[0].state, TicketState::Pending);
    world.cycle(1, &unknown(Some("a")));
    assert_eq!(world.tickets[0].state, TicketState::Open);
    assert_eq!(
        world.tickets[0].key,
        TicketKey::new(INVARIANT_UNKNOWN, Some("node_down"))
    );
    world.cycle(1, &whole());
    assert_eq!(world.tickets[0].state, TicketState::Resolved);
}

#[test]
fn a_plugin_that_fails_says_nothing_of_whether_the_subject_can_be_observed() {
    let mut world = World::new(0, 0);
    world.cycle(0, &unobservable()).cycle(300, &unobservable());
    world.cycle(1, &failing());
    let of = |name: &str| {
        world
            .tickets
            .iter()
            .find(|t| t.key.invariant == name)
            .unwrap()
    };
    assert_eq!(of(UNOBSERVABLE).state, TicketState::Open);
    assert_eq!(of(PLUGIN_FAILING).state, TicketState::Pending);
}

#[test]
fn a_fault_that_returns_soon_reopens_its_ticket_and_counts() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken()).cycle(1, &whole());
    let first_seen = world.ticket().first_seen;
    world.cycle(REOPEN.as_secs(), &broken());
    assert_eq!(world.tickets.len(), 1);
    assert_eq!(world.events, [EventKind::Seen, EventKind::Reopened]);
    assert_eq!(world.ticket().occurrences, 2);
    assert_eq!(world.ticket().first_seen, first_seen);
}

#[test]
fn a_fault_that_returns_late_is_a_new_ticket() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken()).cycle(1, &whole());
    world.cycle(REOPEN.as_secs() + 1, &broken());
    assert_eq!(world.tickets.len(), 2);
}

#[test]
fn a_return_within_its_grace_period_leaves_the_ticket_resolved_when_it_was() {
    let mut world = World::new(30, 0);
    world
        .cycle(0, &broken())
        .cycle(30, &broken())
        .cycle(1, &whole());
    let resolved_at = world.ticket().resolved_at;
    world.cycle(10, &broken());
    assert_eq!(world.state(), TicketState::Pending);
    world.cycle(10, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
    assert_eq!(world.ticket().resolved_at, resolved_at);
    assert_eq!(world.ticket().occurrences, 1);
}

#[test]
fn a_held_ticket_never_resolves_on_its_own() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    let mark = Mark {
        by: "ada".into(),
        at: world.now,
        note: String::new(),
    };
    world.tickets[0].held = Some(mark);
    world.cycle(1, &whole()).cycle(3600, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    world.tickets[0].held = None;
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn a_ticket_that_comes_and_goes_flaps_and_resolves_once_it_is_calm() {
    let mut world = World::new(0, 0);
    for _ in 0..5 {
        world.cycle(10, &broken()).cycle(10, &whole());
    }
    assert!(world.ticket().flapping);
    assert_eq!(world.state(), TicketState::Recovering);
    assert_eq!(world.ticket().occurrences, 5);
    world.cycle(299, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
    assert_eq!(
        world.events,
        [EventKind::FlappingStopped, EventKind::Resolved]
    );
}

#[test]
fn a_disabled_invariant_opens_nothing_and_keeps_nothing() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    world.policies.get_mut("node_down").unwrap().enabled = false;
    world.cycle(1, &broken());
    assert_eq!(world.state(), TicketState::Resolved);
    world.cycle(1, &broken());
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn a_standing_violation_is_written_again_only_when_its_numbers_are_old() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    world.now = world
        .now
        .plus(REFRESH.saturating_sub(Duration::from_millis(1)));
    assert!(world.changes(&broken()).is_empty());
    world.now = world.now.plus(Duration::from_millis(1));
    assert_eq!(world.changes(&broken()).len(), 1);
}

#[test]
fn a_changed_severity_is_reported() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    let milder = Violation {
        severity: Some(Severity::Info),
        ..violation("a")
    };
    world.cycle(
        1,
        &CycleOutcome::Judged(CheckReport {
            violations: vec![milder],
            unknown: vec![],
        }),
    );
    assert_eq!(world.events, [EventKind::SeverityChanged]);
    assert_eq!(world.ticket().severity, Severity::Info);
}

fn report(violations: Vec<Violation>) -> CycleOutcome {
    CycleOutcome::Judged(CheckReport {
        violations,
        unknown: vec![],
    })
}

#[test]
fn what_a_plugin_does_not_declare_is_its_own_failure_and_hides_nothing_else() {
    for name in ["", "undeclared", PLUGIN_FAILING] {
        let mut world = World::new(0, 0);
        world.policies.get_mut(PLUGIN_FAILING).unwrap().grace_period = Duration::ZERO;
        let undeclared = Violation {
            invariant: name.into(),
            ..violation("a")
        };
        world.cycle(0, &report(vec![undeclared, violation("a")]));
        assert_eq!(world.state(), TicketState::Open);
        let blamed = world
            .tickets
            .iter()
            .find(|t| t.key.invariant == PLUGIN_FAILING);
        assert!(blamed.is_some_and(|ticket| ticket.message.contains("defect of the plugin")));
        world.cycle(1, &whole());
        assert!(
            world
                .tickets
                .iter()
                .all(|t| t.state == TicketState::Resolved)
        );
    }
}

#[test]
fn an_invariant_that_is_no_longer_declared_leaves_no_ticket_behind() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    world.policies.remove("node_down");
    world.cycle(1, &failing());
    assert_eq!(world.state(), TicketState::Open);
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn what_is_unknown_of_a_resource_is_unknown_of_the_whole() {
    let mut world = World::new(0, 0);
    let of_the_whole = Violation {
        resource: None,
        ..violation("a")
    };
    world
        .cycle(0, &report(vec![of_the_whole]))
        .cycle(1, &unknown(Some("a")));
    assert_eq!(world.state(), TicketState::Open);
}

#[test]
fn an_invariant_unknown_on_many_resources_is_one_ticket() {
    let mut world = World::new(0, 0);
    let many = CheckReport {
        violations: vec![],
        unknown: (0..120)
            .map(|n| Unknown::new("node_down", "no answer").resource(format!("n{n}")))
            .collect(),
    };
    world.cycle(0, &CycleOutcome::Judged(many));
    assert_eq!(world.tickets.len(), 1);
    assert_eq!(world.tickets[0].message, "n0 and 119 more: no answer");
}

/// A newer daemon on the same database may have invariants of its own that this one has never heard of.
#[test]
fn a_ticket_of_the_host_that_this_version_does_not_know_is_left_alone() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    world.tickets[0].key = TicketKey::new("operator.of_tomorrow", None);
    world.tickets[0].state = TicketState::Recovering;
    world.tickets[0].holding_since = Some(world.now);
    let before = world.tickets[0].clone();
    for outcome in [whole(), failing(), unobservable(), unknown(None)] {
        world.cycle(60, &outcome);
        let after = world.tickets.iter().find(|one| one.id == before.id);
        assert_eq!(after, Some(&before), "{outcome:?}");
    }
}

#[test]
fn a_held_ticket_outlives_its_invariant() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken());
    world.tickets[0].held = Some(Mark {
        by: "ada".into(),
        at: world.now,
        note: String::new(),
    });
    world.policies.get_mut("node_down").unwrap().enabled = false;
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Open);
}

#[test]
fn of_two_violations_of_one_key_the_worse_counts() {
    let milder = Violation {
        severity: Some(Severity::Info),
        ..violation("a")
    };
    for violations in [
        vec![milder.clone(), violation("a")],
        vec![violation("a"), milder],
    ] {
        let mut world = World::new(0, 0);
        world.cycle(0, &report(violations));
        assert_eq!(world.ticket().severity, Severity::Critical);
    }
}

#[test]
fn what_comes_from_the_subject_is_bounded_and_free_of_nul() {
    let mut world = World::new(0, 0);
    let endless = Violation {
        resource: Some("k\0".repeat(5_000)),
        message: "m\0".repeat(50_000),
        ..violation("a")
    };
    world.cycle(0, &report(vec![endless]));
    let ticket = world.ticket();
    assert!(ticket.message.chars().count() <= 2_001 && !ticket.message.contains('\0'));
    let resource = ticket.key.resource.clone().unwrap();
    assert!(resource.chars().count() <= 501 && !resource.contains('\0'));
}

#[test]
fn a_flapping_ticket_is_quiet() {
    let mut world = World::new(0, 0);
    for _ in 0..5 {
        world.cycle(10, &broken()).cycle(10, &whole());
    }
    assert!(world.ticket().flapping);
    world.cycle(10, &broken());
    assert_eq!(world.state(), TicketState::Open);
    assert_eq!(world.events, []);
    world.cycle(10, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    assert_eq!(world.events, []);
}

#[test]
fn a_tally_counts_every_invariant_once() {
    let world = World::new(0, 0);
    let count = |outcome: &CycleOutcome| {
        let tally = tally(&world.verdicts(outcome), &world.policies);
        (tally.holding, tally.violated, tally.unknown)
    };
    assert_eq!(count(&whole()), (1, 0, 0));
    assert_eq!(count(&broken()), (0, 1, 0));
    assert_eq!(count(&unknown(Some("a"))), (0, 0, 1));
    assert_eq!(count(&failing()), (0, 0, 1));
}

/// What a cycle may find of two resources.
fn any_outcome() -> impl Strategy<Value = CycleOutcome> {
    let of_resource = prop_oneof![Just("holds"), Just("broken"), Just("unknown")];
    let judged = (of_resource.clone(), of_resource).prop_map(|found| {
        let mut report = CheckReport::default();
        for (resource, what) in [("a", found.0), ("b", found.1)] {
            match what {
                "broken" => report.violations.push(violation(resource)),
                "unknown" => report
                    .unknown
                    .push(Unknown::new("node_down", "no answer").resource(resource)),
                _ => {}
            }
        }
        CycleOutcome::Judged(report)
    });
    prop_oneof![8 => judged, 1 => Just(unobservable()), 1 => Just(failing())]
}

proptest! {
    #[test]
    fn properties_of_reconciliation(
        grace in 0_u64..40,
        keep in 0_u64..40,
        cycles in proptest::collection::vec((1_u64..400, any_outcome()), 1..60),
    ) {
        let mut world = World::new(grace, keep);
        for (after, outcome) in cycles {
            let before = world.tickets.clone();
            world.cycle(after, &outcome);
            one_live_ticket_per_key(&world);
            unknown_changes_no_state(&world, &before, &outcome);
            grace_is_respected(&world, &before, grace);
            prop_assert!(world.changes(&outcome).is_empty(), "the same cycle again changes nothing");
        }
    }
}

fn one_live_ticket_per_key(world: &World) {
    let live: Vec<_> = world
        .tickets
        .iter()
        .filter(|t| t.is_live())
        .map(|t| &t.key)
        .collect();
    let distinct: BTreeSet<_> = live.iter().collect();
    assert_eq!(live.len(), distinct.len());
}

fn unknown_changes_no_state(world: &World, before: &[Ticket], outcome: &CycleOutcome) {
    let known = match outcome {
        CycleOutcome::Judged(report) => {
            let unknown: BTreeSet<_> = report.unknown.iter().map(|u| u.resource.clone()).collect();
            move |ticket: &&Ticket| !unknown.contains(&ticket.key.resource)
        }
        _ => return assert_plugin_tickets_stay(world, before),
    };
    let unknown_before = before
        .iter()
        .filter(|ticket| ticket.key.invariant == "node_down" && !known(ticket));
    for ticket in unknown_before {
        let after = world
            .tickets
            .iter()
            .find(|t| t.id == ticket.id)
            .expect("still there");
        assert_eq!(ticket.state, after.state);
    }
}

fn assert_plugin_tickets_stay(world: &World, before: &[Ticket]) {
    for ticket in before.iter().filter(|t| t.key.invariant == "node_down") {
        let after = world
            .tickets
            .iter()
            .find(|t| t.id == ticket.id)
            .expect("still there");
        assert_eq!(ticket.state, after.state);
    }
}

fn grace_is_respected(world: &World, before: &[Ticket], grace: u64) {
    let opened = world.tickets.iter().filter(|ticket| {
        let earlier = before.iter().find(|t| t.id == ticket.id);
        let was_pending = earlier.is_none_or(|t| t.state == TicketState::Pending);
        ticket.key.invariant == "node_down" && ticket.state == TicketState::Open && was_pending
    });
    for ticket in opened {
        assert!(ticket.violated_since.until(world.now) >= Duration::from_secs(grace));
    }
}
