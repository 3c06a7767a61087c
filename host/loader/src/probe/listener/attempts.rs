//! The recorded attempts of one worker.

use std::path::{Path, PathBuf};

use crate::probe::messages::{Attempt, AttemptKind};

/// The limit for each kind. It is not shared, so that many attempts of one kind cannot displace those of another.
const MAX_PER_KIND: usize = 64;
/// The limit of a path in a description. Characters.
const MAX_PATH_LENGTH: usize = 120;

/// Attempts without duplicates.
#[derive(Default)]
pub(crate) struct Attempts(Vec<Attempt>);

impl Attempts {
    pub(crate) fn add(&mut self, attempt: Attempt) {
        let same_kind = self.0.iter().filter(|other| other.kind == attempt.kind);
        if same_kind.count() < MAX_PER_KIND && !self.0.contains(&attempt) {
            self.0.push(attempt);
        }
    }

    pub(crate) fn all(&self) -> Vec<Attempt> {
        self.0.clone()
    }
}

/// An attempt whose description is safe to print.
pub(crate) fn attempt(kind: AttemptKind, what: &str, files: Vec<PathBuf>) -> Attempt {
    Attempt {
        kind,
        what: what.chars().flat_map(printable).collect(),
        files,
    }
}

/// A path in a description: without repeated slashes, and without the beginning of a long one.
pub(crate) fn shown(path: &Path) -> String {
    let path: PathBuf = path.components().collect();
    let text = path.to_string_lossy();
    let excess = text.chars().count().saturating_sub(MAX_PATH_LENGTH);
    if excess == 0 {
        return text.into_owned();
    }
    format!("…{}", text.chars().skip(excess).collect::<String>())
}

fn printable(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_attempts_of_one_kind_do_not_displace_another_kind() {
        let mut attempts = Attempts::default();
        for number in 0..1000 {
            let what = format!("/{}", number % 500);
            attempts.add(attempt(AttemptKind::Read, &what, Vec::new()));
        }
        attempts.add(attempt(AttemptKind::Exec, "/bin/sh", Vec::new()));
        let all = attempts.all();
        assert_eq!(all.len(), MAX_PER_KIND + 1);
        assert_eq!(all.last().unwrap().what, "/bin/sh");
    }

    #[test]
    fn a_shown_path_is_short_and_has_no_control_characters() {
        let attempt = attempt(AttemptKind::Read, "/a\u{1b}[2J\n", Vec::new());
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
