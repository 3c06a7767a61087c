//! The rules in force, as one snapshot that every node holds and every check names by its version.

use std::collections::{HashMap, HashSet};

use super::limit::{Limit, Rule, Rules};

/// Where the parts of the policy lie in Redis. The tag keeps them in one slot of a cluster.
pub(crate) mod keys {
    pub(crate) const VERSION: &str = "ratelimiter:{policy}:version";
    pub(crate) const LIMITS: &str = "ratelimiter:{policy}:limits";
    pub(crate) const BLOCKS: &str = "ratelimiter:{policy}:blocks";
    pub(crate) const DRAINS: &str = "ratelimiter:{policy}:drains";
    pub(crate) const RESETS: &str = "ratelimiter:{policy}:resets";
}

/// What Redis answers when it is asked for the whole policy: the version and the four hashes.
pub(crate) type Stored = (
    Option<String>,
    HashMap<String, String>,
    HashMap<String, u64>,
    HashSet<String>,
    HashMap<String, u64>,
);

/// A snapshot of all that management calls can change about checks.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    /// A new random text with every change; empty as long as nothing was ever changed.
    pub(crate) version: String,
    pub(crate) rules: Rules,
    /// Key, and until when it is refused, in ms of Redis's clock.
    pub(crate) blocks: HashMap<String, u64>,
    /// The nodes that are to drain.
    pub(crate) drains: HashSet<String>,
    /// Key, and when its counter was last reset.
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

    /// What a check that names neither limit nor window is held to, its parts replaced by what it does name.
    pub(crate) fn limit_for(&self, key: &str, default: Limit, asked: Asked) -> Limit {
        let own = self.rules.limit_of(key).unwrap_or(default);
        Limit {
            max: asked.max.unwrap_or(own.max),
            window_ms: asked.window_ms.unwrap_or(own.window_ms),
        }
    }

    pub(crate) fn blocked_until(&self, key: &str) -> u64 {
        self.blocks.get(key).copied().unwrap_or_default()
    }

    pub(crate) fn last_reset(&self, key: &str) -> u64 {
        self.resets.get(key).copied().unwrap_or_default()
    }
}

/// What a check itself asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) max: Option<u64>,
    pub(crate) window_ms: Option<u64>,
}

impl Asked {
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

fn parse_rule((pattern, json): (String, String)) -> Option<(String, Rule)> {
    match serde_json::from_str(&json) {
        Ok(rule) => Some((pattern, rule)),
        Err(error) => {
            tracing::warn!(%pattern, %error, "a limit in redis cannot be read and is left out");
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
        let asked = Asked::default();
        assert_eq!(
            policy.limit_for("user:1", DEFAULT, asked),
            Limit {
                max: 5,
                window_ms: 1_000
            }
        );
        assert_eq!(policy.limit_for("other", DEFAULT, asked), DEFAULT);
    }

    #[test]
    fn each_part_falls_back_by_itself() {
        let asked = Asked {
            max: Some(7),
            window_ms: None,
        };
        assert_eq!(
            policy().limit_for("user:1", DEFAULT, asked),
            Limit {
                max: 7,
                window_ms: 1_000
            }
        );
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_left_out() {
        assert_eq!(
            policy().limit_for("broken", DEFAULT, Asked::default()),
            DEFAULT
        );
    }
}
