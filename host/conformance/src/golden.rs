//! The golden files that a plugin's author writes: a configuration, observations of a healthy subject, and one observation
//! for each invariant that violates it.
//!
//! A file holds an observation, or a patch of another file: `{"base": "healthy/a.json", "patch": [...]}`, where the base is
//! relative to the folder and the patch is a JSON Patch (RFC 6902).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::verdict::Stop;

/// `conformance/` of a plugin's folder.
#[derive(Debug, Default)]
pub(super) struct Golden {
    /// `config.toml`
    pub(super) config: Option<Map<String, Value>>,
    /// `healthy/*.json`, by file name.
    pub(super) healthy: BTreeMap<String, Value>,
    /// `violations/<invariant>.json`, by invariant.
    pub(super) violations: BTreeMap<String, Value>,
}

impl Golden {
    /// A missing folder is an empty one; a file that cannot be read is an error of the suite that names the file.
    pub(super) fn read(folder: Option<&Path>) -> Result<Self, Stop> {
        let Some(folder) = folder else {
            return Ok(Self::default());
        };
        Ok(Self {
            config: config(&folder.join("config.toml"))?,
            healthy: documents(folder, "healthy")?,
            violations: documents(folder, "violations")?,
        })
    }

    /// The healthy observations; skips the case without any.
    pub(super) fn healthy(&self) -> Result<&BTreeMap<String, Value>, Stop> {
        if self.healthy.is_empty() {
            return Err(Stop::skip(
                "there is no healthy/*.json in the plugin's conformance folder (see --golden)",
            ));
        }
        Ok(&self.healthy)
    }

    /// The observations that violate an invariant; skips the case without any.
    pub(super) fn violations(&self) -> Result<&BTreeMap<String, Value>, Stop> {
        if self.violations.is_empty() {
            return Err(Stop::skip(
                "there is no violations/*.json in the plugin's conformance folder (see --golden)",
            ));
        }
        Ok(&self.violations)
    }

    /// Every observation, named by its file.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, &Value)> {
        let healthy = self.healthy.iter();
        let healthy = healthy.map(|(name, document)| (format!("healthy/{name}.json"), document));
        let broken = self.violations.iter();
        let broken = broken.map(|(name, document)| (format!("violations/{name}.json"), document));
        healthy.chain(broken)
    }

    /// Any observation.
    pub(super) fn any(&self) -> Result<&Value, Stop> {
        self.healthy()
            .map(BTreeMap::first_key_value)
            .or_else(|_| self.violations().map(BTreeMap::first_key_value))?
            .map(|(_, document)| document)
            .ok_or_else(|| Stop::skip("there is no observation in the conformance folder"))
    }
}

fn config(path: &Path) -> Result<Option<Map<String, Value>>, Stop> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Stop::error(format!("{}: {error}", path.display()))),
    };
    toml::from_str(&text)
        .map(Some)
        .map_err(|error| Stop::error(format!("{}: {error}", path.display())))
}

fn documents(folder: &Path, kind: &str) -> Result<BTreeMap<String, Value>, Stop> {
    let mut found = BTreeMap::new();
    let entries = fs::read_dir(folder.join(kind));
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let document = observation(folder, &path)
            .map_err(|error| Stop::error(format!("{}: {error}", path.display())))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        found.insert(name.into_owned(), document);
    }
    Ok(found)
}

/// A file that is a patch of another one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patched {
    base: PathBuf,
    patch: json_patch::Patch,
}

fn observation(folder: &Path, path: &Path) -> Result<Value, String> {
    let document = parsed(path)?;
    if !is_patch(&document) {
        return Ok(document);
    }
    let patched: Patched = serde_json::from_value(document).map_err(|error| error.to_string())?;
    let base = folder.join(&patched.base);
    let mut observation =
        parsed(&base).map_err(|error| format!("base {}: {error}", base.display()))?;
    if is_patch(&observation) {
        let base = base.display();
        return Err(format!(
            "base {base}: it is a patch, too; name a whole observation"
        ));
    }
    json_patch::patch(&mut observation, &patched.patch).map_err(|error| error.to_string())?;
    Ok(observation)
}

/// An observation has `data`, which a patch does not.
fn is_patch(document: &Value) -> bool {
    document.get("base").is_some() && document.get("data").is_none()
}

fn parsed(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Finds a plugin's golden files: `conformance/` next to the library, or in the folder of the crate that its manifest names
/// if the library is in the `target` directory of a workspace.
pub(super) fn find(library: &Path, crate_name: Option<&str>) -> Option<PathBuf> {
    let library = library.canonicalize().ok()?;
    let adjacent = library.parent()?.join("conformance");
    if adjacent.is_dir() {
        return Some(adjacent);
    }
    let target = library
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "target"))?;
    crate_folder(target.parent()?, crate_name?, DEEPEST)
        .map(|folder| folder.join("conformance"))
        .filter(|folder| folder.is_dir())
}

/// How deep below the workspace a crate is searched for.
const DEEPEST: usize = 4;

fn crate_folder(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    if is_crate(&folder.join("Cargo.toml"), name) {
        return Some(folder.to_owned());
    }
    if depth == 0 {
        return None;
    }
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| !is_passed_over(path))
        .collect();
    folders.sort();
    folders
        .iter()
        .find_map(|folder| crate_folder(folder, name, depth - 1))
}

fn is_passed_over(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name == "target" || name == "node_modules"
}

fn is_crate(manifest: &Path, name: &str) -> bool {
    let text = fs::read_to_string(manifest).unwrap_or_default();
    toml::from_str::<Value>(&text).is_ok_and(|manifest| manifest["package"]["name"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_next_to_the_library_or_by_its_crate() {
        let root = tempfile::tempdir().unwrap();
        let library = root.path().join("target/debug/libx.so");
        let folder = root.path().join("plugins/x");
        for path in [library.parent().unwrap(), &folder.join("conformance")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(&library, "").unwrap();
        fs::write(folder.join("Cargo.toml"), "[package]\nname = \"x-plugin\"").unwrap();
        let found = find(&library, Some("x-plugin")).unwrap();
        assert!(found.ends_with("plugins/x/conformance"));
        assert_eq!(find(&library, Some("y-plugin")), None);
        let adjacent = library.parent().unwrap().join("conformance");
        fs::create_dir(&adjacent).unwrap();
        assert!(find(&library, None).unwrap().ends_with("debug/conformance"));
    }

    #[test]
    fn a_broken_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("healthy")).unwrap();
        fs::write(root.path().join("healthy/a.json"), "{").unwrap();
        let stop = Golden::read(Some(root.path())).unwrap_err();
        assert!(format!("{stop:?}").contains("a.json"));
    }

    fn golden(files: &[(&str, &str)]) -> Result<Golden, Stop> {
        let root = tempfile::tempdir().unwrap();
        for folder in ["healthy", "violations"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        for (name, text) in files {
            fs::write(root.path().join(name), text).unwrap();
        }
        Golden::read(Some(root.path()))
    }

    const WHOLE: (&str, &str) = (
        "healthy/a.json",
        r#"{"observed_at_ms": 1, "data": {"nodes": [{"up": true}]}}"#,
    );

    #[test]
    fn a_patch_is_applied_to_the_file_that_it_names() {
        let patch = r#"{"base": "healthy/a.json", "patch": [{"op": "replace", "path": "/data/nodes/0/up", "value": false}]}"#;
        let golden = golden(&[WHOLE, ("violations/node_down.json", patch)]).unwrap();
        let expected = serde_json::json!({"observed_at_ms": 1, "data": {"nodes": [{"up": false}]}});
        assert_eq!(golden.violations["node_down"], expected);
        assert_eq!(golden.healthy["a"]["data"]["nodes"][0]["up"], true);
    }

    #[test]
    fn a_patch_that_cannot_be_applied_is_named() {
        for (patch, why) in [
            (r#"{"base": "healthy/b.json", "patch": []}"#, "b.json"),
            (
                r#"{"base": "violations/x.json", "patch": []}"#,
                "it is a patch, too",
            ),
            (r#"{"base": "healthy/a.json"}"#, "missing field `patch`"),
            (
                r#"{"base": "healthy/a.json", "patch": [{"op": "remove", "path": "/data/stores"}]}"#,
                "/data/stores",
            ),
        ] {
            let stop = golden(&[WHOLE, ("violations/x.json", patch)]).unwrap_err();
            let shown = format!("{stop:?}");
            assert!(shown.contains("x.json") && shown.contains(why), "{shown}");
        }
    }
}
