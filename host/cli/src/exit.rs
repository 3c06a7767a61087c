//! How the command ends.

use std::process::ExitCode;

use operator_service::SubjectHealth;

/// The exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; with `check`: every invariant holds that the subject can tell of.
    Fine,
    /// `check`: an invariant is violated. `status`: a loop is stalled or failing.
    Violated,
    /// The command line, the file or the environment is wrong; nothing was started.
    BadInput,
    /// `check`: nothing is violated, but something is unknown that should be known, or a subject could not be observed. `status`:
    /// no daemon is known to run. A listing: there is no database to read.
    Unknown,
    /// The operation failed.
    Failed,
    /// A rule of the gate refused the action.
    Refused,
    /// Ended by a signal before it was done; a daemon that a signal stops gracefully is `Fine`.
    Interrupted,
}

/// For the end of `--help`.
pub(super) const HELP: &str = "\
Exit codes:
  0    done; with `check`: every invariant holds
  1    `check`: an invariant is violated; `status`: a loop of a daemon is stalled or failing
  2    the command line, the configuration file or the environment is wrong; nothing was started
  3    `check`: nothing is violated, but something is unknown, or a subject could not be observed;
       `status`: no daemon is known to run; a listing: there is no database to read
  4    the operation failed
  5    a rule of the gate refused the action
  130  interrupted before it was done";

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Violated => 1,
            Self::BadInput => 2,
            Self::Unknown => 3,
            Self::Failed => 4,
            Self::Refused => 5,
            Self::Interrupted => 130,
        }
    }

    /// The combined result of several subjects' checks: first what a person must fix, then what is worst for the users.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        let rank = |exit: &Self| match exit {
            Self::Fine => 0,
            Self::Unknown => 1,
            Self::Refused => 2,
            Self::Failed => 3,
            Self::Violated => 4,
            Self::BadInput => 5,
            Self::Interrupted => 6,
        };
        all.into_iter().max_by_key(rank).unwrap_or(Self::Fine)
    }
}

impl From<SubjectHealth> for Exit {
    fn from(health: SubjectHealth) -> Self {
        match health {
            SubjectHealth::Healthy => Self::Fine,
            SubjectHealth::Violated => Self::Violated,
            SubjectHealth::Unknown => Self::Unknown,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_subject_decides() {
        let of = |all: &[Exit]| Exit::worst(all.iter().copied());
        assert_eq!(of(&[]), Exit::Fine);
        assert_eq!(of(&[Exit::Unknown, Exit::Fine]), Exit::Unknown);
        assert_eq!(
            of(&[Exit::Unknown, Exit::Violated, Exit::Failed]),
            Exit::Violated
        );
        assert_eq!(of(&[Exit::Violated, Exit::BadInput]), Exit::BadInput);
    }

    #[test]
    fn the_help_lists_every_code() {
        let codes = [
            Exit::Fine,
            Exit::Violated,
            Exit::BadInput,
            Exit::Unknown,
            Exit::Failed,
            Exit::Refused,
            Exit::Interrupted,
        ];
        let listed: Vec<u8> = HELP
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        assert_eq!(listed, codes.map(Exit::code));
    }
}
