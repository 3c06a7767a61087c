//! A running operator daemon, and the events in its log.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use crate::{Process, cluster::program, wait};

/// A running daemon.
#[derive(Debug)]
pub struct Operator {
    /// The daemon.
    pub process: Process,
    folder: PathBuf,
    args: Vec<String>,
}

impl Operator {
    /// Starts the daemon with these arguments; its state and its log are in `folder`.
    pub fn start(folder: &Path, args: &[String]) -> Result<Self> {
        Ok(Self {
            process: launch(folder, args)?,
            folder: folder.to_owned(),
            args: args.to_vec(),
        })
    }

    /// Starts it again with the same state.
    pub fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.folder, &self.args)?;
        Ok(())
    }

    /// Every line of its log that is JSON.
    pub fn lines(&self) -> Vec<Value> {
        let log = self.process.log();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The ticket events since line `from`, as kind, severity, invariant and resource: `opened critical node_down node-2`.
    pub fn ticket_events_since(&self, from: usize) -> Vec<String> {
        self.lines()
            .iter()
            .skip(from)
            .filter_map(ticket_event)
            .collect()
    }

    /// Waits for this ticket event after line `from`; returns the ticket of the event.
    pub fn wait_for(&self, from: usize, what: &str, patience: Duration) -> Result<Value> {
        let ticket = wait::until(patience, what, || {
            let mut lines = self.lines().into_iter().skip(from);
            let mut line = lines.find(|line| ticket_event(line).as_deref() == Some(what))?;
            Some(line["ticket"].take())
        });
        ticket.with_context(|| {
            let events = self.ticket_events_since(from);
            format!("ticket events: {events:#?}\nlog: {}", self.tail())
        })
    }

    /// A lower bound of the cycles that ended between two times, in milliseconds since the Unix epoch.
    ///
    /// A heartbeat reports only the last cycle since the one before, so it is unknown when earlier ones ended. Those are
    /// counted only if heartbeats on both sides of them are within the times.
    pub fn cycles_between(&self, from_ms: i64, to_ms: i64) -> u64 {
        let lines = self.lines();
        let ended: Vec<(i64, u64)> = lines.iter().filter_map(ended_cycle).collect();
        assert!(
            !ended.is_empty(),
            "no heartbeat in the log: {}",
            self.tail()
        );
        let of = |(_, cycle): &(i64, u64)| *cycle;
        let first_after = ended.iter().filter(|(at, _)| *at > from_ms).map(of).min();
        let last_before = ended.iter().filter(|(at, _)| *at <= to_ms).map(of).max();
        match (first_after, last_before) {
            (Some(first), Some(last)) => (last + 1).saturating_sub(first),
            _ => 0,
        }
    }

    /// Waits for a heartbeat after line `from` that matches.
    pub fn wait_for_heartbeat(
        &self,
        from: usize,
        what: &str,
        patience: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait::until(patience, what, || {
            let lines = self.lines();
            let heartbeats = lines
                .into_iter()
                .skip(from)
                .filter(|line| line["event"] == "heartbeat");
            heartbeats.into_iter().find(|heartbeat| matches(heartbeat))
        })
        .with_context(|| self.tail())
    }

    /// All tickets, including resolved and pending ones.
    pub fn tickets(&self) -> Result<Vec<Value>> {
        self.list(&["tickets", "list", "--all", "--json"])
    }

    /// All proposals, including finished ones; the latest first.
    pub fn proposals(&self) -> Result<Vec<Value>> {
        self.list(&["proposals", "list", "--all", "--json"])
    }

    /// Runs a command of the operator with the daemon's configuration and state.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        let mut operator = Command::new(program("operator")?);
        operator
            .args(&self.args)
            .args(["--state-dir", &state_dir(&self.folder)])
            .args(command);
        Ok(operator.output()?)
    }

    fn list(&self, command: &[&str]) -> Result<Vec<Value>> {
        let output = self.run(command)?;
        if !output.status.success() {
            bail!(
                "{}: {}",
                command.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn tail(&self) -> String {
        let log = self.process.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

fn launch(folder: &Path, args: &[String]) -> Result<Process> {
    let mut command = Command::new(program("operator")?);
    command
        .args(["--state-dir", &state_dir(folder), "--log-format", "json"])
        .args(args)
        .env("OPERATOR_HEARTBEAT", "1s");
    Process::start("operator", folder, &mut command)
}

fn state_dir(folder: &Path) -> String {
    folder.join("state").display().to_string()
}

/// The time and the number of the cycle that a heartbeat reports.
fn ended_cycle(line: &Value) -> Option<(i64, u64)> {
    let at: Timestamp = line["at"].as_str()?.parse().ok()?;
    Some((at.as_millisecond(), line["cycles"].as_u64()?))
}

/// A ticket event as text; `None` for other lines.
fn ticket_event(line: &Value) -> Option<String> {
    if line["event"] != "ticket" {
        return None;
    }
    let ticket = &line["ticket"];
    // An event that cannot be read must not look like no event.
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(line);
    let words = [
        text(&line["kind"]),
        text(&ticket["severity"]),
        text(&ticket["invariant"]),
        Ok(ticket["resource"].as_str().unwrap_or_default().to_owned()),
    ];
    let words: Result<Vec<String>, &Value> = words.into_iter().collect();
    let words = words.expect("a ticket event has a kind, a severity and an invariant");
    Some(words.join(" ").trim_end().to_owned())
}
