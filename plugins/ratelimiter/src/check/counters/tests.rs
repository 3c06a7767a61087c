//! Each verdict at its boundaries.

use operator_plugin_api::CheckReport;

use super::*;
use crate::check::samples::{counter, healthy};

/// `redis` and `allowed` as ranges.
fn counted(redis: (u64, u64), allowed: (u64, u64)) -> Counter {
    Counter {
        redis_low: Some(redis.0),
        redis_high: Some(redis.1),
        allowed_low: Some(allowed.0),
        allowed_high: Some(allowed.1),
        ..counter("k")
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Violated(_) => "violated",
        Verdict::Unknown(_) => "unknown",
        Verdict::NotSupported(_) => "not supported",
    }
}

fn judge(judge: Judge, counter: &Counter) -> &'static str {
    name(&judge(counter, &healthy()))
}

#[test]
fn drift_needs_more_than_the_share_and_the_floor_over_both_readings() {
    let cases = [
        ((90, 90), (100, 100), "holds"),
        ((89, 89), (100, 100), "violated"),
        ((89, 90), (100, 100), "holds"),
        ((100, 100), (89, 89), "violated"),
        ((100, 100), (89, 90), "holds"),
        ((0, 0), (9, 9), "holds"),
        ((0, 0), (10, 10), "violated"),
        ((1_000, 1_000), (990, 1_010), "holds"),
    ];
    for (redis, allowed, expected) in cases {
        assert_eq!(
            judge(drift, &counted(redis, allowed)),
            expected,
            "{redis:?} {allowed:?}"
        );
    }
}

#[test]
fn a_node_that_lost_its_counts_or_does_not_report_is_not_drift() {
    let fewer = counted((100, 100), (50, 50));
    assert_eq!(
        judge(
            drift,
            &Counter {
                node_restarted: Some(true),
                ..fewer.clone()
            }
        ),
        "unknown"
    );
    assert_eq!(
        judge(
            drift,
            &Counter {
                node_restarted: None,
                ..fewer.clone()
            }
        ),
        "unknown"
    );
    assert_eq!(
        judge(
            drift,
            &Counter {
                allowed_high: None,
                ..fewer
            }
        ),
        "unknown"
    );
    let agreed = counted((100, 100), (100, 100));
    assert_eq!(
        judge(
            drift,
            &Counter {
                allowed_high: None,
                ..agreed
            }
        ),
        "holds"
    );
}

#[test]
fn counters_lost_by_a_reset_or_a_restart_of_redis_are_not_drift() {
    let lost = counted((0, 0), (100, 100));
    assert_eq!(
        judge(
            drift,
            &Counter {
                just_fell: Some(true),
                ..lost.clone()
            }
        ),
        "unknown"
    );
    assert_eq!(
        judge(
            drift,
            &Counter {
                just_fell: None,
                ..lost.clone()
            }
        ),
        "unknown"
    );
    let mut data = healthy();
    data.redis.uptime_s = Some(60);
    assert_eq!(name(&drift(&lost, &data)), "unknown");
    data.redis.uptime_s = Some(61);
    assert_eq!(name(&drift(&lost, &data)), "violated");
}

#[test]
fn ghost_is_more_than_the_limit_by_redis_too_or_by_far() {
    // The limit is 100 in 60 s, so the slack is 5.
    let cases = [
        ((100, 100), (100, 100), "holds"),
        ((100, 100), (105, 105), "holds"),
        ((100, 100), (106, 106), "violated"),
        ((101, 101), (101, 101), "violated"),
        ((0, 0), (200, 200), "violated"),
        ((100, 100), (100, 200), "holds"),
    ];
    for (redis, allowed, expected) in cases {
        assert_eq!(
            judge(ghost, &counted(redis, allowed)),
            expected,
            "{redis:?} {allowed:?}"
        );
    }
}

#[test]
fn a_limit_of_one_that_lets_three_pass_is_a_ghost() {
    let three = Counter {
        limit: Some(1),
        ..counted((3, 3), (3, 3))
    };
    assert_eq!(judge(ghost, &three), "violated");
    let two = Counter {
        limit: Some(1),
        ..counted((2, 2), (2, 2))
    };
    assert_eq!(judge(ghost, &two), "violated");
}

#[test]
fn what_was_allowed_before_a_limit_was_lowered_or_a_counter_reset_is_not_a_ghost() {
    let ghostly = counted((200, 200), (200, 200));
    assert_eq!(judge(ghost, &ghostly), "violated");
    assert_eq!(
        judge(
            ghost,
            &Counter {
                limit_settled: Some(false),
                ..ghostly.clone()
            }
        ),
        "unknown"
    );
    assert_eq!(
        judge(
            ghost,
            &Counter {
                just_fell: Some(true),
                ..ghostly.clone()
            }
        ),
        "unknown"
    );
    assert_eq!(judge(over_limit, &ghostly), "violated");
    assert_eq!(
        judge(
            over_limit,
            &Counter {
                limit_settled: Some(false),
                ..ghostly
            }
        ),
        "unknown"
    );
}

#[test]
fn a_limit_that_is_not_the_keys_own_judges_nothing() {
    let ghostly = counted((200, 200), (200, 200));
    let of = |limit_source| Counter {
        limit_source,
        ..ghostly.clone()
    };
    let older = Counter {
        allowed_low: None,
        allowed_high: None,
        ..of(Some(LimitSource::Default))
    };
    for (name, judged) in JUDGES {
        let of_nobody = if name == COUNTER_DRIFT {
            "holds"
        } else {
            "unknown"
        };
        assert_eq!(judge(judged, &of(None)), of_nobody, "{name}");
        assert_eq!(judge(judged, &older), "not supported", "{name}");
    }
    let remembered = Counter {
        limit_settled: None,
        ..ghostly
    };
    assert_eq!(judge(over_limit, &remembered), "unknown");
    assert_eq!(judge(ghost, &remembered), "unknown");
}

#[test]
fn what_was_not_looked_at_is_said_until_each_key_had_its_turn() {
    let sliced = |swept| {
        report(|data| {
            data.counters_complete = Some(false);
            data.counters_swept = swept;
            data.counters_total = Some(20_000);
        })
    };
    assert_eq!(sliced(Some(true)), CheckReport::default());
    for swept in [None, Some(false)] {
        let unknown = sliced(swept).unknown;
        assert_eq!(unknown.len(), 3);
        assert!(
            unknown[0].reason.starts_with("2 of 20000 keys"),
            "{unknown:?}"
        );
    }
}

#[test]
fn what_redis_refuses_is_the_reason() {
    let refused = report(|data| {
        data.redis.error = Some("ZCOUNT: answered NOPERM".into());
        for counter in data.counters.iter_mut().flatten() {
            (counter.redis_low, counter.redis_high) = (None, None);
        }
    });
    for unknown in refused
        .unknown
        .iter()
        .filter(|u| u.invariant != GHOST_ALLOWING)
    {
        assert!(unknown.reason.contains("NOPERM"), "{unknown:?}");
    }
}

#[test]
fn a_full_key_is_not_over_its_limit() {
    assert_eq!(judge(over_limit, &counted((100, 100), (0, 0))), "holds");
    assert_eq!(judge(over_limit, &counted((100, 101), (0, 0))), "holds");
    assert_eq!(judge(over_limit, &counted((101, 101), (0, 0))), "violated");
}

#[test]
fn what_is_not_counted_is_unknown() {
    let nothing = Counter {
        redis_low: None,
        redis_high: None,
        allowed_low: None,
        allowed_high: None,
        ..counter("k")
    };
    let without_limit = Counter {
        limit: None,
        ..counter("k")
    };
    for (name, judged) in JUDGES {
        assert_eq!(judge(judged, &nothing), "unknown", "{name}");
    }
    assert_eq!(judge(ghost, &without_limit), "unknown");
    assert_eq!(judge(over_limit, &without_limit), "unknown");
}

fn report(change: impl FnOnce(&mut Data)) -> CheckReport {
    let (mut data, mut findings) = (healthy(), Findings::default());
    change(&mut data);
    check(&data, &mut findings);
    findings.report()
}

#[test]
fn without_redis_all_three_are_unknown_as_a_whole() {
    let report = report(|data| data.redis_connected = Some(false));
    assert_eq!(report.violations, []);
    assert!(
        report
            .unknown
            .iter()
            .all(|unknown| unknown.resource.is_none())
    );
    assert_eq!(report.unknown.len(), 3);
}

#[test]
fn no_counter_at_all_holds_and_no_source_of_counters_does_not() {
    assert_eq!(
        report(|data| data.counters = Some(vec![])),
        CheckReport::default()
    );
    assert_eq!(report(|data| data.counters = None).unknown.len(), 3);
}

#[test]
fn a_thousand_broken_keys_are_fifty_entries_and_a_sum() {
    let over = |index: u32| Counter {
        key: format!("k{index:04}"),
        ..counted((200, 200), (100, 100))
    };
    let report = report(|data| data.counters = Some((0..1_000).rev().map(over).collect()));
    let over: Vec<_> = report
        .violations
        .iter()
        .filter(|v| v.invariant == OVER_LIMIT)
        .collect();
    assert_eq!(over.len(), 51);
    assert_eq!(over[0].resource.as_deref(), Some("k0000"));
    assert_eq!(over[50].resource, None);
    assert!(over[50].message.starts_with("950 more resources"));
}

#[test]
fn without_its_thresholds_drift_is_unknown() {
    let mut data = healthy();
    data.thresholds.counter_drift_floor = None;
    let counter = counted((100, 100), (100, 100));
    assert_eq!(name(&drift(&counter, &data)), "unknown");
    assert_eq!(name(&ghost(&counter, &data)), "holds");
}
