//! A cluster, an operator that has found it healthy, and what is demanded of it when something breaks.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use operator_demo::{Cluster, Options, Process, Watched, wait};
use serde_json::Value;

/// How many intervals after its grace period a fault may have no open ticket yet.
const INTERVALS: u64 = 2;
/// A shortened grace period.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// A cluster that was broken needs some time to be whole again: rates look back over a minute. No measure of anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// How the operator is set, where that is not what a newcomer has.
#[derive(Clone, Copy)]
pub(crate) enum Latency {
    /// As a newcomer has it, but for a grace period of [`GRACE`].
    Judged,
    /// Only what no machine does by being busy counts: then the fault in hand is another one.
    OfNoInterest,
}

pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) operator: Watched,
    /// Without checks nothing would be known of latency.
    _load: Process,
    pub(crate) folder: PathBuf,
    _temp: tempfile::TempDir,
}

/// The moment after which a fault is there. Milliseconds since the Unix epoch.
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
    /// A cluster, and an operator that has found it healthy.
    pub(crate) fn new(options: Options) -> Self {
        Self::with(options, Latency::OfNoInterest)
    }

    pub(crate) fn with(options: Options, latency: Latency) -> Self {
        Self::configured(options, latency, "")
    }

    /// The same; `more` is the end of the configuration, and begins in the table `subjects.ratelimiter.config` if latency is
    /// of no interest.
    pub(crate) fn configured(options: Options, latency: Latency, more: &str) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().to_owned();
        let cluster = Cluster::start(&folder, options).expect("a cluster");
        let config = config(&folder, &cluster, latency, more);
        let args = ["--config".to_owned(), config.display().to_string()];
        let operator = Watched::start(&folder, &args).expect("an operator");
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

    /// Load that has come to its end; how many checks were allowed.
    pub(crate) fn drive(&self, name: &str, args: &[&str]) -> u64 {
        let args = [args, &["--duration", "60", "--quiet", "--json"]].concat();
        let mut load = self.cluster.start_load(name, &args).expect("load");
        wait::until(PATIENCE, "the load ends", || load.has_ended().then_some(())).expect("an end");
        let log = load.log();
        let summary: Value = serde_json::from_str(log.trim()).expect(&log);
        summary["allowed"].as_u64().expect(&log)
    }

    /// Checks that are not atomic let more of a key through than its limit; the key. Each try has a key of its own.
    pub(crate) fn overshoot(&self) -> String {
        let limit = self.cluster.options().default_limit;
        let set = |faults| self.cluster.chaos(faults).expect("chaos");
        set(r#"{"non_atomic":true}"#);
        let mut tries = 0..;
        let key = wait::until(PATIENCE, "more is admitted than the limit", || {
            let prefix = format!("hot{}:", tries.next()?);
            let burst = ["--connections", "200", "--count", "200", "--keys", "1"];
            let of_one_key = [burst.as_slice(), &["--key-prefix", &prefix]].concat();
            (self.drive(&prefix, &of_one_key) > limit).then(|| format!("{prefix}0"))
        });
        set("{}");
        key.expect("an overshoot")
    }

    /// Everything holds and everything is known.
    pub(crate) fn wait_until_healthy(&self, from: usize) {
        let is_healthy = |beat: &Value| {
            beat["observed"] == true && beat["violated"] == 0 && beat["unknown"] == 0
        };
        self.operator
            .wait_for_heartbeat(from, "healthy", PATIENCE, is_healthy)
            .expect("a healthy heartbeat");
    }

    pub(crate) fn now(&self) -> usize {
        self.operator.lines().len()
    }

    pub(crate) fn expect(&self, from: usize, told: &str) -> Value {
        self.operator.wait_for(from, told, PATIENCE).expect(told)
    }

    /// The ticket of a fault that was there at `broken` opens within two intervals of its grace period.
    ///
    /// Intervals are counted in cycles, as the operator's heartbeats tell them: a machine that is too busy makes cycles late,
    /// and the operator says so itself.
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

    /// Nothing but tickets of these invariants has opened since then.
    pub(crate) fn only(&self, from: usize, expected: &[&str]) {
        let told = self.operator.told_since(from);
        for line in told.iter().filter(|line| line.starts_with("opened")) {
            let is_expected = expected.iter().any(|invariant| line.contains(invariant));
            assert!(is_expected, "{line} opened; all that was told: {told:#?}");
        }
    }

    /// No ticket has resolved since then.
    pub(crate) fn resolved_nothing(&self, from: usize) {
        let told = self.operator.told_since(from);
        assert!(
            !told.iter().any(|line| line.starts_with("resolved")),
            "{told:#?}"
        );
    }

    /// The ticket opens, nothing else does; after the repair it resolves, and all is well.
    pub(crate) fn play(
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
        self.only(from, expected);
    }
}

/// So many keys that none comes near its limit.
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

/// What a newcomer has, but for the latency.
fn config(folder: &Path, cluster: &Cluster, latency: Latency, more: &str) -> PathBuf {
    let latency = match latency {
        Latency::OfNoInterest => "thresholds.latency_p99_ms = 1000.0\n",
        Latency::Judged => {
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

/// The built plugin, in a place and with permissions that the operator accepts whatever the umask was.
fn plugin(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let built = operator_demo::cluster::program("libratelimiter.so").expect("a built plugin");
    let path = folder.join("libratelimiter.so");
    fs::copy(built, &path).expect("copy the plugin");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set permissions");
    path
}
