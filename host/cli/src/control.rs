//! `operator mode` and `operator kill-switch`

use clap::{Args, ValueEnum};
use operator_model::Mode;
use operator_service::{Engaged, Service};
use serde_json::json;

use super::{Exit, Failure, Json, Output, ids::signed, table::Table};

#[derive(Debug, Args)]
pub(super) struct ModeCommand {
    /// The mode from now on; without it, the modes in effect are shown
    mode: Option<Choice>,
    /// The reason, for later readers
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    /// Proposals are recorded and shown, and nothing runs
    Observe,
    /// What the rules allow runs
    Execute,
    /// Withdraw the choice: one subject then has the mode chosen for all, or else that of the configuration
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
        out.warn(&format!("the kill switch was engaged {}", signed(&mark)));
    }
    let mut table = Table::new(["SUBJECT", "MODE", "CHOSEN"]);
    for of in modes {
        let chosen = of.chosen.as_ref().map(signed);
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

fn shown(engaged: &Engaged) -> String {
    let listed = |word: &str, ids: Vec<String>| match ids.as_slice() {
        [] => String::new(),
        ids => format!("  {word}: {}\n", ids.join(", ")),
    };
    let cancelled = engaged.cancelled.iter().map(|one| one.id.to_string());
    let executing = engaged.executing.iter().map(ToString::to_string);
    format!(
        "the kill switch is engaged: nothing runs until `operator kill-switch --lift`\n{}{}",
        listed("cancelled", cancelled.collect()),
        listed(
            "running, and stopped within a second by the process that runs it",
            executing.collect()
        ),
    )
}

#[derive(Debug, Args)]
pub(super) struct KillSwitch {
    /// Lift it; the mode stays `observe` until you choose another
    #[arg(long)]
    lift: bool,
    /// The reason, for later readers
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
            let engaged = service.engage_kill_switch(person, &self.why).await?;
            for trouble in &engaged.trouble {
                out.warn(&format!("the kill switch is engaged, but: {trouble}"));
            }
            if self.json.json {
                out.json(&engaged)?;
                return Ok(Exit::Fine);
            }
            shown(&engaged)
        };
        out.text(&text)?;
        Ok(Exit::Fine)
    }
}
