//! What one worker remembers of checks that Redis refused, so that a key that is hammered costs Redis next to nothing.
//!
//! A check that was refused stays refused until room comes up by itself, which Redis told, or until somebody changes
//! something. Every change gives the policy a new version, and whoever makes it waits for [`LEASE`] before it says that it
//! is done. A refusal is only repeated within a lease that began before Redis was last seen to hold the same version: so
//! no check that begins after a change was acknowledged is answered from before it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Decision;
use super::script::{Item, Question, Verdict};

/// How long the version of the policy counts as seen, from before Redis was asked; and how long a change waits.
pub(crate) const LEASE: Duration = Duration::from_millis(10);
/// Redis is asked again so often in any case: somebody may delete a counter without telling the nodes.
const FRESH: Duration = Duration::from_millis(250);
/// The first refusals of a key are always Redis's own: only what goes on costs anything.
const ASKED_AT_LEAST: u32 = 4;
/// Beyond this many, what is over is forgotten, and everything if that is not enough.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Debug)]
struct Refusal {
    decision: Decision,
    /// When it is refused no longer, by this node's clock.
    until: Instant,
    fresh_until: Instant,
    /// By Redis.
    times: u32,
    /// From memory, since Redis last refused.
    repeated: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    version: String,
    lease_until: Option<Instant>,
    by_question: HashMap<Question, Refusal>,
}

impl Refused {
    /// Takes in what Redis decided under this version, when it was asked after `asked_at` and had answered by `now`.
    ///
    /// Returns how many refusals from memory were doubtful: Redis had room before it should have, and nobody changed
    /// anything. A part of them were right, as it is not known when the room came up.
    pub(crate) fn learn(
        &mut self,
        version: &str,
        (asked_at, now): (Instant, Instant),
        items: &[Item],
        verdicts: &[Verdict],
    ) -> u64 {
        if self.version != version {
            version.clone_into(&mut self.version);
            self.by_question.clear();
            self.lease_until = None;
        }
        self.lease_until = self.lease_until.max(Some(asked_at + LEASE));
        let mut doubtful = 0;
        for (item, verdict) in items.iter().zip(verdicts) {
            let known = self.by_question.get(&item.question);
            if let Some(known) =
                known.filter(|known| verdict.allowed > Some(0) && now < known.until)
            {
                doubtful += known.repeated;
            }
            match verdict.allowed {
                Some(allowed) if allowed < item.wanted => {
                    self.refuse(item, verdict, allowed, asked_at);
                }
                _ => drop(self.by_question.remove(&item.question)),
            }
        }
        self.make_room(asked_at);
        doubtful
    }

    fn refuse(&mut self, item: &Item, verdict: &Verdict, allowed: u64, asked_at: Instant) {
        let decision = Decision {
            allowed: false,
            count: verdict.before + allowed,
            limit: item.limit,
            wait_ms: verdict.wait_ms,
        };
        let new = Refusal {
            decision,
            until: asked_at + Duration::from_millis(verdict.wait_ms),
            fresh_until: asked_at + FRESH,
            times: 1,
            repeated: 0,
        };
        match self.by_question.get_mut(&item.question) {
            Some(known) => {
                let times = known.times.saturating_add(1);
                *known = Refusal { times, ..new };
            }
            None => {
                self.by_question.insert(item.question.clone(), new);
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.by_question.len() > MAX_REMEMBERED {
            self.by_question
                .retain(|_, refusal| refusal.fresh_until > now);
        }
        if self.by_question.len() > MAX_REMEMBERED {
            self.by_question.clear();
        }
    }

    /// The refusal of this check, where it is certain.
    pub(crate) fn recall(&mut self, question: &Question, now: Instant) -> Option<Decision> {
        if self.lease_until.is_none_or(|until| until <= now) {
            return None;
        }
        let refusal = self.by_question.get_mut(question)?;
        let certain =
            refusal.times >= ASKED_AT_LEAST && now < refusal.until.min(refusal.fresh_until);
        if !certain {
            return None;
        }
        refusal.repeated += 1;
        let left = refusal.until.saturating_duration_since(now);
        Some(Decision {
            wait_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) + 1,
            ..refusal.decision
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::limit::Limit;
    use crate::service::policy::Asked;

    const WAIT_MS: u64 = 5_000;

    fn question(key: &str) -> Question {
        Question {
            key: key.to_owned(),
            asked: Asked::default(),
        }
    }

    fn decide(refused: &mut Refused, version: &str, at: Instant, allowed: u64) -> u64 {
        let item = Item {
            question: question("k"),
            wanted: 1,
            limit: Limit {
                max: 5,
                window_ms: 60_000,
            },
            blocked_until: 0,
            reset: 0,
        };
        let verdict = Verdict {
            allowed: Some(allowed),
            before: 5,
            wait_ms: WAIT_MS,
        };
        refused.learn(version, (at, at), &[item], &[verdict])
    }

    /// Refused as often as it takes, for the last time at `at`.
    fn hammered(at: Instant) -> Refused {
        let mut refused = Refused::default();
        for _ in 0..ASKED_AT_LEAST {
            decide(&mut refused, "v1", at, 0);
        }
        refused
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_hammered_key_is_refused_from_memory_within_the_lease_alone() {
        let start = Instant::now();
        let mut refused = hammered(start);
        let recalled = refused.recall(&question("k"), start + ms(1)).unwrap();
        assert_eq!(
            (recalled.allowed, recalled.count, recalled.wait_ms),
            (false, 5, WAIT_MS)
        );
        assert_eq!(refused.recall(&question("other"), start), None);
        assert_eq!(refused.recall(&question("k"), start + LEASE), None);
    }

    #[test]
    fn the_first_refusals_are_redis_own() {
        let (start, mut refused) = (Instant::now(), Refused::default());
        for _ in 1..ASKED_AT_LEAST {
            decide(&mut refused, "v1", start, 0);
            assert_eq!(refused.recall(&question("k"), start), None);
        }
    }

    #[test]
    fn another_version_and_an_admitted_check_end_the_memory() {
        let start = Instant::now();
        for (version, allowed) in [("v2", 0), ("v1", 1)] {
            let mut refused = hammered(start);
            decide(&mut refused, version, start, allowed);
            assert_eq!(refused.recall(&question("k"), start), None, "{version}");
        }
    }

    #[test]
    fn nothing_is_repeated_beyond_its_wait_or_for_long_without_asking() {
        let start = Instant::now();
        for late in [FRESH, ms(WAIT_MS)] {
            let mut refused = hammered(start);
            // Another key keeps the lease.
            refused.learn("v1", (start + late, start + late), &[], &[]);
            assert_eq!(refused.recall(&question("k"), start + late), None);
        }
    }

    #[test]
    fn refusals_that_redis_does_not_bear_out_are_doubtful() {
        let start = Instant::now();
        let repeat = |version, allowed, after| {
            let mut refused = hammered(start);
            for _ in 0..3 {
                assert!(refused.recall(&question("k"), start).is_some());
            }
            decide(&mut refused, version, start + after, allowed)
        };
        assert_eq!(repeat("v1", 1, ms(1)), 3, "the counter was deleted");
        assert_eq!(repeat("v1", 0, ms(1)), 0, "it is refused still");
        assert_eq!(repeat("v2", 1, ms(1)), 0, "somebody changed something");
        assert_eq!(repeat("v1", 1, ms(WAIT_MS)), 0, "room came up by itself");
    }

    #[test]
    fn an_answer_that_was_long_under_way_gives_no_lease() {
        let start = Instant::now();
        let mut refused = hammered(start);
        decide(&mut refused, "v2", start, 0);
        assert_eq!(refused.recall(&question("k"), start + LEASE), None);
    }
}
