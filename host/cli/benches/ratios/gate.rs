//! The gate among ten thousand proposals and a hundred thousand audit rows.

use std::{fs, path::Path, process::Command, time::Instant};

use operator_config::{Environment, Flags, load};
use operator_model::{AuditEvent, Proposal, ProposalParts, ProposalState, Record, audit::Why};
use operator_service::{ActionRequest, Interrupt, Plan, ProposalRequest, RunRequest, Service};
use operator_store::{Draft, Store};

use crate::site::Site;

const PROPOSALS: u32 = 10_000;
const ROWS_EACH: usize = 10;
/// Of the workflow whose calls are timed.
const STEPS: usize = 100;

/// How long listings take at this size, and what the gate adds to a call: its begin and its end, each a transaction that is on disk
/// before anything follows.
pub(crate) async fn at_size(site: &Site, plugin: &Path) {
    let (config, state) = (site.path("gate.toml"), site.path("gate"));
    let step = "[[subjects.db.workflows.hundred.steps]]\naction = \"log_message\"\nparams = { message = \"x\" }\n";
    let text = format!(
        "state_dir = {:?}\n[subjects.db]\nplugin = {:?}\nactions.mode = \"execute\"\nactions.approve = \"off\"\n{}",
        state.display(),
        plugin.display(),
        step.repeat(STEPS),
    );
    fs::write(&config, text).unwrap();
    let flags = Flags {
        config: Some(config.clone()),
        ..Flags::default()
    };
    let environment = Environment::of_this_process();
    let loaded = load(&flags, &environment).unwrap();
    let store = Store::open(&loaded.config.database).await.unwrap();
    let service = Service::new(loaded, &environment);
    let subject = service.subject(None).unwrap();
    let workflow = ActionRequest::Workflow("hundred".to_owned());
    let plan = service.plan(subject, &workflow).await.unwrap();

    let empty = Box::pin(calls(&service, &plan)).await;
    fill(&service, &store, workflow).await;
    let full = Box::pin(calls(&service, &plan)).await;
    println!("gate, begin and end of one call                 ms");
    println!("  with an empty database            {empty:>14.2}");
    println!(
        "  with {PROPOSALS} proposals                {full:>14.2}{:>10.1}x the one above",
        full / empty
    );

    println!("listing, the whole command                      ms");
    for command in [
        &["proposals", "list"][..],
        &["proposals", "list", "--all"],
        &["audit", "list"],
        &["audit", "verify"],
    ] {
        let began = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_operator"))
            .arg("--config")
            .arg(&config)
            .args(command)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!(
            "  {:<32}{:>16.1}",
            command.join(" "),
            began.elapsed().as_secs_f64() * 1000.0
        );
    }
}

/// Milliseconds of the gate for each call of a workflow whose calls take no time.
async fn calls(service: &Service, plan: &Plan) -> f64 {
    let request = RunRequest {
        plan: plan.clone(),
        ticket: None,
        by: "bench".to_owned(),
        why: String::new(),
    };
    let performed = Box::pin(service.run(request, &Interrupt::default()))
        .await
        .unwrap();
    let done = performed.proposal;
    assert_eq!(done.state, ProposalState::Completed);
    let took = done.begun_at.unwrap().until(done.ended_at.unwrap());
    took.as_secs_f64() * 1000.0 / f64::from(u32::try_from(STEPS).unwrap())
}

async fn fill(service: &Service, store: &Store, workflow: ActionRequest) {
    let request = ProposalRequest {
        action: workflow,
        ticket: None,
        not_before: None,
        follows: None,
        by: "bench".to_owned(),
        why: String::new(),
    };
    let id = service.create_proposal(request).await.unwrap().id;
    let cancelled = service.cancel(id, "bench", "").await.unwrap();
    let mut parts = ProposalParts::clone(&cancelled);
    parts.plan.steps.truncate(1);
    let model = Proposal::from(parts);
    let record = Record {
        actor: "bench".to_owned(),
        event: AuditEvent::Settled(Why {
            why: "some words of a person about what was done".to_owned(),
        }),
        subject: model.subject.clone(),
        proposal: None,
        ticket: None,
    };
    for _ in 0..PROPOSALS {
        let draft = Draft {
            proposal: model.clone(),
            records: vec![record.clone(); ROWS_EACH],
        };
        store.propose(draft).await.unwrap().unwrap();
    }
}
