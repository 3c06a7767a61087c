use operator_model::TicketId;
use operator_plugin_api::Severity;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const BEGUN: Timestamp = Timestamp(1_000);

fn key(name: &str) -> TicketKey {
    TicketKey::new(name, None)
}

fn proof() -> Proof {
    Proof {
        targets: vec![key("target")],
        baseline: vec![key("target"), key("old")],
        window_ms: 10_000,
        until: Timestamp(60_000),
        holding_since: None,
        missing: String::new(),
        broke: vec![],
    }
}

fn assessment(at: i64, broken: &[&str]) -> Assessment {
    Assessment {
        subject: "db".to_owned(),
        from: Timestamp(at - 1),
        at: Timestamp(at),
        blind: None,
        broken: broken.iter().map(|name| key(name)).collect(),
        unknown: [].into(),
        judged: ["target", "old", "new"].map(str::to_owned).into(),
        listed: [].into(),
    }
}

fn open(name: &str, since: i64) -> Ticket {
    Ticket {
        id: TicketId(1),
        subject: "db".to_owned(),
        key: key(name),
        severity: Severity::Critical,
        state: TicketState::Open,
        message: String::new(),
        evidence: Value::Null,
        first_seen: Timestamp(since),
        violated_since: Timestamp(since),
        last_seen: Timestamp(since),
        opened_at: Some(Timestamp(since)),
        holding_since: None,
        resolved_at: None,
        occurrences: 1,
        acknowledged: None,
        held: None,
        flapping: false,
        transitions: vec![],
    }
}

fn still_open(progress: Progress) -> Proof {
    match progress {
        Progress::Open(proof) => proof,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_holds_for_the_whole_window_is_verified() {
    let first = still_open(judge(&proof(), BEGUN, &assessment(5_000, &["old"]), &[]));
    assert_eq!(first.holding_since, Some(Timestamp(5_000)));
    let second = still_open(judge(&first, BEGUN, &assessment(14_999, &[]), &[]));
    let last = judge(&second, BEGUN, &assessment(15_000, &[]), &[]);
    assert!(matches!(last, Progress::Verified(_)), "{last:?}");
}

#[test]
fn a_relapse_or_the_unknown_starts_the_window_anew() {
    let holding = still_open(judge(&proof(), BEGUN, &assessment(5_000, &[]), &[]));
    let mut unknown = assessment(14_000, &[]);
    unknown.unknown.insert(key("target"));
    let mut blind = assessment(14_000, &[]);
    blind.blind = Some("no answer".to_owned());
    for disturbed in [
        assessment(14_000, &["target"]),
        unknown,
        blind,
        assessment(14_000, &["new"]),
    ] {
        let after = still_open(judge(&holding, BEGUN, &disturbed, &[]));
        assert_eq!(after.holding_since, None, "{disturbed:?}");
        assert!(!after.missing.is_empty());
        let again = still_open(judge(&after, BEGUN, &assessment(16_000, &[]), &[]));
        assert_eq!(again.holding_since, Some(Timestamp(16_000)));
    }
}

#[test]
fn what_it_broke_refutes_it_at_once() {
    let broke = judge(
        &proof(),
        BEGUN,
        &assessment(5_000, &["new"]),
        &[open("new", 2_000)],
    );
    let Progress::Refuted(refuted) = broke else {
        panic!("{broke:?}")
    };
    assert_eq!(refuted.broke, [key("new")]);
    for harmless in [
        open("old", 2_000),
        open("new", 500),
        open("operator.plugin_failing", 2_000),
    ] {
        still_open(judge(&proof(), BEGUN, &assessment(5_000, &[]), &[harmless]));
    }
}

#[test]
fn what_takes_too_long_has_not_helped() {
    let late = judge(&proof(), BEGUN, &assessment(60_001, &["target"]), &[]);
    assert!(matches!(late, Progress::Refuted(_)), "{late:?}");
    let begun_in_time = Proof {
        holding_since: Some(Timestamp(50_000)),
        ..proof()
    };
    let verified = judge(&begun_in_time, BEGUN, &assessment(60_001, &[]), &[]);
    assert!(matches!(verified, Progress::Verified(_)), "{verified:?}");
}

proptest! {
    /// Whatever the cycles find: verified if and only if everything held in every cycle of the window.
    #[test]
    fn only_a_whole_window_verifies(cycles in prop::collection::vec((1_i64..5_000, 0_u8..5), 1..60)) {
        let mut known = proof();
        let (mut at, mut quiet_since) = (BEGUN.0, None);
        for (gap, kind) in cycles {
            at += gap;
            let mut assessment = assessment(at, if kind == 1 { &["target"] } else if kind == 2 { &["new"] } else { &[] });
            if kind == 3 { assessment.blind = Some("away".to_owned()); }
            let is_quiet = kind == 0 || kind == 4;
            quiet_since = if is_quiet { quiet_since.or(Some(at)) } else { None };
            let is_whole = quiet_since.is_some_and(|since| at - since >= known.window_ms);
            match judge(&known, BEGUN, &assessment, &[]) {
                Progress::Open(next) => {
                    prop_assert!(!is_whole, "{next:?}");
                    known = next;
                }
                Progress::Verified(_) => {
                    prop_assert!(is_whole);
                    return Ok(());
                }
                Progress::Refuted(_) => {
                    prop_assert!(at > known.until.0);
                    return Ok(());
                }
            }
        }
    }
}
