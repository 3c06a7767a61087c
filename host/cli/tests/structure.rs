//! The walls of the workspace: which crate depends on which, and what must never be in the host's sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

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

/// The rules of the gate give an `Approved` to whoever calls them, and an `Invoker` takes nothing else.
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
        let mut code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let holds = code.any(|line| line.contains("unsafe "));
        assert!(
            !holds || crate_of(&path) == "loader",
            "{} holds unsafe code",
            path.display()
        );
    }
}

/// The modules of one crate that each of its files imports from, by the file's module path.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let files = sources();
    let modules: BTreeSet<_> = files.iter().map(|(path, _)| module_of(path)).collect();
    let resolve = |from: &str, to: &str| {
        // The longest prefix that is a file; `config::show::Shown` is in `config::show`.
        let mut path = to.to_owned();
        loop {
            if modules.contains(&path) && path != from {
                return Some(path);
            }
            path.truncate(path.rfind("::")?);
        }
    };
    let mut found = BTreeMap::new();
    for (path, text) in &files {
        let module = module_of(path);
        let own_crate = crate_of(path);
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        let named = use_paths(production).into_iter().filter_map(|used| {
            let parent = module
                .rsplit_once("::")
                .map_or(own_crate, |(parent, _)| parent);
            let absolute = if let Some(rest) = used.strip_prefix("crate::") {
                format!("{own_crate}::{rest}")
            } else if let Some(rest) = used.strip_prefix("super::") {
                format!("{parent}::{rest}")
            } else {
                return None;
            };
            resolve(&module, &absolute).filter(|to| to.starts_with(own_crate))
        });
        found.insert(module.clone(), named.collect());
    }
    found
}

/// `config::plugin::fit` for `config/src/plugin/fit.rs`; the crate's root is its name alone.
fn module_of(path: &Path) -> String {
    let parts = path.with_extension("");
    let parts = parts.iter().filter_map(|part| part.to_str());
    let parts = parts.filter(|part| !["src", "lib", "mod"].contains(part));
    parts.collect::<Vec<_>>().join("::")
}

/// Every path of the `use` declarations of a text, with groups written out.
fn use_paths(text: &str) -> Vec<String> {
    let declarations = text.split("\nuse ").skip(1);
    declarations
        .filter_map(|rest| rest.split_once(';'))
        .flat_map(|(declaration, _)| written_out(declaration))
        .collect()
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn written_out(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0_usize;
    let mut members = vec![String::new()];
    for c in group.chars() {
        match c {
            ',' if depth == 0 => members.push(String::new()),
            c => {
                depth = match c {
                    '{' => depth + 1,
                    '}' => depth - 1,
                    _ => depth,
                };
                members.last_mut().expect("one at least").push(c);
            }
        }
    }
    let members = members.iter().filter(|member| !member.trim().is_empty());
    members
        .flat_map(|member| written_out(member))
        .map(|member| format!("{prefix}{member}"))
        .collect()
}

#[test]
fn groups_of_imports_are_written_out() {
    assert_eq!(
        written_out("super::{\n    a,\n    b::{C, d::E},\n}"),
        ["super::a", "super::b::C", "super::b::d::E"]
    );
}

/// A file may use what its folder's root re-exports: the root gathers, and is no part of a circle.
#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let imports = imports();
    let edges: usize = imports.values().map(BTreeSet::len).sum();
    assert!(edges > 100, "only {edges} imports were found");
    let leaves = |module: &str| -> Vec<String> {
        let is_root = |name: &str| {
            !name.contains("::")
                || imports
                    .keys()
                    .any(|other| other.starts_with(&format!("{name}::")))
        };
        imports[module]
            .iter()
            .filter(|name| !is_root(name))
            .cloned()
            .collect()
    };
    let mut circles = Vec::new();
    for start in imports.keys() {
        let mut seen = BTreeSet::new();
        let mut open = leaves(start);
        while let Some(module) = open.pop() {
            if seen.insert(module.clone()) {
                open.extend(leaves(&module));
            }
        }
        if seen.contains(start) {
            circles.push(start);
        }
    }
    assert!(circles.is_empty(), "in a circle: {circles:?}");
}
