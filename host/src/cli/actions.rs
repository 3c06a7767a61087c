//! `operator actions`

use operator_plugin_api::{ActionDefinition, ActionList};
use serde_json::{Value, json};

use super::{Exit, Failure, Json, Output, style, table::Table};
use crate::{
    config::declared,
    service::{Service, no_subject},
};

pub(super) async fn run(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let subjects = &service.loaded().config.subjects;
    if subjects.is_empty() {
        return Err(no_subject().into());
    }
    let mut listed = Vec::new();
    for subject in subjects {
        listed.push((subject.name.as_str(), service.actions(subject).await?));
    }
    if json.json {
        let documents: Vec<_> = listed.iter().map(document).collect();
        out.json(&documents)?;
    } else if listed.iter().all(|(_, list)| list.actions.is_empty()) {
        out.text("no actions\n")?;
    } else {
        out.table(&table(&listed))?;
    }
    Ok(Exit::Fine)
}

fn document((subject, list): &(&str, ActionList)) -> Value {
    json!({"subject": subject, "actions": list.actions})
}

pub(super) fn table(listed: &[(&str, ActionList)]) -> Table<6> {
    let header = [
        "SUBJECT",
        "ACTION",
        "RISK",
        "PARAMETERS",
        "MENDS",
        "DESCRIPTION",
    ];
    let mut table = Table::new(header);
    for (subject, list) in listed {
        for action in &list.actions {
            table.row([
                (*subject).into(),
                action.name.as_str().into(),
                style::risk(action.risk),
                parameters(action).into(),
                action.mends.join(",").into(),
                action.description.as_str().into(),
            ]);
        }
    }
    table
}

/// `node=<string> [delay_s=<integer>]`: what may be left out is in brackets.
pub(super) fn parameters(action: &ActionDefinition) -> String {
    let one = |parameter: crate::config::Declared| {
        let pair = format!("{}=<{}>", parameter.key, parameter.kind);
        if parameter.required {
            pair
        } else {
            format!("[{pair}]")
        }
    };
    let mut parameters = declared(&action.params_schema);
    parameters.sort_by_key(|parameter| !parameter.required);
    let shown: Vec<_> = parameters.into_iter().map(one).collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::Risk;

    use super::*;

    #[test]
    fn an_action_is_listed_with_how_to_call_it() {
        let action = ActionDefinition {
            name: "restart".to_owned(),
            description: "Restarts a node.".to_owned(),
            params_schema: json!({
                "required": ["node"],
                "properties": {"delay_s": {"type": "integer"}, "node": {"type": "string"}},
            }),
            risk: Risk::Medium,
            idempotent: true,
            inverse: None,
            mends: vec!["fresh".to_owned()],
            dry_run: false,
        };
        let list = ActionList {
            actions: vec![action],
        };
        let text = table(&[("orders", list)]).render(None);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "SUBJECT  ACTION   RISK    PARAMETERS                         MENDS  DESCRIPTION\n\
             orders   restart  medium  node=<string> [delay_s=<integer>]  fresh  Restarts a node.\n"
        );
    }
}
