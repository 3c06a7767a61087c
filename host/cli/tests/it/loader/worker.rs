//! The worker process: what it inherits and what not, and that it never outlives the operator.

#![cfg(target_os = "linux")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use operator_loader::{CallError, Observer, SubjectSpec, connect};
use operator_model::{Deadlines, Isolation};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;
use tokio::runtime::Handle;

use crate::support::common::{self, Bench, children_in, children_of, is_alive, wait_for};

const SECRET: &str = "a-very-secret-token";

/// The worker of a subject that has been observed once.
async fn running(bench: &Bench) -> (Observer, u32) {
    let (observer, _) = bench.misbehaving(Isolation::Worker, json!({"token": SECRET}));
    observer.observe().await.unwrap();
    let workers = children_in(bench.dir.path());
    assert_eq!(workers.len(), 1);
    (observer, workers[0])
}

fn proc_file(pid: u32, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn its_environment_is_empty_and_its_arguments_hold_no_secret() {
    let bench = Bench::new();
    let (_observer, worker) = running(&bench).await;
    let environment = proc_file(worker, "environ");
    let kept = ["TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    for variable in environment.split_terminator('\0') {
        let name = variable.split('=').next().unwrap();
        assert!(kept.contains(&name), "{variable}");
    }
    assert!(
        env::var_os("PATH").is_some(),
        "there was something to clear"
    );
    let arguments = proc_file(worker, "cmdline");
    assert_eq!(
        arguments,
        format!("operator\0__worker\0{}\0", std::process::id())
    );
}

#[tokio::test]
async fn it_inherits_nothing_but_its_socket_and_its_log() {
    let bench = Bench::new();
    let leaked = fs::File::create(bench.path("left-open")).unwrap();
    fcntl_setfd(&leaked, FdFlags::empty()).unwrap();
    let (_observer, worker) = running(&bench).await;
    let mut open: Vec<(u32, String)> = fs::read_dir(format!("/proc/{worker}/fd"))
        .unwrap()
        .flatten()
        .map(|entry| {
            let target = fs::read_link(entry.path()).unwrap();
            let kind = target
                .to_str()
                .unwrap()
                .split(':')
                .next()
                .unwrap()
                .to_owned();
            (entry.file_name().to_str().unwrap().parse().unwrap(), kind)
        })
        .collect();
    open.sort();
    let kinds: Vec<_> = open.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, ["/dev/null", "pipe", "pipe", "socket"], "{open:?}");
}

#[tokio::test]
async fn it_has_a_private_directory_a_group_and_limits_of_its_own() {
    let bench = Bench::new();
    let (_observer, worker) = running(&bench).await;
    let cwd = fs::read_link(format!("/proc/{worker}/cwd")).unwrap();
    assert!(cwd.starts_with(bench.path("copies")), "{cwd:?}");
    let stat = proc_file(worker, "stat");
    let group = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(2)
        .unwrap()
        .to_owned();
    assert_eq!(
        group,
        worker.to_string(),
        "a terminal's Ctrl-C does not reach it"
    );
    let limits = proc_file(worker, "limits");
    let hard = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let fields: Vec<_> = line[name.len()..].split_whitespace().collect();
        fields[1].to_owned()
    };
    assert_eq!(hard("Max core file size"), "0");
    assert_eq!(hard("Max address space"), (4_u64 << 30).to_string());
    assert_eq!(hard("Max open files"), "1024");
    assert_eq!(hard("Max file size"), (1_u64 << 30).to_string());
    for none in [
        "Max msgqueue size",
        "Max nice priority",
        "Max realtime priority",
    ] {
        assert_eq!(hard(none), "0", "{none}");
    }
    let status = proc_file(worker, "status");
    assert!(status.contains("Umask:\t0077"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let none = format!("{set}:\t0000000000000000\n");
        assert!(status.contains(&none), "{status}");
    }
}

#[tokio::test]
async fn a_killed_worker_is_noticed_between_calls() {
    let bench = Bench::new();
    let (observer, worker) = running(&bench).await;
    let pid = rustix::process::Pid::from_raw(worker.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_for("its reaping", || {
        (!Path::new(&format!("/proc/{worker}")).exists()).then_some(())
    });
    let error = observer.observe().await.unwrap_err();
    let text = error.to_string();
    assert_eq!(
        text,
        "between calls: the plugin's process was killed by signal 9 (SIGKILL)"
    );
}

/// A plugin that may start programs, and starts one that leaves its process group.
fn starting_a_daemon(bench: &Bench) -> SubjectSpec {
    let config = json!({"fault": "daemon", "effects_file": bench.effects_file()});
    let mut spec = bench.spec(common::misbehaving_subject(), Isolation::Worker, config);
    spec.sandbox.exec = true;
    spec
}

/// The program that it has started.
fn daemon_of(bench: &Bench) -> u32 {
    let effects = bench.effects();
    let child = effects.iter().find_map(|line| line.strip_prefix("child "));
    child.expect("a child").parse().unwrap()
}

#[tokio::test]
async fn what_a_plugin_started_ends_with_its_worker_however_it_ends() {
    for ends_by in ["shutdown", "death", "deadline"] {
        let bench = Bench::new();
        let mut spec = starting_a_daemon(&bench);
        spec.deadlines.check = Duration::from_millis(500);
        let switch = bench.path("fault");
        spec.config.insert("fault_file".into(), json!(switch));
        fs::write(&switch, "daemon observe").unwrap();
        let observer = connect(spec);
        let observed = observer.observe().await.unwrap();
        let daemon = daemon_of(&bench);
        assert!(is_alive(daemon));
        match ends_by {
            "shutdown" => observer.shutdown().await,
            "death" => {
                fs::write(&switch, "abort check").unwrap();
                let error = observer.check(&observed).await.unwrap_err().to_string();
                assert!(error.contains("signal 6 (SIGABRT)"), "{error}");
            }
            _ => {
                fs::write(&switch, "sleep check").unwrap();
                observer.check(&observed).await.unwrap_err();
            }
        }
        assert!(!is_alive(daemon), "{ends_by}");
        assert_eq!(common::processes_in(bench.dir.path()), [0; 0], "{ends_by}");
    }
}

#[tokio::test]
async fn a_worker_that_has_left_its_group_is_killed_at_its_deadline() {
    let bench = Bench::new();
    let config = json!({"fault": "leave_group"});
    let mut spec = bench.spec(common::misbehaving_subject(), Isolation::Worker, config);
    spec.sandbox.enabled = false;
    spec.deadlines.observe = Duration::from_millis(500);
    let error = connect(spec).observe().await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }), "{error}");
    assert_eq!(common::processes_in(bench.dir.path()), [0; 0]);
}

/// Run by another test: an operator with an idle and a spinning worker, which that test kills.
#[tokio::test]
#[ignore = "run by no_worker_survives_a_killed_operator"]
#[allow(clippy::print_stdout, reason = "its parent waits for the line")]
async fn an_operator_to_be_killed() {
    let bench = Bench::new();
    let (idle, _) = bench.misbehaving(Isolation::Worker, json!({}));
    idle.observe().await.unwrap();
    let config = json!({"fault": "spin", "fault_after": 1});
    let mut spec = bench.spec(common::misbehaving_subject(), Isolation::Worker, config);
    spec.deadlines = Deadlines {
        observe: Duration::from_hours(1),
        ..spec.deadlines
    };
    let spinning = connect(spec);
    spinning.observe().await.unwrap();
    let starting = connect(starting_a_daemon(&bench));
    starting.observe().await.unwrap();
    let endless = tokio::spawn(async move { spinning.observe().await.map(|_| ()) });
    println!("\nready {}", daemon_of(&bench));
    endless.await.unwrap().unwrap();
}

#[test]
fn no_worker_survives_a_killed_operator() {
    common::misbehaving_subject();
    let mut operator = Command::new(env::current_exe().unwrap())
        .args([
            "loader::worker::an_operator_to_be_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(operator.stdout.take().unwrap()).lines();
    let daemon: Option<u32> = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("ready ")?.parse().ok());
    let mut workers = children_of(operator.id());
    assert_eq!(workers.len(), 3, "{workers:?}");
    workers.extend(daemon);
    operator.kill().unwrap();
    operator.wait().unwrap();
    wait_for("the workers' end", || {
        workers.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

#[test]
fn a_worker_whose_operator_has_ended_exits() {
    let output = Command::new(env!("CARGO_BIN_EXE_operator"))
        .args(["__worker", "1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("has ended"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outlives_the_thread_that_started_it() {
    let bench = Bench::new();
    let (observer, _) = bench.misbehaving(Isolation::Worker, json!({}));
    let (asked, runtime) = (observer.clone(), Handle::current());
    let thread = std::thread::spawn(move || runtime.block_on(asked.observe()).is_ok());
    assert!(thread.join().unwrap());
    let error = observer.observe().await.err();
    assert_eq!(observer.health().starts, 1, "{error:?}");
}
