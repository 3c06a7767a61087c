//! The cases: one file for each group, and what groups share.

mod actions;
mod bounds;
mod check;
mod check_report;
mod concurrency;
mod config;
mod configurations;
mod describe;
mod fuzz;
mod invoke;
mod lifecycle;
mod load;
mod malformed_input;
mod memory;
mod observe;
mod resources;
mod robustness;
mod sandbox;
mod secrets;
mod smoke_run;

use super::case::Case;

/// Every group, in the order of reports.
const GROUPS: [&[Case]; 15] = [
    &load::CASES,
    &describe::CASES,
    &config::CASES,
    &observe::CASES,
    &memory::CASES,
    &check::CASES,
    &actions::CASES,
    &invoke::CASES,
    &bounds::CASES,
    &robustness::CASES,
    &sandbox::CASES,
    &secrets::CASES,
    &concurrency::CASES,
    &resources::CASES,
    &lifecycle::CASES,
];

/// Every case, in the order of reports.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS.iter().flat_map(|group| group.iter())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_case_has_a_unique_id_and_texts() {
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
