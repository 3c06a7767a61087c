//! What must never be in the host, kept by reading its sources.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Rust sources below a folder of this crate, with their paths from it.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(&root).expect("below the root");
                found.push((path.to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The module that a source belongs to: `loader` for `loader/image.rs`.
fn module(path: &Path) -> String {
    let first = path.iter().next().unwrap_or_default().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
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
    for folder in ["src", "tests"] {
        for (path, text) in sources(folder) {
            for word in words(&text) {
                assert!(!subjects.contains(&word), "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn only_the_loader_touches_the_plugin_boundary() {
    for (path, text) in sources("src") {
        let touches = ["libloading", "abi_stable", "operator_plugin_api::abi"]
            .iter()
            .any(|name| text.contains(name));
        assert!(
            !touches || module(&path) == "loader",
            "{} touches the plugin boundary",
            path.display()
        );
    }
}

#[test]
fn only_the_store_holds_sql() {
    for (path, text) in sources("src") {
        assert!(
            !text.contains("sqlx") || module(&path) == "store",
            "{} reaches for the database",
            path.display()
        );
    }
}

#[test]
fn only_actions_reach_an_invoker() {
    // `subject` hands it from the loader to `service`, which gives it to the executor and to nobody else.
    let may = BTreeSet::from(["loader", "subject", "actions"].map(str::to_owned));
    for (path, text) in sources("src") {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let names = code.into_iter().any(|line| line.contains("Invoker"));
        assert!(
            !names || may.contains(&module(&path)),
            "{} names the invoker",
            path.display()
        );
    }
}

#[test]
fn only_conformance_uses_a_probe() {
    for (path, text) in sources("src") {
        let names = words(&text).any(|word| word == "probe") && text.contains("Probe");
        assert!(
            !names || ["loader", "conformance"].contains(&&*module(&path)),
            "{} names the probe",
            path.display()
        );
    }
}

#[test]
fn unsafe_is_in_the_loader_alone() {
    for (path, text) in sources("src") {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let holds = code.into_iter().any(|line| line.contains("unsafe "));
        assert!(
            !holds || module(&path) == "loader",
            "{} holds unsafe code",
            path.display()
        );
    }
}

/// The layers, from the lowest: a module may import only from those before it.
const LAYERS: [&str; 12] = [
    "model",
    "loader",
    "store",
    "config",
    "conformance",
    "subject",
    "actions",
    "monitor",
    "service",
    "app",
    "cli",
    "main",
];

#[test]
fn a_module_imports_only_from_those_below_it() {
    let place = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    for (path, text) in sources("src") {
        let module = module(&path);
        if module == "lib" {
            continue;
        }
        let own = place(&module).unwrap_or_else(|| panic!("{module} has no layer"));
        for layer in imports(&text) {
            let imported = place(&layer).unwrap_or_else(|| panic!("{layer} has no layer"));
            assert!(
                imported <= own,
                "{}: {module} imports from {layer}, which is above it",
                path.display()
            );
        }
    }
}

/// The top-level modules of this crate that a source names.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group_heads(group));
        } else {
            found.insert(head(rest));
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

/// The first names in `{a::b, c::{d, e}}`, without the opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut fresh = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                heads.push(head(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn head(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{\n    config::{A, B},\n    model::C,\n};\nuse crate::store::D; crate::loader::e();";
    let expected = ["config", "loader", "model", "store"].map(str::to_owned);
    assert_eq!(imports(text), BTreeSet::from(expected));
}
