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
    let by_id: HashMap<&str, &Ran> = finished.iter().map(|one| (one.id, &one.ran)).collect();
    let each = finished.iter().map(|one| match &one.ran {
        Ok(()) => (Status::Pass, String::new()),
        Err(Stop::Ended(status, what)) => (*status, what.clone()),
        Err(Stop::Blocked { by, status, what }) => {
            let at_fault = by
                .iter()
                .find(|id| **id != one.id && is_at_fault(id, &by_id, finished.len()));
            match at_fault {
                Some(id) => (Status::Skip, format!("see {id}: {what}")),
                None => (*status, what.clone()),
            }
        }
    });
    each.collect()
}

/// Whether a case found a fault of its own, or one that no other case takes on itself. `depth` ends what goes in circles.
fn is_at_fault(id: &str, by_id: &HashMap<&str, &Ran>, depth: usize) -> bool {
    match by_id.get(id) {
        Some(Err(Stop::Ended(status, _))) => status.is_fault() || *status == Status::Error,
        Some(Err(Stop::Blocked { by, .. })) => {
            let others = by.iter().filter(|other| *other != id);
            depth > 0
                && others
                    .into_iter()
                    .any(|other| is_at_fault(other, by_id, depth - 1))
        }
        _ => false,
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
    fn cases_that_blame_each_other_both_count() {
        let all = [finished("a", blocked("b")), finished("b", blocked("a"))];
        assert_eq!(statuses(&all), [Status::Crash, Status::Crash]);
        assert_eq!(statuses(&[finished("a", blocked("a"))]), [Status::Crash]);
    }
}
