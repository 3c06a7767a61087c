//! Settings of one node, from flags or from `RATELIMITER_*` environment variables.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::limit::{Limit, MAX_LIMIT, MAX_WINDOW_MS};

/// One node of a distributed rate limiter. Nodes that use the same Redis share every counter.
///
/// Exit codes: 0 stopped gracefully, 1 could not start or serve, 2 wrong command line.
#[derive(Parser, Debug, Clone)]
#[command(name = "ratelimiter-service", version)]
pub struct Settings {
    /// Redis, as redis://[user:password@]host:port[/db].
    #[arg(
        long,
        env = "RATELIMITER_REDIS_URL",
        default_value = "redis://localhost:6379",
        hide_env_values = true
    )]
    pub redis_url: String,
    /// The URL is a node of a Redis Cluster. Counters are then named `ratelimit:{key}`.
    #[arg(long, env = "RATELIMITER_REDIS_CLUSTER")]
    pub redis_cluster: bool,
    /// Timeout of one Redis operation; after it, Redis counts as unavailable.
    #[arg(long, value_name = "MS", env = "RATELIMITER_REDIS_TIMEOUT_MS", default_value_t = 200,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub redis_timeout_ms: u64,
    /// The reply to a check while Redis is unavailable: 503, or 200 with `X-RateLimit-Degraded: redis`.
    #[arg(
        long,
        value_enum,
        env = "RATELIMITER_ON_REDIS_ERROR",
        default_value = "deny"
    )]
    pub on_redis_error: OnRedisError,

    /// The name of this node; must be unique in the cluster.
    #[arg(long, env = "RATELIMITER_NODE_ID", default_value = "node-1", value_parser = node_id)]
    pub node_id: String,
    /// The host under which the other nodes reach this one.
    #[arg(long, env = "RATELIMITER_NODE_HOST", default_value = "localhost")]
    pub node_host: String,
    /// The port to listen on, under which the other nodes reach this one; 0 picks a free port.
    #[arg(
        long,
        visible_alias = "node-port",
        env = "RATELIMITER_NODE_PORT",
        default_value_t = 8000
    )]
    pub port: u16,
    /// The address to listen on: an IP address, or address:port if the port differs from the announced one.
    #[arg(long, env = "RATELIMITER_LISTEN", default_value = "127.0.0.1")]
    pub listen: Listen,
    /// Write the bound port into this file once connections are accepted.
    #[arg(long, value_name = "PATH")]
    pub port_file: Option<PathBuf>,

    /// Requests per window for a key that has no limit set.
    #[arg(long, env = "RATELIMITER_DEFAULT_LIMIT", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(0..=MAX_LIMIT))]
    pub default_limit: u64,
    /// The window of a key that has none set.
    #[arg(long, value_name = "MS", env = "RATELIMITER_DEFAULT_WINDOW_MS", default_value_t = 60_000,
          value_parser = clap::value_parser!(u64).range(1..=MAX_WINDOW_MS))]
    pub default_window_ms: u64,

    /// A node whose last heartbeat is older than this is unhealthy.
    #[arg(long, value_name = "SECONDS", env = "RATELIMITER_NODE_TTL_SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub node_ttl_seconds: u64,
    /// The interval of this node's heartbeats.
    #[arg(long, value_name = "SECONDS", env = "RATELIMITER_NODE_HEARTBEAT_SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub node_heartbeat_seconds: u64,
    /// A dead node is removed from the list after this time.
    #[arg(long, value_name = "SECONDS", env = "RATELIMITER_FORGET_NODE_SECONDS", default_value_t = 3_600,
          value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub forget_node_seconds: u64,

    /// With a token, every request that changes state needs `Authorization: Bearer TOKEN`.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "RATELIMITER_ADMIN_TOKEN",
        hide_env_values = true
    )]
    pub admin_token: Option<Secret>,
    /// Serve /api/v1/chaos, which switches on real faults. Never use it in production.
    #[arg(long, env = "RATELIMITER_ENABLE_CHAOS")]
    pub enable_chaos: bool,
    /// Threads that answer checks. Default: one per core.
    #[arg(long, env = "RATELIMITER_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// How long open connections may take to finish after SIGTERM.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "RATELIMITER_SHUTDOWN_GRACE_SECONDS",
        default_value_t = 5
    )]
    pub shutdown_grace_seconds: u64,
}

impl Settings {
    /// Finds faults in the combination of settings.
    ///
    /// # Errors
    /// All of them, one per line.
    pub fn validate(&self) -> Result<(), String> {
        let mut faults = Vec::new();
        if self.node_heartbeat_seconds >= self.node_ttl_seconds {
            faults.push(format!(
                "the heartbeat ({} s) must be shorter than the node's TTL ({} s), or a living node would count as dead",
                self.node_heartbeat_seconds, self.node_ttl_seconds
            ));
        }
        if self.forget_node_seconds < self.node_ttl_seconds {
            faults.push(format!(
                "a dead node would be forgotten ({} s) before it counts as dead ({} s)",
                self.forget_node_seconds, self.node_ttl_seconds
            ));
        }
        if self.admin_token.as_ref().is_some_and(Secret::is_empty) {
            faults.push("the admin token is empty; omit it to require none".to_owned());
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("\n"))
        }
    }

    pub(crate) fn default_rule(&self) -> Limit {
        Limit {
            max: self.default_limit,
            window_ms: self.default_window_ms,
        }
    }

    pub(crate) fn redis_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms)
    }

    pub(crate) fn node_ttl_ms(&self) -> u64 {
        self.node_ttl_seconds * 1_000
    }

    pub(crate) fn bind_to(&self) -> SocketAddr {
        SocketAddr::new(self.listen.ip, self.listen.port.unwrap_or(self.port))
    }

    pub(crate) fn worker_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.map_or(cores, usize::from)
    }
}

/// The reply to a check while Redis is unavailable.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRedisError {
    /// 503.
    Deny,
    /// 200 with `X-RateLimit-Degraded: redis`.
    Allow,
}

/// Where to listen; without a port, the node's own port is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    ip: IpAddr,
    port: Option<u16>,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!("`{text}` is not an address; write 127.0.0.1 or 127.0.0.1:8001")
        })?;
        Ok(Self {
            ip: address.ip(),
            port: Some(address.port()),
        })
    }
}

/// A text that is never printed or logged.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(hidden)")
    }
}

/// The id becomes part of a Redis key, of a path and of every counter entry.
fn node_id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("1 to 64 letters, digits, `-`, `_`, `.` or `:`, for example node-1".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_bind_to_loopback() {
        let settings = Settings::parse_from(["ratelimiter-service"]);
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.bind_to().to_string(), "127.0.0.1:8000");
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let settings = Settings::parse_from([
            "ratelimiter-service",
            "--node-ttl-seconds=3",
            "--forget-node-seconds=2",
        ]);
        let faults = settings.validate().unwrap_err();
        assert_eq!(faults.lines().count(), 2, "{faults}");
    }

    #[test]
    fn a_listen_address_can_have_its_own_port() {
        let settings =
            Settings::parse_from(["ratelimiter-service", "--listen=[::1]:9", "--port=8001"]);
        assert_eq!(settings.bind_to().to_string(), "[::1]:9");
        assert!("everywhere".parse::<Listen>().is_err());
    }

    #[test]
    fn the_token_is_never_printed() {
        let settings = Settings::parse_from(["ratelimiter-service", "--admin-token=hunter2"]);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
