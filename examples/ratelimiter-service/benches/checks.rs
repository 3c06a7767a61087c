//! Checks per second, compared with `redis-benchmark` running the same script, one check per call, in the same run.
//!
//! Service, Redis and load generator share the machine, so the ratio is more meaningful than the rates.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends at the first thing that goes wrong"
)]

use std::{
    fs::File,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const SECONDS: &str = "4";
const CONNECTIONS: &str = "64";
/// Calls per run of `redis-benchmark`.
const CALLS: &str = "200000";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/service/check.lua");

/// A case: its name, the number of keys, and the limit and window in each check.
const CASES: [(&str, &str, &str, &str); 4] = [
    ("allowed, one key", "1", "1000000000", "1000"),
    ("allowed, 1,000 keys", "1000", "1000000000", "1000"),
    ("blocked, one key", "1", "1", "60000"),
    ("blocked, 1,000 keys", "1000", "1", "60000"),
];

/// A process that is killed when the value is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let (redis_port, node_port) = (free_port(), free_port());
    let _redis = server(
        Command::new("redis-server").args([
            "--port",
            &redis_port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]),
        &redis_port,
    );
    let _node = server(
        Command::new(env!("CARGO_BIN_EXE_ratelimiter-service"))
            .args(["--redis-url", &format!("redis://127.0.0.1:{redis_port}")])
            .args(["--port", &node_port]),
        &node_port,
    );
    let hash = load_script(&redis_port);
    println!(
        "{:<22}{:>12}{:>22}{:>8}",
        "", "checks/s", "script alone, calls/s", "ratio"
    );
    for (name, keys, limit, window) in CASES {
        let checks = checks(&node_port, name, keys, limit, window);
        let calls = calls(&redis_port, &hash, keys, limit, window);
        println!(
            "{name:<22}{checks:>12.0}{calls:>22.0}{:>8.2}",
            checks / calls
        );
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn server(command: &mut Command, port: &str) -> Server {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(quiet.spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < until, "nothing listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn load_script(port: &str) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", port, "-x", "SCRIPT", "LOAD"])
        .stdin(File::open(SCRIPT).unwrap())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Through the service.
fn checks(port: &str, name: &str, keys: &str, limit: &str, window: &str) -> f64 {
    let output = Command::new(env!("CARGO_BIN_EXE_ratelimiter-load"))
        .args(["--target", &format!("http://127.0.0.1:{port}")])
        .args(["--duration", SECONDS, "--connections", CONNECTIONS])
        .args(["--keys", keys, "--key-prefix", &format!("{name}:")])
        .args(["--limit", limit, "--window-ms", window])
        .args(["--json", "--quiet"])
        .output()
        .unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    summary["checks_per_second"].as_f64().unwrap()
}

/// By Redis alone.
fn calls(port: &str, hash: &str, keys: &str, limit: &str, window: &str) -> f64 {
    // `redis-benchmark` replaces `__rand_int__` by a number below the `-r` one.
    let (key, range) = match keys {
        "1" => ("alone:one", "1000000000"),
        _ => ("alone:__rand_int__", keys),
    };
    let output = Command::new("redis-benchmark")
        .args([
            "-p",
            port,
            "-c",
            CONNECTIONS,
            "-n",
            CALLS,
            "-r",
            range,
            "-q",
        ])
        .args(["EVALSHA", hash, "2", key, "ratelimiter:no-version"])
        .args(["", "", "__rand_int__", "1", "1", limit, window, "0", ""])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (before, _) = text.rsplit_once(" requests per second").unwrap();
    before.rsplit([' ', '\r']).next().unwrap().parse().unwrap()
}
