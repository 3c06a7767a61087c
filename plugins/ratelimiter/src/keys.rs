//! The memory of keys: their last limit and count, and which of them must be read again.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::{
    kept::KeptKey,
    observation::{Counter, Override},
};

/// Keys that are remembered at most.
const MAX_KEYS: usize = 10_000;
/// Keys that are read again although no source lists them any more.
const MAX_SUSPECTS: usize = 100;
/// How long a key is remembered that was not read again.
const KEEP: Duration = Duration::from_mins(10);
/// Within this time a reset has reached every node.
const RESET_SETTLES: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
struct Known {
    limit: Option<u64>,
    window_ms: u64,
    /// When another limit was last seen to come into force.
    limit_changed: Option<Instant>,
    redis_high: Option<u64>,
    fell: Option<Instant>,
    /// Until when it is read in any case.
    suspect_until: Option<Instant>,
    /// Whether it was suspicious when it was last judged. It stays a suspect until it was judged again.
    is_unresolved: bool,
    seen: Instant,
}

impl Known {
    fn new(counter: &Counter, window_ms: u64, now: Instant) -> Self {
        Self {
            limit: counter.limit,
            window_ms,
            limit_changed: None,
            redis_high: counter.redis_high,
            fell: None,
            suspect_until: None,
            is_unresolved: false,
            seen: now,
        }
    }

    fn note(&mut self, counter: &Counter, window_ms: u64, now: Instant) {
        self.seen = now;
        if counter.limit.is_some() && (self.limit, self.window_ms) != (counter.limit, window_ms) {
            self.limit = counter.limit;
            self.window_ms = window_ms;
            self.limit_changed = Some(now);
        }
        let before = self.redis_high;
        let halved = |count: u64| before.is_some_and(|before| count < before.div_ceil(2));
        if counter.redis_high.is_some_and(halved) {
            self.fell = Some(now);
        }
        self.redis_high = counter.redis_high.or(before);
    }

    fn is_suspect(&self, now: Instant) -> bool {
        self.is_unresolved || self.suspect_until.is_some_and(|until| now < until)
    }

    fn changed_within(&self, window: Duration, now: Instant) -> bool {
        self.limit_changed
            .is_some_and(|at| now.duration_since(at) <= window)
    }

    fn has_just_fallen(&self, now: Instant) -> bool {
        self.fell
            .is_some_and(|at| now.duration_since(at) < RESET_SETTLES)
    }
}

/// What one cycle found out about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// An invariant is violated.
    Violates,
    /// All that is known of it is as it should be.
    Holds,
    /// It could not be judged.
    Unknown,
}

/// What is remembered of keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    known: HashMap<String, Known>,
    /// Keys that nodes reported and no list named.
    unlisted: BTreeSet<String>,
}

impl Keys {
    /// The limit and the window that a key was last seen with.
    pub(crate) fn limit_of(&self, key: &str) -> Option<(Option<u64>, u64)> {
        self.known
            .get(key)
            .map(|known| (known.limit, known.window_ms))
    }

    /// Keys that were suspicious a short while ago: a ticket about them must not resolve because no source lists them.
    pub(crate) fn suspects(&self, now: Instant) -> impl Iterator<Item = &str> {
        let suspects = self
            .known
            .iter()
            .filter(move |(_, known)| known.is_suspect(now));
        let mut suspects: Vec<&str> = suspects.map(|(key, _)| key.as_str()).collect();
        suspects.sort_unstable();
        suspects.into_iter().take(MAX_SUSPECTS)
    }

    /// Whether nodes reported this key in the last cycle, and no list named it.
    pub(crate) fn was_unlisted(&self, key: &str) -> bool {
        self.unlisted.contains(key)
    }

    pub(crate) fn note_unlisted(&mut self, keys: BTreeSet<String>) {
        self.unlisted = keys;
    }

    /// The suspects, for another process.
    pub(crate) fn keep(&self) -> Vec<KeptKey> {
        let suspects = self.known.iter().filter(|(_, known)| known.is_unresolved);
        let kept = suspects.map(|(key, known)| KeptKey {
            key: key.clone(),
            limit: known.limit,
            window_ms: known.window_ms,
        });
        let mut kept: Vec<KeptKey> = kept.collect();
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        kept.truncate(MAX_SUSPECTS);
        kept
    }

    pub(crate) fn restore(&mut self, suspects: &[KeptKey], now: Instant) {
        for kept in suspects {
            let known = Known {
                limit: kept.limit,
                window_ms: kept.window_ms,
                limit_changed: None,
                redis_high: None,
                fell: None,
                suspect_until: None,
                is_unresolved: true,
                seen: now,
            };
            self.known.insert(kept.key.clone(), known);
        }
    }

    /// Remembers a counter, and fills in what only memory knows.
    pub(crate) fn learn(
        &mut self,
        counter: &mut Counter,
        rules: &[Override],
        now: Instant,
        now_ms: i64,
    ) {
        let Some(window_ms) = counter.window_ms else {
            return;
        };
        let known = self.known.entry(counter.key.clone());
        let known = known.or_insert_with(|| Known::new(counter, window_ms, now));
        known.note(counter, window_ms, now);
        let is_new = |rule: &Override| is_new_for(rule, &counter.key, window_ms, now_ms);
        let changed = known.changed_within(Duration::from_millis(window_ms), now);
        let has_changed = changed || rules.iter().any(is_new);
        counter.limit_settled = counter.limit_settled.map(|_| !has_changed);
        counter.just_fell = Some(known.has_just_fallen(now));
    }

    /// Notes how this key was judged. One that is suspicious is read again for a while, and until it was judged otherwise.
    pub(crate) fn judge(&mut self, key: &str, suspicion: Suspicion, now: Instant) {
        let Some(known) = self.known.get_mut(key) else {
            return;
        };
        match suspicion {
            Suspicion::Violates => {
                let window = Duration::from_millis(known.window_ms).min(KEEP);
                known.suspect_until = Some(now + window + RESET_SETTLES);
                known.is_unresolved = true;
            }
            Suspicion::Holds => known.is_unresolved = false,
            Suspicion::Unknown => {}
        }
    }

    pub(crate) fn forget(&mut self, now: Instant) {
        self.known
            .retain(|_, known| now.duration_since(known.seen) < KEEP || known.is_suspect(now));
        if self.known.len() > MAX_KEYS {
            self.known
                .retain(|_, known| known.seen == now || known.is_suspect(now));
        }
    }
}

/// Whether this override concerns the key and changed less than a window ago.
fn is_new_for(rule: &Override, key: &str, window_ms: u64, now_ms: i64) -> bool {
    let age = |at: i64| u64::try_from(now_ms.saturating_sub(at)).unwrap_or_default();
    matches(&rule.key_pattern, key) && rule.updated_at_ms.is_some_and(|at| age(at) <= window_ms)
}

/// An exact key, or a prefix that ends in `*`.
pub(crate) fn matches(pattern: &str, key: &str) -> bool {
    pattern == key
        || pattern
            .strip_suffix('*')
            .is_some_and(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::LimitSource;

    fn counter(limit: u64, redis: u64) -> Counter {
        Counter {
            key: "k".into(),
            limit: Some(limit),
            limit_source: Some(LimitSource::Service),
            window_ms: Some(60_000),
            limit_settled: Some(true),
            redis_low: Some(redis),
            redis_high: Some(redis),
            allowed_low: None,
            allowed_high: None,
            node_restarted: None,
            just_fell: None,
        }
    }

    fn learn(
        keys: &mut Keys,
        mut counter: Counter,
        rules: &[Override],
        now: Instant,
    ) -> (Option<bool>, Option<bool>) {
        keys.learn(&mut counter, rules, now, 1_000_000);
        (counter.limit_settled, counter.just_fell)
    }

    #[test]
    fn a_changed_limit_settles_after_one_window() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        assert_eq!(learn(&mut keys, counter(100, 0), &[], start).0, Some(true));
        assert_eq!(learn(&mut keys, counter(20, 0), &[], start).0, Some(false));
        assert_eq!(
            learn(
                &mut keys,
                counter(20, 0),
                &[],
                start + Duration::from_mins(1)
            )
            .0,
            Some(false)
        );
        assert_eq!(
            learn(
                &mut keys,
                counter(20, 0),
                &[],
                start + Duration::from_secs(61)
            )
            .0,
            Some(true)
        );
    }

    #[test]
    fn an_override_that_is_new_has_not_settled_even_at_first_sight() {
        let rule = |updated_at_ms| Override {
            key_pattern: "*".into(),
            max_requests: 1,
            window_ms: 60_000,
            updated_at_ms: Some(updated_at_ms),
        };
        let settled = |at| {
            learn(
                &mut Keys::default(),
                counter(1, 0),
                &[rule(at)],
                Instant::now(),
            )
            .0
        };
        assert_eq!(settled(1_000_000 - 60_000), Some(false));
        assert_eq!(settled(1_000_000 - 60_001), Some(true));
    }

    #[test]
    fn a_count_that_falls_by_more_than_half_is_noted_for_a_moment() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        assert_eq!(
            learn(&mut keys, counter(100, 80), &[], start).1,
            Some(false)
        );
        assert_eq!(
            learn(&mut keys, counter(100, 40), &[], start).1,
            Some(false)
        );
        assert_eq!(learn(&mut keys, counter(100, 0), &[], start).1, Some(true));
        assert_eq!(
            learn(&mut keys, counter(100, 9), &[], start + RESET_SETTLES).1,
            Some(false)
        );
    }

    #[test]
    fn a_suspect_is_read_for_another_window() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        learn(&mut keys, counter(100, 200), &[], start);
        keys.judge("k", Suspicion::Violates, start);
        keys.judge("k", Suspicion::Unknown, start);
        let suspects = |keys: &Keys, after| {
            let now = start + Duration::from_secs(after);
            keys.suspects(now).count()
        };
        assert_eq!(suspects(&keys, 3_600), 1, "it was not judged again");
        keys.judge("k", Suspicion::Holds, start);
        assert_eq!(suspects(&keys, 62), 1);
        assert_eq!(suspects(&keys, 63), 0);
    }
}
