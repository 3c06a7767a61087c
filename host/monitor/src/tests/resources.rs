//! Invariants that are judged on resources of a kind, and the kinds of unknown.

use super::*;

/// `node_down` is declared on nodes.
fn on_nodes(grace_s: u64, keep_s: u64) -> World {
    let mut world = World::new(grace_s, keep_s);
    world.policies.get_mut("node_down").unwrap().on = Some("node".to_owned());
    world
}

fn node(name: &str) -> Resource {
    Resource::new("node", name)
}

#[test]
fn a_ticket_stays_until_its_resource_is_looked_at_again() {
    for vanished in [vec![], vec![node("b")], vec![Resource::new("key", "a")]] {
        let mut world = on_nodes(0, 0);
        world.resources = vec![node("a")];
        world.cycle(0, &broken());
        world.resources = vanished;
        world.cycle(3600, &whole());
        assert_eq!(world.state(), TicketState::Open, "{:?}", world.resources);
        world.resources = vec![node("a")];
        world.cycle(1, &whole());
        assert_eq!(world.state(), TicketState::Resolved);
    }
}

#[test]
fn the_time_in_which_nobody_looked_is_not_time_in_which_it_held() {
    let mut world = on_nodes(0, 60);
    world.resources = vec![node("a")];
    world.cycle(0, &broken()).cycle(1, &whole());
    world.resources.clear();
    world.cycle(50, &whole());
    world.resources = vec![node("a")];
    world.cycle(50, &whole()).cycle(59, &whole());
    assert_eq!(world.state(), TicketState::Recovering);
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn an_invariant_that_is_declared_on_nothing_needs_no_list() {
    let mut world = World::new(0, 0);
    world.cycle(0, &broken()).cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
}

#[test]
fn what_nobody_looked_at_is_unknown_and_a_person_learns_of_it() {
    let mut world = on_nodes(0, 0);
    world.cycle(0, &broken());
    world.cycle(1, &whole()).cycle(300, &whole());
    let warning = TicketKey::new(INVARIANT_UNKNOWN, Some("node_down"));
    let ticket = world.tickets.iter().find(|ticket| ticket.key == warning);
    let ticket = ticket.expect("a warning");
    assert_eq!(ticket.state, TicketState::Open);
    assert_eq!(
        ticket.message,
        "a: the node has a ticket, and the observation does not mention it: nobody looked"
    );
    let tally = tally(&world.verdicts(&whole()), &world.policies);
    assert_eq!((tally.holding, tally.unknown), (0, 1));
}

#[test]
fn a_ticket_on_what_is_gone_resolves_and_says_why() {
    let mut world = on_nodes(0, 60);
    world.resources = vec![node("a")];
    world.cycle(0, &broken());
    world.resources = vec![node("a").gone("it left at 12:03")];
    let changes = world.changes(&whole());
    let [TicketChange::Put { ticket, events }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!(ticket.state, TicketState::Resolved);
    assert_eq!(events[0].note, "the node is gone: it left at 12:03");
}

#[test]
fn what_is_reported_broken_is_broken_although_it_is_listed_as_gone() {
    let mut world = on_nodes(0, 0);
    world.resources = vec![node("a").gone("it left")];
    world.cycle(0, &broken()).cycle(60, &broken());
    assert_eq!(world.state(), TicketState::Open);
    world.cycle(60, &unknown(Some("a")));
    assert_eq!(world.state(), TicketState::Open);
}

#[test]
fn of_two_entries_of_one_resource_the_one_that_is_there_counts() {
    for resources in [
        vec![node("a"), node("a").gone("it left")],
        vec![node("a").gone("it left"), node("a")],
    ] {
        let mut world = on_nodes(0, 60);
        world.cycle(0, &broken());
        world.resources = resources;
        world.cycle(1, &whole());
        assert_eq!(world.state(), TicketState::Recovering);
    }
}

/// Longer names are cut in tickets, and in lists as well.
#[test]
fn a_long_name_is_found_in_the_list() {
    let name = "k".repeat(5_000);
    let mut world = on_nodes(0, 0);
    world.resources = vec![node(&name)];
    world.cycle(0, &report(vec![violation(&name)]));
    world.cycle(1, &whole());
    assert_eq!(world.state(), TicketState::Resolved);
}

fn quiet(make: fn(Unknown) -> Unknown) -> CycleOutcome {
    CycleOutcome::Judged(CheckReport {
        violations: vec![],
        unknown: vec![make(Unknown::new("node_down", "it has no registry"))],
    })
}

#[test]
fn what_nobody_is_to_find_out_warns_nobody_and_resolves_nothing() {
    for make in [Unknown::not_supported, Unknown::not_applicable] {
        let mut world = World::new(0, 0);
        world.cycle(0, &quiet(make)).cycle(3600, &quiet(make));
        assert_eq!(world.tickets, []);
        world.cycle(1, &broken()).cycle(3600, &quiet(make));
        assert_eq!(world.state(), TicketState::Open);
    }
}

#[test]
fn the_tally_tells_the_kinds_of_unknown_apart() {
    let world = World::new(0, 0);
    let shown = |outcome| tally(&world.verdicts(&outcome), &world.policies).to_string();
    assert_eq!(
        shown(quiet(Unknown::not_supported)),
        "0 hold, 0 violated, 0 unknown, 1 not supported"
    );
    assert_eq!(
        shown(quiet(Unknown::not_applicable)),
        "0 hold, 0 violated, 0 unknown, 1 not applicable"
    );
    let mut both = CheckReport::default();
    let missing = Unknown::new("node_down", "no answer");
    both.unknown = vec![missing.clone().not_supported(), missing];
    assert_eq!(
        shown(CycleOutcome::Judged(both)),
        "0 hold, 0 violated, 1 unknown"
    );
}

#[test]
fn nothing_that_is_known_to_hold_is_not_healthy() {
    let healthy = |tally: Tally| tally.is_healthy();
    let none = Tally::default();
    assert!(healthy(none));
    assert!(healthy(Tally {
        holding: 1,
        not_supported: 2,
        ..none
    }));
    assert!(!healthy(Tally {
        not_supported: 2,
        ..none
    }));
    assert!(!healthy(Tally {
        holding: 1,
        unknown: 1,
        ..none
    }));
}

/// What a cycle says of two nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Holds,
    Broken,
    Unknown,
    Unlisted,
    Gone,
}

fn any_word() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => Just(Said::Holds),
        4 => Just(Said::Broken),
        1 => Just(Said::Unknown),
        2 => Just(Said::Unlisted),
        1 => Just(Said::Gone),
    ]
}

fn said(world: &mut World, words: [Said; 2]) -> CycleOutcome {
    let mut report = CheckReport::default();
    world.resources.clear();
    for (name, word) in ["a", "b"].into_iter().zip(words) {
        match word {
            Said::Broken => report.violations.push(violation(name)),
            Said::Unknown => {
                let unknown = Unknown::new("node_down", "no answer").resource(name);
                report.unknown.push(unknown);
            }
            _ => {}
        }
        match word {
            Said::Unlisted => {}
            Said::Gone => world.resources.push(node(name).gone("it left")),
            _ => world.resources.push(node(name)),
        }
    }
    CycleOutcome::Judged(report)
}

proptest! {
    #[test]
    fn no_ticket_resolves_in_a_cycle_in_which_its_resource_was_not_judged(
        grace in 0_u64..40,
        keep in 0_u64..40,
        cycles in proptest::collection::vec((1_u64..400, any_word(), any_word()), 1..60),
    ) {
        let mut world = on_nodes(grace, keep);
        for (after, a, b) in cycles {
            let before = world.tickets.clone();
            let outcome = said(&mut world, [a, b]);
            world.cycle(after, &outcome);
            for (name, word) in [("a", a), ("b", b)] {
                let key = TicketKey::new("node_down", Some(name));
                let is_live = |tickets: &[Ticket]| tickets.iter().any(|t| t.key == key && t.is_live());
                let is_over = is_live(&before) && !is_live(&world.tickets);
                let was_judged = matches!(word, Said::Holds | Said::Gone);
                prop_assert!(was_judged || !is_over, "{key} ended although it was {word:?}");
            }
        }
    }
}
