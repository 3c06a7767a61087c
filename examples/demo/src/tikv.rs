//! A TiKV cluster simulated by `pd-sim`, and a Prometheus that scrapes it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    Process,
    cluster::{get, program},
    prometheus, wait,
};

/// Enough to create a million regions.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running cluster.
#[derive(Debug)]
pub struct Tikv {
    /// The folder of logs and data.
    pub folder: PathBuf,
    /// The URLs of the PDs, in the order of their names: `pd0`, `pd1`, `pd2`.
    pub pd_urls: Vec<String>,
    /// The URL of the control API, which injects faults and undoes them.
    pub control_url: String,
    /// Prometheus's port.
    pub prometheus_port: u16,
    /// The Prometheus process, if one was started.
    pub prometheus: Option<Process>,
    /// The simulator process.
    pub simulator: Process,
    stores: u32,
}

impl Tikv {
    /// Starts a cluster of this many stores and regions and three PDs, and waits until it is ready. `folder` has its files.
    pub fn start(folder: &Path, stores: u32, regions: u32) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        // Absolute, because it becomes the working directory of the servers.
        let folder = folder.canonicalize()?;
        let (simulator, ready) = start_simulator(&folder, stores, regions)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pds = ready["pds"].as_array().context("the addresses of PD")?;
        let mut cluster = Self {
            pd_urls: pds.iter().map(text).collect(),
            control_url: text(&ready["control"]),
            prometheus_port: wait::free_port()?,
            prometheus: None,
            simulator,
            stores,
            folder,
        };
        cluster.start_prometheus()?;
        Ok(cluster)
    }

    /// Starts a Prometheus that scrapes every store and every PD, which it discovers through the simulator.
    pub fn start_prometheus(&mut self) -> Result<()> {
        let targets = format!("{}/prometheus/targets", self.control_url);
        let scrape = format!(
            "  - job_name: tikv\n    http_sd_configs: [{{url: '{targets}', refresh_interval: 1s}}]\n"
        );
        // Many stores are scraped at the interval that is usual in production.
        let seconds = if self.stores > 100 { 15 } else { 1 };
        let started = prometheus::start(&self.folder, self.prometheus_port, seconds, &scrape)?;
        self.prometheus = Some(started);
        Ok(())
    }

    /// The URL of Prometheus.
    pub fn prometheus_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.prometheus_port)
    }

    /// The plugin's configuration, as lines of TOML.
    pub fn settings(&self) -> String {
        format!(
            "pd_urls = {:?}\nprometheus_url = {:?}\n",
            self.pd_urls,
            self.prometheus_url()
        )
    }

    /// Sends a request to the control API, such as `stores/2/kill`.
    pub fn control(&self, action: &str) -> Result<()> {
        post(&format!("{}/{action}", self.control_url), "")
    }

    /// Sends a POST request to PD, such as `schedulers`, with this body.
    pub fn pd(&self, path: &str, body: &str) -> Result<()> {
        post(&format!("{}/pd/api/v1/{path}", self.pd_urls[0]), body)
    }

    /// The number of requests that the PDs have received.
    pub fn pd_requests(&self) -> Result<u64> {
        let state: Value = serde_json::from_str(&get(&format!("{}/state", self.control_url))?)?;
        state["pd_requests"]
            .as_u64()
            .context("a number of requests")
    }

    /// Removes the scheduler that evicts leaders from a store.
    pub fn stop_evicting(&self, store: u64) -> Result<()> {
        let scheduler = format!("evict-leader-scheduler-{store}");
        let url = format!("{}/pd/api/v1/schedulers/{scheduler}", self.pd_urls[0]);
        ureq::delete(&url)
            .call()
            .with_context(|| format!("DELETE {url}"))?;
        Ok(())
    }
}

fn start_simulator(folder: &Path, stores: u32, regions: u32) -> Result<(Process, Value)> {
    let ready = folder.join("ready.json");
    let mut command = Command::new(program("pd-sim")?);
    command
        .args(["--stores", &stores.to_string()])
        .args(["--regions", &regions.to_string()])
        .args(["--pd-port", "0", "--control-port", "0", "--ready-file"])
        .arg(&ready);
    let mut simulator = Process::start("pd-sim", folder, &mut command)?;
    let written = wait::until(PATIENCE, "the simulator is ready", || {
        match simulator.death() {
            Some(death) => Some(Err(anyhow::anyhow!(death))),
            None => fs::read(&ready).ok().map(Ok),
        }
    })??;
    Ok((simulator, serde_json::from_slice(&written)?))
}

fn post(url: &str, body: &str) -> Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut response = agent.post(url).send(body)?;
    let reply = response.body_mut().read_to_string()?;
    if !response.status().is_success() {
        bail!("{url} {body}: {} {reply}", response.status());
    }
    Ok(())
}
