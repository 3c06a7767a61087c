//! What the sandbox of a worker refuses and permits, and that missing enforcement is reported.

#![cfg(target_os = "linux")]

use std::{fs, os::unix::fs::symlink};

use operator_loader::{
    AttemptKind, CallError, Payload, Probe, ProbeRequest, SubjectSpec, confinement, connect,
};
use operator_model::{Isolation, Sandbox};
use serde_json::{Value, json};

use crate::support::common::{Bench, PATIENCE, misbehaving_subject, processes_in};

/// The misbehaving plugin with this sandbox and this configuration.
fn spec(bench: &Bench, sandbox: Sandbox, config: Value) -> SubjectSpec {
    SubjectSpec {
        sandbox,
        ..bench.spec(misbehaving_subject(), Isolation::Worker, config)
    }
}

/// The result of `observe` with this fault.
async fn observe_with(fault: &str, sandbox: Sandbox) -> Result<(), CallError> {
    let bench = Bench::new();
    let observer = connect(spec(&bench, sandbox, json!({"fault": fault})));
    let result = observer.observe().await.map(|_| ());
    assert_eq!(observer.health().deaths, 0);
    result
}

#[tokio::test]
async fn forbidden_access_is_refused() {
    for (fault, refusal) in [
        ("write_home", "Permission denied"),
        ("start_shell", "Operation not permitted"),
        ("read_shadow", "Permission denied"),
        ("fork", "Operation not permitted"),
        ("unix_socket", "Operation not permitted"),
        ("change_mode", "Operation not permitted"),
        ("limit_parent", "Operation not permitted"),
        ("leave_group", "Operation not permitted"),
        ("leave_session", "Operation not permitted"),
        ("clear_death_signal", "Operation not permitted"),
        ("shared_memory", "Operation not permitted"),
        ("message_queue", "Operation not permitted"),
        ("posix_queue", "Operation not permitted"),
        ("memory_file", "Operation not permitted"),
        ("datagram_pair", "Operation not permitted"),
        ("realtime", "Operation not permitted"),
        // Other processors do not have it.
        #[cfg(target_arch = "x86_64")]
        ("x32_call", "Operation not permitted"),
    ] {
        let error = observe_with(fault, Sandbox::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("observe: {fault}: {refusal}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_threads_need_of_sockets_is_permitted() {
    observe_with("stream_pair", Sandbox::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_worker_that_takes_more_than_its_share_is_killed() {
    for (fault, what) in [
        (
            "fill_directory",
            "more than 256 MiB in its working directory",
        ),
        ("fill_threads", "threads, more than 1024"),
    ] {
        let bench = Bench::new();
        let observer = connect(spec(&bench, Sandbox::default(), json!({"fault": fault})));
        let text = observer.observe().await.unwrap_err().to_string();
        assert!(
            text.starts_with("observe: the plugin's process was killed"),
            "{text}"
        );
        assert!(text.contains(what), "{text}");
        assert_eq!(processes_in(bench.dir.path()), [0; 0]);
        let left = fs::read_dir(bench.path("copies")).unwrap().flatten();
        let left = left.filter(|entry| entry.path().is_dir());
        for directory in left {
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}

#[tokio::test]
async fn programs_can_be_granted_and_the_sandbox_disabled() {
    let exec = Sandbox {
        exec: true,
        ..Sandbox::default()
    };
    for granted in ["start_shell", "fork", "unix_socket", "datagram_pair"] {
        observe_with(granted, exec.clone()).await.unwrap();
    }
    for refused in ["clear_death_signal", "shared_memory", "realtime"] {
        observe_with(refused, exec.clone()).await.unwrap_err();
    }
    observe_with("limit_parent", exec.clone())
        .await
        .unwrap_err();
    observe_with("read_shadow", exec).await.unwrap_err();
    let off = Sandbox {
        enabled: false,
        ..Sandbox::default()
    };
    observe_with("start_shell", off).await.unwrap();
}

#[tokio::test]
async fn a_file_is_read_only_where_that_is_granted() {
    let bench = Bench::new();
    let file = bench.path("observation.json");
    fs::write(&file, r#"{"summary": "read"}"#).unwrap();
    for (read, error) in [(vec![file.clone()], None), (vec![], Some("denied"))] {
        let sandbox = Sandbox {
            read,
            ..Sandbox::default()
        };
        let config = json!({"observation_file": file});
        let observer = connect(spec(&bench, sandbox, config));
        let observed = observer.observe().await.unwrap();
        let source_error = observed.sources[0].error.clone();
        assert_eq!(source_error.is_some(), error.is_some(), "{source_error:?}");
        assert!(
            source_error
                .unwrap_or_default()
                .contains(error.unwrap_or_default())
        );
    }
}

#[tokio::test]
async fn a_grant_to_read_is_no_grant_to_write() {
    let bench = Bench::new();
    let effects = bench.effects_file();
    for (may_write, lines) in [(false, 0), (true, 1)] {
        let paths = vec![effects.clone()];
        let (read, write) = if may_write {
            (vec![], paths)
        } else {
            (paths, vec![])
        };
        let sandbox = Sandbox {
            read,
            write,
            ..Sandbox::default()
        };
        let config = json!({"effects_file": effects});
        let observer = connect(spec(&bench, sandbox, config));
        observer.observe().await.unwrap();
        observer.shutdown().await;
        assert_eq!(bench.effects().len(), lines);
    }
}

#[tokio::test]
async fn missing_enforcement_is_reported() {
    let bench = Bench::new();
    let plugin = bench.open(misbehaving_subject());
    let missing = async |isolation, sandbox: &Sandbox| {
        let confinement = confinement(&plugin, isolation, sandbox, PATIENCE).await;
        confinement.unwrap().missing.join("; ")
    };
    let strict = Sandbox::default();
    assert_eq!(missing(Isolation::Worker, &strict).await, "");
    let off = Sandbox {
        enabled: false,
        ..Sandbox::default()
    };
    assert!(
        missing(Isolation::Worker, &off)
            .await
            .contains("turned off")
    );
    let in_process = missing(Isolation::None, &strict).await;
    assert!(in_process.contains("isolation = \"none\""), "{in_process}");
}

#[test]
fn exactly_what_the_kernel_refuses_is_recorded() {
    let bench = Bench::new();
    let (granted, beyond) = (bench.path("granted"), bench.path("beyond"));
    for directory in [&granted, &beyond] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("file"), "").unwrap();
        symlink("nothing", directory.join("to-nothing")).unwrap();
    }
    symlink("../beyond/file", granted.join("out")).unwrap();
    symlink("../beyond/not-there", granted.join("out-to-nothing")).unwrap();
    symlink(granted.join("file"), beyond.join("in")).unwrap();
    let plugin = bench.open(misbehaving_subject());
    let mut probe = Probe::start(&plugin).unwrap();
    let sandbox = Sandbox {
        write: vec![granted.clone()],
        ..Sandbox::default()
    };
    let confinement = probe.confine(sandbox, true, PATIENCE).unwrap();
    assert_eq!(confinement.missing, [""; 0]);
    let of = |directory: &std::path::Path, names: &[&str]| -> Vec<_> {
        names.iter().map(|name| directory.join(name)).collect()
    };
    let paths = [
        of(
            &granted,
            &[
                "",
                "file",
                "new",
                "out",
                "out-to-nothing",
                "to-nothing",
                "../beyond/file",
            ],
        ),
        of(
            &beyond,
            &[
                "",
                "file",
                "new",
                "in",
                "in/",
                "file/x",
                "to-nothing",
                "../granted/file",
            ],
        ),
        of(
            "".as_ref(),
            &[
                "new",
                "..",
                "../..",
                "/",
                "/etc/passwd",
                "/etc/shadow",
                "/etc/mtab",
            ],
        ),
        of("/dev".as_ref(), &["null", "stdout", "tty", "fd/0"]),
        of(
            "/proc".as_ref(),
            &["self/status", "self/cwd", "thread-self/comm", "self/cwd/.."],
        ),
        of(
            "/proc".as_ref(),
            &[
                "version",
                "1/status",
                "1/root/etc/passwd",
                "self/root/etc/passwd",
                "self/root/etc/shadow",
            ],
        ),
    ];
    let mut refusals = 0;
    for path in paths.concat() {
        for kind in [AttemptKind::Read, AttemptKind::Write] {
            // It would block: the worker reads its own output.
            if path.ends_with("stdout") && kind == AttemptKind::Read {
                continue;
            }
            let before = probe.attempts().unwrap().len();
            let (path, what) = (path.clone(), format!("{kind:?} {}", path.display()));
            let answer = probe
                .call(ProbeRequest::Attempt { kind, path }, PATIENCE)
                .unwrap();
            let is_refused = matches!(&answer.payload, Payload::Error { kind, .. } if kind == "permission denied");
            let attempts = probe.attempts().unwrap();
            assert_eq!(
                attempts.len() > before,
                is_refused,
                "{what}: {:?}",
                answer.payload
            );
            refusals += usize::from(is_refused);
        }
    }
    assert!(refusals > 20, "{refusals}");
}
