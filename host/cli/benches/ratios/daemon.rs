//! A daemon with many subjects.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::site::{Site, wait_for};

const SUBJECTS: u8 = 200;
const SPAN: Duration = Duration::from_secs(20);
/// Of Linux, for the times in `/proc/PID/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU, memory and late cycles of a daemon that watches 200 subjects, each once a second.
pub(crate) fn two_hundred_subjects(site: &Site, plugin: &Path) {
    let config = site.path("operator.toml");
    let subjects: Vec<String> = (0..SUBJECTS)
        .map(|n| {
            format!(
                "[subjects.s{n}]\nplugin = {:?}\ninterval = \"1s\"\n",
                plugin.display()
            )
        })
        .collect();
    fs::write(
        &config,
        format!("[log]\nheartbeat = \"1s\"\n{}", subjects.concat()),
    )
    .unwrap();
    let log = site.path("daemon.log");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_operator"))
        .arg("--config")
        .arg(&config)
        .arg("--state-dir")
        .arg(site.path("state"))
        .args(["--log-format", "json"])
        .stdout(fs::File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let beats = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["event"] == "heartbeat")
            .collect()
    };
    wait_for("a heartbeat of every subject", || {
        beats().len() >= usize::from(SUBJECTS)
    });
    let before = usage(daemon.id());
    std::thread::sleep(SPAN);
    let after = usage(daemon.id());
    let latest = beats();
    let late: u64 = latest[latest.len() - usize::from(SUBJECTS)..]
        .iter()
        .filter_map(|beat| beat["late"].as_u64())
        .sum();
    let cpu = (after.cpu_seconds - before.cpu_seconds) / SPAN.as_secs_f64();
    println!(
        "{SUBJECTS} subjects at 1 s: {:.0} % of one core, {:.0} MiB in the daemon, {:.1} MiB per worker, {late} late cycles",
        cpu * 100.0,
        after.own_mib,
        after.workers_mib / f64::from(SUBJECTS),
    );
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

struct Usage {
    cpu_seconds: f64,
    own_mib: f64,
    workers_mib: f64,
}

/// What a process and its children use.
fn usage(pid: u32) -> Usage {
    let mut usage = Usage {
        cpu_seconds: cpu_seconds(pid),
        own_mib: private_mib(pid),
        workers_mib: 0.0,
    };
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(child) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if parent(child) == Some(pid) {
            usage.cpu_seconds += cpu_seconds(child);
            usage.workers_mib += private_mib(child);
        }
    }
    usage
}

/// The fields of `/proc/PID/stat` after the name, which may hold spaces.
fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default();
    fields.split(' ').map(str::to_owned).collect()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid).get(1)?.parse().ok()
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = stat(pid);
    let ticks = [11, 12].map(|at| {
        stat.get(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0)
    });
    ticks.iter().sum::<f64>() / TICKS_PER_SECOND
}

/// Memory that is not shared with others.
fn private_mib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib: f64 = text
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .sum();
    kib / 1024.0
}
