//! What a plugin attempts and its sandbox does not permit, for the process that judges it.

use std::path::{Path, PathBuf};

use super::probe::Trespass;

/// Of each kind: more of them say nothing new, and a plugin must not hide one kind behind many of another.
const MAX_OF_A_KIND: usize = 64;
/// What is shown of a path. Characters.
const MAX_SHOWN: usize = 120;

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What kind of thing.
    pub kind: Trespass,
    /// The path, with what it leads to if that is another one; or the call. Printable.
    pub what: String,
    /// The files that were refused, where they lie: absolute and without symbolic links.
    pub files: Vec<PathBuf>,
}

impl Attempt {
    pub(super) fn new(kind: Trespass, what: &str, files: Vec<PathBuf>) -> Self {
        Self {
            kind,
            what: what.chars().flat_map(printable).collect(),
            files,
        }
    }
}

/// A path as it is shown: without repeated slashes, and of a long one its end.
pub(super) fn shown(path: &Path) -> String {
    let path: PathBuf = path.components().collect();
    let text = path.to_string_lossy();
    let hidden = text.chars().count().saturating_sub(MAX_SHOWN);
    if hidden == 0 {
        return text.into_owned();
    }
    format!("…{}", text.chars().skip(hidden).collect::<String>())
}

fn printable(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

/// Attempts, each once.
#[derive(Default)]
pub(super) struct Attempts(Vec<Attempt>);

impl Attempts {
    pub(super) fn add(&mut self, attempt: Attempt) {
        let of_its_kind = self.0.iter().filter(|kept| kept.kind == attempt.kind);
        if of_its_kind.count() < MAX_OF_A_KIND && !self.0.contains(&attempt) {
            self.0.push(attempt);
        }
    }

    pub(super) fn all(&self) -> Vec<Attempt> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_of_one_kind_hide_none_of_another() {
        let mut attempts = Attempts::default();
        for number in 0..1000 {
            let what = format!("/{}", number % 500);
            attempts.add(Attempt::new(Trespass::Read, &what, Vec::new()));
        }
        attempts.add(Attempt::new(Trespass::Exec, "/bin/sh", Vec::new()));
        let all = attempts.all();
        assert_eq!(all.len(), MAX_OF_A_KIND + 1);
        assert_eq!(all.last().unwrap().what, "/bin/sh");
    }

    #[test]
    fn a_description_is_short_and_printable() {
        let attempt = Attempt::new(Trespass::Read, "/a\u{1b}[2J\n", Vec::new());
        assert_eq!(attempt.what, "/a\\u{1b}[2J\\n");
        let slashes = "/".repeat(4000);
        let path = format!("{slashes}etc/./shadow");
        assert_eq!(shown(path.as_ref()), "/etc/shadow");
        let path = format!("{}/shadow", "/..".repeat(1000));
        let shown = shown(path.as_ref());
        assert!(
            shown.starts_with('…') && shown.ends_with("/shadow"),
            "{shown}"
        );
    }
}
