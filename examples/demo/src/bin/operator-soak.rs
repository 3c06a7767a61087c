//! `make soak`: a healthy cluster under load for some minutes must not have any ticket.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use operator_demo::{Cluster, Operator, Options};

/// Time between two checks of the operator's events.
const INTERVAL: Duration = Duration::from_secs(10);

/// Watches a healthy cluster under load, and fails if any ticket appears, even a pending one.
#[derive(Parser)]
struct Args {
    /// The plugin that watches the cluster.
    #[arg(long)]
    plugin: PathBuf,
    /// Folder of all files; emptied at the start.
    #[arg(long)]
    folder: PathBuf,
    /// Duration of the run.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Checks per second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.folder.exists() {
        fs::remove_dir_all(&args.folder).context("empty the folder")?;
    }
    let cluster = Cluster::start(&args.folder, Options::default())?;
    let seconds = (args.minutes * 60 + 60).to_string();
    let rate = args.rate.to_string();
    let mut load = cluster.start_load(
        "load",
        &[
            "--rate",
            &rate,
            "--duration",
            &seconds,
            "--keys",
            "2000",
            "--zipf",
            "0.6",
            "--connections",
            "32",
            "--quiet",
        ],
    )?;
    let settings = cluster
        .settings()
        .into_iter()
        .flat_map(|setting| ["--set".to_owned(), setting]);
    let plugin = args.plugin.display().to_string();
    let fixed = ["--plugin", &plugin, "--interval", "1s"].map(str::to_owned);
    let operator_args: Vec<String> = fixed.into_iter().chain(settings).collect();
    let operator = Operator::start(&args.folder, &operator_args)?;
    let end = Instant::now() + Duration::from_secs(args.minutes * 60);
    while Instant::now() < end {
        std::thread::sleep(INTERVAL.min(end.saturating_duration_since(Instant::now())));
        ensure!(!load.has_ended(), "the load has ended: {}", load.log());
        let events = operator.ticket_events_since(0);
        ensure!(events.is_empty(), "ticket events: {events:#?}");
        let lines = operator.lines();
        let heartbeat = lines.iter().rev().find(|line| line["event"] == "heartbeat");
        let heartbeat = heartbeat.map(ToString::to_string).unwrap_or_default();
        writeln!(std::io::stdout(), "{heartbeat}")?;
    }
    let tickets = operator.tickets()?;
    ensure!(tickets.is_empty(), "tickets: {tickets:#?}");
    writeln!(
        std::io::stdout(),
        "no ticket in {} minutes at {rate} checks/s",
        args.minutes
    )?;
    Ok(())
}
