//! A Redis and nodes for one test, all stopped when it ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Upper bound for every wait, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `probe` returns a value.
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe)
}

/// Waits until `probe` returns a value, for at most `bound`.
pub(crate) fn within<T>(bound: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < bound, "{what}: not within {bound:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub(crate) struct Redis {
    pub(crate) port: u16,
    args: Vec<String>,
    dir: TempDir,
    child: Option<Child>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_on(free_port(), &[])
    }

    /// The primaries of one cluster, with the slots distributed evenly.
    pub(crate) fn start_cluster(primaries: u16) -> Vec<Self> {
        let all: Vec<(String, Self)> = (0..primaries)
            .map(|_| {
                let bus = free_port().to_string();
                let args = ["--cluster-enabled", "yes", "--cluster-port", &bus];
                let redis = Self::start_on(free_port(), &args);
                (bus, redis)
            })
            .collect();
        let share = 16_384 / primaries + 1;
        let (bus, port) = (&all[0].0, all[0].1.port.to_string());
        for (index, (_, redis)) in (0..primaries).zip(&all) {
            let (first, last) = (index * share, 16_383.min((index + 1) * share - 1));
            let (first, last) = (first.to_string(), last.to_string());
            redis.query::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            redis.query::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        let known = format!("cluster_known_nodes:{primaries}\r");
        for (_, redis) in &all {
            eventually("the cluster is up", || {
                let info = redis.query::<String>(&["CLUSTER", "INFO"]);
                (info.contains("cluster_state:ok") && info.contains(&known)).then_some(())
            });
        }
        all.into_iter().map(|(_, redis)| redis).collect()
    }

    fn start_on(port: u16, args: &[&str]) -> Self {
        let mut redis = Self {
            port,
            args: args.iter().map(ToString::to_string).collect(),
            dir: tempfile::tempdir().unwrap(),
            child: None,
        };
        redis.start_again();
        redis
    }

    /// Restarts on the same port, without data.
    pub(crate) fn start_again(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--port",
                &self.port.to_string(),
            ])
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.args)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed for these tests");
        self.child = Some(child);
        eventually("redis starts", || {
            let pong = redis::cmd("PING").query::<String>(&mut self.try_connect()?);
            pong.ok()
        });
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Keeps its connections and answers nothing.
    pub(crate) fn freeze(&self) {
        signal(self.child.as_ref().unwrap(), Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        signal(self.child.as_ref().unwrap(), Signal::CONT);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn try_connect(&self) -> Option<redis::Connection> {
        redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .ok()
    }

    pub(crate) fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]);
        cmd.query(&mut self.try_connect().unwrap()).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A path to a Redis that can begin to swallow bytes in both directions, without closing a connection.
pub(crate) struct Path {
    pub(crate) port: u16,
    swallows: Arc<AtomicBool>,
}

impl Path {
    pub(crate) fn to(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let path = Self {
            port: listener.local_addr().unwrap().port(),
            swallows: Arc::default(),
        };
        let (to, swallows) = (redis.port, path.swallows.clone());
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let ends = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let swallows = swallows.clone();
                    std::thread::spawn(move || carry(ends, &swallows));
                }
            }
        });
        path
    }

    pub(crate) fn swallow(&self, swallows: bool) {
        self.swallows.store(swallows, Ordering::SeqCst);
    }
}

fn carry((mut from, mut to): (TcpStream, TcpStream), swallows: &AtomicBool) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !swallows.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
    // Either end may have closed it already.
    let _closed = to.shutdown(Shutdown::Both);
}

pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) port: u16,
    child: Child,
    agent: ureq::Agent,
    dir: TempDir,
}

/// A reply: status, headers and body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn error_code(&self) -> String {
        let json = self.json();
        assert!(json["error"]["message"].is_string(), "{json}");
        json["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Node {
    /// A node that replies and has Redis.
    pub(crate) fn start(id: &str, redis: &Redis, args: &[&str]) -> Self {
        let node = Self::start_without_waiting(id, redis, args);
        eventually("the node has redis", || {
            let health = node.get("/health").json();
            (health["redis_connected"] == true).then_some(())
        });
        eventually("the node has a heartbeat", || {
            let seen = node.seen(id);
            (seen["last_heartbeat_at"] != seen["registered_at"]).then_some(())
        });
        node
    }

    /// A node that replies, with or without Redis.
    pub(crate) fn start_without_waiting(id: &str, redis: &Redis, args: &[&str]) -> Self {
        Self::start_at(id, &redis.url(), args)
    }

    /// A node that replies and uses the Redis at this URL.
    pub(crate) fn start_at(id: &str, redis_url: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port_file = dir.path().join("port");
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ratelimiter-service"))
            .args(["--port", "0", "--node-host", "127.0.0.1", "--node-id", id])
            .args(["--node-ttl-seconds", "3", "--node-heartbeat-seconds", "1"])
            .args(["--redis-url", redis_url])
            .args(["--port-file", port_file.to_str().unwrap()])
            .args(args)
            .stderr(log)
            .spawn()
            .unwrap();
        let port = eventually("the node listens", || read_port(&port_file));
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let config = config.timeout_global(Some(PATIENCE)).build();
        Self {
            id: id.to_owned(),
            port,
            child,
            agent: config.into(),
            dir,
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        reply(self.agent.get(self.url(path)).call())
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        reply(self.agent.delete(self.url(path)).call())
    }

    pub(crate) fn post(&self, path: &str, body: impl ToString) -> Reply {
        reply(self.agent.post(self.url(path)).send(body.to_string()))
    }

    pub(crate) fn put(&self, path: &str, body: impl ToString) -> Reply {
        reply(self.agent.put(self.url(path)).send(body.to_string()))
    }

    pub(crate) fn post_with_token(&self, path: &str, body: impl ToString, token: &str) -> Reply {
        let request = self.agent.post(self.url(path));
        let request = request.header("authorization", format!("Bearer {token}"));
        reply(request.send(body.to_string()))
    }

    pub(crate) fn check(&self, key: &str) -> Reply {
        self.post("/check", json!({ "key": key }))
    }

    /// The number allowed of `count` consecutive checks, each of which must be allowed or blocked.
    pub(crate) fn allowed_of(&self, count: usize, key: &str) -> usize {
        let statuses = (0..count).map(|_| self.check(key).status);
        let allowed = statuses.inspect(|status| assert!([200, 429].contains(status), "{status}"));
        allowed.filter(|status| *status == 200).count()
    }

    pub(crate) fn seen(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/nodes/{id}")).json()
    }

    pub(crate) fn await_state(&self, id: &str, state: &str) {
        eventually(&format!("{id} becomes {state}"), || {
            (self.seen(id)["state"] == state).then_some(())
        });
    }

    pub(crate) fn allowed_in_window(&self, key: &str) -> Option<u64> {
        let metrics = self.get(&format!("/api/v1/nodes/{}/metrics", self.id));
        let metrics = metrics.json();
        let allowed = metrics["allowed_in_window"].as_object();
        allowed.expect("metrics of the node").get(key)?.as_u64()
    }

    pub(crate) fn faults(&self, faults: &Value) {
        let reply = self.put("/api/v1/chaos", faults);
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    pub(crate) fn kill(&mut self) {
        // Drop runs later and finds it already dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops processing; open and pending connections stay.
    pub(crate) fn freeze(&self) {
        signal(&self.child, Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Stops it gracefully; returns the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        signal(&self.child, Signal::TERM);
        eventually("the node ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_port(file: &std::path::Path) -> Option<u16> {
    std::fs::read_to_string(file).ok()?.parse().ok()
}

fn reply(reply: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Reply {
    let mut reply = reply.unwrap();
    Reply {
        status: reply.status().as_u16(),
        headers: reply.headers().clone(),
        text: reply.body_mut().read_to_string().unwrap(),
    }
}

/// Runs the load generator to its end; returns its exit code and summary.
pub(crate) fn load(args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_ratelimiter-load"))
        .args(["--json", "--quiet"])
        .args(args)
        .output()
        .unwrap();
    let summary = serde_json::from_slice(&output.stdout);
    (output.status.code(), summary.unwrap_or_default())
}
