//! A rate limiter cluster: Redis, nodes, Prometheus and load.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{Process, prometheus, redis, wait, wait::until_ready};

/// Parameters of a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of nodes.
    pub nodes: usize,
    /// What nodes do while Redis is unavailable: `deny` or `allow`.
    pub on_redis_error: &'static str,
    /// Whether there is a Prometheus.
    pub prometheus: bool,
    /// Requests per window for a key that has no limit set.
    pub default_limit: u64,
    /// The window of a key that has no limit set. Milliseconds.
    pub default_window_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            on_redis_error: "deny",
            prometheus: true,
            default_limit: 100,
            default_window_ms: 60_000,
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The folder of logs and data.
    pub folder: PathBuf,
    /// Redis's port.
    pub redis_port: u16,
    /// The Redis process, if one was started.
    pub redis: Option<Process>,
    /// The nodes, in the order of their names: `node-1`, `node-2`, ...
    pub nodes: Vec<Node>,
    /// Prometheus's port; 0 without one.
    pub prometheus_port: u16,
    /// The Prometheus process, if one was started.
    pub prometheus: Option<Process>,
    options: Options,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub id: String,
    /// Its port.
    pub port: u16,
    /// Its process, if one was started.
    pub process: Option<Process>,
}

impl Node {
    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Whether the node at this URL reports itself as healthy.
fn is_healthy(url: &str) -> bool {
    get(&format!("{url}/health")).is_ok_and(|body| body.contains("\"healthy\""))
}

impl Cluster {
    /// Starts a cluster whose files are in `folder`, and waits until all parts are ready.
    pub fn start(folder: &Path, options: Options) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut cluster = Self {
            // Absolute, because it becomes the working directory of the servers.
            folder: folder.canonicalize()?,
            redis_port: wait::free_port()?,
            redis: None,
            nodes: Vec::new(),
            prometheus_port: 0,
            prometheus: None,
            options,
        };
        cluster.start_redis()?;
        for number in 1..=cluster.options.nodes {
            cluster.nodes.push(Node {
                id: format!("node-{number}"),
                port: wait::free_port()?,
                process: None,
            });
            cluster.start_node(number - 1)?;
        }
        if cluster.options.prometheus {
            cluster.prometheus_port = wait::free_port()?;
            cluster.start_prometheus()?;
        }
        Ok(cluster)
    }

    /// The parameters it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Starts Redis on its port, empty.
    pub fn start_redis(&mut self) -> Result<()> {
        let port = self.redis_port.to_string();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no"])
            .current_dir(&self.folder);
        self.redis = Some(Process::start("redis", &self.folder, &mut command)?);
        let port = self.redis_port;
        until_ready(&mut self.redis, || {
            redis::command(port, "PING").is_ok_and(|answer| answer == "+PONG")
        })
    }

    /// Starts a node, by its index in the list, and waits until it is healthy.
    pub fn start_node(&mut self, index: usize) -> Result<()> {
        let node = &mut self.nodes[index];
        let mut command = Command::new(program("ratelimiter-service")?);
        command
            .args([
                "--redis-url",
                &format!("redis://127.0.0.1:{}", self.redis_port),
            ])
            .args(["--node-id", &node.id, "--node-host", "127.0.0.1"])
            .args(["--port", &node.port.to_string()])
            .args(["--node-ttl-seconds", "3", "--node-heartbeat-seconds", "1"])
            .args(["--on-redis-error", self.options.on_redis_error])
            .args(["--default-limit", &self.options.default_limit.to_string()])
            .args([
                "--default-window-ms",
                &self.options.default_window_ms.to_string(),
            ])
            .arg("--enable-chaos");
        node.process = Some(Process::start(&node.id, &self.folder, &mut command)?);
        let url = node.url();
        until_ready(&mut node.process, || is_healthy(&url))
    }

    /// Starts a Prometheus that scrapes every node once a second.
    pub fn start_prometheus(&mut self) -> Result<()> {
        let targets: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("'127.0.0.1:{}'", node.port))
            .collect();
        let scrape = format!(
            "  - job_name: ratelimiter\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        let started = prometheus::start(&self.folder, self.prometheus_port, 1, &scrape)?;
        self.prometheus = Some(started);
        Ok(())
    }

    /// The URL of Prometheus.
    pub fn prometheus_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.prometheus_port)
    }

    /// The URL of Redis.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.redis_port)
    }

    /// The plugin's configuration, as arguments of `--set`.
    pub fn settings(&self) -> Vec<String> {
        vec![
            format!("management_url={}", self.nodes[0].url()),
            format!("redis_url={}", self.redis_url()),
            format!("prometheus_url={}", self.prometheus_url()),
        ]
    }

    /// Starts the load generator against every node, with these arguments.
    pub fn start_load(&self, name: &str, args: &[&str]) -> Result<Process> {
        let mut command = Command::new(program("ratelimiter-load")?);
        for node in &self.nodes {
            command.args(["--target", &node.url()]);
        }
        Process::start(name, &self.folder, command.args(args))
    }

    /// Sets the active faults of every node: a JSON object in the format of `/api/v1/chaos`.
    pub fn set_faults(&self, faults: &str) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|index| self.set_faults_on(index, faults))
    }

    /// Sets the active faults of one node, by its index in the list.
    pub fn set_faults_on(&self, index: usize, faults: &str) -> Result<()> {
        let node = &self.nodes[index];
        let response = ureq::put(format!("{}/api/v1/chaos", node.url()))
            .header("content-type", "application/json")
            .send(faults)?;
        ensure!(
            response.status().is_success(),
            "{} rejected {faults}",
            node.id
        );
        Ok(())
    }
}

/// The body of a successful GET request.
pub fn get(url: &str) -> Result<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(1)))
        .build()
        .into();
    Ok(agent.get(url).call()?.body_mut().read_to_string()?)
}

/// The path of a program that was built into the same folder as this one.
pub fn program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().context("a folder")?;
    // Test binaries are one folder deeper.
    let folder = if folder.ends_with("deps") {
        folder.parent().context("a folder")?
    } else {
        folder
    };
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "{} does not exist: build it with `cargo build --workspace`",
        path.display()
    );
    Ok(path)
}
