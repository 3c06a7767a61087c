//! Plugin files that are refused before any of their code runs, each with an error that names the fix.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use operator_loader::{CallError, LoadError, Plugin, describe, examine, find_plugin, list_plugins};
use operator_model::{Isolation, Sandbox};

use crate::support::common::{self, Bench, built, hello_subject};

/// A plugin file with this content.
fn file_with(bench: &Bench, bytes: &[u8]) -> PathBuf {
    let path = bench.path("libcandidate.so");
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// The hello plugin with every occurrence of one text replaced by another of the same length.
fn patched(bench: &Bench, from: &[u8], to: &[u8]) -> PathBuf {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(hello_subject()).unwrap();
    let found: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter_map(|(at, window)| (window == from).then_some(at))
        .collect();
    assert!(!found.is_empty(), "nothing to replace");
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    file_with(bench, &bytes)
}

fn load_error(bench: &Bench, path: &Path) -> LoadError {
    let error = Plugin::open(path, None, &bench.path("copies")).unwrap_err();
    assert_eq!(error.path, path);
    assert_eq!(error.why.lines().count(), 1, "{error}");
    assert_eq!(examine(path).unwrap_err(), error);
    error
}

#[track_caller]
fn assert_contains(error: &LoadError, words: &[&str]) {
    for word in words {
        assert!(error.why.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn a_plugin_is_copied_under_its_hash_and_readable_for_this_user_alone() {
    let bench = Bench::new();
    let plugin = bench.open(hello_subject());
    assert_eq!(plugin.manifest.name, "hello-subject");
    assert_eq!(plugin.manifest.panic, "unwind");
    let name = plugin.copy.file_stem().unwrap().to_str().unwrap();
    assert_eq!(name, plugin.sha256);
    assert_eq!(
        fs::read(&plugin.copy).unwrap(),
        fs::read(hello_subject()).unwrap()
    );
    assert_eq!(fs::metadata(&plugin.copy).unwrap().mode() & 0o777, 0o500);
    assert_eq!(
        fs::metadata(bench.path("copies")).unwrap().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_copy_is_reused_unless_it_was_changed() {
    let bench = Bench::new();
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let first = bench.open(hello_subject());
    let before = inode(&first.copy);
    assert_eq!(inode(&bench.open(hello_subject()).copy), before);
    fs::set_permissions(&first.copy, Permissions::from_mode(0o700)).unwrap();
    fs::write(&first.copy, "something else").unwrap();
    let second = bench.open(hello_subject());
    assert_eq!(
        fs::read(&second.copy).unwrap(),
        fs::read(hello_subject()).unwrap()
    );
}

#[test]
fn a_truncated_file_is_refused() {
    let bench = Bench::new();
    let whole = fs::read(hello_subject()).unwrap();
    for length in [0, 3, 15, 63, 64, 1000, whole.len() / 2, whole.len() - 1] {
        let error = load_error(&bench, &file_with(&bench, &whole[..length]));
        let expected = if length < 16 {
            "not a shared library"
        } else {
            "truncated or damaged"
        };
        assert_contains(&error, &[expected, "build"]);
    }
}

#[test]
fn a_damaged_file_causes_no_panic() {
    let bench = Bench::new();
    let whole = fs::read(hello_subject()).unwrap();
    for at in (0..64).chain((64..whole.len()).step_by(whole.len() / 200)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = examine(&file_with(&bench, &bytes));
    }
}

#[test]
fn garbage_is_refused() {
    let bench = Bench::new();
    let noise = |i: u32| i.wrapping_mul(2_654_435_761).to_le_bytes();
    let garbage: Vec<u8> = (1..25_000).flat_map(noise).collect();
    assert_contains(
        &load_error(&bench, &file_with(&bench, &garbage)),
        &["not a shared library", "cdylib"],
    );
}

#[test]
fn a_library_without_a_manifest_is_refused_without_running_its_constructor() {
    let bench = Bench::new();
    let (source, library) = (bench.path("plain.rs"), bench.path("libplain.so"));
    let mark = bench.path("constructor-ran");
    let code = format!(
        r#"extern "C" fn mark() {{ let _ = std::fs::write({mark:?}, ""); }}
           #[used] #[unsafe(link_section = ".init_array")] static MARK: extern "C" fn() = mark;"#
    );
    fs::write(&source, code).unwrap();
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
        .args([&library, &source])
        .status();
    assert!(rustc.unwrap().success());
    let error = load_error(&bench, &library);
    assert_contains(&error, &["not an operator plugin", "export_subject!"]);
    assert!(!mark.exists(), "its code has run");
}

#[test]
fn a_plugin_for_another_machine_is_refused() {
    let bench = Bench::new();
    let mut bytes = fs::read(hello_subject()).unwrap();
    // e_machine of the ELF header: MIPS.
    bytes[18..20].copy_from_slice(&8_u16.to_le_bytes());
    assert_contains(
        &load_error(&bench, &file_with(&bench, &bytes)),
        &["is built for Mips", "build it for"],
    );
}

#[test]
fn a_plugin_of_another_abi_is_refused() {
    let bench = Bench::new();
    let path = patched(&bench, br#""abi":"1.0""#, br#""abi":"2.0""#);
    assert_contains(
        &load_error(&bench, &path),
        &["ABI 2.0", "needs 1.0", "operator-plugin-api 1.x"],
    );
}

#[test]
fn a_plugin_of_a_later_minor_abi_is_accepted() {
    let bench = Bench::new();
    let path = patched(&bench, br#""abi":"1.0""#, br#""abi":"1.7""#);
    assert_eq!(examine(&path).unwrap().manifest.abi, "1.7");
}

#[test]
fn a_manifest_that_cannot_be_read_is_refused() {
    let bench = Bench::new();
    let path = patched(&bench, br#"{"name":"hello"#, br#"{"name:"hello""#);
    assert_contains(
        &load_error(&bench, &path),
        &["manifest cannot be read", "rebuild it"],
    );
}

#[test]
fn a_plugin_without_its_root_module_is_refused() {
    let bench = Bench::new();
    let path = patched(
        &bench,
        b"_1as_0lib_1header_0root_",
        b"_1as_0lib_1header_0toor_",
    );
    assert_contains(
        &load_error(&bench, &path),
        &["not an operator plugin", "does not export"],
    );
}

#[test]
fn a_plugin_that_aborts_on_panic_is_refused() {
    let bench = Bench::new();
    let path = patched(&bench, br#""panic":"unwind"}"#, br#""panic":"abort" }"#);
    assert_contains(
        &load_error(&bench, &path),
        &["panic = \"abort\"", "panic = \"unwind\""],
    );
}

#[test]
fn a_file_or_directory_that_others_can_write_to_is_refused() {
    let bench = Bench::new();
    let path = file_with(&bench, &fs::read(hello_subject()).unwrap());
    for mode in [0o775, 0o757, 0o646] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_contains(
            &load_error(&bench, &path),
            &["others can write", "chmod go-w", "libcandidate.so"],
        );
    }
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let dir = bench.dir.path();
    fs::set_permissions(dir, Permissions::from_mode(0o777)).unwrap();
    assert_contains(
        &load_error(&bench, &path),
        &["others can replace it", "chmod go-w"],
    );
    // Like /tmp: others can add files, but cannot replace ours.
    fs::set_permissions(dir, Permissions::from_mode(0o1777)).unwrap();
    assert!(examine(&path).is_ok());
}

#[test]
fn anything_but_a_regular_file_is_refused() {
    let bench = Bench::new();
    assert_contains(
        &load_error(&bench, &bench.path("missing.so")),
        &["cannot be read", "No such file"],
    );
    assert_contains(
        &load_error(&bench, bench.dir.path()),
        &["not a regular file"],
    );
    let fifo = bench.path("fifo.so");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    assert_contains(&load_error(&bench, &fifo), &["not a regular file"]);
}

#[test]
fn only_the_pinned_content_is_opened() {
    let bench = Bench::new();
    let copies = bench.path("copies");
    let sha256 = examine(hello_subject()).unwrap().sha256;
    let upper = sha256.to_uppercase();
    assert!(Plugin::open(hello_subject(), Some(&upper), &copies).is_ok());
    let other = "0".repeat(64);
    let error = Plugin::open(hello_subject(), Some(&other), &copies).unwrap_err();
    assert_contains(&error, &[&sha256, &other, "pin its hash"]);
}

#[test]
fn a_listed_directory_contains_plugins_and_errors() {
    let bench = Bench::new();
    let dir = bench.path("plugins");
    fs::create_dir(&dir).unwrap();
    fs::copy(hello_subject(), dir.join("libhello_subject.so")).unwrap();
    fs::write(dir.join("libbroken.so"), "broken").unwrap();
    fs::write(dir.join("README.md"), "not a library").unwrap();
    let dirs = [bench.path("missing"), dir.clone()];
    let listed = list_plugins(&dirs);
    let names: Vec<_> = listed
        .iter()
        .map(|one| one.path.file_name().unwrap())
        .collect();
    assert_eq!(names, ["libbroken.so", "libhello_subject.so"]);
    assert!(listed[0].examined.is_err());
    assert_eq!(
        listed[1].examined.as_ref().unwrap().manifest.name,
        "hello-subject"
    );
    assert_eq!(
        find_plugin("hello-subject", &dirs).unwrap(),
        dir.join("libhello_subject.so")
    );
}

async fn errors_when_opened(bench: &Bench, path: &Path) -> Vec<LoadError> {
    let plugin = bench.open(path);
    let mut errors = Vec::new();
    for isolation in [Isolation::Worker, Isolation::None] {
        let error = describe(&plugin, isolation, &Sandbox::default(), common::PATIENCE)
            .await
            .unwrap_err();
        let CallError::Load(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.path, path);
        assert_eq!(error.why.lines().count(), 1, "{error}");
        errors.push(error);
    }
    errors
}

#[tokio::test]
async fn a_plugin_that_lacks_a_symbol_is_refused_when_it_is_opened() {
    let bench = Bench::new();
    let path = patched(&bench, b"\0posix_memalign\0", b"\0posix_memaligX\0");
    for error in errors_when_opened(&bench, &path).await {
        assert_contains(
            &error,
            &[
                "undefined symbol: posix_memaligX",
                "link the library that defines it",
            ],
        );
        assert!(!error.why.contains("copies"), "{error}");
    }
}

#[tokio::test]
async fn a_plugin_with_other_types_is_refused_in_one_line_with_the_details_in_a_file() {
    let bench = Bench::new();
    let path = built("examples/misbehaving-subject", "broken-layout");
    for error in errors_when_opened(&bench, &path).await {
        assert_contains(&error, &["types differ", "rebuild it"]);
        let report = error.why.split("comparison is in ").nth(1).unwrap();
        let report = fs::read_to_string(report).unwrap();
        assert!(report.lines().count() > 20, "{report}");
    }
}
