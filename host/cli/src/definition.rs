//! An action's definition: in a listing, and as the call that a person is asked about.

use operator_config::{Declared, declared};
use operator_plugin_api::{ActionDefinition, ActionList};
use operator_service::{Consequence, PlannedCall, Ruling};

use super::{printable::printable, style, table::Table};

pub(super) fn table(listed: &[(&str, ActionList)]) -> Table<6> {
    let header = [
        "SUBJECT",
        "ACTION",
        "RISK",
        "PARAMETERS",
        "FIXES",
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
fn parameters(action: &ActionDefinition) -> String {
    let one = |parameter: Declared| {
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

/// What would be called on what, and what that may cost.
pub(super) fn described(call: &PlannedCall) -> String {
    let definition = &call.definition;
    let params = call.params.iter();
    let params: Vec<_> = params
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let params = match params.as_slice() {
        [] => "no parameters".to_owned(),
        some => some.join(" "),
    };
    let undo = match &definition.inverse {
        _ if call.is_tool => "it changes nothing in the subject".to_owned(),
        Some(declared) => undoing(&declared.action, call.inverse.as_ref()),
        None => "it cannot be undone".to_owned(),
    };
    format!(
        "{} on {} with {}\n  {}\n  risk: {}; {undo}\n  takes: {}\n",
        printable(&definition.name),
        printable(&call.subject),
        printable(&params),
        printable(&definition.description),
        style::risk(definition.risk).painted(),
        printable(&parameters(definition)),
    )
}

/// What undoes a call, and what that may cost: it can run without being asked about again.
fn undoing(name: &str, inverse: Option<&ActionDefinition>) -> String {
    let name = printable(name);
    match inverse {
        Some(inverse) => format!(
            "`{name}` undoes it if it does not help (risk: {}; {}; takes: {})",
            style::risk(inverse.risk).painted(),
            printable(&inverse.description),
            printable(&parameters(inverse)),
        ),
        None => format!("it cannot be undone: the plugin has no action `{name}`"),
    }
}

/// What every rule decides, one on each line.
pub(super) fn rulings(rules: &[Ruling]) -> String {
    let line = |ruling: &Ruling| {
        let word = match ruling.refuses {
            None => "allows",
            Some(Consequence::Defer) => "delays",
            Some(Consequence::Lapse | Consequence::Reject) => "refuses",
        };
        let reason = printable(&ruling.reason);
        format!("  {word:<8} {:<24} {reason}\n", ruling.rule)
    };
    rules.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::{Inverse, Risk};
    use serde_json::json;

    use super::*;

    fn action(description: &str) -> ActionDefinition {
        ActionDefinition {
            name: "restart".to_owned(),
            description: description.to_owned(),
            params_schema: json!({
                "required": ["node"],
                "properties": {"delay_s": {"type": "integer"}, "node": {"type": "string"}},
            }),
            risk: Risk::High,
            idempotent: true,
            inverse: None,
            mends: vec!["fresh".to_owned()],
            dry_run: false,
        }
    }

    fn call(description: &str) -> PlannedCall {
        PlannedCall {
            subject: "orders".to_owned(),
            definition: action(description),
            inverse: None,
            params: json!({"node": "a"})
                .as_object()
                .cloned()
                .expect("an object"),
            is_tool: false,
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn an_action_is_listed_with_how_to_call_it() {
        let list = ActionList {
            actions: vec![action("Restarts a node.")],
        };
        assert_eq!(
            plain(&table(&[("orders", list)]).render(None)),
            "SUBJECT  ACTION   RISK  PARAMETERS                         FIXES  DESCRIPTION\n\
             orders   restart  high  node=<string> [delay_s=<integer>]  fresh  Restarts a node.\n"
        );
    }

    #[test]
    fn a_person_sees_the_whole_call() {
        assert_eq!(
            plain(&described(&call("Restarts a node."))),
            "restart on orders with node=\"a\"\n  Restarts a node.\n  risk: high; it cannot be undone\n  \
             takes: node=<string> [delay_s=<integer>]\n"
        );
    }

    #[test]
    fn what_undoes_a_call_is_shown_with_its_risk() {
        let mut planned = call("Drains a node.");
        planned.definition.inverse = Some(Inverse {
            action: "restart".to_owned(),
            params: std::collections::BTreeMap::new(),
        });
        let missing = plain(&described(&planned));
        assert!(
            missing.contains("it cannot be undone: the plugin has no action `restart`"),
            "{missing}"
        );
        planned.inverse = Some(action("Restarts a node."));
        let shown = plain(&described(&planned));
        assert!(
            shown.contains("`restart` undoes it if it does not help (risk: high; Restarts a node."),
            "{shown}"
        );
    }

    #[test]
    fn a_plugin_cannot_forge_the_question() {
        let shown = described(&call("Harmless.\u{1b}[1A\n  risk: low\u{202e}"));
        assert!(
            shown.contains("\n  Harmless.\\u{1b}[1A   risk: low\\u{202e}\n"),
            "{shown:?}"
        );
    }
}
