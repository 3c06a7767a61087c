//! What this node itself allowed, per key, in the key's window.

use std::collections::{HashMap, VecDeque};

/// A window is kept in this many parts at most, so a busy key costs no more than a thousand small entries.
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
    /// How many were allowed in the window that ends at `now_ms`, unless a later reset made them void.
    fn sum(&self, now_ms: u64, reset: u64) -> u64 {
        if reset > self.reset {
            return 0;
        }
        let young = |part: &&Part| part.since_ms + self.window_ms > now_ms;
        self.parts
            .iter()
            .filter(young)
            .map(|part| part.allowed)
            .sum()
    }

    fn drop_old(&mut self, now_ms: u64) {
        while (self.parts.front()).is_some_and(|part| part.since_ms + self.window_ms <= now_ms) {
            self.parts.pop_front();
        }
    }
}

/// Times are Redis's, in ms, so that the sums of all nodes compare with the counter.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: HashMap<String, Entry>,
}

impl Ledger {
    /// Notes that `allowed` more were let through at `now_ms`.
    ///
    /// `reset` is the mark of the key's last reset that the check knew of. A check that knew a newer mark came after
    /// that reset, one that knew an older mark came before it: so not even those of the same millisecond mix.
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

    /// Adds what each key was allowed to `sums`.
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

    /// Forgets the keys of which nothing is left in the window.
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
    fn what_left_the_window_is_not_counted() {
        let mut ledger = Ledger::default();
        ledger.record("k", 1_000, 2, 10_000, 0);
        ledger.record("k", 1_000, 3, 10_500, 0);
        assert_eq!(ledger.allowed("k", 10_999, 0), 5);
        assert_eq!(ledger.allowed("k", 11_000, 0), 3);
        assert_eq!(ledger.allowed("other", 11_000, 0), 0);
    }

    #[test]
    fn a_busy_key_stays_small() {
        let mut ledger = Ledger::default();
        for now in 0..120_000 {
            ledger.record("k", 60_000, 1, 1 + now, 0);
        }
        let parts = ledger.entries["k"].parts.len();
        assert!(parts <= 1_001, "{parts}");
        let allowed = ledger.allowed("k", 120_000, 0);
        assert!(allowed.abs_diff(60_000) <= 60, "{allowed}");
    }

    #[test]
    fn a_reset_starts_the_key_anew() {
        let mut ledger = Ledger::default();
        ledger.record("k", 60_000, 5, 10_000, 0);
        assert_eq!(ledger.allowed("k", 10_000, 10_000), 0);
        ledger.record("k", 60_000, 1, 10_000, 10_000);
        assert_eq!(ledger.allowed("k", 10_003, 10_000), 1);
    }

    #[test]
    fn a_sweep_forgets_what_is_over() {
        let mut ledger = Ledger::default();
        ledger.record("old", 10, 1, 100, 0);
        ledger.record("new", 1_000, 1, 100, 0);
        ledger.sweep(200);
        let mut sums = HashMap::new();
        ledger.add_to(&mut sums, 200, |_| 0);
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [("new".to_owned(), 1)]
        );
        assert_eq!(ledger.entries.len(), 1);
    }
}
