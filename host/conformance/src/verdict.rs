//! What becomes of a case.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};

/// The result of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The plugin did what is expected.
    Pass,
    /// It did something else.
    Fail,
    /// Its process ended.
    Crash,
    /// It did not come back.
    Hang,
    /// It was not asked; the report says why.
    Skip,
    /// The suite itself failed, so that nothing is known.
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

/// Why a case ended before it passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stop {
    Ended(Status, String),
    /// It met what another case is there to find. If one of those does not pass, it is theirs, and this case is skipped; else
    /// it counts here.
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

    /// The suite's own fault.
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

    /// The same as another case's business, unless the suite is at fault.
    pub(super) fn of_another(self, by: &[&str]) -> Self {
        match self {
            Self::Ended(status, what) if status.is_fault() => Self::blocked(by, status, what),
            other => other,
        }
    }

    /// The same as this case's own business.
    pub(super) fn of_this(self) -> Self {
        match self {
            Self::Blocked { status, what, .. } => Self::Ended(status, what),
            ended @ Self::Ended(..) => ended,
        }
    }

    /// With what it was about put first.
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

/// How a case went.
pub(super) type Ran = Result<(), Stop>;

/// A case's result, and how long it took.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) id: &'static str,
    pub(super) ran: Ran,
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
                known[place] = decide(&one.ran, |id| match places.get(id) {
                    Some(other) if *other != place => known[*other].as_ref().map(is_at_fault),
                    // It was not run, or is this one: it finds nothing.
                    _ => Some(false),
                });
            }
        }
    }
    let each = known.into_iter().zip(finished);
    each.map(|(known, one)| match known {
        Some(Decided { status, what, .. }) => (status, what),
        // They blame each other; so it counts for all of them.
        None => own(&one.ran),
    })
    .collect()
}

/// What became of a case, once that is certain.
#[derive(Debug, Clone)]
struct Decided {
    status: Status,
    what: String,
    /// Whether a fault was found, here or by the case that this one names.
    is_at_fault: bool,
}

fn is_at_fault(decided: &Decided) -> bool {
    decided.is_at_fault
}

/// `at_fault` tells of another case, if that is certain already.
fn decide(ran: &Ran, at_fault: impl Fn(&str) -> Option<bool>) -> Option<Decided> {
    if let Err(Stop::Blocked { by, what, .. }) = ran {
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
    let (status, what) = own(ran);
    let is_at_fault = status.is_fault() || status == Status::Error;
    Some(Decided {
        status,
        what,
        is_at_fault,
    })
}

/// As if nobody else had found it.
fn own(ran: &Ran) -> (Status, String) {
    match ran {
        Ok(()) => (Status::Pass, String::new()),
        Err(Stop::Ended(status, what) | Stop::Blocked { status, what, .. }) => {
            (*status, what.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(id: &'static str, ran: Ran) -> Finished {
        Finished {
            id,
            ran,
            took: Duration::ZERO,
        }
    }

    fn blocked(by: &str) -> Ran {
        Err(Stop::blocked(&[by], Status::Crash, "it died"))
    }

    fn statuses(all: &[Finished]) -> Vec<Status> {
        resolve(all).into_iter().map(|(status, _)| status).collect()
    }

    #[test]
    fn what_another_case_found_is_told_once() {
        let all = [
            finished("a", blocked("b")),
            finished("b", Err(Stop::fail("found"))),
            finished("c", blocked("a")),
        ];
        assert_eq!(statuses(&all), [Status::Skip, Status::Fail, Status::Skip]);
        assert_eq!(resolve(&all)[0].1, "see b: it died");
    }

    #[test]
    fn what_nobody_found_counts_where_it_was_met() {
        for found in [Ok(()), Err(Stop::skip("not asked"))] {
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
    fn cases_that_blame_each_other_both_count() {
        let all = [finished("a", blocked("b")), finished("b", blocked("a"))];
        assert_eq!(statuses(&all), [Status::Crash, Status::Crash]);
        assert_eq!(statuses(&[finished("a", blocked("a"))]), [Status::Crash]);
    }
}
