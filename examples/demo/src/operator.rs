//! An operator that watches, and what it has said so far.

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
pub struct Watched {
    /// The daemon.
    pub process: Process,
    folder: PathBuf,
    args: Vec<String>,
}

impl Watched {
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

    /// Every line that it has said, as JSON.
    pub fn lines(&self) -> Vec<Value> {
        let log = self.process.log();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The ticket events since line `from`: kind, severity, invariant and resource, such as `opened critical node_down node-2`.
    pub fn told_since(&self, from: usize) -> Vec<String> {
        self.lines().iter().skip(from).filter_map(told).collect()
    }

    /// Waits until it has told this after line `from`, and gives the ticket as it was then.
    pub fn wait_for(&self, from: usize, what: &str, patience: Duration) -> Result<Value> {
        let ticket = wait::until(patience, what, || {
            let mut lines = self.lines().into_iter().skip(from);
            let mut line = lines.find(|line| told(line).as_deref() == Some(what))?;
            Some(line["ticket"].take())
        });
        ticket.with_context(|| {
            let told = self.told_since(from);
            format!("told: {told:#?}\nlog: {}", self.tail())
        })
    }

    /// How many cycles have surely ended between two moments. Milliseconds since the Unix epoch.
    ///
    /// Heartbeats tell of cycles, and of two that end within one beat they tell only the second: when the first of them
    /// ended is then unknown, and it is not counted unless both lie within.
    pub fn cycles_between(&self, from_ms: i64, to_ms: i64) -> u64 {
        let lines = self.lines();
        let ended: Vec<(i64, u64)> = lines.iter().filter_map(ended_cycle).collect();
        let of = |(_, cycle): &(i64, u64)| *cycle;
        let first_after = ended.iter().filter(|(at, _)| *at > from_ms).map(of).min();
        let last_before = ended.iter().filter(|(at, _)| *at <= to_ms).map(of).max();
        match (first_after, last_before) {
            (Some(first), Some(last)) => (last + 1).saturating_sub(first),
            _ => 0,
        }
    }

    /// Waits for a heartbeat after line `from` of which this is true, and gives it.
    pub fn wait_for_heartbeat(
        &self,
        from: usize,
        what: &str,
        patience: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait::until(patience, what, || {
            let lines = self.lines();
            let beats = lines
                .into_iter()
                .skip(from)
                .filter(|line| line["event"] == "heartbeat");
            beats.into_iter().find(|beat| is_it(beat))
        })
        .with_context(|| self.tail())
    }

    /// Its tickets, those resolved and pending included.
    pub fn tickets(&self) -> Result<Vec<Value>> {
        self.list(&["tickets", "list", "--all", "--json"])
    }

    /// What was proposed to it, those that are over included; the latest first.
    pub fn proposals(&self) -> Result<Vec<Value>> {
        self.list(&["actions", "list", "--all", "--json"])
    }

    /// Runs another command of the operator, with the daemon's configuration and state.
    pub fn ask(&self, command: &[&str]) -> Result<Output> {
        let mut operator = Command::new(program("operator")?);
        operator
            .args(&self.args)
            .args(["--state-dir", &state_dir(&self.folder)])
            .args(command);
        Ok(operator.output()?)
    }

    fn list(&self, command: &[&str]) -> Result<Vec<Value>> {
        let output = self.ask(command)?;
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

/// When the cycle of a heartbeat ended, and its number.
fn ended_cycle(line: &Value) -> Option<(i64, u64)> {
    let at: Timestamp = line["at"].as_str()?.parse().ok()?;
    Some((at.as_millisecond(), line["cycles"].as_u64()?))
}

/// A ticket event in a few words.
fn told(line: &Value) -> Option<String> {
    if line["event"] != "ticket" {
        return None;
    }
    let ticket = &line["ticket"];
    let words = [
        line["kind"].as_str()?,
        ticket["severity"].as_str()?,
        ticket["invariant"].as_str()?,
        ticket["resource"].as_str().unwrap_or_default(),
    ];
    Some(words.join(" ").trim_end().to_owned())
}
