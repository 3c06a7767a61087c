//! How many requests this node itself allowed, per key, within the key's window.

use std::collections::{HashMap, VecDeque};

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
        window_ms: u64,
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
        entry.window_ms = window_ms;
        entry.drop_old(now_ms);
        let part_ms = window_ms / PARTS_PER_WINDOW;
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

    /// Adds the number allowed per key to `sums`.
    pub(crate) fn add_to(
        &self,
        sums: &mut HashMap<String, u64>,
        now_ms: u64,
        reset_of: impl Fn(&str) -> u64,
    ) {
        for (key, entry) in &self.entries {
            let sum = entry.sum(now_ms, reset_of(key));
            if sum > 0 {
                *sums.entry(key.clone()).or_default() += sum;
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

    #[test]
    fn after_the_clock_went_back_a_count_ends_with_its_window() {
        let mut counts = AllowedCounts::default();
        counts.record("k", 1_000, 3, 3_600_000, 0);
        counts.record("k", 1_000, 1, 5_000, 0);
        assert_eq!(counts.allowed("k", 5_999, 0), 4);
        assert_eq!(counts.allowed("k", 6_000, 0), 0);
        counts.record("idle", 1_000, 3, 3_600_000, 0);
        counts.sweep(7_000);
        assert_eq!(counts.allowed("idle", 8_000, 0), 0);
    }

    #[test]
    fn requests_outside_the_window_are_not_counted() {
        let mut allowed_counts = AllowedCounts::default();
        allowed_counts.record("k", 1_000, 2, 10_000, 0);
        allowed_counts.record("k", 1_000, 3, 10_500, 0);
        assert_eq!(allowed_counts.allowed("k", 10_999, 0), 5);
        assert_eq!(allowed_counts.allowed("k", 11_000, 0), 3);
        assert_eq!(allowed_counts.allowed("other", 11_000, 0), 0);
    }

    #[test]
    fn a_busy_key_stays_small() {
        let mut allowed_counts = AllowedCounts::default();
        for now in 0..120_000 {
            allowed_counts.record("k", 60_000, 1, 1 + now, 0);
        }
        let parts = allowed_counts.entries["k"].parts.len();
        assert!(parts <= 1_001, "{parts}");
        let allowed = allowed_counts.allowed("k", 120_000, 0);
        assert!(allowed.abs_diff(60_000) <= 60, "{allowed}");
    }

    #[test]
    fn a_reset_restarts_the_count() {
        let mut allowed_counts = AllowedCounts::default();
        allowed_counts.record("k", 60_000, 5, 10_000, 0);
        assert_eq!(allowed_counts.allowed("k", 10_000, 10_000), 0);
        allowed_counts.record("k", 60_000, 1, 10_000, 10_000);
        assert_eq!(allowed_counts.allowed("k", 10_003, 10_000), 1);
    }

    #[test]
    fn a_sweep_removes_expired_keys() {
        let mut allowed_counts = AllowedCounts::default();
        allowed_counts.record("old", 10, 1, 100, 0);
        allowed_counts.record("new", 1_000, 1, 100, 0);
        allowed_counts.sweep(200);
        let mut sums = HashMap::new();
        allowed_counts.add_to(&mut sums, 200, |_| 0);
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [("new".to_owned(), 1)]
        );
        assert_eq!(allowed_counts.entries.len(), 1);
    }
}
