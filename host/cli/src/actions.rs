//! `operator actions`: what can be done to the subjects, and what becomes of what somebody wants done.

use clap::{Args, Subcommand};
use operator_config::declared;
use operator_plugin_api::{ActionDefinition, ActionList};
use operator_service::{Service, no_subject};
use serde_json::{Value, json};

use super::{
    Exit, Failure, Json, Output,
    proposals::{List, Say, Show},
    propose::Propose,
    run::Run,
    style,
    table::Table,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Actions {
    #[command(flatten)]
    json: Json,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List proposals that are not over, the latest first
    List(List),
    /// Show one proposal and all that became of it
    Show(Show),
    /// Propose an action; it runs when the rules allow and somebody has approved it
    Propose(Propose),
    /// Approve a proposal, after asking
    Approve(super::approve::Approve),
    /// Refuse a proposal for good
    Reject(Say),
    /// Take a proposal back before it has begun
    Cancel(Say),
    /// Say that you have looked at what an action left behind
    Settle(Say),
    /// Run an action, or a proposal, here and now, after asking
    Run(Run),
}

impl Actions {
    /// `subjects`: only their proposals; all when empty.
    pub(super) async fn run(
        self,
        service: &Service,
        subjects: &[String],
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        match self.command {
            None => list(self.json, service, out).await,
            Some(Command::List(list)) => list.run(service, subjects, out).await,
            Some(Command::Show(show)) => show.run(service, out).await,
            Some(Command::Propose(propose)) => propose.run(service, person, out).await,
            Some(Command::Approve(approve)) => approve.run(service, person, out).await,
            Some(Command::Reject(say)) => {
                let said = service.reject(say.id, person, &say.note).await?;
                say.report(&said, out)
            }
            Some(Command::Cancel(say)) => {
                let said = service.cancel(say.id, person, &say.note).await?;
                say.report(&said, out)
            }
            Some(Command::Settle(say)) => {
                let said = service.settle(say.id, person, &say.note).await?;
                say.report(&said, out)
            }
            Some(Command::Run(run)) => run.run(service, person, out).await,
        }
    }
}

async fn list(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
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
    let one = |parameter: operator_config::Declared| {
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
