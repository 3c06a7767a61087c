//! The result of a case, and which of several cases a finding belongs to.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};

/// The result of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The plugin behaved as expected.
    Pass,
    /// It did not.
    Fail,
    /// Its process ended.
    Crash,
    /// A call did not return.
    Hang,
    /// The case was not run to its end; the report has the reason.
    Skip,
    /// The suite itself failed, so the case shows nothing.
    Error,
}

impl Status {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Skip => "skip",
            Self::Error => "error",
        }
    }

    /// Whether the plugin is at fault.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Fail | Self::Crash | Self::Hang)
    }
}

/// Why a case stopped before it passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stop {
    Ended(Status, String),
    /// A finding that other cases test for. If one of them is at fault, this case is skipped; otherwise it counts here.
    Blocked {
        by: Vec<String>,
        status: Status,
        what: String,
    },
}

impl Stop {
    pub(super) fn fail(what: impl Into<String>) -> Self {
        Self::Ended(Status::Fail, what.into())
    }

    pub(super) fn skip(why: impl Into<String>) -> Self {
        Self::Ended(Status::Skip, why.into())
    }

    /// A failure of the suite itself.
    pub(super) fn error(why: impl std::fmt::Display) -> Self {
        Self::Ended(Status::Error, why.to_string())
    }

    pub(super) fn blocked(by: &[&str], status: Status, what: impl Into<String>) -> Self {
        Self::Blocked {
            by: by.iter().map(|id| (*id).to_owned()).collect(),
            status,
            what: what.into(),
        }
    }

    /// Attributes a fault of the plugin to these cases.
    pub(super) fn attributed_to(self, by: &[&str]) -> Self {
        match self {
            Self::Ended(status, what) if status.is_fault() => Self::blocked(by, status, what),
            other => other,
        }
    }

    /// Attributes it to this case.
    pub(super) fn attributed_here(self) -> Self {
        match self {
            Self::Blocked { status, what, .. } => Self::Ended(status, what),
            ended @ Self::Ended(..) => ended,
        }
    }

    /// Prefixes the message with what it is about.
    pub(super) fn about(self, subject: &str) -> Self {
        match self {
            Self::Ended(status, what) => Self::Ended(status, format!("{subject}: {what}")),
            Self::Blocked { by, status, what } => Self::Blocked {
                by,
                status,
                what: format!("{subject}: {what}"),
            },
        }
    }
}

pub(super) type CaseResult = Result<(), Stop>;

/// A case's result, and how long it took.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) id: &'static str,
    pub(super) result: CaseResult,
    pub(super) took: Duration,
}

/// The final status of each case, and what happened, in the same order.
pub(super) fn resolve(finished: &[Finished]) -> Vec<(Status, String)> {
    let places: HashMap<&str, usize> = finished.iter().map(|one| one.id).zip(0..).collect();
    let mut known = vec![None; finished.len()];
    // Each round decides at least one, or is the last.
    for _ in 0..=finished.len() {
        for (place, one) in finished.iter().enumerate() {
            if known[place].is_none() {
                known[place] = decide(&one.result, |id| match places.get(id) {
                    Some(other) if *other != place => known[*other].as_ref().map(is_at_fault),
                    // It was not run, or is this case: it finds nothing.
                    _ => Some(false),
                });
            }
        }
    }
    let each = known.into_iter().zip(finished);
    each.map(|(known, one)| match known {
        Some(Decided { status, what, .. }) => (status, what),
        // They attribute it to each other, so it counts for all of them.
        None => own(&one.result),
    })
    .collect()
}

/// The final result of a case.
#[derive(Debug, Clone)]
struct Decided {
    status: Status,
    what: String,
    /// Whether this case or the one it names found a fault.
    is_at_fault: bool,
}

fn is_at_fault(decided: &Decided) -> bool {
    decided.is_at_fault
}

/// `at_fault`: whether another case found a fault, if that is decided already.
fn decide(result: &CaseResult, at_fault: impl Fn(&str) -> Option<bool>) -> Option<Decided> {
    if let Err(Stop::Blocked { by, what, .. }) = result {
        if let Some(id) = by.iter().find(|id| at_fault(id) == Some(true)) {
            return Some(Decided {
                status: Status::Skip,
                what: format!("see {id}: {what}"),
                is_at_fault: true,
            });
        }
        if by.iter().any(|id| at_fault(id).is_none()) {
            return None;
        }
    }
    let (status, what) = own(result);
    let is_at_fault = status.is_fault() || status == Status::Error;
    Some(Decided {
        status,
        what,
        is_at_fault,
    })
}

/// The status without regard to other cases.
fn own(result: &CaseResult) -> (Status, String) {
    match result {
        Ok(()) => (Status::Pass, String::new()),
        Err(Stop::Ended(status, what) | Stop::Blocked { status, what, .. }) => {
            (*status, what.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(id: &'static str, result: CaseResult) -> Finished {
        Finished {
            id,
            result,
            took: Duration::ZERO,
        }
    }

    fn blocked(by: &str) -> CaseResult {
        Err(Stop::blocked(&[by], Status::Crash, "it died"))
    }

    fn statuses(all: &[Finished]) -> Vec<Status> {
        resolve(all).into_iter().map(|(status, _)| status).collect()
    }

    #[test]
    fn a_finding_of_another_case_is_reported_once() {
        let all = [
            finished("a", blocked("b")),
            finished("b", Err(Stop::fail("found"))),
            finished("c", blocked("a")),
        ];
        assert_eq!(statuses(&all), [Status::Skip, Status::Fail, Status::Skip]);
        assert_eq!(resolve(&all)[0].1, "see b: it died");
    }

    #[test]
    fn a_finding_that_no_named_case_has_counts_where_it_was_met() {
        for found in [Ok(()), Err(Stop::skip("skipped"))] {
            let all = [finished("a", blocked("b")), finished("b", found)];
            assert_eq!(statuses(&all)[0], Status::Crash);
        }
        assert_eq!(statuses(&[finished("a", blocked("gone"))]), [Status::Crash]);
    }

    #[test]
    fn what_counts_for_one_case_is_not_counted_again_for_another() {
        let all = [
            finished("a", blocked("b")),
            finished("b", blocked("c")),
            finished("c", Ok(())),
        ];
        assert_eq!(statuses(&all), [Status::Skip, Status::Crash, Status::Pass]);
    }

    #[test]
    fn cases_that_name_each_other_both_count() {
        let all = [finished("a", blocked("b")), finished("b", blocked("a"))];
        assert_eq!(statuses(&all), [Status::Crash, Status::Crash]);
        assert_eq!(statuses(&[finished("a", blocked("a"))]), [Status::Crash]);
    }
}
