//! `operator workflows`

use clap::{Args, Subcommand};
use operator_config::SubjectConfig;
use operator_model::{OnFailure, Workflow};
use operator_service::{ActionRequest, Service};
use serde_json::json;

use super::{
    Exit, Failure, Json, Output, actions::run::HowToRun, printable::printable, table::Table,
};

#[derive(Debug, Subcommand)]
pub(super) enum Workflows {
    /// List the workflows of the configuration
    List(Json),
    /// Show the steps of a workflow
    Show(Show),
    /// Run a workflow here and now, after asking
    Run(Run),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The workflow
    name: String,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The workflow
    name: String,
    #[command(flatten)]
    how: HowToRun,
}

impl Workflows {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        match self {
            Self::List(json) => list(json, service, out),
            Self::Show(show) => show.run(service, out),
            Self::Run(run) => {
                let request = ActionRequest::Workflow(run.name);
                run.how.run(&request, service, person, out).await
            }
        }
    }
}

fn document(subject: &SubjectConfig, name: &str, workflow: &Workflow) -> serde_json::Value {
    json!({
        "subject": subject.name,
        "name": name,
        "description": workflow.description,
        "on_failure": workflow.plan.on_failure,
        "steps": workflow.plan.steps,
    })
}

fn list(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let subjects = service.loaded().config.subjects.iter();
    let all: Vec<_> = subjects
        .flat_map(|subject| {
            subject
                .workflows
                .iter()
                .map(move |(name, workflow)| (subject, name, workflow))
        })
        .collect();
    if json.json {
        let documents: Vec<_> = all
            .iter()
            .map(|(subject, name, workflow)| document(subject, name, workflow))
            .collect();
        out.json(&documents)?;
    } else if all.is_empty() {
        out.text("no workflows\n")?;
    } else {
        let mut table = Table::new(["SUBJECT", "WORKFLOW", "STEPS", "DESCRIPTION"]);
        for (subject, name, workflow) in all {
            table.row([
                subject.name.as_str().into(),
                name.as_str().into(),
                workflow.plan.steps.len().to_string().into(),
                workflow.description.as_str().into(),
            ]);
        }
        out.table(&table)?;
    }
    Ok(Exit::Fine)
}

impl Show {
    fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let subjects = service.loaded().config.subjects.iter();
        let mut found =
            subjects.filter_map(|subject| Some((subject, subject.workflows.get(&self.name)?)));
        let Some((subject, workflow)) = found.next() else {
            return Err(Failure::bad_input(format!(
                "there is no workflow `{}`; `operator workflows list` lists them",
                self.name
            )));
        };
        if self.json.json {
            out.json(&document(subject, &self.name, workflow))?;
            return Ok(Exit::Fine);
        }
        let mut text = format!(
            "{} on {}\n",
            printable(&self.name),
            printable(&subject.name)
        );
        if !workflow.description.is_empty() {
            text += &format!("  {}\n", printable(&workflow.description));
        }
        for (place, step) in workflow.plan.steps.iter().enumerate() {
            let when = serde_json::to_string(&step.when).unwrap_or_default();
            text += &format!(
                "  step {:<3} {} (when {when})\n",
                place + 1,
                printable(&step.to_string())
            );
        }
        text += match workflow.plan.on_failure {
            OnFailure::Stop => "  a failure leaves what was done\n",
            OnFailure::Compensate => "  a failure undoes what was done\n",
        };
        out.text(&text)?;
        Ok(Exit::Fine)
    }
}
