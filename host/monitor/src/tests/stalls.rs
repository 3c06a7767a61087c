use operator_model::{DaemonStatus, LoopState, TicketState};
use operator_store::TicketFilter;
use tempfile::TempDir;

use super::*;

const HERE: &str = "web-1:7";
const THERE: &str = "web-2:7";

fn engine(stalled_for_ms: Option<i64>) -> LoopStatus {
    LoopStatus {
        name: "engine".into(),
        subject: None,
        period_ms: 250,
        state: LoopState::Running,
        stalled_for_ms,
        started_at: None,
        finished_at: None,
        took_ms: None,
        result: None,
        iterations: 4,
        restarts: 0,
        last_error: None,
    }
}

fn watch(stalled_for_ms: Option<i64>) -> LoopStatus {
    LoopStatus {
        name: "watch".into(),
        subject: Some("db".into()),
        ..engine(stalled_for_ms)
    }
}

async fn store(folder: &TempDir) -> Store {
    let url = format!("sqlite:{}/operator.db", folder.path().display());
    Store::open(&url).await.unwrap()
}

fn keeper(store: &Store, daemon: &str) -> StallTickets {
    StallTickets::new(
        store.clone(),
        Hub::default(),
        daemon.to_owned(),
        &[SubjectConfig::new("db", "hello")],
        &["engine", "watch"],
    )
}

/// Subject, resource and state of each ticket, the oldest first.
async fn tickets(store: &Store) -> Vec<(String, String, TicketState)> {
    let filter = TicketFilter {
        states: vec![TicketState::Open, TicketState::Resolved],
        ..TicketFilter::default()
    };
    let mut found = store.tickets(&filter).await.unwrap();
    found.reverse();
    found
        .into_iter()
        .map(|ticket| {
            assert_eq!(ticket.key.invariant, LOOP_STALLED);
            (ticket.subject, ticket.key.resource.unwrap(), ticket.state)
        })
        .collect()
}

fn ticket(subject: &str, resource: &str, state: TicketState) -> (String, String, TicketState) {
    (subject.to_owned(), resource.to_owned(), state)
}

async fn reports(store: &Store, label: &str) -> DaemonStatus {
    let (host, pid) = label.split_once(':').unwrap();
    let daemon = DaemonStatus {
        host: host.to_owned(),
        pid: pid.parse().unwrap(),
        version: "0.1.0".into(),
        started_at: Timestamp(1),
        seen_at: Timestamp(2),
        loops: Vec::new(),
        left_out: 0,
    };
    store.put_daemon(&daemon).await.unwrap();
    daemon
}

#[tokio::test]
async fn a_stalled_loop_is_a_ticket_of_its_subject_until_it_turns_again() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder).await;
    let mut keeper = keeper(&store, HERE);
    keeper.update(&[engine(None), watch(None)]).await.unwrap();
    assert_eq!(tickets(&store).await, []);

    let stalled = [engine(Some(16_000)), watch(Some(90_000))];
    keeper.update(&stalled).await.unwrap();
    keeper.update(&stalled).await.unwrap();
    let open = [
        ticket("db", "watch@web-1:7", TicketState::Open),
        ticket("operator", "engine@web-1:7", TicketState::Open),
    ];
    assert_eq!(tickets(&store).await, open);
    let message = store.tickets(&TicketFilter::default()).await.unwrap()[0]
        .message
        .clone();
    assert!(
        message.starts_with(
            "the loop `engine` of the daemon web-1:7 has not finished a turn for 16 s (it is due every 250ms)"
        ),
        "{message}"
    );

    keeper
        .update(&[engine(None), watch(Some(91_000))])
        .await
        .unwrap();
    let one_left = [
        ticket("db", "watch@web-1:7", TicketState::Open),
        ticket("operator", "engine@web-1:7", TicketState::Resolved),
    ];
    assert_eq!(tickets(&store).await, one_left);
}

#[tokio::test]
async fn another_daemon_resolves_nothing_before_the_first_is_gone() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder).await;
    let here = reports(&store, HERE).await;
    reports(&store, THERE).await;
    let stalled = [engine(Some(16_000))];
    keeper(&store, HERE).update(&stalled).await.unwrap();

    keeper(&store, THERE).update(&[engine(None)]).await.unwrap();
    let open = [ticket("operator", "engine@web-1:7", TicketState::Open)];
    assert_eq!(tickets(&store).await, open);

    store.remove_daemon(&here).await.unwrap();
    keeper(&store, THERE).update(&[engine(None)]).await.unwrap();
    let resolved = [ticket("operator", "engine@web-1:7", TicketState::Resolved)];
    assert_eq!(tickets(&store).await, resolved);
}

#[tokio::test]
async fn a_loop_that_another_one_judges_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder).await;
    keeper(&store, HERE)
        .update(&[engine(Some(16_000))])
        .await
        .unwrap();
    let mut other = keeper(&store, HERE);
    other.judged = vec!["watch"];
    other.update(&[engine(None), watch(None)]).await.unwrap();
    let open = [ticket("operator", "engine@web-1:7", TicketState::Open)];
    assert_eq!(tickets(&store).await, open);
}
