//! One connection to Redis: bounded in time, dropped when it fails, made anew when it is next needed.

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
use super::scan::Step;
use super::settings::Settings;

/// Why a Redis operation has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("redis did not answer `{operation}` in time")]
    TimedOut { operation: &'static str },
    #[error("redis is away: `{operation}` failed")]
    Away {
        operation: &'static str,
        source: RedisError,
    },
    #[error("redis refused `{operation}`")]
    Refused {
        operation: &'static str,
        source: RedisError,
    },
    #[error("redis has been away and did not yet come back")]
    Down,
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

/// What is done with a connection. It may be done twice, where Redis had closed the first one.
pub(crate) trait Operation: Sync {
    type Answer: Send;

    fn run(&self, conn: Conn) -> impl Future<Output = RedisResult<Self::Answer>> + Send;
}

impl Operation for Cmd {
    type Answer = Value;

    async fn run(&self, mut conn: Conn) -> RedisResult<Value> {
        self.query_async(&mut conn).await
    }
}

impl Operation for Pipeline {
    type Answer = Value;

    async fn run(&self, mut conn: Conn) -> RedisResult<Value> {
        self.query_async(&mut conn).await
    }
}

fn read<T: redis::FromRedisValue>(operation: &'static str, answer: Value) -> Result<T, Fault> {
    redis::from_redis_value(answer).map_err(|error| Fault::Refused {
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
        // Without this a batch could wait 40 ms for the acknowledgement of the one before it.
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
                // The link bounds every operation itself, connecting included.
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

/// See the module.
pub(crate) struct Link {
    endpoint: Endpoint,
    slot: Mutex<Slot>,
    connecting: tokio::sync::Mutex<()>,
    down: AtomicBool,
    timeout: Duration,
    chaos: Arc<Chaos>,
    metrics: Arc<Metrics>,
}

impl Link {
    /// Checks the address; connects to nothing.
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

    /// Whether the last operation failed for want of Redis.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    pub(crate) async fn ping(&self) -> Result<(), Fault> {
        self.cmd("ping", redis::cmd("PING")).await
    }

    /// Sends one command.
    pub(crate) async fn cmd<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        cmd: Cmd,
    ) -> Result<T, Fault> {
        let deadline = Instant::now() + self.timeout;
        let answer = self.call(operation, deadline, &cmd).await?;
        read(operation, answer)
    }

    /// Sends several commands in one round trip.
    pub(crate) async fn pipe<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        pipe: Pipeline,
    ) -> Result<T, Fault> {
        let deadline = Instant::now() + self.timeout;
        let answer = self.call(operation, deadline, &pipe).await?;
        read(operation, answer)
    }

    /// Sends many commands; in one round trip, except on a cluster.
    pub(crate) async fn many<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        cmds: Vec<Cmd>,
    ) -> Result<Vec<T>, Fault> {
        if let Endpoint::Cluster(_) = self.endpoint {
            let mut answers = Vec::with_capacity(cmds.len());
            for cmd in cmds {
                answers.push(self.cmd(operation, cmd).await?);
            }
            return Ok(answers);
        }
        let mut pipe = redis::pipe();
        for cmd in cmds {
            pipe.add_command(cmd);
        }
        self.pipe(operation, pipe).await
    }

    /// One step of a walk over all keys.
    pub(crate) async fn scan(&self, operation: &'static str, step: &Step) -> Result<Value, Fault> {
        let deadline = Instant::now() + self.timeout;
        self.call(operation, deadline, step).await
    }

    /// Runs one operation until `deadline`, connecting first where that is needed.
    pub(crate) async fn call<O: Operation>(
        &self,
        operation: &'static str,
        deadline: Instant,
        run: &O,
    ) -> Result<O::Answer, Fault> {
        let started = Instant::now();
        let outcome = timeout_at(deadline, self.attempt(run)).await;
        self.metrics.redis_operation(operation, started.elapsed());
        let result = match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) if is_away(&source) => Err(Fault::Away { operation, source }),
            Ok(Err(source)) => Err(Fault::Refused { operation, source }),
            Err(_) => Err(Fault::TimedOut { operation }),
        };
        let away = matches!(result, Err(Fault::Away { .. } | Fault::TimedOut { .. }));
        self.down.store(away, Ordering::Relaxed);
        if away {
            // Redis drops what a closed connection still had to say, so work that was given up is not done later.
            self.slot().conn = None;
        }
        result
    }

    async fn attempt<O: Operation>(&self, operation: &O) -> RedisResult<O::Answer> {
        if self.chaos.now().redis_hang {
            std::future::pending::<()>().await;
        }
        let (generation, conn) = self.connected().await?;
        match operation.run(conn).await {
            // A connection that Redis closed while it was idle is no outage.
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

/// Whether this error says something about Redis itself, not about the one operation.
fn is_away(error: &RedisError) -> bool {
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

/// Repairs a link that is down, for as long as the task runs.
pub(crate) async fn keep_repaired(link: Arc<Link>) {
    let mut tick = tokio::time::interval(REPAIR_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if link.is_down() {
            // Its failure is seen in `is_down`, and told once by the watch over Redis.
            let _still_down = link.ping().await;
        }
    }
}

/// Short beside the second in which a returned Redis is to be used again, long beside a refused connection.
const REPAIR_EVERY: Duration = Duration::from_millis(100);
