//! A simulated cluster with a real Prometheus, for tests to break.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use operator_plugin_kit::testing::{
    process::{self, Process, free_port},
    verdicts,
};
use serde_json::Value;
use tikv::{Config, Thresholds};

use crate::cluster::Watch;

/// Polls until there is a result; panics with what was waited for if there is none in time.
pub(crate) fn wait_for<T>(what: &str, poll: impl FnMut() -> Option<T>) -> T {
    process::wait_for(what, Duration::from_mins(4), poll)
}

pub(crate) struct Simulated {
    folder: tempfile::TempDir,
    _simulator: Process,
    prometheus: Option<Process>,
    prometheus_port: u16,
    pub(crate) pds: Vec<String>,
    control: String,
}

impl Simulated {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready.json");
        let mut command = Command::new(process::binary("pd-sim", "pd-sim"));
        command
            .args(["--pd-port", "0", "--control-port", "0", "--ready-file"])
            .arg(&ready)
            .args(flags);
        let simulator = Process::start(&mut command);
        let ready = wait_for("the simulator", || read(&ready));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            folder,
            _simulator: simulator,
            prometheus: None,
            prometheus_port: free_port(),
            pds: ready["pds"].as_array().unwrap().iter().map(text).collect(),
            control: text(&ready["control"]),
        }
    }

    pub(crate) fn start_prometheus(&mut self) {
        self.start_prometheus_with("1s", "");
    }

    /// Prometheus as it starts without any data. `settings` are further lines of its scrape configuration.
    pub(crate) fn restart_prometheus_without_data(&mut self, interval: &str, settings: &str) {
        self.prometheus = None;
        std::fs::remove_dir_all(self.folder.path().join("tsdb")).unwrap();
        self.start_prometheus_with(interval, settings);
    }

    fn start_prometheus_with(&mut self, interval: &str, settings: &str) {
        let targets = format!("{}/prometheus/targets", self.control);
        let text = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: sim\n  honor_labels: true\n  http_sd_configs:\n  - \
             {{url: '{targets}', refresh_interval: 1s}}\n{settings}"
        );
        let process = Process::prometheus(self.folder.path(), &text, self.prometheus_port);
        self.prometheus = Some(process);
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            pd_urls: self.pds.clone(),
            prometheus_url: format!("http://127.0.0.1:{}", self.prometheus_port),
            thresholds: Thresholds {
                evict_leader_s: 1,
                ..Thresholds::default()
            },
            ..Config::default()
        }
    }

    /// Breaks or repairs: `/stores/2/kill`.
    pub(crate) fn control(&self, path: &str) {
        let answer = ureq::post(format!("{}{path}", self.control)).send_empty();
        answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// The cluster as the simulator knows it.
    pub(crate) fn state(&self) -> Value {
        let text = ureq::get(format!("{}/state", self.control))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string();
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    pub(crate) fn pd_post(&self, path: &str, body: &Value) {
        ureq::post(format!("{}/pd/api/v1{path}", self.pds[0]))
            .send(body.to_string())
            .unwrap();
    }

    pub(crate) fn pd_get(&self, path: &str) -> Value {
        let text = ureq::get(format!("{}/pd/api/v1{path}", self.pds[0]))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string();
        serde_json::from_str(&text.unwrap()).unwrap()
    }
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// The invariants that need Prometheus.
const MEASURED: [&str; 4] = ["high_latency", "raft_log_lag", "server_busy", "write_stall"];

/// The verdicts that need no Prometheus.
pub(crate) fn unmeasured(watch: &Watch) -> Vec<String> {
    let mut all = verdicts(&watch.cycle().1);
    all.retain(|verdict| !MEASURED.iter().any(|name| verdict.starts_with(name)));
    all
}

pub(crate) fn wait_for_verdicts(watch: &Watch, expected: &[&str]) {
    let mut last = unmeasured(watch);
    let end = Instant::now() + Duration::from_mins(3);
    while last != expected {
        assert!(
            Instant::now() < end,
            "waited for {expected:?}, and there is {last:?}"
        );
        last = unmeasured(watch);
    }
}
