//! `operator plugins new`: the generated plugin builds and reports a verdict, in any folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use operator_loader::connect;
use operator_model::Isolation;
use serde_json::{json, value::RawValue};

use crate::support::{
    command::{operator, text},
    common,
};

fn new(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = operator();
    command.current_dir(folder).args(["plugins", "new"]);
    command.args(arguments).output().expect("the binary runs")
}

/// A new plugin in this folder, outside of the repository, and its library.
fn made(folder: &Path) -> PathBuf {
    let output = new(folder, &["kit-demo"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let target = common::workspace().join("target/test-plugins");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(folder.join("kit-demo"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status();
    assert!(status.expect("cargo runs").success());
    let library = format!("libkit_demo.{}", std::env::consts::DLL_EXTENSION);
    let copy = folder.join(&library);
    fs::copy(target.join("debug").join(library), &copy).expect("the library is there");
    copy
}

fn check(folder: &Path, library: &Path, file: &Path) -> Output {
    let mut command = operator();
    command.arg("--plugin").arg(library);
    command.arg("--state-dir").arg(folder.join("state"));
    let set = format!("file={}", file.display());
    command.args(["check", "--set", &set]);
    command.output().expect("the binary runs")
}

#[tokio::test]
async fn a_new_plugin_builds_and_reports_a_violated_and_a_holding_invariant() {
    let bench = common::Bench::new();
    let folder = bench.dir.path();
    let library = made(folder);
    let file = folder.join("heartbeat");

    let output = check(folder, &library, &file);
    let printed = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{printed}{}",
        text(&output.stderr)
    );
    assert!(printed.contains("the file is not there"), "{printed}");

    fs::write(&file, "").expect("a file");
    let output = check(folder, &library, &file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));

    its_own_tests_pass(&folder.join("kit-demo"));
    its_files_say_what_they_promise(&bench, &library, &folder.join("kit-demo/conformance")).await;
    its_action_can_be_tried_done_and_taken_back(&bench, &library, &file).await;
}

fn its_own_tests_pass(folder: &Path) {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--quiet", "--target-dir"])
        .arg(common::workspace().join("target/test-plugins"))
        .current_dir(folder)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("OPERATOR", env!("CARGO_BIN_EXE_operator"))
        .output()
        .expect("cargo runs");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    assert!(printed.contains("1 passed"), "{printed}");
}

async fn its_files_say_what_they_promise(bench: &common::Bench, library: &Path, files: &Path) {
    let observer = connect(bench.spec(library, Isolation::Worker, json!({})));
    let mut observed = observer.observe().await.expect("an observation");
    for (file, broken) in [("healthy/written.json", 0), ("violations/fresh.json", 1)] {
        let document = fs::read_to_string(files.join(file)).expect(file);
        observed.document = RawValue::from_string(document).expect(file).into();
        let report = observer.check(&observed).await.expect("a report");
        assert_eq!((report.violations.len(), report.unknown.len()), (broken, 0));
    }
}

async fn its_action_can_be_tried_done_and_taken_back(
    bench: &common::Bench,
    library: &Path,
    file: &Path,
) {
    let (_, invoker) =
        common::handles(bench.spec(library, Isolation::Worker, json!({"file": file})));
    let age = || {
        let written = fs::metadata(file).and_then(|metadata| metadata.modified());
        written
            .expect("a time")
            .elapsed()
            .unwrap_or_default()
            .as_secs()
    };
    let mut wanted = 3600;
    for (dry_run, old) in [(true, false), (false, true), (false, false)] {
        let call = common::approved("set_age", json!({"age_s": wanted}));
        let result = if dry_run {
            invoker
                .preview(call.call(), "key")
                .await
                .map(Option::unwrap)
        } else {
            invoker.invoke(&call, "key").await
        };
        let result = result.expect("it is done");
        assert_eq!(age() >= 3600, old);
        if !dry_run {
            wanted = result.details["previous_age_s"].as_u64().expect("a time");
        }
    }
}

#[test]
fn nothing_is_written_where_something_is_or_under_a_bad_name() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("taken")).expect("a folder");
    fs::write(folder.path().join("taken/mine"), "").expect("a file");
    for (arguments, complaint) in [
        (vec!["taken"], "taken is not empty"),
        (vec!["My_Queue"], "did you mean `my-queue`?"),
        (vec!["demo", "--api", "/no/such"], "there is no crate"),
    ] {
        let output = new(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let printed = text(&output.stderr);
        assert!(printed.contains(complaint), "{printed}");
    }
    let left = fs::read_dir(folder.path()).expect("the folder");
    assert_eq!(left.count(), 1);
}
