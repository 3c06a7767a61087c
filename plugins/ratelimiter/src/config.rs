//! The configuration, and its validated form.

use operator_plugin_api::{Error, ErrorKind};
use operator_plugin_kit::{Endpoint, Faults};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::thresholds::Thresholds;

const EXAMPLE_URL: &str = "http://localhost:8001";

/// The addresses of the rate limiter, and what is expected of it.
///
/// It has no `Debug`, because two of its keys are secret.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Base URL of a node: `http://host:port`. The other nodes are found through it.
    #[schemars(url, extend("x-env" = "RATELIMITER_URL"))]
    pub management_url: String,
    /// Base URLs of further nodes: asked when the first does not answer, and used in place of a node's registered
    /// address, where that cannot be reached from here (containers, NAT).
    #[schemars(inner(url))]
    pub more_management_urls: Vec<String>,
    /// The Redis that the nodes share: `redis://[user:password@]host[:port][/db]`. Only read, never written.
    #[schemars(url, extend("x-env" = "REDIS_URL", "x-secret" = true))]
    pub redis_url: String,
    /// Base URL of the Prometheus that scrapes the nodes.
    #[schemars(url, extend("x-env" = "PROMETHEUS_URL"))]
    pub prometheus_url: String,
    /// The bearer token of the management API, where the nodes were given one. Only actions need it.
    #[schemars(extend("x-env" = "RATELIMITER_ADMIN_TOKEN", "x-secret" = true))]
    pub admin_token: Option<String>,
    /// Ids of nodes that must be there even if no source knows them. Without it a node counts once it was seen.
    pub expected_nodes: Vec<String>,
    /// How long a node or Redis may take to answer one probe; each is probed twice before it counts as unavailable. Milliseconds.
    #[schemars(range(min = 50, max = 10_000))]
    pub probe_timeout_ms: u64,
    /// The most that one observation may take, whatever the deadline of the call. Milliseconds.
    #[schemars(range(min = 200, max = 60_000))]
    pub observe_timeout_ms: u64,
    /// How many counters are read in each cycle.
    #[schemars(range(min = 1, max = 5_000))]
    pub max_counters: u32,
    /// How long a node that no longer answers and that no source lists is remembered. Seconds.
    #[schemars(range(min = 60, max = 604_800))]
    pub forget_node_s: u64,
    /// Beyond which the invariants are violated.
    pub thresholds: Thresholds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            management_url: "http://localhost:8001".into(),
            more_management_urls: Vec::new(),
            redis_url: "redis://localhost:6379".into(),
            prometheus_url: "http://localhost:9090".into(),
            admin_token: None,
            expected_nodes: Vec::new(),
            probe_timeout_ms: 400,
            observe_timeout_ms: 3_000,
            max_counters: 1_000,
            forget_node_s: 3_600,
            thresholds: Thresholds::default(),
        }
    }
}

/// A valid configuration.
pub(crate) struct Settings {
    /// Nodes' base URLs as configured, best first.
    pub(crate) management: Vec<Endpoint>,
    pub(crate) redis: ConnectionInfo,
    pub(crate) prometheus: Endpoint,
    pub(crate) admin_token: Option<String>,
    pub(crate) expected_nodes: Vec<String>,
    pub(crate) probe_timeout_ms: u64,
    pub(crate) observe_timeout_ms: u64,
    pub(crate) max_counters: usize,
    pub(crate) forget_node_s: u64,
    pub(crate) thresholds: Thresholds,
}

impl Settings {
    /// Every fault is named, and no message repeats a text: any of them can contain a password.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let mut faults = Faults::default();
        let management = management(&config, &mut faults);
        let prometheus = faults.endpoint("prometheus_url", &config.prometheus_url, EXAMPLE_URL);
        let redis = redis(&config.redis_url, &mut faults);
        faults.within("probe_timeout_ms", config.probe_timeout_ms, 50..=10_000);
        faults.within(
            "observe_timeout_ms",
            config.observe_timeout_ms,
            200..=60_000,
        );
        faults.within("max_counters", config.max_counters, 1..=5_000);
        faults.within("forget_node_s", config.forget_node_s, 60..=604_800);
        if config.expected_nodes.iter().any(String::is_empty) {
            faults.push("`expected_nodes` must not contain an empty id");
        }
        faults.token("admin_token", config.admin_token.as_deref());
        config.thresholds.validate(&mut faults);
        let (Some(redis), Some(prometheus), true) = (redis, prometheus, faults.is_empty()) else {
            return Err(faults.error(ErrorKind::Config, "configuration"));
        };
        Ok(Self {
            management,
            redis,
            prometheus,
            admin_token: config.admin_token,
            expected_nodes: config.expected_nodes,
            probe_timeout_ms: config.probe_timeout_ms,
            observe_timeout_ms: config.observe_timeout_ms,
            max_counters: config.max_counters as usize,
            forget_node_s: config.forget_node_s,
            thresholds: config.thresholds,
        })
    }
}

fn management(config: &Config, faults: &mut Faults) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    endpoints.extend(faults.endpoint("management_url", &config.management_url, EXAMPLE_URL));
    for (index, url) in config.more_management_urls.iter().enumerate() {
        let key = format!("more_management_urls[{index}]");
        endpoints.extend(faults.endpoint(&key, url, EXAMPLE_URL));
    }
    endpoints
}

fn redis(url: &str, faults: &mut Faults) -> Option<ConnectionInfo> {
    let info = url.into_connection_info().ok();
    let tcp = info.filter(|info| matches!(info.addr(), ConnectionAddr::Tcp(..)));
    if tcp.is_none() {
        faults.push("`redis_url` must be a redis:// URL, as in `redis://localhost:6379/0`");
    }
    tcp
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(config: Config) -> String {
        Settings::new(config)
            .err()
            .map(|error| error.message)
            .unwrap_or_default()
    }

    #[test]
    fn the_defaults_are_usable() {
        let settings = Settings::new(Config::default()).ok().unwrap();
        assert_eq!(settings.management.len(), 1);
        assert_eq!(settings.thresholds, Thresholds::default());
    }

    #[test]
    fn every_fault_is_named_at_once_and_no_value_is_repeated() {
        let message = fault_of(Config {
            management_url: "ftp://canary@host".into(),
            more_management_urls: vec!["http://ok:1".into(), "canary".into()],
            redis_url: "http://:canary@host".into(),
            prometheus_url: "https://canary@host".into(),
            admin_token: Some("canary canary".into()),
            expected_nodes: vec![String::new()],
            probe_timeout_ms: 1,
            thresholds: Thresholds {
                counter_drift_percent: -1.0,
                ..Thresholds::default()
            },
            ..Config::default()
        });
        for key in [
            "`management_url`",
            "`more_management_urls[1]`",
            "`redis_url`",
            "`prometheus_url`",
            "`admin_token`",
            "`expected_nodes`",
            "`probe_timeout_ms`",
            "`thresholds.counter_drift_percent`",
        ] {
            assert!(message.contains(key), "{key} is missing in {message}");
        }
        assert!(!message.contains("canary"), "{message}");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let config = serde_json::from_str::<Config>(r#"{"redis":"redis://localhost"}"#);
        assert!(config.is_err_and(|error| error.to_string().contains("unknown field `redis`")));
    }
}
