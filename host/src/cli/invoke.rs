//! `operator invoke`

use clap::Args;
use operator_plugin_api::Outcome;

use super::{
    Exit, Failure, Output, actions::parameters, output::can_ask, printable::printable,
    signals::Signals, style,
};
use crate::{
    actions::{Executed, ValidCall, agreed_by},
    config::SubjectConfig,
    service::Service,
    store::{ExecutionEnd, StoreError},
};

#[derive(Debug, Args)]
pub(super) struct Invoke {
    /// The action, as `operator actions` lists it
    action: String,
    /// Its parameters
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Invoke {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let subject = service.subject(None)?;
        let list = service.actions(subject).await?;
        let call = service.plan(subject, &list, &self.action, &self.arguments)?;
        if self.dry_run {
            return preview(&call, subject, service, out).await;
        }
        if !self.yes && !consent(&call, out)? {
            out.warn("nothing was done");
            return Ok(Exit::Fine);
        }
        let mut signals = Signals::new()?;
        let approved = agreed_by(call, person);
        let executed = service.execute(subject, approved, signals.next()).await?;
        let told = self.tell(&executed, out);
        if executed.interrupted {
            // Nothing is waited for, not even what the runtime would wait for.
            std::process::exit(Exit::Interrupted.code().into());
        }
        told?;
        Ok(exit(&executed))
    }

    /// The outcome is told even if it could not be recorded.
    fn tell(&self, executed: &Executed, out: &Output) -> Result<(), Failure> {
        let Some(end) = &executed.execution.end else {
            return Ok(());
        };
        if let Some(error) = &executed.unrecorded {
            out.failure(&Failure::Failed(anyhow::Error::msg(unrecorded(end, error))));
        }
        if self.json {
            out.json(&executed.execution)?;
        } else if executed.unrecorded.is_none() {
            out.text(&format!("{}\n", ended(end)))?;
        }
        Ok(())
    }
}

fn unrecorded(end: &ExecutionEnd, error: &StoreError) -> String {
    let why = crate::monitor::chain(error);
    format!("{}; but this could not be recorded: {why}", ended(end))
}

async fn preview(
    call: &ValidCall,
    subject: &SubjectConfig,
    service: &Service,
    out: &Output,
) -> Result<Exit, Failure> {
    out.text(&described(call))?;
    match service.preview(subject, call).await? {
        Some(preview) => out.text(&format!("the plugin says: {}\n", printable(&preview)))?,
        None => out.text("the plugin cannot say more without doing it\n")?,
    }
    Ok(Exit::Fine)
}

/// Shows the call, and asks a person. Without one, nothing is done.
fn consent(call: &ValidCall, out: &Output) -> Result<bool, Failure> {
    if !can_ask() {
        return Err(Failure::bad_input(
            "there is no terminal to ask on; say --yes to run it, or --dry-run to see what it would do",
        ));
    }
    let answer = out.ask(&format!("{}Run it? [y/N]", described(call)))?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.to_lowercase().as_str())
}

/// What would be called on what, and what that may cost.
fn described(call: &ValidCall) -> String {
    let definition = call.definition();
    let params: Vec<_> = call
        .shown_params()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let params = match params.as_slice() {
        [] => "no parameters".to_owned(),
        some => some.join(" "),
    };
    let undo = definition.inverse.as_ref().map_or_else(
        || "nothing takes it back".to_owned(),
        |inverse| format!("{} takes it back", printable(&inverse.action)),
    );
    format!(
        "{} on {} with {}\n  {}\n  risk: {}; {undo}\n  takes: {}\n",
        printable(&definition.name),
        printable(call.subject()),
        printable(&params),
        printable(&definition.description),
        style::risk(definition.risk).painted(),
        printable(&parameters(definition)),
    )
}

fn ended(end: &ExecutionEnd) -> String {
    let outcome = match end.outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "outcome unknown",
    };
    format!("{outcome}: {}", printable(&end.message))
}

/// Only an action that is known and recorded to be done is a success.
fn exit(executed: &Executed) -> Exit {
    match &executed.execution.end {
        _ if executed.unrecorded.is_some() => Exit::Failed,
        Some(end) if end.outcome == Outcome::Done => Exit::Fine,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::{ActionDefinition, ActionList, Risk};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_sees_the_whole_call() {
        let list = ActionList {
            actions: vec![ActionDefinition {
                name: "restart".to_owned(),
                description: "Restarts a node.".to_owned(),
                params_schema: json!({"properties": {"node": {"type": "string"}}}),
                risk: Risk::High,
                idempotent: false,
                inverse: None,
                mends: Vec::new(),
                dry_run: false,
            }],
        };
        let params = json!({"node": "a"})
            .as_object()
            .cloned()
            .expect("an object");
        let call = crate::actions::resolve("orders", &list, "restart", params).expect("it fits");
        assert_eq!(
            anstream::adapter::strip_str(&described(&call)).to_string(),
            "restart on orders with node=\"a\"\n  Restarts a node.\n  risk: high; nothing takes it back\n  \
             takes: [node=<string>]\n"
        );
    }

    #[test]
    fn a_plugin_cannot_forge_the_question() {
        let list = ActionList {
            actions: vec![ActionDefinition {
                name: "restart".to_owned(),
                description: "Harmless.\u{1b}[1A\n  risk: low\u{202e}".to_owned(),
                params_schema: json!({}),
                risk: Risk::High,
                idempotent: false,
                inverse: None,
                mends: Vec::new(),
                dry_run: false,
            }],
        };
        let call = crate::actions::resolve("orders", &list, "restart", serde_json::Map::default())
            .expect("it fits");
        let shown = described(&call);
        assert!(
            shown.contains("\n  Harmless. [1A   risk: low\u{fffd}\n"),
            "{shown:?}"
        );
        let end = ExecutionEnd {
            at: crate::model::Timestamp(0),
            outcome: Outcome::Done,
            message: "well\u{1b}[2J\ndone".to_owned(),
            details: serde_json::Value::Null,
        };
        assert_eq!(ended(&end), "done: well [2J done");
    }

    #[test]
    fn what_is_done_but_not_recorded_is_told_with_both() {
        let end = ExecutionEnd {
            at: crate::model::Timestamp(0),
            outcome: Outcome::Done,
            message: "level 7".to_owned(),
            details: serde_json::Value::Null,
        };
        let error = StoreError::Missing {
            what: "room".to_owned(),
        };
        assert_eq!(
            unrecorded(&end, &error),
            "done: level 7; but this could not be recorded: there is no room"
        );
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y") && is_yes("YES"));
        assert!(!is_yes("") && !is_yes("n") && !is_yes("yeah, no"));
    }
}
