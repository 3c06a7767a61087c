//! `operator audit`

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use operator_model::{AuditEntry, AuditHead, ChainCheck, ProposalId, TicketId, visible_json};
use operator_service::{AuditFilter, Service};
use serde_json::{Value, json};

use super::{
    Exit, Failure, Json, Output, mute::warn_of_mute_daemons, printable::printable, table::Table,
};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List the latest entries, the oldest of them first
    List(List),
    /// Show one entry with its whole body
    Show(Show),
    /// Verify that no entry was changed, removed or moved
    Verify(Verify),
    /// Print every entry, one JSON object per line; `audit verify --file` verifies such a file
    Export,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Only about this ticket: 12 or #12
    #[arg(long, value_name = "TICKET", value_parser = super::ids::ticket_id)]
    ticket: Option<TicketId>,
    /// Only about this proposal: 7 or @7
    #[arg(long, value_name = "PROPOSAL", value_parser = super::ids::proposal_id)]
    proposal: Option<ProposalId>,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The entry's number
    n: i64,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Verify this export instead of the database
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Require an entry with this hash, printed by an earlier `audit verify`; detects a log that was replaced as a whole
    #[arg(long, value_name = "SHA256")]
    contains: Option<String>,
    #[command(flatten)]
    json: Json,
}

impl Audit {
    /// `subjects`: only what is about them or about all; everything when empty.
    pub(super) async fn run(
        self,
        service: &Service,
        subjects: &[String],
        out: &Output,
    ) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(service, subjects, out).await,
            Self::Show(show) => show.run(service, out).await,
            Self::Verify(verify) => verify.run(service, out).await,
            Self::Export => {
                let mut last = 0;
                loop {
                    let page = service.audit_after(last).await?;
                    let Some(end) = page.last() else {
                        return Ok(Exit::Fine);
                    };
                    last = end.n;
                    for entry in &page {
                        let line = serde_json::to_string(entry).map_err(Failure::failed)?;
                        out.text(&format!("{}\n", visible_json(&line)))?;
                    }
                }
            }
        }
    }
}

impl List {
    async fn run(
        self,
        service: &Service,
        subjects: &[String],
        out: &Output,
    ) -> Result<Exit, Failure> {
        let filter = AuditFilter {
            subjects: subjects.to_vec(),
            proposal: self.proposal,
            ticket: self.ticket,
            after: 0,
            limit: Some(self.limit),
        };
        let entries = service.audit(&filter).await?;
        warn_of_mute_daemons(service, out).await?;
        if self.json.json {
            out.json(&entries.iter().map(document).collect::<Vec<_>>())?;
        } else if entries.is_empty() {
            out.text("no entries\n")?;
        } else {
            out.table(&table(&entries))?;
        }
        Ok(Exit::Fine)
    }
}

fn table(entries: &[AuditEntry]) -> Table<7> {
    let mut table = Table::new(["N", "TIME", "BY", "SUBJECT", "ABOUT", "EVENT", "NOTE"]);
    for entry in entries {
        table.row([
            entry.n.to_string().into(),
            entry.at.to_string().into(),
            entry.actor.as_str().into(),
            entry.subject.as_str().into(),
            about(entry).into(),
            entry.event.as_str().into(),
            entry.summary().into(),
        ]);
    }
    table
}

fn about(entry: &AuditEntry) -> String {
    let proposal = entry.proposal.map(|id| id.to_string());
    let ticket = entry.ticket.map(|id| id.to_string());
    [proposal, ticket]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The entry with its body as JSON instead of as text.
pub(super) fn document(entry: &AuditEntry) -> Value {
    let body: Value = serde_json::from_str(&entry.body).unwrap_or_else(|_| json!(entry.body));
    let mut document = json!(entry);
    document["body"] = body;
    document
}

impl Show {
    async fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let page = service.audit_after(self.n.saturating_sub(1)).await?;
        let found = page.into_iter().next();
        let Some(entry) = found.filter(|entry| entry.n == self.n) else {
            return Err(Failure::bad_input(format!("there is no entry {}", self.n)));
        };
        if self.json.json {
            out.json(&document(&entry))?;
            return Ok(Exit::Fine);
        }
        let body =
            serde_json::to_string_pretty(&document(&entry)["body"]).map_err(Failure::failed)?;
        let body: Vec<_> = body
            .lines()
            .map(|line| format!("  {}\n", printable_line(line)))
            .collect();
        out.text(&format!(
            "{} {} {} by {} on {} {}\n{}  previous {}\n  hash     {}\n",
            entry.n,
            entry.at,
            printable(&entry.event),
            printable(&entry.actor),
            printable(&entry.subject),
            about(&entry),
            body.concat(),
            entry.previous,
            entry.hash,
        ))?;
        Ok(Exit::Fine)
    }
}

/// With its indentation.
fn printable_line(line: &str) -> String {
    let text = line.trim_start();
    format!("{}{}", " ".repeat(line.len() - text.len()), printable(text))
}

impl Verify {
    async fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let verified = match &self.file {
            Some(path) => verify_file(path)?,
            None => service
                .verify_audit()
                .await?
                .map_err(|broken| broken.to_string()),
        };
        let verified = match (verified, &self.contains) {
            (Ok(head), Some(hash)) => self.contains(head, hash, service).await?,
            (verified, _) => verified,
        };
        match verified {
            Ok(head) if self.json.json => out.json(&json!({"intact": true, "head": head}))?,
            Ok(head) => out.text(&format!(
                "intact: {} entries, the last has the hash {}\n",
                head.n,
                or_none(&head.hash)
            ))?,
            Err(broken) => {
                if self.json.json {
                    out.json(&json!({"intact": false, "broken": broken}))?;
                }
                return Err(Failure::Failed(anyhow::anyhow!(
                    "the audit is broken: {broken}"
                )));
            }
        }
        Ok(Exit::Fine)
    }

    /// Whether an entry with a hash that was noted earlier is still there.
    async fn contains(
        &self,
        head: AuditHead,
        hash: &str,
        service: &Service,
    ) -> Result<Result<AuditHead, String>, Failure> {
        let found = match &self.file {
            Some(path) => read(path)?.iter().any(|entry| entry.hash == hash),
            None => is_kept(service, hash).await?,
        };
        Ok(if found {
            Ok(head)
        } else {
            Err(format!(
                "no entry has the hash {hash}: this is not the log that it was noted from"
            ))
        })
    }
}

async fn is_kept(service: &Service, hash: &str) -> Result<bool, Failure> {
    let mut last = 0;
    loop {
        let page = service.audit_after(last).await?;
        let Some(end) = page.last() else {
            return Ok(false);
        };
        last = end.n;
        if page.iter().any(|entry| entry.hash == hash) {
            return Ok(true);
        }
    }
}

fn or_none(hash: &str) -> &str {
    if hash.is_empty() { "none" } else { hash }
}

fn read(path: &PathBuf) -> Result<Vec<AuditEntry>, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::bad_input(format!("cannot read {}: {error}", path.display()))
    };
    let file = File::open(path).map_err(cannot)?;
    let mut entries = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(cannot)?;
        let entry = serde_json::from_str(&line).map_err(|error| {
            Failure::bad_input(format!(
                "{}:{}: this is not an audit entry: {error}",
                path.display(),
                number + 1
            ))
        })?;
        entries.push(entry);
    }
    Ok(entries)
}

/// An export has no note of where it must end: its last entry is the end.
fn verify_file(path: &PathBuf) -> Result<Result<AuditHead, String>, Failure> {
    let entries = read(path)?;
    if entries.is_empty() {
        return Ok(Err("it has no entries, so nothing is proven".to_owned()));
    }
    let mut check = ChainCheck::default();
    for entry in &entries {
        if let Err(broken) = check.take(entry) {
            return Ok(Err(broken.to_string()));
        }
    }
    let head = entries.last().map(AuditEntry::head).unwrap_or_default();
    Ok(check.finish(&head).map_err(|broken| broken.to_string()))
}
