//! What is told and kept while the store fails, as a law over random histories.

use std::{collections::BTreeMap, time::Duration};

use operator_model::TicketKey;
use operator_plugin_api::Severity;
use proptest::prelude::*;

use super::*;
use crate::{Finding, Policy, Rules, Verdicts, reconcile};

const REOPEN: Duration = Duration::from_mins(15);
const INVARIANT: &str = "node_down";

/// What goes wrong with the store in a cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    CannotBeRead,
    CannotBeWritten,
    /// All is written, and then the connection breaks.
    WrittenAndLost,
}

/// What a person does to the first live ticket before a cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Person {
    Nothing,
    Acknowledges,
    Holds,
    Resolves,
}

#[derive(Debug, Clone)]
struct Step {
    after_s: u64,
    broken: Vec<bool>,
    is_known: bool,
    fault: Fault,
    person: Person,
}

fn step(person: impl Strategy<Value = Person>) -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::CannotBeRead),
        Just(Fault::CannotBeWritten),
        Just(Fault::WrittenAndLost),
    ];
    let broken = proptest::collection::vec(any::<bool>(), 2);
    (1_u64..40, broken, prop::bool::weighted(0.9), fault, person).prop_map(
        |(after_s, broken, is_known, fault, person)| Step {
            after_s,
            broken,
            is_known,
            fault,
            person,
        },
    )
}

/// A store in memory, by the rules of the real one.
#[derive(Default)]
struct Kept {
    revision: i64,
    tickets: BTreeMap<TicketId, (Ticket, Vec<TicketEvent>)>,
    last: i64,
}

impl Kept {
    fn state(&self, since: Timestamp) -> SubjectState {
        let tickets = self.tickets.values().map(|(ticket, _)| ticket.clone());
        let is_wanted = |ticket: &Ticket| ticket.is_live() || ticket.resolved_at >= Some(since);
        SubjectState {
            revision: self.revision,
            tickets: tickets.filter(is_wanted).collect(),
            unsettled: Vec::new(),
        }
    }

    /// The tickets as they were written.
    fn apply(&mut self, revision: Option<i64>, changes: &[TicketChange]) -> Vec<Ticket> {
        assert_eq!(revision, Some(self.revision), "others were faster");
        self.revision += 1;
        let written = changes.iter().filter_map(|change| match change {
            TicketChange::Drop(id) => {
                assert!(self.tickets.remove(id).is_some(), "it is not there");
                None
            }
            TicketChange::Put { ticket, events } => {
                let mut ticket = ticket.as_ref().clone();
                if ticket.id == TicketId(0) {
                    self.last += 1;
                    ticket.id = TicketId(self.last);
                }
                let (_, story) = self
                    .tickets
                    .entry(ticket.id)
                    .or_insert((ticket.clone(), Vec::new()));
                story.extend(events.iter().cloned());
                let story = story.clone();
                self.tickets.insert(ticket.id, (ticket.clone(), story));
                Some(ticket)
            }
        });
        let written = written.collect();
        let live = || self.tickets.values().filter(|(ticket, _)| ticket.is_live());
        let keys: std::collections::BTreeSet<_> = live().map(|(ticket, _)| &ticket.key).collect();
        assert_eq!(keys.len(), live().count(), "two live tickets have one key");
        written
    }

    fn person(&mut self, what: Person, now: Timestamp) -> Option<TicketKey> {
        let mut open = self.tickets.values_mut().map(|(ticket, _)| ticket);
        let ticket = open
            .find(|ticket| matches!(ticket.state, TicketState::Open | TicketState::Recovering))?;
        let mark = Mark {
            by: "ada".into(),
            at: now,
            note: String::new(),
        };
        match what {
            Person::Nothing => return None,
            Person::Acknowledges => ticket.acknowledged = Some(mark),
            Person::Holds => ticket.held = Some(mark),
            Person::Resolves => {
                ticket.state = TicketState::Resolved;
                ticket.resolved_at = Some(now);
                ticket.held = None;
                ticket.flapping = false;
            }
        }
        self.revision += 1;
        (what == Person::Resolves).then(|| ticket.key.clone())
    }

    /// What is kept of each key, in order, but for what is not announced.
    fn stories(&self) -> BTreeMap<String, Vec<TicketEvent>> {
        let mut stories: BTreeMap<String, Vec<TicketEvent>> = BTreeMap::new();
        for (ticket, events) in self.tickets.values() {
            let told = events.iter().filter(|event| event.kind != EventKind::Seen);
            let story = stories.entry(ticket.key.to_string()).or_default();
            story.extend(told.cloned());
        }
        stories.retain(|_, story| !story.is_empty());
        stories
    }
}

/// One subject over a history: what was told of it, and what a person resolved (without an event).
#[derive(Default)]
struct World {
    kept: Kept,
    ledger: Ledger,
    told: Vec<(String, Option<TicketEvent>)>,
    now: i64,
}

impl World {
    fn run(steps: &[Step], fails: bool) -> Self {
        let mut world = Self {
            now: 1_000_000_000,
            ..Self::default()
        };
        for step in steps {
            world.cycle(step, if fails { step.fault } else { Fault::None });
        }
        if let Some(last) = steps.last() {
            // At last the store works.
            let last = Step {
                person: Person::Nothing,
                after_s: 1,
                ..last.clone()
            };
            world.cycle(&last, Fault::None);
        }
        world
    }

    fn cycle(&mut self, step: &Step, fault: Fault) {
        self.now += i64::try_from(step.after_s).unwrap() * 1000;
        let now = Timestamp(self.now);
        if let Some(key) = self.kept.person(step.person, now) {
            self.told.push((key.to_string(), None));
        }
        if fault != Fault::CannotBeRead {
            if self.ledger.is_of(self.kept.revision) {
                self.ledger.confirm();
            } else {
                self.ledger.adopt(self.kept.state(now.minus(REOPEN)));
            }
        }
        let (policies, verdicts) = (policies(), verdicts(step));
        let rules = Rules {
            subject: "db",
            policies: &policies,
            reopen_within: REOPEN,
        };
        let changes = reconcile(self.ledger.tickets(), &verdicts, rules, now);
        if changes.is_empty() && (fault == Fault::CannotBeRead || self.ledger.is_written()) {
            return;
        }
        let next = self.ledger.with(&changes);
        let (ledger, told) = match fault {
            Fault::CannotBeRead => next.kept_back(false),
            Fault::CannotBeWritten => next.kept_back(true),
            Fault::WrittenAndLost => {
                self.kept.apply(next.revision(), &next.changes());
                next.kept_back(true)
            }
            Fault::None => {
                let written = self.kept.apply(next.revision(), &next.changes());
                let (ledger, told, _) = next.written(self.kept.revision, &written);
                (ledger, told)
            }
        };
        self.ledger = ledger;
        for (ticket, events) in told {
            let events = events
                .into_iter()
                .map(|event| (ticket.key.to_string(), Some(event)));
            self.told.extend(events);
        }
    }

    /// What was told of each key, in order, but for what is not announced.
    fn stories(&self) -> BTreeMap<String, Vec<TicketEvent>> {
        let mut stories: BTreeMap<String, Vec<TicketEvent>> = BTreeMap::new();
        for (key, event) in &self.told {
            if let Some(event) = event.as_ref().filter(|event| event.kind != EventKind::Seen) {
                stories.entry(key.clone()).or_default().push(event.clone());
            }
        }
        stories
    }
}

fn policies() -> BTreeMap<String, Policy> {
    let policy = Policy {
        severity: Severity::Critical,
        severity_overridden: false,
        grace_period: Duration::from_secs(20),
        keep_firing_for: Duration::from_secs(20),
        enabled: true,
        on: None,
    };
    BTreeMap::from([(INVARIANT.to_owned(), policy)])
}

fn verdicts(step: &Step) -> Verdicts {
    let mut verdicts = Verdicts::default();
    if step.is_known {
        verdicts.judged.insert(INVARIANT.to_owned());
        for (node, _) in step
            .broken
            .iter()
            .enumerate()
            .filter(|(_, broken)| **broken)
        {
            let finding = Finding {
                severity: Severity::Critical,
                message: "does not answer".into(),
                evidence: serde_json::Value::Null,
            };
            let key = TicketKey::new(INVARIANT, Some(&format!("node-{node}")));
            verdicts.findings.insert(key, finding);
        }
    }
    verdicts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever fails: each transition is told in the cycle in which it happens, once, and is kept in the end.
    #[test]
    fn no_failure_of_the_store_makes_a_transition_untold_or_told_twice(
        steps in proptest::collection::vec(step(Just(Person::Nothing)), 1..40),
    ) {
        let failing = World::run(&steps, true);
        let sound = World::run(&steps, false);
        prop_assert_eq!(&failing.told, &sound.told);
        prop_assert_eq!(failing.kept.stories(), failing.stories());
    }

    /// Nor while people decide about the same tickets.
    #[test]
    fn openings_and_ends_alternate_whatever_fails_and_whoever_decides(
        steps in proptest::collection::vec(
            step(prop_oneof![
                6 => Just(Person::Nothing),
                1 => Just(Person::Acknowledges),
                1 => Just(Person::Holds),
                1 => Just(Person::Resolves),
            ]),
            1..40,
        ),
    ) {
        let world = World::run(&steps, true);
        let mut open: BTreeMap<&str, bool> = BTreeMap::new();
        for (key, event) in &world.told {
            let is_open = open.entry(key).or_default();
            match event.as_ref().map(|event| event.kind) {
                Some(EventKind::Opened | EventKind::Reopened) => {
                    prop_assert!(!*is_open, "told twice: {:?}", world.told);
                    *is_open = true;
                }
                Some(EventKind::Resolved) | None => *is_open = false,
                _ => {}
            }
        }
    }
}

fn opened(node: &str) -> (Ledger, Ticket) {
    let step = Step {
        after_s: 30,
        broken: vec![true],
        is_known: true,
        fault: Fault::CannotBeRead,
        person: Person::Nothing,
    };
    let mut world = World::default();
    world.cycle(&step, Fault::CannotBeRead);
    world.cycle(&step, Fault::CannotBeRead);
    let ticket = world.ledger.tickets()[0].clone();
    assert_eq!(ticket.key.resource.as_deref(), Some(node));
    (world.ledger, ticket)
}

#[test]
fn a_new_ticket_has_no_number_until_it_is_kept_and_is_then_named_once() {
    let (ledger, ticket) = opened("node-0");
    assert_eq!(ticket.state, TicketState::Open);
    let mut ledger = ledger;
    ledger.adopt(SubjectState {
        revision: 7,
        tickets: Vec::new(),
        unsettled: Vec::new(),
    });
    let next = ledger.with(&[]);
    let changes = next.changes();
    assert!(
        matches!(&changes[..], [TicketChange::Put { ticket, .. }] if ticket.id == TicketId(0)),
        "{changes:?}"
    );
    let written = Ticket {
        id: TicketId(3),
        ..ticket
    };
    let (ledger, told, caught_up) = next.written(8, std::slice::from_ref(&written));
    assert_eq!((told, caught_up), (Vec::new(), vec![written.clone()]));
    assert_eq!(ledger.tickets(), [written]);
    assert!(ledger.is_written() && ledger.is_of(8));
}
