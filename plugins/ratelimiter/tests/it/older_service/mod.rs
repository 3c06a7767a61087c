//! The older rate limiter service, as clusters in the field run it: byte for byte, and with its faults.
//!
//! Its counters are in a real Redis. A dead node vanishes from the list once its registration has expired; `/health` is
//! healthy whatever happens; the counters are answered with 500 while Redis is away and while one name in it is no
//! UTF-8, the blocks as soon as an override exists; an override is stored and never enforced; every key is shown with the
//! default limit; reading counters removes entries older than the default window; the metrics have no `node_id`, and the
//! histogram of checks is never observed into.

mod api;
mod metrics;

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use operator_plugin_kit::testing::fake::{Fake, Reply, Request};
use ratelimiter::Config;
use redis::{Cmd, Connection, RedisResult};

use self::metrics::Metrics;
use crate::support::{Cluster, Watch, http, wait_for};

const NAMES: &str = "ratelimiter:nodes:";

/// How long Redis may take to answer a node.
const REDIS_TIMEOUT: Duration = Duration::from_millis(500);

/// How a node is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) default_limit: u64,
    pub(crate) default_window_ms: u64,
    pub(crate) ttl: Duration,
    pub(crate) heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_limit: 100,
            default_window_ms: 60_000,
            ttl: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
        }
    }
}

/// What a node knows, and what a test makes of it.
struct Node {
    id: String,
    options: Options,
    port: AtomicU16,
    redis_port: AtomicU16,
    ended: AtomicBool,
    /// How much longer each check takes. Milliseconds.
    delay_ms: AtomicU64,
    /// How much longer what lists keys takes, as with many of them. Milliseconds.
    listing_ms: AtomicU64,
    metrics: Mutex<Metrics>,
}

impl Node {
    fn redis(&self) -> RedisResult<Connection> {
        let port = self.redis_port.load(Ordering::Acquire);
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
        let connection = client.get_connection_with_timeout(REDIS_TIMEOUT)?;
        connection.set_read_timeout(Some(REDIS_TIMEOUT))?;
        Ok(connection)
    }

    fn register(&self) -> RedisResult<()> {
        let mut redis = self.redis()?;
        let name = format!("{NAMES}{}", self.id);
        let address = format!("localhost:{}", self.port.load(Ordering::Acquire));
        let since = "2026-01-27T01:48:37.123456";
        let fields = [("address", address.as_str()), ("registered_at", since)];
        Cmd::hset_multiple(&name, &fields).exec(&mut redis)?;
        let ttl = i64::try_from(self.options.ttl.as_millis()).unwrap_or(i64::MAX);
        Cmd::pexpire(&name, ttl).exec(&mut redis)
    }

    fn answer(&self, request: &Request) -> Reply {
        let asked = Instant::now();
        let (method, path) = request.line.split_once(' ').unwrap_or_default();
        let (handler, answer) = api::answer(self, method, path, &request.body);
        self.metrics()
            .note(handler, method, answer.status, asked.elapsed());
        answer.reply()
    }

    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap()
    }
}

/// A running node. Dropped, it is killed: its registration stays until it expires.
pub(crate) struct OlderNode {
    node: Arc<Node>,
    pub(crate) fake: Fake,
    heart: Option<thread::JoinHandle<()>>,
}

impl OlderNode {
    pub(crate) fn start(id: &str, redis_port: u16, options: Options) -> Self {
        let node = Arc::new(Node {
            id: id.into(),
            options,
            port: AtomicU16::new(0),
            redis_port: AtomicU16::new(redis_port),
            ended: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            listing_ms: AtomicU64::new(0),
            metrics: Mutex::default(),
        });
        let serving = Arc::clone(&node);
        let fake = Fake::start(move |request| serving.answer(request));
        node.port.store(fake.port(), Ordering::Release);
        let beating = Arc::clone(&node);
        let heart = thread::spawn(move || {
            while !beating.ended.load(Ordering::Acquire) {
                // Without Redis a heartbeat is lost, and nobody is told.
                let _ = beating.register();
                thread::park_timeout(beating.options.heartbeat);
            }
        });
        let older = Self {
            node,
            fake,
            heart: Some(heart),
        };
        wait_for("an older node to register", || {
            let mut redis = older.node.redis().ok()?;
            let registered: bool = Cmd::exists(format!("{NAMES}{id}")).query(&mut redis).ok()?;
            registered.then_some(())
        });
        older
    }

    pub(crate) fn port(&self) -> u16 {
        self.fake.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port())
    }

    /// Ends it as a signal of 9 would.
    pub(crate) fn kill(&mut self) {
        self.node.ended.store(true, Ordering::Release);
        if let Some(heart) = self.heart.take() {
            heart.thread().unpark();
            heart.join().unwrap();
        }
        self.fake.stop();
    }

    /// Sends it to another Redis, or to a port where there is none.
    pub(crate) fn use_redis(&self, port: u16) {
        self.node.redis_port.store(port, Ordering::Release);
    }

    pub(crate) fn delay_checks(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap();
        self.node.delay_ms.store(ms, Ordering::Release);
    }

    pub(crate) fn delay_listings(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap();
        self.node.listing_ms.store(ms, Ordering::Release);
    }

    /// How often a path was asked for so far.
    pub(crate) fn asked(&self, line: &str) -> usize {
        let requests = self.fake.requests();
        requests.iter().filter(|request| *request == line).count()
    }

    /// One check; the status of its answer.
    pub(crate) fn check(&self, body: &serde_json::Value) -> u16 {
        http("POST", &format!("{}/check", self.url()), Some(body)).0
    }
}

impl Drop for OlderNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Nodes of the older service on one Redis.
pub(crate) struct OlderCluster {
    pub(crate) nodes: Vec<OlderNode>,
    /// Redis and Prometheus, without nodes of the newer service.
    pub(crate) rest: Cluster,
}

impl OlderCluster {
    pub(crate) fn start(count: usize, options: Options) -> Self {
        let rest = Cluster::start(0, &[]);
        let node = |index| OlderNode::start(&format!("node-{index}"), rest.redis_port, options);
        Self {
            nodes: (1..=count).map(node).collect(),
            rest,
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            management_url: self.nodes[0].url(),
            ..self.rest.config()
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch::new(self.config())
    }

    /// A connection of its own to the Redis of the nodes.
    pub(crate) fn redis(&self) -> Connection {
        let url = self.rest.redis_url();
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }

    pub(crate) fn start_prometheus(&mut self) {
        let ports: Vec<u16> = self.nodes.iter().map(OlderNode::port).collect();
        self.rest.scrape(&ports);
    }
}
