//! `operator mode` and `operator kill-switch`

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Exit, Failure, Json, Output, table::Table, ticket::said};
use crate::{model::Mode, service::Service};

#[derive(Debug, Args)]
pub(super) struct ModeCommand {
    /// What counts from now on; without it, what counts is shown
    mode: Option<Choice>,
    /// Why, for those who read it later
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    /// Proposals are recorded and shown, and nothing runs
    Observe,
    /// What passes the rules runs
    Execute,
    /// What the configuration says
    Configured,
}

impl ModeCommand {
    /// `subjects`: only these; all when empty.
    pub(super) async fn run(
        self,
        service: &Service,
        subjects: &[String],
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        if let Some(choice) = self.mode {
            let mode = match choice {
                Choice::Observe => Some(Mode::Observe),
                Choice::Execute => Some(Mode::Execute),
                Choice::Configured => None,
            };
            if subjects.is_empty() {
                service.set_mode(None, mode, person, &self.why).await?;
            }
            for subject in subjects {
                service
                    .set_mode(Some(subject), mode, person, &self.why)
                    .await?;
            }
        }
        show(service, self.json, out).await
    }
}

async fn show(service: &Service, json: Json, out: &Output) -> Result<Exit, Failure> {
    let modes = service.modes().await?;
    let kill_switch = service.control().await?.kill_switch;
    if json.json {
        out.json(&json!({"kill_switch": kill_switch, "modes": modes}))?;
        return Ok(Exit::Fine);
    }
    if let Some(mark) = kill_switch {
        out.warn(&format!("the kill switch was engaged {}", said(&mark)));
    }
    let mut table = Table::new(["SUBJECT", "MODE", "CHOSEN"]);
    for of in modes {
        let chosen = of.chosen.as_ref().map(said);
        table.row([
            of.subject.into(),
            of.mode.as_str().into(),
            chosen
                .unwrap_or_else(|| "by the configuration".to_owned())
                .into(),
        ]);
    }
    out.table(&table)?;
    Ok(Exit::Fine)
}

#[derive(Debug, Args)]
pub(super) struct KillSwitch {
    /// Lift it; the mode stays `observe` until you choose another
    #[arg(long)]
    lift: bool,
    /// Why, for those who read it later
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    #[command(flatten)]
    json: Json,
}

impl KillSwitch {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let text = if self.lift {
            let was_engaged = service.lift_kill_switch(person, &self.why).await?;
            if self.json.json {
                out.json(&json!({"was_engaged": was_engaged}))?;
                return Ok(Exit::Fine);
            }
            if was_engaged {
                "the kill switch is lifted; the mode is `observe` until you choose another: `operator mode execute`\n"
            } else {
                "the kill switch was not engaged\n"
            }
            .to_owned()
        } else {
            let cancelled = service.engage_kill_switch(person, &self.why).await?;
            if self.json.json {
                out.json(&json!({"cancelled": cancelled}))?;
                return Ok(Exit::Fine);
            }
            let names: Vec<_> = cancelled
                .iter()
                .map(|proposal| {
                    format!(
                        "  cancelled {} {}\n",
                        proposal.id,
                        super::printable::printable(&proposal.calls())
                    )
                })
                .collect();
            format!(
                "the kill switch is engaged: nothing runs until `operator kill-switch --lift`; what runs is stopped within a second\n{}",
                names.concat()
            )
        };
        out.text(&text)?;
        Ok(Exit::Fine)
    }
}
