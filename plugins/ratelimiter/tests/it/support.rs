//! A real cluster on free ports, and a watch over it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use operator_plugin_api::{CheckReport, Deadline, Error, Observation, Subject, UnknownKind};
use operator_plugin_kit::testing::process::{self, Process, free_port};
use ratelimiter::{Config, Data, RateLimiter};
use serde_json::{Value, json};

/// Polls until there is a result; panics with what was waited for if there is none in time.
pub(crate) fn wait_for<T>(what: &str, poll: impl FnMut() -> Option<T>) -> T {
    process::wait_for(what, Duration::from_secs(20), poll)
}

pub(crate) fn binary(name: &str) -> PathBuf {
    process::binary("ratelimiter-service", name)
}

pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl Node {
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }
}

pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    pub(crate) redis_port: u16,
    pub(crate) redis: Option<Process>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) prometheus: Option<Process>,
    prometheus_port: u16,
}

impl Cluster {
    pub(crate) fn start(count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            redis_port: free_port(),
            redis: None,
            nodes: Vec::new(),
            prometheus: None,
            prometheus_port: free_port(),
        };
        cluster.start_redis();
        for index in 1..=count {
            let node = cluster.start_node(index, flags);
            cluster.nodes.push(node);
        }
        cluster
    }

    pub(crate) fn start_redis(&mut self) {
        let port = self.redis_port.to_string();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port,
            "--save",
            "",
            "--appendonly",
            "no",
            "--bind",
            "127.0.0.1",
        ]);
        self.redis = Some(Process::start(command.arg("--dir").arg(self.folder.path())));
        wait_for("Redis", || {
            TcpStream::connect(("127.0.0.1", self.redis_port)).ok()
        });
    }

    fn start_node(&self, index: usize, flags: &[&str]) -> Node {
        let port_file = self.folder.path().join(format!("port-{index}"));
        let mut command = Command::new(binary("ratelimiter-service"));
        command.args([
            "--port",
            "0",
            "--enable-chaos",
            "--workers",
            "1",
            "--node-id",
            &format!("node-{index}"),
        ]);
        command
            .args(["--redis-url", &self.redis_url()])
            .args(flags)
            .arg("--port-file")
            .arg(&port_file);
        let process = Process::start(&mut command);
        let port = wait_for("a node's port", || {
            std::fs::read_to_string(&port_file).ok()?.parse().ok()
        });
        let node = Node { process, port };
        let connected = || {
            (http("GET", &format!("{}/health", node.url()), None).1["redis_connected"] == true)
                .then_some(())
        };
        wait_for("a node to reach Redis", connected);
        node
    }

    pub(crate) fn start_prometheus(&mut self) {
        let ports: Vec<u16> = self.nodes.iter().map(|node| node.port).collect();
        self.scrape(&ports);
    }

    /// Starts a Prometheus that scrapes these ports each second.
    pub(crate) fn scrape(&mut self, ports: &[u16]) {
        let targets = ports.iter().map(|port| format!("'localhost:{port}'"));
        let targets: Vec<String> = targets.collect();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: nodes, static_configs: [{{targets: [{}]}}]}}]\n",
            targets.join(", ")
        );
        let process = Process::prometheus(self.folder.path(), &config, self.prometheus_port);
        self.prometheus = Some(process);
    }

    pub(crate) fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.redis_port)
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            management_url: self
                .nodes
                .first()
                .map_or("http://localhost:1".into(), Node::url),
            redis_url: self.redis_url(),
            prometheus_url: format!("http://127.0.0.1:{}", self.prometheus_port),
            ..Config::default()
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch::new(self.config())
    }

    pub(crate) fn check(&self, node: usize, key: &str) -> u16 {
        http(
            "POST",
            &format!("{}/check", self.nodes[node].url()),
            Some(&json!({"key": key})),
        )
        .0
    }

    /// This many checks of a key, in turn on all nodes.
    pub(crate) fn check_many(&self, key: &str, count: usize) {
        for turn in 0..count {
            self.check(turn % self.nodes.len(), key);
        }
    }

    pub(crate) fn chaos(&self, node: usize, faults: &Value) {
        let (status, answer) = http(
            "PUT",
            &format!("{}/api/v1/chaos", self.nodes[node].url()),
            Some(faults),
        );
        assert_eq!(status, 200, "{answer}");
    }

    pub(crate) fn redis_command(&self, command: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis_port)).unwrap();
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        let mut answer = [0; 64];
        assert!(stream.read(&mut answer).unwrap() > 0);
    }
}

/// A subject whose cycles a test runs.
pub(crate) struct Watch(pub(crate) RateLimiter);

impl Watch {
    pub(crate) fn new(config: Config) -> Self {
        Self(RateLimiter::create(config).unwrap())
    }

    pub(crate) fn observe(&self) -> Result<Observation<Data>, Error> {
        self.0.observe(Deadline::after(Duration::from_secs(5)))
    }

    pub(crate) fn cycle(&self) -> (Observation<Data>, CheckReport) {
        self.judged(self.observe().unwrap())
    }

    /// A cycle with what the host has kept of an earlier process.
    pub(crate) fn cycle_with(&self, kept: Option<&Value>) -> (Observation<Data>, CheckReport) {
        let deadline = Deadline::after(Duration::from_secs(5));
        self.judged(self.0.observe_again(deadline, kept).unwrap())
    }

    fn judged(&self, observation: Observation<Data>) -> (Observation<Data>, CheckReport) {
        // Over the boundary and back, as the host does it.
        let json = serde_json::to_string(&observation).unwrap();
        let report = self.0.check(&serde_json::from_str(&json).unwrap());
        (observation, report)
    }

    /// `invariant` or `invariant:resource`, in order.
    pub(crate) fn violations(&self) -> Vec<String> {
        names(
            self.cycle()
                .1
                .violations
                .into_iter()
                .map(|v| (v.invariant, v.resource)),
        )
    }

    /// What should be known and is not.
    pub(crate) fn unknowns(&self) -> Vec<String> {
        let unknown = self.cycle().1.unknown.into_iter();
        let unknown = unknown.filter(|u| u.kind == UnknownKind::Missing);
        names(unknown.map(|u| (u.invariant, u.resource)))
    }
}

fn names(entries: impl Iterator<Item = (String, Option<String>)>) -> Vec<String> {
    let name = |(invariant, resource): (String, Option<String>)| match resource {
        Some(resource) => format!("{invariant}:{resource}"),
        None => invariant,
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// One request; the body of an answer that is not JSON is null.
pub(crate) fn http(method: &str, url: &str, body: Option<&Value>) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(5)))
        .proxy(None)
        .build()
        .new_agent();
    let request = ureq::http::Request::builder().method(method).uri(url);
    let answer = match body {
        Some(body) => agent.run(
            request
                .header("Content-Type", "application/json")
                .body(body.to_string())
                .unwrap(),
        ),
        None => agent.run(request.body(()).unwrap()),
    };
    answer.map_or((0, Value::Null), |mut answer| {
        (
            answer.status().as_u16(),
            answer.body_mut().read_json().unwrap_or_default(),
        )
    })
}
