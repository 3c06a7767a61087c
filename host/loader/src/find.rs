//! From what a person typed to a plugin file.

use std::path::{Path, PathBuf};

use super::{
    error::LoadError,
    plugin::{Candidate, examine},
};

/// What a library's name ends in. Both everywhere, so that a file for another system is named and refused, not missed.
const EXTENSIONS: [&str; 2] = ["so", "dylib"];
/// How alike (by `strsim::jaro_winkler`, 0 to 1) a name must be to be offered.
const ALIKE: f64 = 0.75;

/// The file that is meant. What holds a path separator or ends like a library is a path; anything else is a name that is
/// looked up in `dirs`, in their order, as `libNAME.so`, `NAME.so` and the same with `_` for `-`.
pub fn find_plugin(name_or_path: &str, dirs: &[PathBuf]) -> Result<PathBuf, LoadError> {
    let path = Path::new(name_or_path);
    if name_or_path.contains(std::path::MAIN_SEPARATOR) || is_library(path) {
        return if path.exists() {
            Ok(path.to_owned())
        } else {
            Err(LoadError::new(
                path,
                "there is no such file; build the plugin, or fix the path",
            ))
        };
    }
    let files = file_names(name_or_path);
    dirs.iter()
        .flat_map(|dir| files.iter().map(move |file| dir.join(file)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| not_found(name_or_path, dirs))
}

/// Every library file in the directories, examined, in the order of the directories and then of names.
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
    let looked = match dirs {
        [] => "no plugin directory is set; name the file with its path".into(),
        dirs => {
            let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            format!("no plugin of this name in {}", dirs.join(", "))
        }
    };
    let nearest = nearest(name, dirs);
    let offer = if nearest.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", nearest.join(" or "))
    };
    LoadError::new(name, looked + &offer)
}

fn nearest(name: &str, dirs: &[PathBuf]) -> Vec<String> {
    let name = name.replace('-', "_");
    let mut names: Vec<(f64, String)> = library_files(dirs)
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .map(|stem| stem.strip_prefix("lib").unwrap_or(&stem).to_owned())
        .map(|known| (strsim::jaro_winkler(&name, &known), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    names.dedup_by(|a, b| a.1 == b.1);
    names.into_iter().take(3).map(|(_, known)| known).collect()
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
    fn a_name_that_is_not_found_says_where_it_was_looked_for_and_what_is_near() {
        let dir = dir_with(&["libpostgres.so"]);
        let error = find_plugin("postgers", &[dir.path().to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.ends_with("did you mean postgres?"), "{text}");
    }

    #[test]
    fn what_looks_like_a_path_is_one() {
        let dir = dir_with(&["libpostgres.so"]);
        let missing = dir.path().join("libnot.so");
        let missing = missing.to_str().unwrap();
        let error = find_plugin(missing, &[dir.path().to_owned()]).unwrap_err();
        assert!(error.why.contains("no such file"), "{error}");
        let error = find_plugin("libpostgres.so", &[dir.path().to_owned()]).unwrap_err();
        assert!(error.why.contains("no such file"), "{error}");
    }
}
