//! How many requests this node itself allowed, per key, within the key's window.

use std::collections::{HashMap, VecDeque};

use super::limit::Limit;

/// Maximum number of parts per window, so that a busy key costs at most a thousand small entries.
const PARTS_PER_WINDOW: u64 = 1_000;

#[derive(Debug, Clone, Copy)]
struct Part {
    since_ms: u64,
    allowed: u64,
}

#[derive(Debug, Default)]
struct Entry {
    window_ms: u64,
    /// The limit that all of its parts were checked by; none where clients named different ones.
    limit: Option<Limit>,
    reset: u64,
    parts: VecDeque<Part>,
}

impl Entry {
    /// The number allowed in the window that ends at `now_ms`, without those that a later reset voided.
    fn sum(&self, now_ms: u64, reset: u64) -> u64 {
        if reset > self.reset {
            return 0;
        }
        let in_window = |part: &&Part| part.since_ms + self.window_ms > now_ms;
        self.parts
            .iter()
            .filter(in_window)
            .map(|part| part.allowed)
            .sum()
    }

    fn note_limit(&mut self, limit: Limit) {
        let is_first = self.parts.is_empty();
        self.limit = (is_first || self.limit == Some(limit)).then_some(limit);
        self.window_ms = limit.window_ms;
    }

    /// After Redis's clock went back, what lies in the future counts as now.
    fn drop_old(&mut self, now_ms: u64) {
        for part in self.parts.iter_mut().rev() {
            if part.since_ms <= now_ms {
                break;
            }
            part.since_ms = now_ms;
        }
        while (self.parts.front()).is_some_and(|part| part.since_ms + self.window_ms <= now_ms) {
            self.parts.pop_front();
        }
    }
}

/// What was allowed of one key within its window.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InWindow {
    pub(crate) allowed: u64,
    /// The limit by which all of it was checked; none where that differed.
    pub(crate) limit: Option<Limit>,
}

impl InWindow {
    fn add(&mut self, allowed: u64, limit: Option<Limit>) {
        self.limit = limit.filter(|_| self.allowed == 0 || self.limit == limit);
        self.allowed += allowed;
    }
}

/// Times are from Redis's clock, in ms, so that the sums over all nodes are comparable with the counter.
#[derive(Debug, Default)]
pub(crate) struct AllowedCounts {
    entries: HashMap<String, Entry>,
}

impl AllowedCounts {
    /// Records that `allowed` more requests were let through at `now_ms`.
    ///
    /// `reset` is the marker of the key's last reset that the check knew. A check with a newer marker came after that
    /// reset, one with an older marker before it, so the order is known even within one millisecond.
    pub(crate) fn record(
        &mut self,
        key: &str,
        limit: Limit,
        allowed: u64,
        now_ms: u64,
        reset: u64,
    ) {
        if !self.entries.contains_key(key) {
            self.entries.insert(key.to_owned(), Entry::default());
        }
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if reset > entry.reset {
            entry.reset = reset;
            entry.parts.clear();
        }
        entry.drop_old(now_ms);
        entry.note_limit(limit);
        let part_ms = limit.window_ms / PARTS_PER_WINDOW;
        match entry.parts.back_mut() {
            Some(part) if now_ms.saturating_sub(part.since_ms) <= part_ms => {
                part.allowed += allowed;
            }
            _ => entry.parts.push_back(Part {
                since_ms: now_ms,
                allowed,
            }),
        }
    }

    pub(crate) fn allowed(&self, key: &str, now_ms: u64, reset: u64) -> u64 {
        self.entries
            .get(key)
            .map_or(0, |entry| entry.sum(now_ms, reset))
    }

    /// Adds what was allowed per key to `sums`.
    pub(crate) fn add_to(
        &self,
        sums: &mut HashMap<String, InWindow>,
        now_ms: u64,
        reset_of: impl Fn(&str) -> u64,
    ) {
        for (key, entry) in &self.entries {
            let sum = entry.sum(now_ms, reset_of(key));
            if sum > 0 {
                let in_window = sums.entry(key.clone()).or_default();
                in_window.add(sum, entry.limit);
            }
        }
    }

    /// Removes keys with nothing left in their window.
    pub(crate) fn sweep(&mut self, now_ms: u64) {
        self.entries.retain(|_, entry| {
            entry.drop_old(now_ms);
            !entry.parts.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(window_ms: u64) -> Limit {
        Limit { max: 9, window_ms }
    }

    #[test]
    fn after_the_clock_went_back_a_count_ends_with_its_window() {
        let mut counts = AllowedCounts::default();
        counts.record("k", limit(1_000), 3, 3_600_000, 0);
        counts.record("k", limit(1_000), 1, 5_000, 0);
        assert_eq!(counts.allowed("k", 5_999, 0), 4);
        assert_eq!(counts.allowed("k", 6_000, 0), 0);
        counts.record("idle", limit(1_000), 3, 3_600_000, 0);
        counts.sweep(7_000);
        assert_eq!(counts.allowed("idle", 8_000, 0), 0);
    }

    #[test]
    fn requests_outside_the_window_are_not_counted() {
        let mut allowed_counts = AllowedCounts::default();
        allowed_counts.record("k", limit(1_000), 2, 10_000, 0);
        allowed_counts.record("k", limit(1_000), 3, 10_500, 0);
        assert_eq!(allowed_counts.allowed("k", 10_999, 0), 5);
        assert_eq!(allowed_counts.allowed("k", 11_000, 0), 3);
        assert_eq!(allowed_counts.allowed("other", 11_000, 0), 0);
    }

    #[test]
    fn a_busy_key_stays_small() {
        let mut allowed_counts = AllowedCounts::default();
        for now in 0..120_000 {
            allowed_counts.record("k", limit(60_000), 1, 1 + now, 0);
        }
        let parts = allowed_counts.entries["k"].parts.len();
        assert!(parts <= 1_001, "{parts}");
        let allowed = allowed_counts.allowed("k", 120_000, 0);
        assert!(allowed.abs_diff(60_000) <= 60, "{allowed}");
    }

    #[test]
    fn a_reset_restarts_the_count() {
        let mut allowed_counts = AllowedCounts::default();
        allowed_counts.record("k", limit(60_000), 5, 10_000, 0);
        assert_eq!(allowed_counts.allowed("k", 10_000, 10_000), 0);
        allowed_counts.record("k", limit(60_000), 1, 10_000, 10_000);
        assert_eq!(allowed_counts.allowed("k", 10_003, 10_000), 1);
    }

    #[test]
    fn a_sweep_removes_expired_keys() {
        let mut allowed_counts = AllowedCounts::default();
        allowed_counts.record("old", limit(10), 1, 100, 0);
        allowed_counts.record("new", limit(1_000), 1, 100, 0);
        allowed_counts.sweep(200);
        let mut sums = HashMap::new();
        allowed_counts.add_to(&mut sums, 200, |_| 0);
        let new = InWindow {
            allowed: 1,
            limit: Some(limit(1_000)),
        };
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [("new".to_owned(), new)]
        );
        assert_eq!(allowed_counts.entries.len(), 1);
    }

    #[test]
    fn a_limit_is_told_only_while_it_is_the_only_one_in_the_window() {
        let told = |counts: &AllowedCounts| {
            let mut sums = HashMap::new();
            counts.add_to(&mut sums, 1_500, |_| 0);
            sums.get("k").and_then(|in_window| in_window.limit)
        };
        let other = Limit {
            max: 10,
            ..limit(1_000)
        };
        let mut counts = AllowedCounts::default();
        counts.record("k", limit(1_000), 1, 1_000, 0);
        assert_eq!(told(&counts), Some(limit(1_000)));
        counts.record("k", other, 1, 1_100, 0);
        assert_eq!(told(&counts), None);
        counts.record("k", other, 1, 1_200, 0);
        assert_eq!(told(&counts), None);
        counts.record("k", other, 1, 2_300, 0);
        let mut sums = HashMap::new();
        counts.add_to(&mut sums, 2_400, |_| 0);
        assert_eq!(sums["k"].limit, Some(other));
        // Another worker of the same node.
        counts.add_to(&mut sums, 2_400, |_| 0);
        assert_eq!((sums["k"].allowed, sums["k"].limit), (2, Some(other)));
        sums.get_mut("k").unwrap().add(1, Some(limit(1_000)));
        assert_eq!(sums["k"].limit, None);
    }
}
