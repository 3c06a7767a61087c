//! The store on a real `SQLite` file.

use std::time::Duration;

use operator_model::{
    Approval, AuditEvent, EventKind, Execution, HeldBack, Lease, Mark, Mode, OPERATOR, OnFailure,
    Plan, PlanStep, Proposal, ProposalId, ProposalParts, ProposalState, Record, Retention, Ticket,
    TicketChange, TicketEvent, TicketId, TicketKey, TicketState, Timestamp, When, audit::Why,
};
use operator_plugin_api::{Risk, Severity};
use serde_json::json;

use super::*;

async fn store(folder: &tempfile::TempDir) -> Store {
    let path = folder.path().join("state").join("operator.db");
    Store::open(&format!("sqlite:{}", path.display()))
        .await
        .expect("open a new database")
}

fn ticket(resource: &str) -> Ticket {
    Ticket {
        id: TicketId(0),
        subject: "db".into(),
        key: TicketKey::new("node_down", Some(resource)),
        severity: Severity::Critical,
        state: TicketState::Open,
        message: "it does not answer".into(),
        evidence: json!({"tries": 3}),
        first_seen: Timestamp(1_000),
        violated_since: Timestamp(1_000),
        last_seen: Timestamp(2_000),
        opened_at: Some(Timestamp(2_000)),
        holding_since: None,
        resolved_at: None,
        occurrences: 1,
        acknowledged: None,
        held: None,
        flapping: false,
        transitions: vec![Timestamp(2_000)],
    }
}

fn put(ticket: Ticket) -> TicketChange {
    let event = TicketEvent {
        at: ticket.last_seen,
        kind: EventKind::Opened,
        actor: OPERATOR.into(),
        note: ticket.message.clone(),
    };
    TicketChange::Put {
        ticket: Box::new(ticket),
        events: vec![event],
    }
}

async fn apply(store: &Store, changes: &[TicketChange]) -> Vec<Ticket> {
    let revision = store.revision("db").await.expect("a revision");
    let evidence = Evidence {
        at: Timestamp(2_000),
        document: br#"{"data":1}"#,
        memory: None,
    };
    match store.apply("db", revision, changes, Some(evidence)).await {
        Ok(Applied::Done { tickets, .. }) => tickets,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_written_is_read_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder).await;
    let written = apply(&first, &[put(ticket("a")), put(ticket("b"))]).await;
    assert_eq!([written[0].id, written[1].id], [TicketId(1), TicketId(2)]);
    first.close().await;

    let second = store(&folder).await;
    let state = second.subject_state("db", Timestamp(0)).await.unwrap();
    assert_eq!(state.tickets, written);
    assert_eq!(state.revision, 1);
    let events = second.ticket_events(TicketId(1)).await.unwrap();
    assert_eq!(events.len(), 1);
    let observations = second.ticket_observations(TicketId(2)).await.unwrap();
    assert_eq!(observations[0].body, r#"{"data":1}"#);
}

#[tokio::test]
async fn a_stale_revision_is_a_conflict_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    apply(&store, &[put(ticket("a"))]).await;
    let stale = store
        .apply("db", 0, &[put(ticket("b"))], None)
        .await
        .unwrap();
    assert_eq!(stale, Applied::Conflict);
    let state = store.subject_state("db", Timestamp(0)).await.unwrap();
    assert_eq!(state.tickets.len(), 1);
}

#[tokio::test]
async fn a_second_live_ticket_for_the_same_fault_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    apply(&store, &[put(ticket("a"))]).await;
    let again = store.apply("db", 1, &[put(ticket("a"))], None).await;
    assert!(
        matches!(again, Err(StoreError::Database { .. })),
        "{again:?}"
    );
    assert_eq!(store.revision("db").await.unwrap(), 1);
}

#[tokio::test]
async fn a_change_by_a_person_raises_the_revision() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    apply(&store, &[put(ticket("a"))]).await;
    let changed = store
        .change_ticket(TicketId(1), |ticket| {
            let event = TicketEvent {
                at: Timestamp(3_000),
                kind: EventKind::Acknowledged,
                actor: "ada".into(),
                note: String::new(),
            };
            Ok::<_, ()>(Some((ticket, event)))
        })
        .await
        .unwrap();
    assert!(changed.is_ok());
    assert_eq!(store.revision("db").await.unwrap(), 2);
    let events = store.events_after(1).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1.actor, "ada");
}

#[tokio::test]
async fn a_missing_ticket_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = store(&folder).await.ticket(TicketId(7)).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no ticket #7");
}

#[tokio::test]
async fn listings_filter_by_state_and_subject() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let resolved = Ticket {
        state: TicketState::Resolved,
        resolved_at: Some(Timestamp(2_500)),
        ..ticket("b")
    };
    apply(&store, &[put(ticket("a")), put(resolved)]).await;
    let count = async |filter: TicketFilter| store.tickets(&filter).await.unwrap().len();
    assert_eq!(count(TicketFilter::default()).await, 1);
    let resolved = TicketFilter {
        states: vec![TicketState::Resolved],
        ..TicketFilter::default()
    };
    assert_eq!(count(resolved).await, 1);
    let other = TicketFilter {
        subjects: vec!["other".into()],
        ..TicketFilter::default()
    };
    assert_eq!(count(other).await, 0);
}

/// Text that hardly compresses.
fn noise(length: usize, seed: u64) -> String {
    let mut state = seed;
    let mut next = || {
        // Knuth's MMIX generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from(state >> 58).unwrap_or(0))
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn the_observations_of_a_subject_are_bounded_by_bytes_and_the_newest_are_kept() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = store(&folder).await;
    let open = put(ticket("a"));
    let id = apply(&store, std::slice::from_ref(&open)).await[0].id;
    let large: Vec<_> = (0..10).map(|n| noise(4 << 20, n)).collect();
    for (n, body) in (0..).zip(&large) {
        let mut again = ticket("a");
        again.id = id;
        let revision = store.revision("db").await.unwrap();
        let evidence = Some(Evidence {
            at: Timestamp(3_000 + n),
            document: body.as_bytes(),
            memory: None,
        });
        store
            .apply("db", revision, &[put(again)], evidence)
            .await
            .unwrap();
    }
    let kept = store.ticket_observations(id).await.unwrap();
    let bytes: usize = kept.iter().map(|row| row.body.len()).sum();
    assert!((8 << 20..32 << 20).contains(&bytes), "{bytes}");
    assert_eq!(kept.last().map(|row| &row.body), large.last());
    assert_eq!(
        kept.last().map(|row| row.observed_at),
        Some(Timestamp(3_009))
    );
}

#[tokio::test]
async fn retention_bounds_tickets_and_observations() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for n in 0..5 {
        let resolved = Ticket {
            state: TicketState::Resolved,
            resolved_at: Some(Timestamp(n * 1_000)),
            ..ticket("a")
        };
        apply(&store, &[put(resolved)]).await;
    }
    let retention = Retention {
        actions: Duration::ZERO,
        tickets: Duration::from_secs(3),
        observations: Duration::from_hours(1),
        observations_per_subject: 1,
    };
    let gone = store.prune(&retention, Timestamp(5_000)).await.unwrap();
    assert_eq!(gone, (2, 4));
}

#[tokio::test]
async fn a_quarantine_wakes_every_subject_and_can_be_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let before = store.revision("db").await.unwrap();
    let entry = Quarantined {
        sha256: "ab".repeat(32),
        plugin: "hello".into(),
        reason: "died 10 times in a row".into(),
        actor: OPERATOR.into(),
        at: Timestamp(1),
    };
    store.quarantine(&entry).await.unwrap();
    assert_eq!(
        store.quarantined().await.unwrap(),
        std::slice::from_ref(&entry)
    );
    assert!(store.revision("db").await.unwrap() > before);
    assert!(store.lift_quarantine(&entry.sha256).await.unwrap());
    assert!(!store.lift_quarantine(&entry.sha256).await.unwrap());
}

fn proposal() -> Proposal {
    let plan = Plan {
        name: "restart".into(),
        steps: vec![PlanStep {
            action: "restart".into(),
            params: serde_json::Map::new(),
            when: When::Done,
        }],
        on_failure: OnFailure::Stop,
        has_secrets: false,
    };
    let parts = ProposalParts {
        call_key: "key".into(),
        not_before: Some(Timestamp(5)),
        ..ProposalParts::new("db", plan, Risk::Low, Mark::now("ada", "it is slow"))
    };
    let mut proposal = Proposal::from(parts);
    proposal.validate().unwrap();
    proposal
}

fn approved(mut proposal: Proposal) -> Proposal {
    let approval = Approval {
        mark: Mark::now("ada", ""),
        by_rule: false,
        expires_at: Timestamp(1),
        digest: String::new(),
        definitions: Vec::new(),
        ticket: None,
    };
    proposal.approve(approval).unwrap();
    proposal
}

fn record() -> Record {
    Record {
        actor: "ada".into(),
        event: AuditEvent::Settled(Why {
            why: "because".into(),
        }),
        subject: "db".into(),
        proposal: None,
        ticket: None,
    }
}

async fn proposed(store: &Store) -> Proposal {
    let draft = Draft {
        proposal: proposal(),
        records: vec![record(), record()],
    };
    store.propose(draft).await.unwrap().unwrap()
}

fn begins(proposal: Proposal) -> Change {
    let mut proposal = match proposal.state {
        ProposalState::Validated => approved(proposal),
        _ => proposal,
    };
    let lease = Lease {
        owner: "me".into(),
        until: Timestamp(10),
    };
    proposal
        .begin(lease, "runs".into(), None, Timestamp(1))
        .unwrap();
    Change {
        begins: Some(Execution {
            id: "1".into(),
            proposal: proposal.id,
            step: 0,
            attempt: 1,
            subject: "db".into(),
            action: "restart".into(),
            params: json!({}),
            resources: vec!["a".into()],
            is_tool: false,
            begun_at: Timestamp(1),
            end: None,
        }),
        ..Change::of(proposal, record())
    }
}

#[tokio::test]
async fn a_proposal_comes_back_as_it_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let first = proposed(&store).await;
    let second = proposed(&store).await;
    assert_eq!((first.id, second.id), (ProposalId(1), ProposalId(2)));
    assert_eq!(store.proposal(first.id).await.unwrap(), first);
    let all = store.proposals(&ProposalFilter::default()).await.unwrap();
    assert_eq!(all, [second, first]);
    let none = ProposalFilter {
        subjects: vec!["db".into(), "cache".into()],
        states: vec![ProposalState::Executing],
        ..ProposalFilter::default()
    };
    assert_eq!(store.proposals(&none).await.unwrap(), []);
}

#[tokio::test]
async fn a_change_is_whole_or_does_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let id = proposed(&store).await.id;
    let refused = store
        .change_proposal(id, Timestamp(0), |_, _| Err("no"))
        .await;
    assert_eq!(refused.unwrap(), Err("no"));
    let change = |proposal, _| Ok::<_, ()>(begins(proposal));
    let begun = store
        .change_proposal(id, Timestamp(0), change)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.executions(id).await.unwrap().len(), 1);
    let twice = store.change_proposal(id, Timestamp(0), change).await;
    assert!(twice.is_err(), "a call has one row");
    assert_eq!(store.proposal(id).await.unwrap(), begun);
    assert_eq!(store.abandoned(Timestamp(11)).await.unwrap(), [begun]);
    assert_eq!(store.abandoned(Timestamp(10)).await.unwrap(), []);
    assert!(store.renew_lease(id, "me", Timestamp(20)).await.unwrap());
    assert!(!store.renew_lease(id, "you", Timestamp(20)).await.unwrap());
    assert_eq!(store.abandoned(Timestamp(11)).await.unwrap(), []);
}

#[tokio::test]
async fn of_many_who_begin_one_proposal_at_once_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder).await;
    let second = store(&folder).await;
    let id = proposed(&first).await.id;
    let begin = |store: Store| async move {
        let change = |proposal: Proposal, _| match proposal.state {
            ProposalState::Validated => Ok(begins(proposal)),
            _ => Err("lost the race"),
        };
        store
            .change_proposal(id, Timestamp(0), change)
            .await
            .unwrap()
            .is_ok()
    };
    let tasks = (0..20).map(|n| {
        tokio::spawn(begin(if n % 2 == 0 {
            first.clone()
        } else {
            second.clone()
        }))
    });
    let mut begun = 0;
    for task in tasks.collect::<Vec<_>>() {
        begun += usize::from(task.await.unwrap());
    }
    assert_eq!(begun, 1);
}

#[tokio::test]
async fn the_kill_switch_cancels_what_is_pending_and_holds_until_it_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store
        .set_mode("db", Some(Mode::Execute), &Mark::now("ada", ""))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store.control().await.unwrap().mode("db", Mode::Observe),
        Mode::Execute
    );
    let id = proposed(&store).await.id;
    let cancelled = store
        .engage_kill_switch(&Mark::now("bob", "fire"))
        .await
        .unwrap();
    assert_eq!(cancelled.cancelled.len(), 1);
    assert_eq!(
        store.proposal(id).await.unwrap().state,
        ProposalState::Cancelled
    );
    assert_eq!(store.engagements().await.unwrap(), 1);
    let again = store
        .engage_kill_switch(&Mark::now("eve", ""))
        .await
        .unwrap();
    assert!(again.cancelled.is_empty() && again.trouble.is_empty());
    let control = store.control().await.unwrap();
    assert_eq!(control.mode("db", Mode::Execute), Mode::Observe);
    assert_eq!(control.kill_switch.unwrap().by, "bob");
    let refused = store
        .set_mode("*", Some(Mode::Execute), &Mark::now("ada", ""))
        .await
        .unwrap();
    assert_eq!(refused.unwrap_err().by, "bob");
    assert!(store.lift_kill_switch(&Mark::now("ada", "")).await.unwrap());
    assert!(!store.lift_kill_switch(&Mark::now("ada", "")).await.unwrap());
    let control = store.control().await.unwrap();
    assert_eq!(
        control.mode("db", Mode::Execute),
        Mode::Observe,
        "until a person chooses"
    );
}

async fn broken(store: &Store, sql: &'static str) -> Option<i64> {
    sqlx::query(sql).execute(&store.pool).await.unwrap();
    store
        .verify_audit()
        .await
        .unwrap()
        .err()
        .map(|found| found.n)
}

#[tokio::test]
async fn what_is_done_to_the_audit_is_found() {
    let damages = [
        ("UPDATE audit SET actor = 'eve' WHERE n = 3", 3),
        ("UPDATE audit SET at = at + 1 WHERE n = 2", 2),
        (
            "UPDATE audit SET body = replace(body, 'because', 'becausf') WHERE n = 4",
            4,
        ),
        (
            "UPDATE audit SET proposal_id = NULL, ticket_id = 1 WHERE n = 1",
            1,
        ),
        (
            "UPDATE audit SET hash = 'x' || substr(hash, 2) WHERE n = 3",
            3,
        ),
        ("DELETE FROM audit WHERE n = 1", 1),
        ("DELETE FROM audit WHERE n = 3", 3),
        ("DELETE FROM audit WHERE n = 6", 6),
        ("DELETE FROM audit", 1),
        (
            "UPDATE audit SET n = CASE n WHEN 2 THEN -2 ELSE -5 END WHERE n IN (2, 5)",
            1,
        ),
        ("UPDATE audit_head SET n = 5", 6),
        (
            "UPDATE audit_head SET n = 4, hash = (SELECT hash FROM audit WHERE n = 4)",
            5,
        ),
        ("UPDATE audit_head SET hash = 'x'", 7),
    ];
    for (sql, n) in damages {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        for _ in 0..3 {
            proposed(&store).await;
        }
        let head = store.verify_audit().await.unwrap().unwrap();
        assert_eq!(head.n, 6);
        assert_eq!(broken(&store, sql).await, Some(n), "{sql}");
    }
}

#[tokio::test]
async fn a_damaged_row_keeps_nobody_from_stopping_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    proposed(&store).await;
    let whole = proposed(&store).await;
    for sql in [
        "UPDATE proposals SET plan = 'garbage' WHERE id = 1",
        "UPDATE audit_head SET n = 1",
    ] {
        sqlx::query(sql).execute(&store.pool).await.unwrap();
    }
    let listed = store.proposals(&ProposalFilter::default()).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&whole));
    let engaged = store
        .engage_kill_switch(&Mark::now("bob", "fire"))
        .await
        .unwrap();
    assert_eq!(engaged.cancelled.len(), 2);
    assert_eq!(engaged.trouble.len(), 1, "the audit is damaged");
    assert!(store.control().await.unwrap().kill_switch.is_some());
}

/// The kill switch cancels in SQL, so that even a row that cannot be read is cancelled: to the same effect as the model.
#[tokio::test]
async fn what_the_kill_switch_cancels_is_as_the_model_cancels() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let undone = proposed(&store).await;
    let mut postponed = begins(proposal()).proposal;
    postponed.postpone(Timestamp(9), "busy".into()).unwrap();
    let mut held_back = approved(proposal());
    held_back
        .hold_back(HeldBack::from("cooldown: too early".to_owned()))
        .unwrap();
    let mut undoing = ProposalParts::clone(&proposal());
    undoing.undoes = Some(undone.id);
    let mut expected = Vec::new();
    for proposal in [held_back, postponed, undoing.into()] {
        let draft = Draft {
            proposal,
            records: vec![],
        };
        let mut kept = store.propose(draft).await.unwrap().unwrap();
        kept.cancel("the kill switch was engaged by bob".into(), Timestamp(11))
            .unwrap();
        expected.push(kept);
    }
    let mark = Mark {
        at: Timestamp(11),
        ..Mark::now("bob", "fire")
    };
    store.engage_kill_switch(&mark).await.unwrap();
    for cancelled in expected {
        assert_eq!(store.proposal(cancelled.id).await.unwrap(), cancelled);
    }
}

/// Two processes may find at once that the same proposal is to be undone.
#[tokio::test]
async fn of_two_proposals_that_undo_the_same_one_only_the_first_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let here = store(&folder).await;
    let there = store(&folder).await;
    let failed = proposed(&here).await;
    let other = proposed(&here).await;
    let undoing = |undone| {
        let mut parts = ProposalParts::clone(&proposal());
        parts.undoes = Some(undone);
        Draft {
            proposal: parts.into(),
            records: vec![record()],
        }
    };
    assert_eq!(here.undone_by(failed.id).await.unwrap(), None);
    let (first, second) = tokio::join!(
        here.propose(undoing(failed.id)),
        there.propose(undoing(failed.id))
    );
    let (recorded, refused) = match (first.unwrap(), second.unwrap()) {
        (Ok(recorded), Err(refused)) | (Err(refused), Ok(recorded)) => (recorded, refused),
        both => panic!("{both:?}"),
    };
    let expected = AlreadyUndone {
        undone: failed.id,
        by: recorded.id,
    };
    assert_eq!(refused, expected);
    assert!(here.undone_by(failed.id).await.unwrap().is_some());
    let listed = here.proposals(&ProposalFilter::default()).await.unwrap();
    assert_eq!(listed.len(), 3);
    // What was refused left nothing in the audit, and no gap in the numbers.
    let another = here.propose(undoing(other.id)).await.unwrap().unwrap();
    assert_eq!(another.id.0, recorded.id.0 + 1);
    let entries = sqlx::query("SELECT n FROM audit")
        .fetch_all(&here.pool)
        .await
        .unwrap();
    assert_eq!(entries.len(), 2 + 2 + 1 + 1);
}

/// What a listing of current proposals shows is what the model calls so.
#[tokio::test]
async fn conditions_in_sql_are_those_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for state in ProposalState::ALL {
        let mut parts = ProposalParts::clone(&approved(proposal()));
        parts.state = state;
        if state.is_executing() {
            parts.owner = Some("me".into());
            parts.lease_until = Some(Timestamp(1));
        }
        for half_done in [false, true] {
            for settled in [None, Some(Mark::now("ada", ""))] {
                let parts = ProposalParts {
                    half_done,
                    settled,
                    ..parts.clone()
                };
                let draft = Draft {
                    proposal: parts.into(),
                    records: vec![],
                };
                store.propose(draft).await.unwrap().unwrap();
            }
        }
    }
    let all = store.proposals(&ProposalFilter::default()).await.unwrap();
    assert_eq!(all.len(), ProposalState::ALL.len() * 4);
    let ids = |proposals: &[Proposal]| proposals.iter().map(|one| one.id).collect::<Vec<_>>();
    let those = |holds: fn(&Proposal) -> bool| {
        ids(&all
            .iter()
            .filter(|one| holds(one))
            .cloned()
            .collect::<Vec<_>>())
    };
    let current = ProposalFilter {
        current: true,
        ..ProposalFilter::default()
    };
    let current = store.proposals(&current).await.unwrap();
    let is_current =
        |one: &Proposal| !one.state.is_over() || one.is_unproven() || one.is_unsettled();
    assert_eq!(ids(&current), those(is_current));
    let mut unsettled = ids(&store.unsettled("db").await.unwrap());
    unsettled.reverse();
    assert_eq!(unsettled, those(|one| one.is_unsettled()));
    let mut abandoned = ids(&store.abandoned(Timestamp(2)).await.unwrap());
    abandoned.reverse();
    assert_eq!(abandoned, those(|one| one.state.is_executing()));
}

#[tokio::test]
async fn two_swapped_entries_of_the_audit_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for _ in 0..3 {
        proposed(&store).await;
    }
    for sql in [
        "UPDATE audit SET n = -2 WHERE n = 2",
        "UPDATE audit SET n = 2 WHERE n = 5",
    ] {
        sqlx::query(sql).execute(&store.pool).await.unwrap();
    }
    assert_eq!(
        broken(&store, "UPDATE audit SET n = 5 WHERE n = -2").await,
        Some(2)
    );
}

#[tokio::test]
async fn several_processes_may_open_a_new_database_at_once() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let opened = tokio::join!(
            store(&folder),
            store(&folder),
            store(&folder),
            store(&folder)
        );
        opened.0.revision("db").await.unwrap();
        opened.3.revision("db").await.unwrap();
    }
}

/// A newer version has added to the schema; this one goes on with what it knows.
#[tokio::test]
async fn a_database_that_a_newer_version_has_migrated_still_opens() {
    let folder = tempfile::tempdir().unwrap();
    let newer = store(&folder).await;
    let known = proposed(&newer).await;
    for sql in [
        "ALTER TABLE proposals ADD COLUMN colour TEXT",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'a later one', TRUE, x'00', 0)",
    ] {
        sqlx::query(sql).execute(&newer.pool).await.unwrap();
    }
    newer.close().await;
    let older = store(&folder).await;
    assert_eq!(older.proposal(known.id).await.unwrap(), known);
    assert_ne!(proposed(&older).await.id, known.id);
}

#[tokio::test]
async fn a_path_may_hold_what_means_something_in_a_url() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a&b%20c#d@e.db");
    let store = Store::open(&format!("sqlite:{}", path.display())).await;
    store.unwrap().revision("db").await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Addresses at which there is no database, with a password in every place where one can be.
fn unreachable(password: &str) -> [String; 9] {
    [
        format!("postgres://ada:{password}@127.0.0.1:1/operator"),
        format!("postgres://ada:{password}@127.0.0.1:1/operator?sslmode=require"),
        format!("postgres://127.0.0.1:1/operator?password={password}"),
        format!("postgres://127.0.0.1:1/operator?sslpassword={password}"),
        format!("postgres://127.0.0.1:1/operator?options={password}"),
        format!("postgres:///operator?host=/does/not/exist&password={password}"),
        format!("postgres://ada:{password}@127.0.0.1:1/operator?sslmode={password}"),
        format!("postgres://127.0.0.1:1/operator?sslmode={password}"),
        format!("postgres://127.0.0.1:1/operator?sslmode=require%26password%3D{password}"),
    ]
}

/// Addresses that nothing can be made of.
fn malformed(password: &str) -> [String; 10] {
    [
        format!("postgres://ada:{password}"),
        format!("postgres://ada:{password}@"),
        format!("ada:{password}@127.0.0.1:1/operator"),
        format!("host=127.0.0.1 password={password}"),
        format!("postgres:ada:{password}@127.0.0.1:1/operator"),
        format!("sqlite:postgres://ada:{password}@127.0.0.1:1/operator"),
        format!("sqlite://ada:{password}@host/operator"),
        format!("sqlite://{password}@host/operator"),
        format!("sqlite:operator.db?password={password}"),
        password.to_owned(),
    ]
}

async fn refusal(address: &str) -> String {
    let error = Store::open(address).await.expect_err(address);
    format!("{error}\n{error:?}")
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named_without_its_password() {
    for address in ["sqlite:", "sqlite::memory:"] {
        let refused = Store::open(address).await;
        assert!(matches!(refused, Err(StoreError::Address(_))));
    }
    for address in ["sqlite://ada:canary@host/x", "sqlite:x.db?key=canary"] {
        assert!(Store::may_exist(address), "{address} is not complained of");
        let refused = Store::open(address).await.expect_err(address);
        assert!(refused.to_string().contains("write the path"), "{refused}");
    }
    let message = refusal("postgres://ada:canary@127.0.0.1:1/operator").await;
    let shown = "postgres://ada:***@127.0.0.1:1/operator: ";
    assert!(message.contains(shown), "{message}");
    for password in ["canary", "x%40canary", "canary%2Fx", "q!7"] {
        for address in unreachable(password).iter().chain(&malformed(password)) {
            let message = refusal(address).await;
            assert!(!message.contains(password), "{address}: {message}");
            assert!(!message.contains("canary"), "{address}: {message}");
        }
    }
    // Raw, where the driver reads something else than was meant.
    for password in [
        "a@canary",
        "1/canary",
        "a?canary",
        "a#canary",
        "canary canary",
    ] {
        for address in &unreachable(password)[2..6] {
            let message = refusal(address).await;
            assert!(!message.contains("canary"), "{address}: {message}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    #[test]
    fn no_error_of_opening_repeats_a_password(password in "[a-zA-Z0-9!$*()_.~+-]{4,16}") {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let innocent = runtime.block_on(refusal("postgres://ada:***@127.0.0.1:1/operator?***"));
        proptest::prop_assume!(!innocent.contains(&password));
        for address in unreachable(&password).iter().chain(&malformed(&password)) {
            let message = runtime.block_on(refusal(address));
            proptest::prop_assert!(!message.contains(&password), "{address}: {message}");
        }
    }
}
