//! `scheduler_paused_too_long` and `evict_leader_left_behind`: temporary measures that have been forgotten.

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::{
    duration_text,
    names::{EVICT_LEADER_LEFT_BEHIND, SCHEDULER_PAUSED_TOO_LONG},
    no_threshold, resource,
};
use crate::observation::{Data, EvictLeader, PausedScheduler};

/// All scheduling, as a resource: the key of PD's configuration.
const HALT: &str = "halt-scheduling";

pub(super) fn check(data: &Data, findings: &mut Findings) {
    paused(data, findings);
    evicting(data, findings);
}

fn paused(data: &Data, findings: &mut Findings) {
    let invariant = SCHEDULER_PAUSED_TOO_LONG;
    let Some(most_s) = data.thresholds.scheduler_paused_s else {
        let reason = no_threshold("scheduler_paused_s");
        return findings.unknown(Unknown::new(invariant, reason));
    };
    let most_ms = most_s.saturating_mul(1_000);
    if let Some(paused) = &data.schedulers.paused {
        for scheduler in paused {
            judge_paused(scheduler, most_ms, findings);
        }
    } else {
        let reason = "PD did not list the paused schedulers";
        findings.unknown(Unknown::new(invariant, reason));
    }
    halted(data, most_ms, findings);
}

fn judge_paused(scheduler: &PausedScheduler, most_ms: u64, findings: &mut Findings) {
    let (invariant, name) = (SCHEDULER_PAUSED_TOO_LONG, &scheduler.name);
    match scheduler.paused_for_ms {
        Some(paused) if paused > most_ms => {
            let message = format!("{name} has been paused for {}", duration_text(paused));
            let violation = Violation::new(invariant, message).resource(name);
            findings.violation(violation.evidence(json!(scheduler)));
        }
        Some(_) => {}
        None => {
            let reason = "it is unknown how long it has been paused";
            findings.unknown(Unknown::new(invariant, reason).resource(name));
        }
    }
}

fn halted(data: &Data, most_ms: u64, findings: &mut Findings) {
    let invariant = SCHEDULER_PAUSED_TOO_LONG;
    match (data.schedulers.halted, data.schedulers.halted_for_ms) {
        (Some(true), Some(halted)) if halted > most_ms => {
            let duration = duration_text(halted);
            let message = format!("all scheduling has been halted for at least {duration}");
            let violation = Violation::new(invariant, message).resource(HALT);
            findings.violation(violation.evidence(json!({"halted_for_ms": halted})));
        }
        (Some(false), _) | (Some(true), Some(_)) => {}
        _ => {
            let reason = "it is unknown whether, or since when, all scheduling is halted";
            findings.unknown(Unknown::new(invariant, reason).resource(HALT));
        }
    }
}

fn evicting(data: &Data, findings: &mut Findings) {
    let invariant = EVICT_LEADER_LEFT_BEHIND;
    let Some(most_s) = data.thresholds.evict_leader_s else {
        let reason = no_threshold("evict_leader_s");
        return findings.unknown(Unknown::new(invariant, reason));
    };
    let Some(stores) = &data.schedulers.evict_leader else {
        let reason = "PD did not list the stores of its evict-leader scheduler";
        return findings.unknown(Unknown::new(invariant, reason));
    };
    for store in stores {
        evicted(store, most_s.saturating_mul(1_000), findings);
    }
}

fn evicted(store: &EvictLeader, most_ms: u64, findings: &mut Findings) {
    let (invariant, resource) = (EVICT_LEADER_LEFT_BEHIND, resource(store.store_id));
    match store.seen_for_ms {
        Some(seen) if seen > most_ms => {
            let left = store.leaders_left.map(|left| left.to_string());
            let message = format!(
                "an evict-leader scheduler has held store {} for at least {}; {} leaders are left on it",
                store.store_id,
                duration_text(seen),
                left.unwrap_or_else(|| "an unknown number of".into())
            );
            let violation = Violation::new(invariant, message).resource(resource);
            findings.violation(violation.evidence(json!(store)));
        }
        Some(_) => {}
        None => {
            let reason = "it is unknown how long an evict-leader scheduler has held it";
            findings.unknown(Unknown::new(invariant, reason).resource(resource));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples;

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        samples::judge(check, change)
    }

    #[test]
    fn a_pause_is_too_long_after_half_an_hour() {
        let paused = |paused_for_ms| {
            let name = "balance-leader-scheduler".to_owned();
            judge(|data| {
                data.schedulers.paused = Some(vec![PausedScheduler {
                    name,
                    paused_for_ms,
                    resumes_in_ms: None,
                }]);
            })
        };
        assert_eq!(paused(Some(1_800_000)), [""; 0]);
        assert_eq!(
            paused(Some(1_800_001)),
            ["scheduler_paused_too_long balance-leader-scheduler violated"]
        );
        assert_eq!(
            paused(None),
            ["scheduler_paused_too_long balance-leader-scheduler unknown"]
        );
        assert_eq!(
            judge(|data| data.schedulers.paused = None),
            ["scheduler_paused_too_long * unknown"]
        );
    }

    #[test]
    fn halted_scheduling_is_a_pause_of_all() {
        let halted = |halted, halted_for_ms| {
            judge(|data| {
                data.schedulers.halted = halted;
                data.schedulers.halted_for_ms = halted_for_ms;
            })
        };
        assert_eq!(halted(Some(true), Some(1)), [""; 0]);
        assert_eq!(
            halted(Some(true), Some(1_800_001)),
            ["scheduler_paused_too_long halt-scheduling violated"]
        );
        for (whether, since) in [(None, None), (None, Some(1)), (Some(true), None)] {
            assert_eq!(
                halted(whether, since),
                ["scheduler_paused_too_long halt-scheduling unknown"]
            );
        }
    }

    #[test]
    fn a_store_that_is_held_for_half_an_hour_is_forgotten() {
        let held = |seen_for_ms| {
            let held = EvictLeader {
                store_id: 4,
                seen_for_ms,
                leaders_left: Some(0),
            };
            judge(|data| data.schedulers.evict_leader = Some(vec![held]))
        };
        assert_eq!(held(Some(1_800_000)), [""; 0]);
        assert_eq!(
            held(Some(1_800_001)),
            ["evict_leader_left_behind store-4 violated"]
        );
        assert_eq!(held(None), ["evict_leader_left_behind store-4 unknown"]);
        assert_eq!(
            judge(|data| data.schedulers.evict_leader = None),
            ["evict_leader_left_behind * unknown"]
        );
    }

    #[test]
    fn without_its_threshold_nothing_is_too_long() {
        let without = judge(|data| {
            data.thresholds.scheduler_paused_s = None;
            data.thresholds.evict_leader_s = None;
        });
        let expected = [
            "evict_leader_left_behind * unknown",
            "scheduler_paused_too_long * unknown",
        ];
        assert_eq!(without, expected);
    }
}
