//! Times of a subject that move with the clock, on a real `SQLite` file.

use std::time::Duration;

use operator_model::{
    Approval, EventKind, Mark, OPERATOR, OnFailure, Plan, Proof, Proposal, ProposalParts,
    ProposalState, Ticket, TicketChange, TicketEvent, TicketId, TicketKey, TicketState,
};
use operator_plugin_api::{Risk, Severity};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Applied, Draft, Evidence};

const YEARS: i64 = 10 * 365 * 24 * 3_600_000;
/// When the tests begin.
const START: i64 = 1_700_000_000_000;

fn clock(boot: &str, offset_ms: i64) -> MachineClock {
    MachineClock {
        boot: boot.to_owned(),
        offset_ms,
    }
}

async fn store(folder: &tempfile::TempDir) -> Store {
    let url = format!("sqlite:{}", folder.path().join("operator.db").display());
    Store::open(&url).await.expect("it opens")
}

fn ticket(at: [i64; 3]) -> Ticket {
    Ticket {
        id: TicketId(0),
        subject: "db".into(),
        key: TicketKey::new("node_down", None),
        severity: Severity::Critical,
        state: TicketState::Recovering,
        message: String::new(),
        evidence: json!(null),
        first_seen: Timestamp(at[0]),
        violated_since: Timestamp(at[0]),
        last_seen: Timestamp(at[1]),
        opened_at: Some(Timestamp(at[1])),
        holding_since: Some(Timestamp(at[2])),
        resolved_at: None,
        occurrences: 1,
        acknowledged: None,
        held: None,
        flapping: false,
        transitions: at.map(Timestamp).to_vec(),
    }
}

async fn write(store: &Store, ticket: Ticket) {
    let revision = store.revision("db").await.unwrap();
    let at = ticket.last_seen;
    let event = TicketEvent {
        at,
        kind: EventKind::Opened,
        actor: OPERATOR.into(),
        note: String::new(),
    };
    let change = TicketChange::Put {
        ticket: Box::new(ticket),
        events: vec![event],
    };
    let evidence = Evidence {
        at,
        document: b"{}",
        memory: Some("1"),
    };
    let applied = store.apply("db", revision, &[change], Some(evidence)).await;
    assert!(matches!(applied, Ok(Applied::Done { .. })), "{applied:?}");
}

async fn read(store: &Store) -> Ticket {
    let state = store.subject_state("db", Timestamp(i64::MIN)).await;
    state.unwrap().tickets.remove(0)
}

fn moved(mut ticket: Ticket, by: i64) -> Ticket {
    let mut each = |at: &mut Timestamp| at.0 += by;
    each(&mut ticket.first_seen);
    each(&mut ticket.violated_since);
    each(&mut ticket.last_seen);
    ticket.opened_at.iter_mut().for_each(&mut each);
    ticket.holding_since.iter_mut().for_each(&mut each);
    ticket.resolved_at.iter_mut().for_each(&mut each);
    ticket.transitions.iter_mut().for_each(&mut each);
    ticket
}

#[tokio::test]
async fn all_times_of_a_subject_move_with_its_clock_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let follow = |clock: MachineClock, now: i64| {
        let store = store.clone();
        async move {
            store
                .follow_clock(&["db"], &clock, Timestamp(now))
                .await
                .unwrap()
        }
    };
    assert_eq!(follow(clock("a", 0), START).await, 0);
    write(&store, ticket([START, START + 1, START + 2])).await;
    let before = read(&store).await;
    let revision = store.revision("db").await.unwrap();
    for by in [-3_600_000, 3_600_000, YEARS, -YEARS] {
        let kept = read(&store).await;
        let now = START + 10_000 + by;
        let offset = by;
        assert_eq!(follow(clock("a", offset), now).await, by);
        assert_eq!(follow(clock("a", offset + 5), now).await, 0, "only once");
        assert_eq!(read(&store).await, moved(kept, by));
        let events = store.ticket_events(TicketId(1)).await.unwrap();
        assert_eq!(events[0].at.0, START + 1 + by);
        let observations = store.ticket_observations(TicketId(1)).await.unwrap();
        assert_eq!(observations[0].observed_at.0, START + 1 + by);
        // Back again.
        assert_eq!(follow(clock("a", 0), START + 10_000).await, -by);
    }
    assert_eq!(read(&store).await, before);
    assert_eq!(store.revision("db").await.unwrap(), revision + 8);
}

#[tokio::test]
async fn after_another_start_of_the_machine_what_lies_ahead_counts_as_now() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let now = Timestamp(START);
    store
        .follow_clock(&["db"], &clock("a", 0), now)
        .await
        .unwrap();
    write(&store, ticket([START - 5, START + 10, START + YEARS])).await;
    let moved = store.follow_clock(&["db"], &clock("b", 77), now).await;
    assert_eq!(moved.unwrap(), 0);
    assert_eq!(
        read(&store).await,
        ticket([START - 5, START, START]).with_id(1)
    );
}

trait WithId {
    fn with_id(self, id: i64) -> Self;
}

impl WithId for Ticket {
    fn with_id(mut self, id: i64) -> Self {
        self.id = TicketId(id);
        self
    }
}

#[tokio::test]
async fn another_subject_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    write(&store, ticket([START; 3])).await;
    let before = read(&store).await;
    for offset in [0, YEARS] {
        let (clock, now) = (clock("a", offset), Timestamp(START + offset));
        store.follow_clock(&["cache"], &clock, now).await.unwrap();
    }
    assert_eq!(read(&store).await, before);
}

fn mark(at: i64) -> Mark {
    Mark {
        by: "ada".into(),
        at: Timestamp(at),
        note: String::new(),
    }
}

/// With all the times that a proposal can have.
fn proposal() -> ProposalParts {
    let plan = Plan {
        name: "restart".into(),
        steps: Vec::new(),
        on_failure: OnFailure::Stop,
        has_secrets: false,
    };
    ProposalParts {
        not_before: Some(Timestamp(START + 7)),
        approval: Some(Approval {
            mark: mark(START + 1),
            by_rule: false,
            expires_at: Timestamp(START + 900_000),
            digest: String::new(),
            definitions: Vec::new(),
            ticket: None,
        }),
        begun_at: Some(Timestamp(START + 2)),
        ended_at: Some(Timestamp(START + 3)),
        proof: Some(Proof {
            targets: Vec::new(),
            baseline: Vec::new(),
            window_ms: 60_000,
            until: Timestamp(START + 300_000),
            holding_since: Some(Timestamp(START + 4)),
            missing: String::new(),
            broke: Vec::new(),
        }),
        state: ProposalState::Completed,
        settled: Some(mark(START + 5)),
        ..ProposalParts::new("db", plan, Risk::Low, mark(START))
    }
}

#[tokio::test]
async fn a_proposal_moves_as_a_whole_but_for_the_time_that_a_person_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let at = |offset: i64| (clock("a", offset), Timestamp(START + 10 + offset));
    let (first, now) = at(0);
    store.follow_clock(&["db"], &first, now).await.unwrap();
    let draft = Draft {
        proposal: Proposal::from(proposal()),
        records: Vec::new(),
    };
    let kept = store.propose(draft).await.unwrap().unwrap();
    for offset in [3_600_000, -YEARS] {
        let (clock, now) = at(offset);
        store.follow_clock(&["db"], &clock, now).await.unwrap();
        let moved = store.proposal(kept.id).await.unwrap();
        let of = |at: i64| Timestamp(START + at + offset);
        assert_eq!(moved.proposed.at, of(0));
        assert_eq!(moved.begun_at, Some(of(2)));
        assert_eq!(moved.ended_at, Some(of(3)));
        assert_eq!(moved.not_before, kept.not_before);
        let approval = moved.approval.clone().unwrap();
        assert_eq!(
            (approval.mark.at, approval.expires_at),
            (of(1), of(900_000))
        );
        let proof = moved.proof.clone().unwrap();
        assert_eq!(
            (proof.holding_since, proof.until),
            (Some(of(4)), of(300_000))
        );
        assert_eq!(moved.settled.clone().unwrap().at, of(5));
    }
    // By another start of the machine nothing is known: what is past does not lie ahead, and an approval lasts as long as ever.
    let now = Timestamp(START - YEARS - 1_000);
    store
        .follow_clock(&["db"], &clock("b", 0), now)
        .await
        .unwrap();
    let moved = store.proposal(kept.id).await.unwrap();
    let approval = moved.approval.clone().unwrap();
    assert_eq!(moved.settled.clone().unwrap().at, now);
    assert_eq!(
        approval.mark.at.until(approval.expires_at),
        Duration::from_millis(899_999)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever steps the clock makes, the time since every moment of a ticket is what it was.
    #[test]
    fn no_step_of_the_clock_changes_a_duration(
        steps in proptest::collection::vec(-YEARS..=YEARS, 1..6),
        ages in [0_i64..YEARS, 0_i64..YEARS, 0_i64..YEARS],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let store = store(&folder).await;
            let mut offset = 0;
            store.follow_clock(&["db"], &clock("a", 0), Timestamp(START)).await.unwrap();
            write(&store, ticket(ages.map(|age| START - age))).await;
            for step in steps {
                offset += step;
                let now = Timestamp(START + offset);
                store.follow_clock(&["db"], &clock("a", offset), now).await.unwrap();
                let kept = read(&store).await;
                // What is within the tolerance is not followed.
                let off = |at: Timestamp, age: i64| (now.0 - at.0 - age).abs();
                assert!(off(kept.violated_since, ages[0]) <= TOLERANCE_MS);
                assert!(off(kept.last_seen, ages[1]) <= TOLERANCE_MS);
                assert!(off(kept.holding_since.unwrap(), ages[2]) <= TOLERANCE_MS);
                assert!(off(kept.transitions[2], ages[2]) <= TOLERANCE_MS);
            }
        });
    }
}
