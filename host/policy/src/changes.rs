//! What has changed in the definitions of actions since they were approved. Pure.

use operator_model::bounded;
use operator_plugin_api::ActionDefinition;
use serde_json::{Value, json};

/// Longer texts are cut. Characters.
const LONGEST: usize = 200;

/// Each change in one clause: `risk of `restart` was low and is high`.
pub fn changes(before: &[ActionDefinition], now: &[ActionDefinition]) -> Vec<String> {
    let is_in = |all: &[ActionDefinition], name: &str| all.iter().any(|one| one.name == name);
    let gone = before.iter().filter(|one| !is_in(now, &one.name));
    let gone = gone.map(|one| format!("`{}` is not among them any more", one.name));
    let new = now.iter().filter(|one| !is_in(before, &one.name));
    let new = new.map(|one| format!("`{}` was not among them", one.name));
    let both = before.iter().filter_map(|old| {
        let new = now.iter().find(|one| one.name == old.name)?;
        Some(changed(old, new))
    });
    both.flatten().chain(gone).chain(new).collect()
}

fn changed(old: &ActionDefinition, new: &ActionDefinition) -> Vec<String> {
    let parts = [
        ("risk", json!(old.risk), json!(new.risk)),
        (
            "description",
            json!(old.description),
            json!(new.description),
        ),
        (
            "parameters' schema",
            old.params_schema.clone(),
            new.params_schema.clone(),
        ),
        ("inverse", json!(old.inverse), json!(new.inverse)),
        ("repairs", json!(old.mends), json!(new.mends)),
        ("idempotence", json!(old.idempotent), json!(new.idempotent)),
        ("preview", json!(old.dry_run), json!(new.dry_run)),
    ];
    let differ = parts.into_iter().filter(|(_, old, new)| old != new);
    differ
        .map(|(part, was, is)| {
            let (was, is) = (shown(&was), shown(&is));
            format!("{part} of `{}` was {was} and is {is}", old.name)
        })
        .collect()
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    bounded(&text, LONGEST)
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::Risk;

    use super::*;
    use crate::testing::registry;

    #[test]
    fn every_part_of_a_definition_is_compared() {
        let old = [registry().find("drain").unwrap().clone()];
        assert_eq!(changes(&old, &old), [""; 0]);
        let raised = ActionDefinition {
            risk: Risk::High,
            description: "Removes the node.".to_owned(),
            params_schema: json!({}),
            idempotent: false,
            inverse: None,
            mends: vec!["up".to_owned()],
            dry_run: true,
            ..old[0].clone()
        };
        let found = changes(&old, &[raised]);
        assert_eq!(found.len(), 7, "{found:?}");
        assert_eq!(found[0], r#"risk of `drain` was "medium" and is "high""#);
        assert_eq!(changes(&old, &[]), ["`drain` is not among them any more"]);
        assert_eq!(changes(&[], &old), ["`drain` was not among them"]);
    }
}
