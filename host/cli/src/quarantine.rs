//! `operator plugins quarantine`

use clap::{Args, Subcommand};
use operator_service::{Quarantined, Service};

use super::{Exit, Failure, Json, Output, printable::printable, table::Table};

#[derive(Debug, Subcommand)]
pub(super) enum Quarantine {
    /// List the plugin files in quarantine
    List(Json),
    /// Put the plugin file of a subject into quarantine
    Add(Add),
    /// Let a plugin file be started again
    Lift(Lift),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The subject of the plugin; optional when there is only one, as with --plugin
    name: Option<String>,
    /// The reason, for later readers
    #[arg(long, default_value = "put there by hand")]
    note: String,
}

#[derive(Debug, Args)]
pub(super) struct Lift {
    /// The plugin's name, or the beginning of its hash
    #[arg(value_name = "SHA256-OR-NAME")]
    which: String,
}

impl Quarantine {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        match self {
            Self::List(json) => list(json, service, out).await?,
            Self::Add(add) => {
                let subject = service.subject(add.name.as_deref())?;
                let entry = service.quarantine(subject, person, &add.note).await?;
                out.text(&format!(
                    "{} {}: in quarantine\n",
                    printable(&entry.plugin),
                    entry.sha256
                ))?;
            }
            Self::Lift(lift) => {
                let entry = service.lift_quarantine(&lift.which).await?;
                let plugin = printable(&entry.plugin);
                out.text(&format!("{plugin} {}: lifted\n", entry.sha256))?;
            }
        }
        Ok(Exit::Fine)
    }
}

async fn list(json: Json, service: &Service, out: &Output) -> Result<(), Failure> {
    let entries = service.quarantined().await?;
    if json.json {
        out.json(&entries)?;
    } else if entries.is_empty() {
        out.text("nothing is in quarantine\n")?;
    } else {
        out.table(&table(&entries))?;
    }
    Ok(())
}

fn table(entries: &[Quarantined]) -> Table<5> {
    let mut table = Table::new(["PLUGIN", "SHA256", "SINCE", "BY", "REASON"]);
    for entry in entries {
        table.row([
            entry.plugin.as_str().into(),
            entry.sha256.as_str().into(),
            entry.at.to_string().into(),
            entry.actor.as_str().into(),
            entry.reason.as_str().into(),
        ]);
    }
    table
}
