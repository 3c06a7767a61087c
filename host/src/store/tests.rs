//! The store on a real `SQLite` file.

use std::time::Duration;

use operator_plugin_api::{Outcome, Severity};
use serde_json::json;

use super::*;
use crate::model::{
    EventKind, OPERATOR, Retention, Ticket, TicketChange, TicketEvent, TicketId, TicketKey,
    TicketState, Timestamp,
};

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
    let observation = Some((Timestamp(2_000), br#"{"data":1}"#.as_slice()));
    match store.apply("db", revision, changes, observation).await {
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

#[tokio::test]
async fn an_execution_without_an_end_is_found_after_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let execution = Execution {
        id: "1".into(),
        subject: "db".into(),
        action: "restart_node".into(),
        params: json!({}),
        actor: "ada".into(),
        begun_at: Timestamp(1),
        deadline_at: Timestamp(10),
        end: None,
    };
    store.begin_execution(&execution).await.unwrap();
    assert!(
        store
            .overdue_executions(Timestamp(10))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.overdue_executions(Timestamp(11)).await.unwrap(),
        [execution]
    );
    let end = ExecutionEnd {
        at: Timestamp(12),
        outcome: Outcome::Unknown,
        message: String::new(),
        details: json!(null),
    };
    store.end_execution("1", &end).await.unwrap();
    assert!(
        store
            .overdue_executions(Timestamp(99))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn two_processes_may_open_a_new_database_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = tokio::join!(store(&folder), store(&folder));
    first.revision("db").await.unwrap();
    second.revision("db").await.unwrap();
}

#[tokio::test]
async fn a_path_may_hold_what_means_something_in_a_url() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a?b%20c#d.db");
    let store = Store::open(&format!("sqlite:{}", path.display())).await;
    store.unwrap().revision("db").await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named_without_its_password() {
    for address in ["sqlite:", "sqlite::memory:"] {
        let refused = Store::open(address).await;
        assert!(matches!(refused, Err(StoreError::Address(_))));
    }
    let refused = Store::open("postgres://ada:canary@127.0.0.1:1/operator").await;
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("postgres://ada:***@127.0.0.1:1/operator"),
        "{message}"
    );
    assert!(!message.contains("canary"));
}
