//! A cluster, an operator that has reported it healthy, and assertions about its tickets.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use operator_demo::{Cluster, Operator, Options, Process, wait};
use serde_json::Value;

/// Intervals after the end of its grace period within which a fault must have an open ticket.
const INTERVALS: u64 = 2;
/// A shortened grace period.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// A repaired cluster needs some time until it is healthy again: rates cover a minute. Not a requirement on the operator.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// How the operator judges latency; all other settings are the defaults.
#[derive(Clone, Copy)]
pub(crate) enum Latency {
    /// With the default threshold, and a grace period of [`GRACE`].
    Checked,
    /// With a threshold that a busy machine alone does not exceed, for tests of other faults.
    Ignored,
}

pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) operator: Operator,
    /// Without checks the latency would be unknown.
    _load: Process,
    pub(crate) folder: PathBuf,
    _temp: tempfile::TempDir,
}

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(i64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.expect("a clock after 1970").as_millis();
        Self(i64::try_from(since).expect("a clock before the year 292278994"))
    }

    fn plus(self, duration: Duration) -> Self {
        Self(self.0 + i64::try_from(duration.as_millis()).expect("a short time"))
    }
}

impl Scene {
    /// Starts a cluster and an operator, and waits until it reports the cluster as healthy.
    pub(crate) fn new(options: Options) -> Self {
        Self::with(options, Latency::Ignored)
    }

    pub(crate) fn with(options: Options, latency: Latency) -> Self {
        Self::configured(options, latency, "")
    }

    /// `more` is appended to the configuration. It begins in the table `subjects.ratelimiter.config` if latency is ignored.
    pub(crate) fn configured(options: Options, latency: Latency, more: &str) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().to_owned();
        let cluster = Cluster::start(&folder, options).expect("a cluster");
        let config = config(&folder, &cluster, latency, more);
        let args = ["--config".to_owned(), config.display().to_string()];
        let operator = Operator::start(&folder, &args).expect("an operator");
        let scene = Self {
            _load: background_load(&cluster),
            cluster,
            operator,
            folder,
            _temp: temp,
        };
        scene.wait_until_healthy(0);
        scene
    }

    /// Runs the load generator to its end; returns the number of allowed checks.
    pub(crate) fn run_load(&self, name: &str, args: &[&str]) -> u64 {
        let args = [args, &["--duration", "60", "--quiet", "--json"]].concat();
        let mut load = self.cluster.start_load(name, &args).expect("load");
        wait::until(PATIENCE, "the load ends", || load.has_ended().then_some(())).expect("an end");
        let log = load.log();
        let summary: Value = serde_json::from_str(log.trim()).expect(&log);
        summary["allowed"].as_u64().expect(&log)
    }

    /// Makes checks non-atomic until more than the limit of a key is allowed; returns the key. Each attempt uses a new key.
    pub(crate) fn overshoot(&self) -> String {
        let limit = self.cluster.options().default_limit;
        let set = |faults| self.cluster.set_faults(faults).expect("chaos");
        set(r#"{"non_atomic":true}"#);
        let mut tries = 0..;
        let key = wait::until(PATIENCE, "more is admitted than the limit", || {
            let prefix = format!("hot{}:", tries.next()?);
            let burst = ["--connections", "200", "--count", "200", "--keys", "1"];
            let of_one_key = [burst.as_slice(), &["--key-prefix", &prefix]].concat();
            (self.run_load(&prefix, &of_one_key) > limit).then(|| format!("{prefix}0"))
        });
        set("{}");
        key.expect("an overshoot")
    }

    /// Waits until every invariant holds and none is unknown.
    pub(crate) fn wait_until_healthy(&self, from: usize) {
        let is_healthy = |heartbeat: &Value| {
            heartbeat["observed"] == true && heartbeat["violated"] == 0 && heartbeat["unknown"] == 0
        };
        self.operator
            .wait_for_heartbeat(from, "healthy", PATIENCE, is_healthy)
            .expect("a healthy heartbeat");
    }

    pub(crate) fn now(&self) -> usize {
        self.operator.lines().len()
    }

    pub(crate) fn expect(&self, from: usize, events: &str) -> Value {
        self.operator
            .wait_for(from, events, PATIENCE)
            .expect(events)
    }

    /// The ticket of a fault that was present at `broken` opens within two intervals after its grace period.
    ///
    /// Intervals are counted in cycles, as reported by the operator's heartbeats: a busy machine delays cycles, and the
    /// operator reports that itself.
    pub(crate) fn expect_open(&self, from: usize, ticket: &str, broken: Moment, grace: Duration) {
        let opened = self.expect(from, &format!("opened {ticket}"));
        let opened_at = opened["opened_at"].as_i64().expect("a time");
        let due = broken.plus(grace);
        let cycles = self.operator.cycles_between(due.0, opened_at);
        assert!(
            cycles <= INTERVALS,
            "{ticket} opened after {cycles} cycles, {} ms after it was due: {opened:#}",
            opened_at - due.0
        );
    }

    /// Since line `from`, only tickets of these invariants have opened.
    pub(crate) fn assert_only_opened(&self, from: usize, expected: &[&str]) {
        let events = self.operator.ticket_events_since(from);
        for line in events.iter().filter(|line| line.starts_with("opened")) {
            let is_expected = expected.iter().any(|invariant| line.contains(invariant));
            assert!(is_expected, "{line} opened; all events: {events:#?}");
        }
    }

    /// Since line `from`, no ticket has resolved.
    pub(crate) fn assert_nothing_resolved(&self, from: usize) {
        let events = self.operator.ticket_events_since(from);
        assert!(
            !events.iter().any(|line| line.starts_with("resolved")),
            "{events:#?}"
        );
    }

    /// The expected ticket opens, and no other; after the repair it resolves, and the cluster is healthy.
    pub(crate) fn break_and_repair(
        mut self,
        ticket: &str,
        grace: Duration,
        expected: &[&str],
        break_it: impl FnOnce(&mut Cluster),
        repair_it: impl FnOnce(&mut Cluster),
    ) {
        let from = self.now();
        break_it(&mut self.cluster);
        self.expect_open(from, ticket, Moment::now(), grace);
        repair_it(&mut self.cluster);
        self.expect(from, &format!("resolved {ticket}"));
        self.wait_until_healthy(self.now());
        self.assert_only_opened(from, expected);
    }
}

/// Enough keys that none comes near its limit.
fn background_load(cluster: &Cluster) -> Process {
    let shape = ["--rate", "40", "--keys", "400", "--connections", "6"];
    let bounds = ["--duration", "3600", "--quiet"];
    cluster
        .start_load(
            "background",
            &[shape.as_slice(), bounds.as_slice()].concat(),
        )
        .expect("load")
}

/// The default configuration, except for the latency.
fn config(folder: &Path, cluster: &Cluster, latency: Latency, more: &str) -> PathBuf {
    let latency = match latency {
        Latency::Ignored => "thresholds.latency_p99_ms = 1000.0\n",
        Latency::Checked => {
            "[subjects.ratelimiter.invariants.high_latency]\ngrace_period = \"3s\"\n"
        }
    };
    write_config(folder, &cluster.settings(), &format!("{latency}{more}"))
}

/// Configures one subject, `ratelimiter`, with these settings of its plugin.
pub(crate) fn write_config(folder: &Path, settings: &[String], more: &str) -> PathBuf {
    let path = folder.join("operator.toml");
    let plugin = plugin(folder);
    let mut text = format!(
        "[log]\nheartbeat = \"1s\"\n[subjects.ratelimiter]\nplugin = {:?}\ninterval = \"1s\"\n\
         [subjects.ratelimiter.config]\n",
        plugin.display()
    );
    for setting in settings {
        let (key, value) = setting.split_once('=').expect("key=value");
        text += &format!("{key} = {value:?}\n");
    }
    fs::write(&path, text + more).expect("write the configuration");
    path
}

/// A copy of the built plugin whose permissions the operator accepts regardless of the umask.
fn plugin(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let built = operator_demo::cluster::program("libratelimiter.so").expect("a built plugin");
    let path = folder.join("libratelimiter.so");
    fs::copy(built, &path).expect("copy the plugin");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set permissions");
    path
}
