//! Operators as PD prints them: a line for people, which is the only form that all versions have.

use crate::{observation::Operator, pd::units::duration_ms};

/// The state of an operator, by `GET /operators/{region}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperatorState {
    Running,
    Success,
    /// Its time ran out, or it was never started.
    Timeout,
    Cancelled,
    /// A more urgent one took its place.
    Replaced,
}

impl OperatorState {
    /// PD's own name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Success => "SUCCESS",
            Self::Timeout => "TIMEOUT",
            Self::Cancelled => "CANCEL",
            Self::Replaced => "REPLACE",
        }
    }
}

/// Of `status: RUNNING, operator: ...`.
pub(crate) fn state(text: &str) -> Option<OperatorState> {
    let rest = text.strip_prefix("status: ")?;
    Some(match rest.split([',', ' ']).next()? {
        "RUNNING" => OperatorState::Running,
        "SUCCESS" => OperatorState::Success,
        "TIMEOUT" => OperatorState::Timeout,
        "CANCEL" => OperatorState::Cancelled,
        "REPLACE" => OperatorState::Replaced,
        _ => return None,
    })
}

/// Of `desc {brief} (kind:admin,leader, region:14(61, 5), ..., currentStep:0, ..., timeout:[1m0s])`. What is not found in
/// it is absent; None where not even a region is.
pub(crate) fn parse(text: &str) -> Option<Operator> {
    let (desc, rest) = text.split_once(" {")?;
    let (brief, rest) = rest.split_once("} (")?;
    let kind = rest
        .strip_prefix("kind:")
        .and_then(|rest| rest.split_once(", region:"));
    let region = between(rest, "region:", "(")?;
    Some(Operator {
        region_id: region.parse().ok()?,
        desc: desc.to_owned(),
        brief: brief.to_owned(),
        kind: kind.map(|(kind, _)| kind.to_owned()),
        current_step: between(rest, "currentStep:", ",").and_then(|step| step.parse().ok()),
        timeout_ms: between(rest, "timeout:[", "]").and_then(duration_ms),
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOVE: &str = "admin-move-peer {mv peer: store [5] to [6]} (kind:admin,region, region:18(61, 5), \
        createAt:2026-08-20 09:31:04.512345678 +0000 UTC m=+5821.204417391, startAt:2026-08-20 09:31:04.512377801 +0000 UTC \
        m=+5821.204449514, currentStep:1, size:88, steps:[0:{add learner peer 71 on store 6}, 1:{remove peer on store 5}], \
        timeout:[17m0s])";

    #[test]
    fn a_line_is_taken_apart() {
        let operator = parse(MOVE).unwrap();
        let expected = Operator {
            region_id: 18,
            desc: "admin-move-peer".into(),
            brief: "mv peer: store [5] to [6]".into(),
            kind: Some("admin,region".into()),
            current_step: Some(1),
            timeout_ms: Some(1_020_000),
        };
        assert_eq!(operator, expected);
        assert_eq!(parse("balance"), None);
    }

    #[test]
    fn a_state_is_one_of_pds_names() {
        assert_eq!(
            state("status: RUNNING, operator: x"),
            Some(OperatorState::Running)
        );
        assert_eq!(
            state("status: REPLACE, operator: x"),
            Some(OperatorState::Replaced)
        );
        assert_eq!(state("status: WELL, operator: x"), None);
        assert_eq!(state("RUNNING"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,60}", cut in 0..MOVE.len()) {
            let _ = (parse(&text), state(&text), parse(&MOVE[..cut]), parse(&MOVE[cut..]));
        }
    }
}
