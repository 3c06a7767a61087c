//! The table: for each case of the suite a plugin that fails exactly this one, and a plugin that fails none.
//!
//! The plugin has a switch in its bytes, so that each variant is a copy of one library; what concerns the file itself is
//! changed in the bytes too.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    command::{operator, text},
    common,
};

const MARK: &[u8] = b"nonconforming-switch=";
const SWITCH_LENGTH: usize = 64;
/// Suites at a time, and cases of each: most cases wait most of their time.
const SUITES: usize = 2;
const JOBS: &str = "24";
/// A plugin in an endless loop gets less time, so that the others get enough.
const HANGS: [&str; 2] = ["robustness.spin", "robustness.lock"];

pub(crate) fn library() -> PathBuf {
    common::built("examples/misbehaving-subject", "nonconforming-subject")
}

fn golden() -> PathBuf {
    common::workspace().join("examples/misbehaving-subject/nonconforming/conformance")
}

/// Replaces every occurrence by as many other bytes; there must be at least one.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let windows = bytes.windows(from.len()).enumerate();
    let places = windows.filter(|(_, window)| *window == from);
    let places: Vec<_> = places.map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "{} is not there", text(from));
    for place in places {
        bytes[place..place + from.len()].copy_from_slice(to);
    }
    bytes
}

/// The library that is to fail this case.
fn variant(case: &str, bytes: Vec<u8>) -> Vec<u8> {
    match case {
        "load.file-integrity" => bytes[..bytes.len() / 2].to_vec(),
        "load.manifest" => replaced(
            bytes,
            b"{\"name\":\"nonconforming",
            b"[\"name\":\"nonconforming",
        ),
        "load.symbol" => replaced(bytes, b"_1as_0lib_1header", b"_1as_0xib_1header"),
        "load.abi-major" => replaced(bytes, b"\"abi\":\"1.", b"\"abi\":\"9."),
        "load.panic-strategy" => replaced(bytes, b"\"panic\":\"unwind\"", b"\"panic\":\"abort!\""),
        "load.undefined-symbol" => {
            replaced(bytes, b"gnu_get_libc_version", b"gnu_get_libc_versiox")
        }
        "load.layout" => {
            let other = common::built("examples/misbehaving-subject", "broken-layout");
            fs::read(other).expect("the library")
        }
        switch => switched(switch, bytes),
    }
}

pub(crate) fn switched(switch: &str, bytes: Vec<u8>) -> Vec<u8> {
    let filled = |word: &str| {
        let mut filled = [MARK, word.as_bytes()].concat();
        filled.resize(SWITCH_LENGTH, b' ');
        filled
    };
    replaced(bytes, &filled("none"), &filled(switch))
}

pub(crate) fn written(folder: &Path, case: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(format!("{case}.so"));
    fs::write(&file, bytes).expect("a variant");
    fs::set_permissions(&file, Permissions::from_mode(0o700)).expect("its mode");
    file
}

struct Run {
    code: Option<i32>,
    report: Value,
}

fn suite(file: &Path, more: &[&str]) -> Run {
    let output = operator()
        .arg("conformance")
        .arg(file)
        .args(["--json", "--jobs", JOBS, "--rounds", "80", "--golden"])
        .arg(golden())
        .args(more)
        .output()
        .expect("the binary runs");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", text(&output.stderr)));
    Run {
        code: output.status.code(),
        report,
    }
}

/// The cases with one of these results, and what happened.
fn cases(report: &Value, statuses: &[&str]) -> Vec<(String, String)> {
    let cases = report["cases"].as_array().expect("cases").iter();
    let meant = cases.filter(|case| statuses.contains(&case["status"].as_str().expect("a status")));
    meant
        .map(|case| {
            let shown = |key: &str| case[key].as_str().expect("a text").to_owned();
            (
                shown("id"),
                format!("{}: {}", shown("status"), shown("happened")),
            )
        })
        .collect()
}

const FAULTS: [&str; 4] = ["fail", "crash", "hang", "error"];

fn ids() -> Vec<String> {
    let output = operator()
        .args(["conformance", "--list", "--json"])
        .output()
        .expect("the binary runs");
    let list: Value = serde_json::from_slice(&output.stdout).expect("a list");
    let list = list.as_array().expect("a list").iter();
    list.map(|case| case["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Why this variant does not fail exactly its case.
fn complaint(folder: &Path, case: &str, bytes: Vec<u8>) -> Option<String> {
    let file = written(folder, case, &variant(case, bytes));
    let timeout = if HANGS.contains(&case) { "12s" } else { "120s" };
    let run = suite(&file, &["--timeout", timeout]);
    let found = cases(&run.report, &FAULTS);
    let is_exact = found.len() == 1 && found[0].0 == case && run.code == Some(1);
    (!is_exact).then(|| format!("{case}: exit {:?}, {found:?}", run.code))
}

#[test]
fn each_switch_fails_exactly_its_case() {
    let _machine = common::busy_machine();
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(library()).unwrap();
    let (ids, next) = (ids(), AtomicUsize::new(0));
    let complaints = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..SUITES {
            scope.spawn(|| {
                while let Some(case) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let complaint = complaint(folder.path(), case, bytes.clone());
                    complaints.lock().unwrap().extend(complaint);
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_honest_plugin_fails_none_and_none_is_skipped() {
    let run = suite(&library(), &["--strict"]);
    assert_eq!(cases(&run.report, &[&FAULTS[..], &["skip"]].concat()), []);
    assert_eq!(run.code, Some(0));
    assert_eq!(run.report["cases"].as_array().unwrap().len(), ids().len());
}

#[test]
fn what_the_sandbox_refused_a_plugin_is_reported() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(library()).unwrap();
    for (case, tried) in [
        ("sandbox.read", "to read /etc/shadow"),
        ("sandbox.write", "/.nonconforming"),
        ("sandbox.exec", "to start /bin/sh"),
        ("sandbox.outlive", "setpgid"),
        ("sandbox.share", "shmget"),
        ("sandbox.calls", "signal 0 to process 1"),
    ] {
        let file = written(folder.path(), case, &switched(case, bytes.clone()));
        let run = suite(&file, &["--only", case]);
        let found = cases(&run.report, &["fail"]);
        assert_eq!(found.len(), 1, "{case}: {:?}", run.report);
        assert!(found[0].1.contains(tried), "{case}: {}", found[0].1);
        assert!(found[0].1.contains("isolation"), "{}", found[0].1);
    }
}

#[test]
fn a_plugin_hides_no_attempt() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(library()).unwrap();
    for (evasion, case, tried) in [
        (
            "evasion.close-descriptors",
            "sandbox.read",
            "to read /etc/shadow",
        ),
        ("evasion.reference", "sandbox.read", " (/etc/shadow)"),
        (
            "evasion.hidden-process",
            "sandbox.read",
            "to read /etc/shadow",
        ),
        (
            "evasion.other-process",
            "sandbox.read",
            "to read /etc/shadow",
        ),
        ("evasion.many", "sandbox.exec", "to start /bin/sh"),
        (
            "evasion.everyone",
            "sandbox.calls",
            "signal 0 to process -1",
        ),
        (
            "evasion.newer-call",
            "sandbox.calls",
            "the system call fchmodat2",
        ),
        ("evasion.own-filter", "sandbox.read", "to read /etc/shadow"),
    ] {
        let file = written(folder.path(), evasion, &switched(evasion, bytes.clone()));
        let run = suite(&file, &["--only", case]);
        let found = cases(&run.report, &["fail"]);
        assert_eq!(found.len(), 1, "{evasion}: {:?}", run.report);
        assert!(found[0].1.contains(tried), "{evasion}: {}", found[0].1);
    }
}

#[test]
fn a_harmful_plugin_harms_no_other_case() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(library()).unwrap();
    for harm in [
        "harm.kill-parent",
        "harm.close-descriptors",
        "harm.fill-memory",
        "harm.print-megabytes",
        "harm.outlive",
    ] {
        let file = written(folder.path(), harm, &switched(harm, bytes.clone()));
        let run = suite(&file, &[]);
        let found = cases(&run.report, &FAULTS);
        assert!(!found.is_empty(), "{harm} was not noticed");
        for (case, what) in found {
            // Only the robustness cases make the call in which it strikes.
            assert!(case.starts_with("robustness."), "{harm}: {case} {what}");
        }
        assert_eq!(run.code, Some(1), "{harm}");
    }
}

#[test]
fn what_a_case_leaves_behind_is_ended() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(library()).unwrap();
    let file = written(folder.path(), "outlive", &switched("harm.outlive", bytes));
    let mut suite = operator()
        .arg("conformance")
        .arg(&file)
        // There it can start processes, to be seen to.
        .args(["--only", "sandbox.exec"])
        // Its cases work below it.
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // It has left its process group, and its parents are dead; so it is the suite's own child, until it is ended.
    let pid = suite.id();
    suite.wait().unwrap();
    assert!(!common::is_alive(pid));
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let directory = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        directory.starts_with(folder.path())
    });
    assert_eq!(left.count(), 0);
}
