//! `make bench`: the cost of a cycle with 1,000 stores and a million regions, compared with three stores.

use std::{fs, io::Write as _, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use operator_demo::{Operator, Tikv, cluster::program, wait};
use serde_json::Value;

/// Measured cycles, counted once nothing is unknown.
const CYCLES: usize = 20;
/// Rates need two scrapes.
const PATIENCE: Duration = Duration::from_mins(3);
/// ms.
const MAX_CYCLE_MS: f64 = 500.0;
/// KiB.
const MAX_MEMORY_KIB: u64 = 64 << 10;

struct Measured {
    /// Median and maximum, in ms.
    cycle: (f64, f64),
    /// Peak, in KiB.
    memory: u64,
    /// Requests to PD per cycle.
    requests: f64,
}

fn main() -> Result<()> {
    let mut out = std::io::stdout();
    let mut requests = Vec::new();
    for (stores, regions) in [(3, 100), (1_000, 1_000_000)] {
        let measured = measure(stores, regions)?;
        let (middle, longest) = measured.cycle;
        writeln!(
            out,
            "{stores} stores, {regions} regions: a cycle takes {middle:.0} ms, {longest:.0} ms at the most; the worker has \
             {} KiB; {:.1} requests to PD",
            measured.memory, measured.requests
        )?;
        ensure!(longest < MAX_CYCLE_MS, "a cycle takes {longest} ms");
        ensure!(
            measured.memory < MAX_MEMORY_KIB,
            "the worker has {} KiB",
            measured.memory
        );
        requests.push(measured.requests);
    }
    let ratio = requests[1] / requests[0];
    writeln!(out, "requests per cycle: {ratio:.2} times as many")?;
    ensure!(ratio < 1.1, "more stores take more requests");
    Ok(())
}

fn measure(stores: u32, regions: u32) -> Result<Measured> {
    let temp = tempfile::tempdir()?;
    let cluster = Tikv::start(temp.path(), stores, regions)?;
    let operator = Operator::start(temp.path(), &operator_args(temp.path(), &cluster)?)?;
    let known = |heartbeat: &Value| heartbeat["observed"] == true && heartbeat["unknown"] == 0;
    operator.wait_for_heartbeat(0, "everything is known", PATIENCE, known)?;
    let (from, before) = (operator.lines().len(), cluster.pd_requests()?);
    let cycles = wait::until(PATIENCE, "enough cycles", || {
        let cycles = took(&operator, from);
        (cycles.len() >= CYCLES).then_some(cycles)
    })?;
    let after = cluster.pd_requests()?;
    let mut times = cycles.clone();
    times.sort_by(f64::total_cmp);
    Ok(Measured {
        cycle: (times[times.len() / 2], times[times.len() - 1]),
        memory: worker_memory(operator.process.pid())?,
        requests: float(after - before) / float(cycles.len() as u64),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
fn float(count: u64) -> f64 {
    count as f64
}

fn operator_args(folder: &Path, cluster: &Tikv) -> Result<Vec<String>> {
    let path = folder.join("operator.toml");
    let plugin = folder.join("libtikv.so");
    fs::copy(program("libtikv.so")?, &plugin)?;
    let text = format!(
        "[log]\nheartbeat = \"1s\"\n[subjects.tikv]\nplugin = {:?}\ninterval = \"2s\"\n[subjects.tikv.config]\n{}",
        plugin.display(),
        cluster.settings()
    );
    fs::write(&path, text)?;
    Ok(vec!["--config".to_owned(), path.display().to_string()])
}

/// The duration of each cycle since line `from`, as reported by heartbeats. ms.
fn took(operator: &Operator, from: usize) -> Vec<f64> {
    let lines = operator.lines().into_iter().skip(from);
    let heartbeats = lines.filter(|line| line["event"] == "heartbeat");
    let mut heartbeats: Vec<(u64, f64)> = heartbeats
        .filter_map(|heartbeat| {
            Some((
                heartbeat["cycles"].as_u64()?,
                heartbeat["took_ms"].as_f64()?,
            ))
        })
        .collect();
    heartbeats.dedup_by_key(|(cycle, _)| *cycle);
    heartbeats.into_iter().map(|(_, took)| took).collect()
}

/// The peak memory of the operator's worker. KiB.
fn worker_memory(operator: u32) -> Result<u64> {
    // A child is listed under the thread that started it.
    let mut workers = Vec::new();
    for thread in fs::read_dir(format!("/proc/{operator}/task"))? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        workers.extend(children.split_whitespace().map(str::to_owned));
    }
    let memory = workers.iter().filter_map(|worker| {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    });
    memory.max().context("a worker")
}
