//! Finds plugin files by name or path.

use std::path::{Path, PathBuf};

use crate::file::{
    error::LoadError,
    plugin::{Candidate, examine},
};

/// The extensions of libraries. Both on every system, so that a file for another system is refused with a reason and not
/// overlooked.
const EXTENSIONS: [&str; 2] = ["so", "dylib"];
/// The similarity (`strsim::jaro_winkler`, 0 to 1) from which a name is suggested.
const MIN_SIMILARITY: f64 = 0.75;

/// Finds a plugin file. An argument with a path separator or the extension of a library is a path. Anything else is a name,
/// which is looked up in `dirs`, in their order, as `libNAME.so` and `NAME.so`, and the same with `_` for `-`.
pub fn find_plugin(name_or_path: &str, dirs: &[PathBuf]) -> Result<PathBuf, LoadError> {
    let path = Path::new(name_or_path);
    if name_or_path.contains(std::path::MAIN_SEPARATOR) || is_library(path) {
        return if path.exists() {
            Ok(path.to_owned())
        } else {
            Err(LoadError::new(
                path,
                "no such file; build the plugin, or correct the path",
            ))
        };
    }
    let files = file_names(name_or_path);
    dirs.iter()
        .flat_map(|dir| files.iter().map(move |file| dir.join(file)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| not_found(name_or_path, dirs))
}

/// Examines every library file in the directories. Sorted by directory, in the given order, then by name.
pub fn list_plugins(dirs: &[PathBuf]) -> Vec<Candidate> {
    library_files(dirs)
        .map(|path| Candidate {
            examined: examine(&path),
            path,
        })
        .collect()
}

fn file_names(name: &str) -> Vec<String> {
    let mut stems = vec![name.to_owned()];
    if name.contains('-') {
        stems.push(name.replace('-', "_"));
    }
    let mut files = Vec::new();
    for stem in &stems {
        for extension in EXTENSIONS {
            files.push(format!("lib{stem}.{extension}"));
            files.push(format!("{stem}.{extension}"));
        }
    }
    files
}

fn not_found(name: &str, dirs: &[PathBuf]) -> LoadError {
    let mut why = match dirs {
        [] => "no plugin directory is configured; give the path of the file".into(),
        dirs => {
            let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            format!("no plugin with this name in {}", dirs.join(", "))
        }
    };
    let similar = similar(name, dirs);
    if !similar.is_empty() {
        why = format!("{why}; did you mean {}?", similar.join(" or "));
    }
    LoadError::new(name, why)
}

fn similar(name: &str, dirs: &[PathBuf]) -> Vec<String> {
    let name = name.replace('-', "_");
    let mut names: Vec<(f64, String)> = library_files(dirs)
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .map(|stem| stem.strip_prefix("lib").unwrap_or(&stem).to_owned())
        .map(|other| (strsim::jaro_winkler(&name, &other), other))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    names.dedup_by(|a, b| a.1 == b.1);
    names.into_iter().take(3).map(|(_, other)| other).collect()
}

fn library_files(dirs: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    dirs.iter().flat_map(|dir| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| is_library(path) && path.is_file())
            .collect();
        files.sort();
        files
    })
}

fn is_library(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_with(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        dir
    }

    #[test]
    fn a_name_is_looked_up_in_the_directories_in_order() {
        let (first, second) = (dir_with(&["other.so"]), dir_with(&["libmy_db.so"]));
        let dirs = [first.path().to_owned(), second.path().to_owned()];
        let found = find_plugin("my-db", &dirs).unwrap();
        assert_eq!(found, second.path().join("libmy_db.so"));
        assert_eq!(
            find_plugin("other", &dirs).unwrap(),
            dirs[0].join("other.so")
        );
    }

    #[test]
    fn an_unknown_name_gives_an_error_with_the_directories_and_similar_names() {
        let dir = dir_with(&["libpostgres.so"]);
        let error = find_plugin("postgers", &[dir.path().to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.ends_with("did you mean postgres?"), "{text}");
    }

    #[test]
    fn an_argument_with_a_separator_or_an_extension_is_a_path() {
        let dir = dir_with(&["libpostgres.so"]);
        let missing = dir.path().join("libnot.so");
        let missing = missing.to_str().unwrap();
        let error = find_plugin(missing, &[dir.path().to_owned()]).unwrap_err();
        assert!(error.why.contains("no such file"), "{error}");
        let error = find_plugin("libpostgres.so", &[dir.path().to_owned()]).unwrap_err();
        assert!(error.why.contains("no such file"), "{error}");
    }
}
