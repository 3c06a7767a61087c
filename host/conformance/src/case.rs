//! The cases, as a list.

use super::{cases, lab::Lab, verdict::Ran};

/// One question that is put to a plugin.
pub(super) struct Case {
    /// `group.name`
    pub(super) id: &'static str,
    /// What a good plugin does, in a sentence.
    pub(super) expects: &'static str,
    /// How to fix one that does not, in a sentence.
    pub(super) fix: &'static str,
    pub(super) run: fn(&Lab) -> Ran,
}

impl Case {
    /// The first part of its id.
    pub(super) fn group(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(group, _)| group)
    }
}

/// Every case, in the order of reports.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    cases::GROUPS.iter().flat_map(|group| group.iter())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_case_is_told_apart_and_explained() {
        let mut ids = HashSet::new();
        for case in all() {
            assert!(ids.insert(case.id), "{} is there twice", case.id);
            assert!(case.id.contains('.'), "{}", case.id);
            for text in [case.expects, case.fix] {
                assert!(
                    text.len() > 10 && !text.ends_with('.'),
                    "{}: {text}",
                    case.id
                );
            }
        }
        assert!(ids.len() > 80, "{}", ids.len());
    }
}
