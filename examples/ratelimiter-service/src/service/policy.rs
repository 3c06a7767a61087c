//! The rules in force, as a snapshot that every node holds and every check identifies by version.

use std::collections::{HashMap, HashSet};

use super::limit::{Limit, Rule, Rules};

/// Redis keys of the parts of the policy. The hash tag keeps them in one slot of a cluster.
pub(crate) mod keys {
    pub(crate) const VERSION: &str = "ratelimiter:{policy}:version";
    pub(crate) const LIMITS: &str = "ratelimiter:{policy}:limits";
    pub(crate) const BLOCKS: &str = "ratelimiter:{policy}:blocks";
    pub(crate) const DRAINS: &str = "ratelimiter:{policy}:drains";
    pub(crate) const RESETS: &str = "ratelimiter:{policy}:resets";
}

/// Redis's reply with the whole policy: the version and the four hashes.
pub(crate) type Stored = (
    Option<String>,
    HashMap<String, String>,
    HashMap<String, u64>,
    HashSet<String>,
    HashMap<String, u64>,
);

/// A snapshot of everything about checks that management calls can change.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    /// A new random text after every change; empty if nothing was ever changed.
    pub(crate) version: String,
    pub(crate) rules: Rules,
    /// Blocked keys and the end of each block, in ms of Redis's clock.
    pub(crate) blocks: HashMap<String, u64>,
    /// The nodes that must drain.
    pub(crate) drains: HashSet<String>,
    /// Keys and the time of their last reset.
    pub(crate) resets: HashMap<String, u64>,
}

impl Policy {
    pub(crate) fn parse((version, limits, blocks, drains, resets): Stored) -> Self {
        Self {
            version: version.unwrap_or_default(),
            rules: Rules::new(limits.into_iter().filter_map(parse_rule).collect()),
            blocks,
            drains,
            resets,
        }
    }

    /// The limit of a check: what the check gives, else the key's rule, else the default, for each part separately.
    pub(crate) fn limit_for(&self, key: &str, default: Limit, requested: RequestedLimit) -> Limit {
        let own = self.rules.limit_of(key).unwrap_or(default);
        Limit {
            max: requested.max.unwrap_or(own.max),
            window_ms: requested.window_ms.unwrap_or(own.window_ms),
        }
    }

    pub(crate) fn blocked_until(&self, key: &str) -> u64 {
        self.blocks.get(key).copied().unwrap_or_default()
    }

    pub(crate) fn last_reset(&self, key: &str) -> u64 {
        self.resets.get(key).copied().unwrap_or_default()
    }
}

/// The limit and window that a check itself gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct RequestedLimit {
    pub(crate) max: Option<u64>,
    pub(crate) window_ms: Option<u64>,
}

impl RequestedLimit {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

fn parse_rule((pattern, json): (String, String)) -> Option<(String, Rule)> {
    match serde_json::from_str(&json) {
        Ok(rule) => Some((pattern, rule)),
        Err(error) => {
            tracing::warn!(%pattern, %error, "skipping an invalid limit in redis");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Limit = Limit {
        max: 100,
        window_ms: 60_000,
    };

    fn policy() -> Policy {
        let rule = r#"{"max_requests":5,"window_ms":1000,"created_at_ms":1,"updated_at_ms":2}"#;
        let limits = HashMap::from([
            ("user:*".to_owned(), rule.to_owned()),
            ("broken".to_owned(), "{".to_owned()),
        ]);
        Policy::parse((None, limits, HashMap::new(), HashSet::new(), HashMap::new()))
    }

    #[test]
    fn a_check_falls_back_to_its_rule_and_then_to_the_default() {
        let policy = policy();
        let requested = RequestedLimit::default();
        assert_eq!(
            policy.limit_for("user:1", DEFAULT, requested),
            Limit {
                max: 5,
                window_ms: 1_000
            }
        );
        assert_eq!(policy.limit_for("other", DEFAULT, requested), DEFAULT);
    }

    #[test]
    fn limit_and_window_fall_back_separately() {
        let requested = RequestedLimit {
            max: Some(7),
            window_ms: None,
        };
        assert_eq!(
            policy().limit_for("user:1", DEFAULT, requested),
            Limit {
                max: 7,
                window_ms: 1_000
            }
        );
    }

    #[test]
    fn invalid_rules_are_skipped() {
        assert_eq!(
            policy().limit_for("broken", DEFAULT, RequestedLimit::default()),
            DEFAULT
        );
    }
}
