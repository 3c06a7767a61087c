//! A worker's cache of refusals, so that a hammered key costs Redis almost nothing.
//!
//! A refusal stays valid until the time Redis gave for the next free slot, or until a change: a limit, a block or a reset.
//! Every change gives the policy a new version, and is acknowledged only [`LEASE`] after Redis applied it. A cached refusal
//! is used only within a lease that began before Redis was last seen to have the same version. So no check that
//! begins after a change was acknowledged is answered from before the change.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Decision;
use super::script::{Check, Item, Verdict};

/// How long the version counts as current, from before the request to Redis; a change waits as long.
pub(crate) const LEASE: Duration = Duration::from_millis(10);
/// Redis is asked again at this interval in any case: a counter may have been deleted directly in Redis.
const MAX_AGE: Duration = Duration::from_millis(250);
/// The first refusals of a key always come from Redis; only a key that is hammered is cached.
const MIN_REDIS_REFUSALS: u32 = 4;
/// Above this size expired entries are removed, and all entries if that is not enough.
const MAX_ENTRIES: usize = 10_000;

#[derive(Debug)]
struct Refusal {
    decision: Decision,
    /// The end of the refusal, by this node's clock.
    until: Instant,
    fresh_until: Instant,
    /// Refusals by Redis.
    from_redis: u32,
    /// Refusals from the cache since Redis last refused.
    from_cache: u64,
}

/// The refusals of one worker, all under one version of the policy.
#[derive(Debug, Default)]
pub(crate) struct RefusalCache {
    version: String,
    lease_until: Option<Instant>,
    by_check: HashMap<Check, Refusal>,
}

impl RefusalCache {
    /// Records what Redis decided under this version, in a request sent after `sent_at` and answered by `now`.
    ///
    /// Returns the number of doubtful cached refusals: Redis had room earlier than predicted, without any change of the
    /// policy. Some of them were right, as the exact time at which room came up is unknown.
    pub(crate) fn learn(
        &mut self,
        version: &str,
        (sent_at, now): (Instant, Instant),
        items: &[Item],
        verdicts: &[Verdict],
    ) -> u64 {
        if self.version != version {
            version.clone_into(&mut self.version);
            self.by_check.clear();
            self.lease_until = None;
        }
        self.lease_until = self.lease_until.max(Some(sent_at + LEASE));
        let mut doubtful = 0;
        for (item, verdict) in items.iter().zip(verdicts) {
            let known = self.by_check.get(&item.check);
            if let Some(known) =
                known.filter(|known| verdict.allowed > Some(0) && now < known.until)
            {
                doubtful += known.from_cache;
            }
            match verdict.allowed {
                Some(allowed) if allowed < item.wanted => {
                    self.refuse(item, verdict, allowed, sent_at);
                }
                _ => drop(self.by_check.remove(&item.check)),
            }
        }
        self.make_room(sent_at);
        doubtful
    }

    fn refuse(&mut self, item: &Item, verdict: &Verdict, allowed: u64, sent_at: Instant) {
        let decision = Decision {
            allowed: false,
            count: verdict.before + allowed,
            limit: item.limit,
            wait_ms: verdict.wait_ms,
        };
        let new = Refusal {
            decision,
            until: sent_at + Duration::from_millis(verdict.wait_ms),
            fresh_until: sent_at + MAX_AGE,
            from_redis: 1,
            from_cache: 0,
        };
        match self.by_check.get_mut(&item.check) {
            Some(known) => {
                let from_redis = known.from_redis.saturating_add(1);
                *known = Refusal { from_redis, ..new };
            }
            None => {
                self.by_check.insert(item.check.clone(), new);
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.by_check.len() > MAX_ENTRIES {
            self.by_check.retain(|_, refusal| refusal.fresh_until > now);
        }
        if self.by_check.len() > MAX_ENTRIES {
            self.by_check.clear();
        }
    }

    /// The cached refusal of this check, if it is still valid.
    pub(crate) fn get(&mut self, check: &Check, now: Instant) -> Option<Decision> {
        if self.lease_until.is_none_or(|until| until <= now) {
            return None;
        }
        let refusal = self.by_check.get_mut(check)?;
        let valid = refusal.from_redis >= MIN_REDIS_REFUSALS
            && now < refusal.until.min(refusal.fresh_until);
        if !valid {
            return None;
        }
        refusal.from_cache += 1;
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
    use crate::service::policy::RequestedLimit;

    const WAIT_MS: u64 = 5_000;

    fn check(key: &str) -> Check {
        Check {
            key: key.to_owned(),
            requested: RequestedLimit::default(),
        }
    }

    fn decide(refused: &mut RefusalCache, version: &str, at: Instant, allowed: u64) -> u64 {
        let item = Item {
            check: check("k"),
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

    /// Refused often enough to be cached, the last time at `at`.
    fn hammered(at: Instant) -> RefusalCache {
        let mut refused = RefusalCache::default();
        for _ in 0..MIN_REDIS_REFUSALS {
            decide(&mut refused, "v1", at, 0);
        }
        refused
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_hammered_key_is_refused_from_the_cache_only_within_the_lease() {
        let start = Instant::now();
        let mut refused = hammered(start);
        let recalled = refused.get(&check("k"), start + ms(1)).unwrap();
        assert_eq!(
            (recalled.allowed, recalled.count, recalled.wait_ms),
            (false, 5, WAIT_MS)
        );
        assert_eq!(refused.get(&check("other"), start), None);
        assert_eq!(refused.get(&check("k"), start + LEASE), None);
    }

    #[test]
    fn the_first_refusals_come_from_redis() {
        let (start, mut refused) = (Instant::now(), RefusalCache::default());
        for _ in 1..MIN_REDIS_REFUSALS {
            decide(&mut refused, "v1", start, 0);
            assert_eq!(refused.get(&check("k"), start), None);
        }
    }

    #[test]
    fn another_version_and_an_allowed_check_invalidate_the_refusal() {
        let start = Instant::now();
        for (version, allowed) in [("v2", 0), ("v1", 1)] {
            let mut refused = hammered(start);
            decide(&mut refused, version, start, allowed);
            assert_eq!(refused.get(&check("k"), start), None, "{version}");
        }
    }

    #[test]
    fn a_refusal_expires_with_its_wait_and_its_maximum_age() {
        let start = Instant::now();
        for late in [MAX_AGE, ms(WAIT_MS)] {
            let mut refused = hammered(start);
            // Another key renews the lease.
            refused.learn("v1", (start + late, start + late), &[], &[]);
            assert_eq!(refused.get(&check("k"), start + late), None);
        }
    }

    #[test]
    fn refusals_that_redis_contradicts_are_doubtful() {
        let start = Instant::now();
        let doubtful = |version, allowed, after| {
            let mut refused = hammered(start);
            for _ in 0..3 {
                assert!(refused.get(&check("k"), start).is_some());
            }
            decide(&mut refused, version, start + after, allowed)
        };
        assert_eq!(doubtful("v1", 1, ms(1)), 3, "the counter was deleted");
        assert_eq!(doubtful("v1", 0, ms(1)), 0, "still refused");
        assert_eq!(doubtful("v2", 1, ms(1)), 0, "the policy changed");
        assert_eq!(doubtful("v1", 1, ms(WAIT_MS)), 0, "the wait was over");
    }

    #[test]
    fn a_slow_reply_gives_no_lease() {
        let start = Instant::now();
        let mut refused = hammered(start);
        decide(&mut refused, "v2", start, 0);
        assert_eq!(refused.get(&check("k"), start + LEASE), None);
    }
}
