//! What a loop makes of a plugin that keeps dying. Cycles follow each other at once: the pauses between attempts are skipped.

use operator_model::TicketState;
use operator_plugin_api::{
    ErrorKind,
    manifest::{Manifest, Needs},
};
use operator_store::TicketFilter;
use tempfile::TempDir;

use super::*;

const SHA256: &str = "0123456789abcdef";

fn plugin(sha256: &str) -> Plugin {
    Plugin {
        path: "/plugins/libfrail.so".into(),
        copy: "/state/frail.so".into(),
        sha256: sha256.to_owned(),
        manifest: Manifest {
            name: "frail".into(),
            version: "1.0.0".into(),
            abi: "1.0".into(),
            sdk: "1.0.0".into(),
            rustc: "rustc".into(),
            target: "here".into(),
            panic: "unwind".into(),
            needs: Needs::default(),
        },
    }
}

fn died() -> CallError {
    CallError::Died {
        call: "describe",
        how: "exited with status 1".into(),
        log: None,
    }
}

fn late() -> CallError {
    CallError::Deadline {
        call: "describe",
        deadline: Duration::from_secs(1),
    }
}

/// A loop over a plugin of this hash that never comes up.
async fn watch(folder: &TempDir, sha256: &'static str, error: fn() -> CallError) -> Watch {
    let database = format!("sqlite:{}/operator.db", folder.path().display());
    Watch {
        config: SubjectConfig::new("db", "frail"),
        connect: Connect {
            open: Box::new(move || Ok(plugin(sha256))),
            start: Box::new(move |_| {
                Box::pin(async move {
                    Err(SubjectError::Describe {
                        plugin: "frail".into(),
                        source: error(),
                    })
                })
            }),
        },
        store: Store::open(&database).await.unwrap(),
        hub: Hub::default(),
        ledger: SharedLedger::default(),
        offset: Duration::ZERO,
        nudge: Arc::default(),
    }
}

async fn cycles(watch: &Watch, memory: &mut Memory, count: u32) {
    for _ in 0..count {
        memory.pause = None;
        watch.cycle(memory).await.unwrap();
    }
}

/// The message of the only ticket.
async fn message(watch: &Watch) -> String {
    let filter = TicketFilter::default();
    let tickets = watch.store.tickets(&filter).await.unwrap();
    assert_eq!(tickets.len(), 1);
    assert_eq!(tickets[0].state, TicketState::Open);
    tickets[0].message.clone()
}

fn status(watch: &Watch) -> String {
    watch.hub.statuses()["db"].summary.clone()
}

#[tokio::test]
async fn a_plugin_is_quarantined_at_its_tenth_death_in_a_row_and_starts_again_after_a_lift() {
    let folder = tempfile::tempdir().unwrap();
    let watch = watch(&folder, SHA256, died).await;
    let mut memory = Memory::new(&watch.config);
    cycles(&watch, &mut memory, DEATHS_TO_QUARANTINE - 1).await;
    assert_eq!(watch.store.quarantined().await.unwrap(), []);
    assert!(message(&watch).await.contains("exited with status 1"));

    cycles(&watch, &mut memory, 1).await;
    let entry = watch.store.quarantined().await.unwrap().remove(0);
    assert_eq!(
        (entry.sha256.as_str(), entry.actor.as_str()),
        (SHA256, OPERATOR)
    );
    assert!(
        entry.reason.starts_with("died 10 times in a row"),
        "{}",
        entry.reason
    );
    cycles(&watch, &mut memory, 2).await;
    let lift = "`operator plugins quarantine lift 0123456789ab` lets it start again";
    assert!(status(&watch).contains(lift), "{}", status(&watch));

    watch.store.lift_quarantine(SHA256).await.unwrap();
    // Without waiting for the end of a pause.
    watch.cycle(&mut memory).await.unwrap();
    assert!(!status(&watch).contains("quarantine"), "{}", status(&watch));
    assert_eq!(memory.deaths, 1);
}

#[tokio::test]
async fn another_file_is_not_in_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let first = watch(&folder, SHA256, died).await;
    cycles(
        &first,
        &mut Memory::new(&first.config),
        DEATHS_TO_QUARANTINE,
    )
    .await;
    let second = watch(&folder, "fedcba9876543210", died).await;
    cycles(&second, &mut Memory::new(&second.config), 1).await;
    assert!(
        !status(&second).contains("quarantine"),
        "{}",
        status(&second)
    );
}

#[tokio::test]
async fn only_deaths_count_and_only_those_in_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let watch = watch(&folder, SHA256, late).await;
    let mut memory = Memory::new(&watch.config);
    cycles(&watch, &mut memory, 2 * DEATHS_TO_QUARANTINE).await;
    assert_eq!(memory.deaths, 0);

    memory.plugin = Some(Arc::new(plugin(SHA256)));
    for _ in 0..DEATHS_TO_QUARANTINE {
        watch.failed(&mut memory, &died()).await;
        // The plugin reports that the subject cannot be reached, so the plugin is alive.
        let unreachable = CallError::Plugin {
            call: "observe",
            kind: ErrorKind::Unavailable,
            message: "no answer".into(),
            retryable: true,
        };
        watch.failed(&mut memory, &unreachable).await;
    }
    assert_eq!(watch.store.quarantined().await.unwrap(), []);
}
