//! Looking at all keys in turn, a slice at a time: where the next slice begins, and whether each key has had its turn.

use crate::management::CounterList;

/// The way through the keys, in the order of their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sweep {
    /// The last key that was looked at; empty at the beginning.
    pub(crate) after: String,
    /// Where the first round began.
    origin: String,
    has_wrapped: bool,
    has_finished: bool,
    /// The keys of this round so far, and of the last whole one.
    counted: u64,
    total: Option<u64>,
}

impl Sweep {
    pub(crate) fn restart_after(&mut self, key: String) {
        *self = Self {
            after: key.clone(),
            origin: key,
            ..Self::default()
        };
    }

    /// Takes in a slice that began where the last one ended.
    pub(crate) fn advance(&mut self, slice: &CounterList) {
        self.counted = self.counted.saturating_add(slice.counters.len() as u64);
        if let Some(next) = &slice.next {
            self.has_finished |= self.has_wrapped && *next >= self.origin;
            self.after.clone_from(next);
            return;
        }
        // What comes after the end is the beginning.
        if self.has_wrapped || self.origin.is_empty() {
            self.total = Some(self.counted);
            self.has_finished = true;
        }
        self.has_wrapped = true;
        self.counted = 0;
        self.after.clear();
    }

    /// Whether every key was looked at at least once.
    pub(crate) fn has_finished(&self) -> bool {
        self.has_finished
    }

    /// How many keys there were in the last whole round.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of these keys, two at a time.
    fn slice(keys: &[&str], after: &str) -> CounterList {
        let later: Vec<&str> = keys.iter().copied().filter(|key| *key > after).collect();
        let read = &later[..later.len().min(2)];
        let counters = read.iter().map(|key| json!({"key": key}));
        CounterList {
            counters: counters
                .map(|counter| serde_json::from_value(counter).unwrap())
                .collect(),
            next: (later.len() > 2).then(|| read[1].to_owned()),
            complete: false,
        }
    }

    /// The keys that were looked at until the sweep says that it has finished.
    fn looked_at(mut sweep: Sweep, keys: &[&str]) -> (Vec<String>, Option<u64>) {
        let mut seen = Vec::new();
        while !sweep.has_finished() {
            let slice = slice(keys, &sweep.after);
            seen.extend(slice.counters.iter().map(|counter| counter.key.clone()));
            sweep.advance(&slice);
            assert!(seen.len() < 100, "it never ends");
        }
        seen.sort();
        seen.dedup();
        (seen, sweep.total())
    }

    #[test]
    fn a_sweep_ends_when_every_key_had_its_turn_wherever_it_began() {
        let keys = ["a", "b", "c", "d", "e"];
        assert_eq!(looked_at(Sweep::default(), &keys).0, keys);
        assert_eq!(looked_at(Sweep::default(), &keys).1, Some(5));
        assert_eq!(looked_at(Sweep::default(), &[]).1, Some(0));
        for start in ["a", "b", "c", "d", "e", "x"] {
            let mut sweep = Sweep::default();
            sweep.restart_after(start.into());
            assert_eq!(looked_at(sweep, &keys).0, keys, "{start}");
        }
    }
}
