//! Limits, the rules that assign limits to keys, and the longest-match lookup.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// The largest limit a key can have.
pub(crate) const MAX_LIMIT: u64 = 1_000_000_000;
/// The longest window a key can have: 366 days.
pub(crate) const MAX_WINDOW_MS: u64 = 366 * 86_400_000;
/// The longest key, in bytes of UTF-8.
pub(crate) const MAX_KEY_BYTES: usize = 512;

/// At most `max` requests in any `window_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Limit {
    pub(crate) max: u64,
    pub(crate) window_ms: u64,
}

/// The limit of one pattern, as it is stored in Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) max_requests: u64,
    pub(crate) window_ms: u64,
    pub(crate) created_at_ms: u64,
    pub(crate) updated_at_ms: u64,
}

impl Rule {
    pub(crate) fn limit(&self) -> Limit {
        Limit {
            max: self.max_requests,
            window_ms: self.window_ms,
        }
    }
}

/// All rules. A pattern is an exact key, or a prefix that ends in `*`.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    by_pattern: HashMap<String, Rule>,
    // Only lengths that occur are tried: a lookup costs one hash per length, not one comparison per rule.
    prefix_lengths: BTreeSet<usize>,
}

impl Rules {
    pub(crate) fn new(by_pattern: HashMap<String, Rule>) -> Self {
        let prefix_lengths = by_pattern
            .keys()
            .filter_map(|pattern| pattern.strip_suffix('*').map(str::len))
            .collect();
        Self {
            by_pattern,
            prefix_lengths,
        }
    }

    /// The limit of the longest pattern that matches.
    pub(crate) fn limit_of(&self, key: &str) -> Option<Limit> {
        if self.by_pattern.is_empty() {
            return None;
        }
        // A key that ends in `*` is itself a prefix pattern; that pattern matches the key as well.
        self.by_pattern
            .get(key)
            .or_else(|| self.longest_prefix(key))
            .map(Rule::limit)
    }

    fn longest_prefix(&self, key: &str) -> Option<&Rule> {
        self.prefix_lengths
            .range(..=key.len())
            .rev()
            .filter_map(|length| key.get(..*length))
            .find_map(|prefix| self.by_pattern.get(&format!("{prefix}*")))
    }

    pub(crate) fn get(&self, pattern: &str) -> Option<&Rule> {
        self.by_pattern.get(pattern)
    }

    /// Every rule, ordered by pattern.
    pub(crate) fn sorted(&self) -> Vec<(&str, &Rule)> {
        let mut rules: Vec<_> = self
            .by_pattern
            .iter()
            .map(|(k, v)| (k.as_str(), v))
            .collect();
        rules.sort_unstable_by_key(|(pattern, _)| *pattern);
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(of: &[(&str, u64)]) -> Rules {
        let rule = |max| Rule {
            max_requests: max,
            window_ms: 1_000,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        Rules::new(
            of.iter()
                .map(|(p, max)| ((*p).to_owned(), rule(*max)))
                .collect(),
        )
    }

    fn max_of(rules: &Rules, key: &str) -> Option<u64> {
        rules.limit_of(key).map(|limit| limit.max)
    }

    #[test]
    fn the_longest_match_wins() {
        let rules = rules(&[
            ("*", 1),
            ("user:*", 2),
            ("user:vip:*", 3),
            ("user:vip:1", 4),
        ]);
        assert_eq!(max_of(&rules, "other"), Some(1));
        assert_eq!(max_of(&rules, "user:9"), Some(2));
        assert_eq!(max_of(&rules, "user:vip:9"), Some(3));
        assert_eq!(max_of(&rules, "user:vip:1"), Some(4));
    }

    #[test]
    fn a_prefix_matches_itself_and_an_exact_key_nothing_else() {
        let rules = rules(&[("user:*", 2), ("a", 1)]);
        assert_eq!(max_of(&rules, "user:"), Some(2));
        assert_eq!(max_of(&rules, "user"), None);
        assert_eq!(max_of(&rules, "ab"), None);
    }

    #[test]
    fn a_prefix_length_inside_a_character_matches_nothing() {
        let rules = rules(&[("ab*", 1)]);
        assert_eq!(max_of(&rules, "aé"), None);
        assert_eq!(max_of(&rules, "é"), None);
    }

    #[test]
    fn without_rules_there_is_no_limit() {
        assert_eq!(max_of(&rules(&[]), "user:1"), None);
    }
}
