//! A connection to Redis with bounded operations. It is dropped on failure and reopened when needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    RedisFuture, RedisResult, ServerErrorKind, Value,
};
use tokio::time::{Instant, timeout_at};

use super::chaos::Chaos;
use super::metrics::Metrics;
use super::reason::Reason;
use super::scan::Step;
use super::settings::Settings;

/// Why a Redis operation has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisFailure {
    #[error("redis did not answer `{operation}` in time")]
    TimedOut { operation: &'static str },
    #[error("redis is unavailable: `{operation}` failed")]
    Unavailable {
        operation: &'static str,
        source: RedisError,
    },
    #[error("redis rejected `{operation}`")]
    Rejected {
        operation: &'static str,
        source: RedisError,
    },
    #[error("redis has been unavailable and did not yet come back")]
    Down,
}

impl RedisFailure {
    /// `None` if the reason is the one of the failure before.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::TimedOut { .. } => Some(Reason::Timeout),
            Self::Unavailable { source, .. } | Self::Rejected { source, .. } => {
                Some(Reason::of(source))
            }
            Self::Down => None,
        }
    }
}

/// A connection to one Redis, or to a cluster of them.
#[derive(Clone)]
pub(crate) enum Conn {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Conn {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(conn) => conn.req_packed_command(cmd),
            Self::Cluster(conn) => conn.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(conn) => conn.req_packed_commands(pipeline, offset, count),
            Self::Cluster(conn) => conn.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(conn) => conn.get_db(),
            Self::Cluster(conn) => conn.get_db(),
        }
    }
}

/// An operation on a connection. It may run twice, if Redis had closed the first connection.
pub(crate) trait Operation: Sync {
    type Reply: Send;

    fn run(&self, conn: Conn) -> impl Future<Output = RedisResult<Self::Reply>> + Send;
}

impl Operation for Cmd {
    type Reply = Value;

    async fn run(&self, mut conn: Conn) -> RedisResult<Value> {
        self.query_async(&mut conn).await
    }
}

impl Operation for Pipeline {
    type Reply = Value;

    async fn run(&self, mut conn: Conn) -> RedisResult<Value> {
        self.query_async(&mut conn).await
    }
}

fn read<T: redis::FromRedisValue>(
    operation: &'static str,
    reply: Value,
) -> Result<T, RedisFailure> {
    redis::from_redis_value(reply).map_err(|error| RedisFailure::Rejected {
        operation,
        source: error.into(),
    })
}

#[derive(Clone)]
enum Endpoint {
    Single(Client),
    Cluster(Box<ClusterClient>),
}

impl Endpoint {
    fn open(settings: &Settings) -> RedisResult<Self> {
        let info = settings.redis_url.as_str().into_connection_info()?;
        // Without this a batch could wait 40 ms for the acknowledgement of the previous one.
        let tcp = TcpSettings::default().set_nodelay(true);
        if settings.redis_cluster {
            let builder = ClusterClient::builder([info]).tcp_settings(tcp);
            return builder.build().map(Box::new).map(Self::Cluster);
        }
        Client::open(info.set_tcp_settings(tcp)).map(Self::Single)
    }

    async fn connect(&self) -> RedisResult<Conn> {
        match self {
            Self::Single(client) => {
                // Timeouts are enforced in `call`, which also covers connecting.
                let config = AsyncConnectionConfig::new()
                    .set_response_timeout(None)
                    .set_connection_timeout(None);
                let conn = client.get_multiplexed_async_connection_with_config(&config);
                conn.await.map(Conn::Single)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Conn::Cluster),
        }
    }
}

#[derive(Default)]
struct Slot {
    generation: u64,
    conn: Option<Conn>,
}

/// A connection that is opened on demand, and shared by everything that needs Redis.
pub(crate) struct RedisClient {
    endpoint: Endpoint,
    slot: Mutex<Slot>,
    connecting: tokio::sync::Mutex<()>,
    down: AtomicBool,
    timeout: Duration,
    chaos: Arc<Chaos>,
    metrics: Arc<Metrics>,
}

impl RedisClient {
    /// Validates the address; does not connect.
    pub(crate) fn open(
        settings: &Settings,
        chaos: Arc<Chaos>,
        metrics: Arc<Metrics>,
    ) -> RedisResult<Self> {
        Ok(Self {
            endpoint: Endpoint::open(settings)?,
            slot: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            down: AtomicBool::new(false),
            timeout: settings.redis_timeout(),
            chaos,
            metrics,
        })
    }

    /// Whether the last operation failed because Redis was unavailable.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    pub(crate) async fn ping(&self) -> Result<(), RedisFailure> {
        self.cmd("ping", redis::cmd("PING")).await
    }

    pub(crate) async fn cmd<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        cmd: Cmd,
    ) -> Result<T, RedisFailure> {
        let deadline = Instant::now() + self.timeout;
        let reply = self.call(operation, deadline, &cmd).await?;
        read(operation, reply)
    }

    /// Sends several commands in one round trip.
    pub(crate) async fn pipe<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        pipe: Pipeline,
    ) -> Result<T, RedisFailure> {
        let deadline = Instant::now() + self.timeout;
        let reply = self.call(operation, deadline, &pipe).await?;
        read(operation, reply)
    }

    /// Sends many commands, in one round trip except on a cluster.
    pub(crate) async fn many<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        cmds: Vec<Cmd>,
    ) -> Result<Vec<T>, RedisFailure> {
        if let Endpoint::Cluster(_) = self.endpoint {
            let mut replies = Vec::with_capacity(cmds.len());
            for cmd in cmds {
                replies.push(self.cmd(operation, cmd).await?);
            }
            return Ok(replies);
        }
        let mut pipe = redis::pipe();
        for cmd in cmds {
            pipe.add_command(cmd);
        }
        self.pipe(operation, pipe).await
    }

    /// One SCAN call.
    pub(crate) async fn scan(
        &self,
        operation: &'static str,
        step: &Step,
    ) -> Result<Value, RedisFailure> {
        let deadline = Instant::now() + self.timeout;
        self.call(operation, deadline, step).await
    }

    /// Runs one operation until `deadline`, connecting first if necessary.
    pub(crate) async fn call<O: Operation>(
        &self,
        operation: &'static str,
        deadline: Instant,
        run: &O,
    ) -> Result<O::Reply, RedisFailure> {
        let started = Instant::now();
        let outcome = timeout_at(deadline, self.attempt(run)).await;
        self.metrics.redis_operation(operation, started.elapsed());
        let result = match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) if is_unavailable(&source) => {
                Err(RedisFailure::Unavailable { operation, source })
            }
            Ok(Err(source)) => Err(RedisFailure::Rejected { operation, source }),
            Err(_) => Err(RedisFailure::TimedOut { operation }),
        };
        let unavailable = matches!(
            result,
            Err(RedisFailure::Unavailable { .. } | RedisFailure::TimedOut { .. })
        );
        self.down.store(unavailable, Ordering::Relaxed);
        if unavailable {
            // Redis discards the pending input of a closed connection, so an abandoned operation does not run later.
            self.slot().conn = None;
        }
        result
    }

    async fn attempt<O: Operation>(&self, operation: &O) -> RedisResult<O::Reply> {
        if self.chaos.now().redis_hang {
            std::future::pending::<()>().await;
        }
        let (generation, conn) = self.connected().await?;
        match operation.run(conn).await {
            // A connection that Redis closed while it was idle is not an outage.
            Err(error) if error.is_connection_dropped() => {
                self.forget(generation);
                operation.run(self.connected().await?.1).await
            }
            result => result,
        }
    }

    async fn connected(&self) -> RedisResult<(u64, Conn)> {
        if let Some(conn) = self.current() {
            return Ok(conn);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(conn) = self.current() {
            return Ok(conn);
        }
        let conn = self.endpoint.connect().await?;
        let mut slot = self.slot();
        slot.generation += 1;
        slot.conn = Some(conn.clone());
        Ok((slot.generation, conn))
    }

    fn current(&self) -> Option<(u64, Conn)> {
        let slot = self.slot();
        slot.conn.clone().map(|conn| (slot.generation, conn))
    }

    fn forget(&self, generation: u64) {
        let mut slot = self.slot();
        if slot.generation == generation {
            slot.conn = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this error means that Redis is unavailable, rather than that one operation failed.
fn is_unavailable(error: &RedisError) -> bool {
    let not_serving = matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::ClusterDown
            )
    );
    not_serving || error.is_io_error() || error.is_unrecoverable_error()
}

/// Reconnects whenever the connection is down, for as long as the task runs.
pub(crate) async fn keep_connected(redis: Arc<RedisClient>) {
    let mut tick = tokio::time::interval(RECONNECT_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if redis.is_down() {
            // A failure is visible in `is_down`; the poll of Redis logs it once.
            let _still_down = redis.ping().await;
        }
    }
}

/// Short compared with the second within which a returned Redis must be used, long compared with a refused connection.
const RECONNECT_EVERY: Duration = Duration::from_millis(100);
