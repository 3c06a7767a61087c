//! Which stores get no leaders by rule: the label property `reject-leader`, and placement rules.

use std::collections::BTreeMap;

use crate::pd::wire::{LabelConstraint, LabelProperties, PlacementRule};

/// PD's rules about leaders, as far as they exclude stores.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LeaderRules {
    /// Labels of stores that get no leaders.
    rejected: Vec<(String, String)>,
    /// What the stores must match on which a peer may lead, one list for each rule; None while placement rules are off.
    leading: Option<Vec<Vec<LabelConstraint>>>,
}

impl LeaderRules {
    pub(crate) fn new(properties: LabelProperties, rules: Option<Vec<PlacementRule>>) -> Self {
        let rejected = properties.reject_leader.unwrap_or_default().into_iter();
        let may_lead = |rule: &PlacementRule| {
            !rule.is_witness && matches!(rule.role.as_str(), "leader" | "voter")
        };
        let leading = rules.map(|rules| {
            let leading = rules.into_iter().filter(may_lead);
            leading
                .map(|rule| rule.label_constraints.unwrap_or_default())
                .collect()
        });
        Self {
            rejected: rejected.map(|label| (label.key, label.value)).collect(),
            leading,
        }
    }

    /// Whether a store with these labels may get leaders.
    pub(crate) fn allow(&self, labels: &BTreeMap<String, String>) -> bool {
        let is_rejected = self
            .rejected
            .iter()
            .any(|(key, value)| labels.get(key) == Some(value));
        let may_lead = self.leading.as_ref().is_none_or(|rules| {
            let matches = |rule: &Vec<LabelConstraint>| rule.iter().all(|one| one.holds(labels));
            rules.iter().any(matches)
        });
        !is_rejected && may_lead
    }
}

impl LabelConstraint {
    /// As PD judges it. What this version does not know excludes no store.
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let is_in = || value.is_some_and(|value| self.values.iter().flatten().any(|v| v == value));
        match self.op.as_str() {
            "in" => is_in(),
            "notIn" => !is_in(),
            "exists" => value.is_some(),
            "notExists" => value.is_none(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(properties: serde_json::Value, rules: serde_json::Value) -> LeaderRules {
        LeaderRules::new(
            serde_json::from_value(properties).unwrap(),
            serde_json::from_value(rules).unwrap(),
        )
    }

    fn allows(rules: &LeaderRules, zone: &str) -> bool {
        rules.allow(&[("zone".to_owned(), zone.to_owned())].into())
    }

    #[test]
    fn a_store_with_a_rejected_label_gets_no_leaders() {
        let properties = json!({"reject-leader": [{"key": "zone", "value": "z2"}]});
        let rules = rules(properties, json!(null));
        assert!(allows(&rules, "z1"));
        assert!(!allows(&rules, "z2"));
    }

    #[test]
    fn a_store_that_only_followers_are_placed_on_gets_no_leaders() {
        let of = |role: &str, op: &str| {
            let constraint = json!({"key": "zone", "op": op, "values": ["z2"]});
            json!({"group_id": "pd", "id": role, "role": role, "count": 1, "label_constraints": [constraint]})
        };
        let apart = rules(
            json!({}),
            json!([of("voter", "notIn"), of("follower", "in")]),
        );
        assert!(allows(&apart, "z1"));
        assert!(!allows(&apart, "z2"));
        let all = rules(json!({}), json!([{"role": "voter", "count": 3}]));
        assert!(allows(&all, "z2"));
        let later = rules(json!({}), json!([of("leader", "of a later version")]));
        assert!(allows(&later, "z1"));
    }
}
