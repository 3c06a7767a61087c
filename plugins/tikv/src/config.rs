//! The configuration, and its validated form.

use std::path::PathBuf;

use operator_plugin_api::{Error, ErrorKind};
use operator_plugin_kit::{Endpoint, Faults, table::Table};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::thresholds::Thresholds;

/// PD clusters have three or five members; more URLs than this are a mistake.
const MAX_PD_URLS: usize = 16;

/// The addresses of the cluster, and what is expected of it.
///
/// It has no `Debug`, because a URL can hold a password.
#[derive(Clone, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Config {
    /// PD's client URLs, `http://host:port`, preferably all of them. Any that answers is used. They may contain user and password.
    #[schemars(extend("x-env" = "PD_URLS"), length(min = 1, max = 16), inner(url))]
    pub pd_urls: Vec<String>,
    /// Base URL of the Prometheus that scrapes the TiKV status addresses. It may contain user and password.
    #[schemars(extend("x-env" = "PROMETHEUS_URL", "format" = "uri"))]
    pub prometheus_url: String,
    /// The bearer token of Prometheus, where it requires one.
    #[schemars(extend("x-env" = "PROMETHEUS_TOKEN", "x-secret" = true))]
    pub prometheus_token: Option<String>,
    /// TiKV's log, as evidence: a file, a directory of `*.log` files, or `-` for standard input. An absolute path.
    #[schemars(extend("x-env" = "TIKV_LOG_PATH", "x-path" = "read"))]
    pub log_path: Option<String>,
    /// The most that one observation may take, whatever its deadline. Milliseconds. PD's followers search for a leader for 3
    /// seconds before they report that there is none.
    #[schemars(range(min = 500, max = 60_000))]
    pub observe_timeout_ms: u64,
    /// Beyond which the invariants are violated.
    pub thresholds: Thresholds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pd_urls: vec!["http://localhost:2379".into()],
            prometheus_url: "http://localhost:9090".into(),
            prometheus_token: None,
            log_path: None,
            observe_timeout_ms: 4_000,
            thresholds: Thresholds::default(),
        }
    }
}

const KEYS: [&str; 6] = [
    "pd_urls",
    "prometheus_url",
    "prometheus_token",
    "log_path",
    "observe_timeout_ms",
    "thresholds",
];

const THRESHOLD_KEYS: [&str; 8] = [
    "latency_p99_ms",
    "disk_available_percent",
    "disk_used_percent",
    "raft_log_lag_entries",
    "leader_imbalance_percent",
    "leader_imbalance_floor",
    "scheduler_paused_s",
    "evict_leader_s",
];

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Value::deserialize(deserializer)?;
        read(&given).map_err(de::Error::custom)
    }
}

fn read(given: &Value) -> Result<Config, String> {
    let example = r#"{"pd_urls": ["http://localhost:2379"]}"#;
    let mut table = Table::new(given, &KEYS, example)?;
    table.nested("thresholds", &THRESHOLD_KEYS);
    let mut config = Config::default();
    let pd = r#"a list of texts, as in `["http://localhost:2379"]`"#;
    table.read("pd_urls", pd, &mut config.pd_urls);
    let prometheus = "a text, as in `http://localhost:9090`";
    table.read("prometheus_url", prometheus, &mut config.prometheus_url);
    table.read("prometheus_token", "a text", &mut config.prometheus_token);
    let log = "a text, as in `/var/log/tikv`";
    table.read("log_path", log, &mut config.log_path);
    let timeout = "a whole number, as in `4000`";
    table.read(
        "observe_timeout_ms",
        timeout,
        &mut config.observe_timeout_ms,
    );
    let thresholds = r#"a table of numbers, as in `{"latency_p99_ms": 100.0}`"#;
    table.read("thresholds", thresholds, &mut config.thresholds);
    table.finish()?;
    Ok(config)
}

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogSource {
    /// A file or a directory; which of them is seen when it is read.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// A valid configuration.
pub(crate) struct Settings {
    pub(crate) pd: Vec<Endpoint>,
    pub(crate) prometheus: Endpoint,
    pub(crate) prometheus_token: Option<String>,
    pub(crate) log: Option<LogSource>,
    pub(crate) observe_timeout_ms: u64,
    pub(crate) thresholds: Thresholds,
}

impl Settings {
    /// Every fault is named, and no message repeats a URL.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let mut faults = Faults::default();
        let pd = pd(&config.pd_urls, &mut faults);
        let example = "http://localhost:9090";
        let prometheus = faults.endpoint("prometheus_url", &config.prometheus_url, example);
        let log = config.log_path.as_deref();
        let log = log.and_then(|path| log_source(path, &mut faults));
        faults.token("prometheus_token", config.prometheus_token.as_deref());
        faults.within(
            "observe_timeout_ms",
            config.observe_timeout_ms,
            500..=60_000,
        );
        config.thresholds.validate(&mut faults);
        let (Some(prometheus), true) = (prometheus, faults.is_empty()) else {
            return Err(faults.error(ErrorKind::Config, "configuration"));
        };
        Ok(Self {
            pd,
            prometheus,
            prometheus_token: config.prometheus_token,
            log,
            observe_timeout_ms: config.observe_timeout_ms,
            thresholds: config.thresholds,
        })
    }
}

fn pd(urls: &[String], faults: &mut Faults) -> Vec<Endpoint> {
    if urls.is_empty() || urls.len() > MAX_PD_URLS {
        let count = urls.len();
        faults.push(format!(
            "`pd_urls` must contain from 1 to {MAX_PD_URLS} URLs, not {count}, as in `[\"http://localhost:2379\"]`"
        ));
    }
    let mut endpoints = Vec::new();
    for (index, url) in urls.iter().enumerate() {
        let key = format!("pd_urls[{index}]");
        let Some(endpoint) = faults.endpoint(&key, url, "http://localhost:2379") else {
            continue;
        };
        if endpoints.contains(&endpoint) {
            faults.push(format!("`{key}` is the same as an earlier one"));
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn log_source(path: &str, faults: &mut Faults) -> Option<LogSource> {
    if path == "-" {
        return Some(LogSource::Stdin);
    }
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        // A plugin has its own working directory, so a relative path would not be found.
        faults.push("`log_path` must be an absolute path or `-`, as in `/var/log/tikv/tikv.log`");
        return None;
    }
    Some(LogSource::Path(path))
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;
    use serde_json::json;

    use super::*;

    fn fault_of(config: Config) -> String {
        Settings::new(config)
            .err()
            .map(|error| error.message)
            .unwrap_or_default()
    }

    fn refused(given: Value) -> String {
        serde_json::from_value::<Config>(given)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn the_defaults_are_usable_and_an_empty_table_is_the_defaults() {
        let settings = Settings::new(Config::default()).ok().unwrap();
        assert_eq!((settings.pd.len(), settings.log), (1, None));
        let empty: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(empty.pd_urls, Config::default().pd_urls);
        assert_eq!(empty.thresholds, Thresholds::default());
    }

    #[test]
    fn every_fault_is_named_at_once_and_no_url_is_repeated() {
        let message = fault_of(Config {
            pd_urls: vec![
                "ftp://canary@host".into(),
                "http://ok:1".into(),
                "http://ok:1".into(),
            ],
            prometheus_url: "https://canary@host".into(),
            prometheus_token: Some("canary canary".into()),
            log_path: Some("tikv.log".into()),
            observe_timeout_ms: 1,
            thresholds: Thresholds {
                latency_p99_ms: f64::NAN,
                evict_leader_s: 0,
                ..Thresholds::default()
            },
        });
        for key in [
            "`pd_urls[0]`",
            "`pd_urls[2]`",
            "`prometheus_url`",
            "`prometheus_token`",
            "`log_path`",
            "`observe_timeout_ms`",
            "`thresholds.latency_p99_ms`",
            "`thresholds.evict_leader_s`",
        ] {
            assert!(message.contains(key), "{key} is missing in {message}");
        }
        assert!(!message.contains("canary"), "{message}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
        let message = refused(json!({"pd_url": 1, "thresholds": {"latency_p99": 1}, "redis": 1}));
        for part in [
            "unknown key `pd_url`; did you mean `pd_urls`?",
            "unknown key `thresholds.latency_p99`; did you mean `latency_p99_ms`?",
            "unknown key `redis`; known are: pd_urls",
        ] {
            assert!(message.contains(part), "{part} is missing in {message}");
        }
    }

    #[test]
    fn a_value_of_a_wrong_type_is_refused_without_repeating_it() {
        for (given, key) in [
            (json!({"pd_urls": "canary"}), "pd_urls"),
            (json!({"pd_urls": [7]}), "pd_urls"),
            (json!({"prometheus_url": ["canary"]}), "prometheus_url"),
            (json!({"prometheus_token": ["canary"]}), "prometheus_token"),
            (json!({"log_path": 7}), "log_path"),
            (
                json!({"observe_timeout_ms": "canary"}),
                "observe_timeout_ms",
            ),
            (
                json!({"thresholds": {"latency_p99_ms": "canary"}}),
                "thresholds",
            ),
            (json!(["canary"]), "object"),
            (json!(null), "object"),
        ] {
            let message = refused(given.clone());
            assert!(message.contains(key), "{given}: {message}");
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn the_schema_has_exactly_the_keys_that_are_read_and_marks_the_secrets() {
        let schema = schema_for!(Config).to_value();
        assert_eq!(schema["additionalProperties"], false);
        let mut keys: Vec<_> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let mut known = KEYS.map(str::to_owned).to_vec();
        keys.sort();
        known.sort();
        assert_eq!(keys, known);
        let thresholds = schema_for!(Thresholds).to_value();
        let mut keys: Vec<_> = thresholds["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let mut known = THRESHOLD_KEYS.map(str::to_owned).to_vec();
        keys.sort();
        known.sort();
        assert_eq!(keys, known);
        assert_eq!(schema["properties"]["prometheus_token"]["x-secret"], true);
        assert!(schema.get("required").is_none(), "{schema}");
    }
}
