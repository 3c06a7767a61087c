//! Subjects with more violations than tickets.

use std::time::Duration;

use operator_config::SubjectConfig;
use operator_model::{TicketChange, TicketId, Timestamp};
use operator_plugin_api::{Descriptor, Invariant};

use super::*;
use crate::{Rules, policies, reconcile};

/// Runs cycles in which these resources are broken, and returns the tickets after the last one.
fn tickets_after(cycles: impl Iterator<Item = Vec<(String, Severity)>>) -> Vec<Ticket> {
    let descriptor = Descriptor {
        subject: "db".into(),
        description: "A database.".into(),
        config_schema: Value::Null,
        observation_schema: Value::Null,
        invariants: vec![Invariant::new("node_down", Severity::Warning, "It is up.")],
        slos: Vec::new(),
    };
    let policies = policies(Some(&descriptor), &SubjectConfig::new("db", "db"));
    let rules = Rules {
        subject: "db",
        policies: &policies,
        reopen_within: Duration::from_mins(15),
    };
    let mut tickets: Vec<Ticket> = Vec::new();
    let mut now = Timestamp(1_000_000_000);
    for broken in cycles {
        now = now.plus(Duration::from_secs(1));
        let findings = broken.into_iter().map(|(resource, severity)| {
            let finding = Finding {
                severity,
                message: "down".into(),
                evidence: Value::Null,
            };
            (TicketKey::new("node_down", Some(&resource)), finding)
        });
        let verdicts = Verdicts {
            findings: findings.collect(),
            judged: policies.keys().cloned().collect(),
            is_whole: true,
            ..Verdicts::default()
        };
        let verdicts = limited(&verdicts, &tickets);
        for change in reconcile(&tickets, &verdicts, rules, now) {
            if let TicketChange::Put { mut ticket, .. } = change {
                if ticket.id == TicketId(0) {
                    ticket.id = TicketId(i64::try_from(tickets.len()).unwrap() + 1);
                }
                tickets.retain(|known| known.id != ticket.id);
                tickets.push(*ticket);
            }
        }
    }
    tickets
}

fn warnings(names: impl Iterator<Item = usize>) -> Vec<(String, Severity)> {
    names
        .map(|n| (format!("node-{n:06}"), Severity::Warning))
        .collect()
}

fn live(tickets: &[Ticket], invariant: &str) -> usize {
    let of_it = tickets
        .iter()
        .filter(|ticket| ticket.is_live() && ticket.key.invariant == invariant);
    of_it.count()
}

#[test]
fn what_has_no_room_gets_one_ticket_for_all_of_it_until_there_is_room() {
    let mut broken = warnings(0..5_000);
    broken.push(("node-999999".to_owned(), Severity::Critical));
    let tickets = tickets_after([broken.clone(), broken.clone()].into_iter());
    assert_eq!(live(&tickets, "node_down"), MOST_LIVE);
    let worst = |ticket: &Ticket| ticket.key.resource.as_deref() == Some("node-999999");
    assert!(tickets.iter().any(worst), "the worst one has a ticket");
    let told = tickets
        .iter()
        .find(|ticket| ticket.key.invariant == TOO_MANY_VIOLATIONS)
        .expect("a ticket that says so");
    assert!(
        told.message
            .starts_with("4501 violations have no ticket, such as node_down node-000499"),
        "{}",
        told.message
    );
    let few = warnings(0..3);
    let tickets = tickets_after([broken, few.clone(), few].into_iter());
    assert_eq!(live(&tickets, "node_down"), 3);
    assert_eq!(live(&tickets, TOO_MANY_VIOLATIONS), 0);
}

#[test]
fn as_many_as_there_is_room_for_have_their_tickets_and_nothing_else_does() {
    let tickets = tickets_after([warnings(0..MOST_LIVE), warnings(0..MOST_LIVE)].into_iter());
    assert_eq!(tickets.len(), MOST_LIVE);
}

#[test]
fn resources_that_are_new_in_every_cycle_are_bounded_over_time() {
    let cycles = (0..40).map(|cycle| warnings(cycle * 300..(cycle + 1) * 300));
    let tickets = tickets_after(cycles);
    assert!(tickets.len() <= MOST_KNOWN + 1, "{}", tickets.len());
    assert_eq!(live(&tickets, TOO_MANY_VIOLATIONS), 1);
}
