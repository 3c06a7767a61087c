//! The result of one cycle, for those who must know whether an invariant holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{TicketKey, Timestamp};

/// One cycle, as it was judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assessment {
    /// Name of the subject.
    pub subject: String,
    /// When the cycle began: what it observed is not older.
    pub from: Timestamp,
    /// When it ended.
    pub at: Timestamp,
    /// Why nothing is known; absent when the subject was observed and judged.
    pub blind: Option<String>,
    /// What was broken.
    pub broken: BTreeSet<TicketKey>,
    /// What could not be evaluated. A key without a resource speaks for all resources.
    pub unknown: BTreeSet<TicketKey>,
    /// Names of the invariants that were judged.
    pub judged: BTreeSet<String>,
    /// The resources that were looked at, or that are known to be gone, by the invariants that are declared on their kind.
    pub listed: BTreeMap<String, BTreeSet<String>>,
}

impl Assessment {
    /// Whether an invariant is known to hold on a resource.
    pub fn holds(&self, key: &TicketKey) -> bool {
        let whole = TicketKey::new(&key.invariant, None);
        let in_part =
            |unknown: &TicketKey| key.resource.is_none() && unknown.invariant == key.invariant;
        self.blind.is_none()
            && self.judged.contains(&key.invariant)
            && !self.broken.contains(key)
            && !self.unknown.contains(key)
            && !self.unknown.contains(&whole)
            && !self.unknown.iter().any(in_part)
            && self.is_listed(key)
    }

    /// Nothing is known of a resource that nobody looked at.
    fn is_listed(&self, key: &TicketKey) -> bool {
        match (self.listed.get(&key.invariant), &key.resource) {
            (Some(listed), Some(resource)) => listed.contains(resource),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_that_nobody_looked_at_proves_nothing() {
        let assessment = Assessment {
            judged: ["node_down", "slow"].map(str::to_owned).into(),
            listed: [("node_down".to_owned(), ["a".to_owned()].into())].into(),
            ..Assessment::default()
        };
        let holds = |invariant, resource| assessment.holds(&TicketKey::new(invariant, resource));
        assert!(holds("node_down", Some("a")));
        assert!(!holds("node_down", Some("b")));
        assert!(holds("node_down", None));
        assert!(holds("slow", Some("b")));
    }
}
