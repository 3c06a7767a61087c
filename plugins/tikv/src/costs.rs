//! What the answers cost PD that it computes from all regions, and when they may be asked for again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The number of regions by state and store, as a question among the region checks.
pub(crate) const STATS: &str = "stats";

/// A question may take a twentieth of PD's time, but no answer gets older than this for it.
const SHARE: u32 = 20;
const OLDEST: Duration = Duration::from_secs(30);
/// A PD that did not answer in time may still be at work on it; it is not asked for the same again before this.
const PAUSE: Duration = Duration::from_secs(10);

/// What one question cost when it was asked last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) asked: Instant,
    pub(crate) took: Duration,
    /// Whether it was given up, so that PD may still be at work.
    pub(crate) is_given_up: bool,
}

/// Whether a question may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Ask,
    /// The last answer is new enough for what it cost.
    UseLast,
    StillAtWork,
}

/// By question.
#[derive(Debug, Clone, Default)]
pub(crate) struct Costs(BTreeMap<&'static str, Cost>);

impl Costs {
    pub(crate) fn learn(&mut self, question: &'static str, cost: Cost) {
        self.0.insert(question, cost);
    }

    pub(crate) fn turn(&self, question: &str, now: Instant) -> Turn {
        let Some(cost) = self.0.get(question) else {
            return Turn::Ask;
        };
        let done = cost.asked + cost.took;
        let rested = now.saturating_duration_since(done);
        if cost.is_given_up && rested < PAUSE {
            Turn::StillAtWork
        } else if !cost.is_given_up && rested < OLDEST.min(cost.took * SHARE) {
            Turn::UseLast
        } else {
            Turn::Ask
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(took_ms: u64, is_given_up: bool, rested_ms: u64) -> Turn {
        let asked = Instant::now();
        let took = Duration::from_millis(took_ms);
        let mut costs = Costs::default();
        let cost = Cost {
            asked,
            took,
            is_given_up,
        };
        costs.learn(STATS, cost);
        costs.turn(STATS, asked + took + Duration::from_millis(rested_ms))
    }

    #[test]
    fn a_question_rests_twenty_times_as_long_as_it_took() {
        assert_eq!(Costs::default().turn(STATS, Instant::now()), Turn::Ask);
        assert_eq!(turn(100, false, 1_999), Turn::UseLast);
        assert_eq!(turn(100, false, 2_000), Turn::Ask);
        assert_eq!(turn(3_000, false, 29_999), Turn::UseLast);
        assert_eq!(turn(3_000, false, 30_000), Turn::Ask);
    }

    #[test]
    fn a_question_that_was_given_up_is_not_asked_a_second_time_meanwhile() {
        assert_eq!(turn(3_600, true, 9_999), Turn::StillAtWork);
        assert_eq!(turn(3_600, true, 10_000), Turn::Ask);
    }
}
