//! `operator actions`

pub(super) mod run;

use clap::Subcommand;
use operator_plugin_api::ActionList;
use operator_service::{Service, no_subject};
use serde_json::{Value, json};

use super::{Exit, Failure, Json, Output, definition};
use run::Run;

#[derive(Debug, Subcommand)]
pub(super) enum Actions {
    /// List the actions of the subjects
    List(Json),
    /// Run an action, or an approved proposal, here and now, after asking
    Run(Run),
}

impl Actions {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        match self {
            Self::List(json) => list(json, service, out).await,
            Self::Run(run) => run.run(service, person, out).await,
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
        out.table(&definition::table(&listed))?;
    }
    Ok(Exit::Fine)
}

fn document((subject, list): &(&str, ActionList)) -> Value {
    json!({"subject": subject, "actions": list.actions})
}
