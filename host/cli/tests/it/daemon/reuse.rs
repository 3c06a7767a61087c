//! How many workers a question to a subject costs.

use std::fs;

use operator_config::{Environment, Flags, load};
use operator_loader::set_worker_program;
use operator_service::{ActionRequest, Daemon, ProposalRequest, Service, Stop};

use crate::support::{
    common::{PATIENCE, misbehaving_subject},
    daemon::Site,
};

fn site() -> Site {
    let mut site = Site::new();
    let plugin = site.path("libcopied.so");
    fs::copy(misbehaving_subject(), &plugin).unwrap();
    site.subject("db", &plugin, "interval = \"100ms\"");
    site
}

/// How many workers a command started.
#[track_caller]
fn workers_of(site: &Site, command: &[&str]) -> usize {
    let mut operator = site.operator();
    let output = operator
        .args(["--log-level", "debug"])
        .args(command)
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}: {log}");
    log.matches("started a worker").count()
}

#[test]
fn a_command_starts_one_worker_once_the_plugin_is_known() {
    let site = site();
    let create = ["proposals", "create", "set_level", "level=5"];
    // What the plugin declares decides what it is granted, and so it has to be asked once, in a process that is granted nothing.
    assert_eq!(workers_of(&site, &create), 2);
    assert_eq!(workers_of(&site, &create), 1);
    assert_eq!(workers_of(&site, &["check"]), 1);
    assert_eq!(workers_of(&site, &["actions", "list"]), 1);
    let dry_run = ["actions", "run", "set_level", "level=5", "--dry-run"];
    assert_eq!(workers_of(&site, &dry_run), 1);
    assert_eq!(workers_of(&site, &["proposals", "list"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_asks_the_worker_that_it_watches_with() {
    set_worker_program(env!("CARGO_BIN_EXE_operator"));
    let site = site();
    // Writes the configuration.
    site.operator();
    let flags = Flags {
        config: Some(site.path("operator.toml")),
        state_dir: Some(site.path("state").display().to_string()),
        ..Flags::default()
    };
    let environment = Environment::of_this_process();
    let service = Service::new(load(&flags, &environment).unwrap(), &environment);
    let daemon = Daemon::new(service.clone()).await.unwrap();
    let stop = Stop::default();
    let running = tokio::spawn(daemon.run(stop.clone()));
    let watched = async {
        while !service.statuses().iter().any(|status| status.observed) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, watched).await.unwrap();
    // From here on, no other worker could be started.
    fs::remove_file(site.path("libcopied.so")).unwrap();
    let subject = service.subject(None).unwrap();
    assert!(!service.actions(subject).await.unwrap().actions.is_empty());
    assert!(service.check(subject).await.unwrap().observed.is_some());
    let proposal = service.create_proposal(ProposalRequest {
        action: ActionRequest::Call {
            action: "set_level".to_owned(),
            arguments: vec!["level=5".to_owned()],
        },
        ticket: None,
        not_before: None,
        follows: None,
        by: "anna".to_owned(),
        why: String::new(),
    });
    assert_eq!(proposal.await.unwrap().subject, "db");
    stop.request();
    running.await.unwrap();
    assert!(service.actions(subject).await.is_err(), "it still runs");
}
