//! The walls of the workspace: which crate depends on which, and what must never be in the host's sources.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use self::imports::Imports;

fn workspace() -> &'static Path {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.ancestors().nth(2).expect("the workspace")
}

/// The crates of the host, by the name of their folder, and what each depends on outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let of_host = packages.filter_map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let folder = manifest.parent()?.strip_prefix(workspace()).ok()?;
        let name = folder.strip_prefix("host").ok()?.to_str()?.to_owned();
        let dependencies = package["dependencies"].as_array()?.iter();
        let names = dependencies
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned()));
        Some((name, names.collect()))
    });
    let found: BTreeMap<_, _> = of_host.collect();
    assert_eq!(found.len(), CRATES.len(), "{found:?}");
    found
}

/// Which crate of the host may depend on which others, from the lowest.
const CRATES: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("policy", &["model"]),
    ("supervisor", &["model"]),
    ("config", &["model"]),
    ("store", &["model"]),
    ("loader", &["model", "policy"]),
    ("subject", &["config", "loader", "model"]),
    (
        "monitor",
        &[
            "config",
            "loader",
            "model",
            "store",
            "subject",
            "supervisor",
        ],
    ),
    (
        "actions",
        &[
            "config",
            "loader",
            "model",
            "policy",
            "store",
            "subject",
            "supervisor",
        ],
    ),
    (
        "service",
        &[
            "actions",
            "config",
            "loader",
            "model",
            "monitor",
            "store",
            "subject",
            "supervisor",
        ],
    ),
    ("conformance", &["config", "loader", "model"]),
    (
        "cli",
        &["config", "conformance", "loader", "model", "service"],
    ),
];

#[test]
fn a_crate_depends_only_on_those_below_it() {
    let found = dependencies();
    for (name, allowed) in CRATES {
        let own = found[name]
            .iter()
            .filter_map(|dependency| dependency.strip_prefix("operator-"))
            .filter(|dependency| !dependency.starts_with("plugin-"));
        assert_eq!(own.collect::<Vec<_>>(), allowed, "host/{name}");
    }
}

#[test]
fn what_is_dangerous_or_heavy_is_in_one_crate() {
    let found = dependencies();
    for (dependency, home) in [
        ("abi_stable", "loader"),
        ("libloading", "loader"),
        ("landlock", "loader"),
        ("seccompiler", "loader"),
        ("sqlx", "store"),
        ("zstd", "store"),
        ("clap", "cli"),
    ] {
        let users = found
            .iter()
            .filter(|(_, dependencies)| dependencies.contains(dependency))
            .map(|(name, _)| name.as_str());
        assert_eq!(users.collect::<Vec<_>>(), [home], "{dependency}");
    }
}

/// The rules of the gate give an `Approved` to any caller, and an `Invoker` takes nothing else.
#[test]
fn only_actions_ask_for_a_permission() {
    let found = dependencies();
    let users = found
        .iter()
        .filter(|(_, dependencies)| dependencies.contains("operator-policy"))
        .map(|(name, _)| name.as_str());
    assert_eq!(users.collect::<Vec<_>>(), ["actions", "loader"]);
    for (path, text) in sources() {
        let names_permit = words(&text).any(|word| word == "permit") && text.contains("permit(");
        let allowed = ["policy", "actions"].contains(&crate_of(&path));
        assert!(
            !names_permit || allowed,
            "{} asks for a permission",
            path.display()
        );
    }
}

/// Rust sources of the host's crates, with their paths below `host`.
fn sources() -> Vec<(PathBuf, String)> {
    let host = workspace().join("host");
    let mut found = Vec::new();
    let mut folders: Vec<_> = CRATES.map(|(name, _)| host.join(name).join("src")).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(&host).expect("below the host");
                found.push((path.to_owned(), text));
            }
        }
    }
    assert!(found.len() > 100, "only {} sources were found", found.len());
    found
}

/// The folder of the crate that a source belongs to.
fn crate_of(path: &Path) -> &str {
    let first = path.iter().next().and_then(|first| first.to_str());
    first.unwrap_or_default()
}

/// The words of a text, in lower case, as people would read them: `node_down` is two.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::to_ascii_lowercase)
}

#[test]
fn the_host_names_no_subject() {
    // Not spelt out, or this file would break its own rule.
    let subjects = [
        ["ti", "kv"].concat(),
        ["re", "dis"].concat(),
        ["rate", "limiter"].concat(),
        ["p", "d"].concat(),
    ];
    for (path, text) in sources() {
        for word in words(&text) {
            assert!(!subjects.contains(&word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn unsafe_code_is_in_the_loader_alone() {
    for (path, text) in sources() {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
        let mut names = code.flat_map(|line| line.split(|c| !is_of_name(c)));
        let holds = names.any(|name| name == "unsafe");
        assert!(
            !holds || crate_of(&path) == "loader",
            "{} holds unsafe code",
            path.display()
        );
    }
}

#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let imports = Imports::of(&sources());
    assert!(imports.count() > 300, "only {} imports", imports.count());
    let circles: Vec<_> = imports.circles().into_iter().collect();
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}
