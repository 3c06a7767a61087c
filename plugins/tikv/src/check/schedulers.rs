//! `scheduler_paused_too_long` and `evict_leader_left_behind`: what was meant for a while and has stayed.

use serde_json::json;

use super::{
    Findings, in_words,
    names::{EVICT_LEADER_LEFT_BEHIND, SCHEDULER_PAUSED_TOO_LONG},
    resource,
};
use crate::{
    observation::{Data, EvictLeader, PausedScheduler},
    thresholds::Thresholds,
};

/// All scheduling, as a resource: the key of PD's configuration.
const HALT: &str = "halt-scheduling";

pub(super) fn check(data: &Data, thresholds: &Thresholds, findings: &mut Findings) {
    let most_ms = thresholds.scheduler_paused_s.saturating_mul(1_000);
    match &data.schedulers.paused {
        Some(paused) => paused
            .iter()
            .for_each(|scheduler| judge_paused(scheduler, most_ms, findings)),
        None => findings.unknown(
            SCHEDULER_PAUSED_TOO_LONG,
            None,
            "PD did not tell which schedulers are paused",
        ),
    }
    halted(data, most_ms, findings);
    let most_ms = thresholds.evict_leader_s.saturating_mul(1_000);
    match &data.schedulers.evict_leader {
        Some(held) => held
            .iter()
            .for_each(|held| evicted(held, most_ms, findings)),
        None => findings.unknown(
            EVICT_LEADER_LEFT_BEHIND,
            None,
            "PD did not tell which stores it keeps without leaders",
        ),
    }
}

fn judge_paused(scheduler: &PausedScheduler, most_ms: u64, findings: &mut Findings) {
    let name = Some(scheduler.name.clone());
    match scheduler.paused_for_ms {
        Some(paused) if paused > most_ms => {
            let message = format!(
                "{} has been paused for {}",
                scheduler.name,
                in_words(paused)
            );
            findings.violate(SCHEDULER_PAUSED_TOO_LONG, name, message, json!(scheduler));
        }
        Some(_) => {}
        None => findings.unknown(
            SCHEDULER_PAUSED_TOO_LONG,
            name,
            "it is not known since when it is paused",
        ),
    }
}

fn halted(data: &Data, most_ms: u64, findings: &mut Findings) {
    let halt = || Some(HALT.to_owned());
    match (data.schedulers.halted, data.schedulers.halted_for_ms) {
        (Some(true), Some(halted)) if halted > most_ms => {
            let message = format!(
                "all scheduling has been halted for at least {}",
                in_words(halted)
            );
            findings.violate(
                SCHEDULER_PAUSED_TOO_LONG,
                halt(),
                message,
                json!({"halted_for_ms": halted}),
            );
        }
        (Some(false), _) | (Some(true), Some(_)) => {}
        _ => findings.unknown(
            SCHEDULER_PAUSED_TOO_LONG,
            halt(),
            "it is not known whether, or since when, all scheduling is halted",
        ),
    }
}

fn evicted(held: &EvictLeader, most_ms: u64, findings: &mut Findings) {
    match held.seen_for_ms {
        Some(seen) if seen > most_ms => {
            let left = held
                .leaders_left
                .map_or("an unknown number of".into(), |left| left.to_string());
            let message = format!(
                "an evict-leader scheduler has held store {} for at least {}; {left} leaders are left on it",
                held.store_id,
                in_words(seen)
            );
            findings.violate(
                EVICT_LEADER_LEFT_BEHIND,
                resource(held.store_id),
                message,
                json!(held),
            );
        }
        Some(_) => {}
        None => findings.unknown(
            EVICT_LEADER_LEFT_BEHIND,
            resource(held.store_id),
            "it is not known for how long it is held",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{healthy, verdicts};

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        let mut data = healthy();
        change(&mut data);
        let mut findings = Findings::default();
        check(&data, &Thresholds::default(), &mut findings);
        verdicts(&findings.report())
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
}
