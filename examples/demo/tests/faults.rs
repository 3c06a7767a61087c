//! Real faults on a real cluster: the right ticket opens in time, no wrong one does, and it resolves after the repair.
//!
//! Where a grace period is a minute, the test of that fault shortens it; everything else is as a newcomer has it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use operator_demo::{Cluster, Options, Process, Watched, redis};
use rustix::process::Signal;

/// Two intervals of a second, the slowest look at a cluster of which a part hangs, and a busy machine.
const SOON: Duration = Duration::from_secs(5);
/// A shortened grace period.
const GRACE: Duration = Duration::from_secs(3);
/// A cluster that was broken needs some time to be whole again: rates look back over a minute.
const REPAIR: Duration = Duration::from_secs(100);

/// Each of these tests needs the machine for itself.
static MACHINE: Mutex<()> = Mutex::new(());

struct Scene {
    cluster: Cluster,
    operator: Watched,
    /// Without checks nothing would be known of latency.
    _load: Process,
    folder: PathBuf,
    _temp: tempfile::TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl Scene {
    /// A cluster, and an operator that has found it healthy.
    fn new(options: Options) -> Self {
        Self::with_short_grace(options, None)
    }

    /// The same; one invariant has a grace period of [`GRACE`].
    fn with_short_grace(options: Options, invariant: Option<&str>) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().to_owned();
        let cluster = Cluster::start(&folder, options).expect("a cluster");
        let config = config(&folder, &cluster, invariant);
        let args = ["--config".to_owned(), config.display().to_string()];
        let operator = Watched::start(&folder, &args).expect("an operator");
        let scene = Self {
            _load: background_load(&cluster),
            cluster,
            operator,
            folder,
            _temp: temp,
            _machine: machine,
        };
        scene.wait_until_healthy(0);
        scene
    }

    /// Load that has come to its end.
    fn drive(&self, args: &[&str]) {
        let args = [args, &["--duration", "30", "--quiet"]].concat();
        let mut load = self.cluster.start_load("load", &args).expect("load");
        operator_demo::wait::until(REPAIR, "the load ends", || load.has_ended().then_some(()))
            .expect("an end");
    }

    /// Everything holds and everything is known.
    fn wait_until_healthy(&self, from: usize) {
        let is_healthy = |beat: &serde_json::Value| {
            beat["observed"] == true && beat["violated"] == 0 && beat["unknown"] == 0
        };
        self.operator
            .wait_for_heartbeat(from, "healthy", REPAIR, is_healthy)
            .expect("a healthy heartbeat");
    }

    fn now(&self) -> usize {
        self.operator.lines().len()
    }

    fn expect(&self, from: usize, told: &str, patience: Duration) {
        self.operator.wait_for(from, told, patience).expect(told);
    }

    /// Nothing but tickets of these invariants has opened since then.
    fn only(&self, from: usize, expected: &[&str]) {
        let told = self.operator.told_since(from);
        for line in told.iter().filter(|line| line.starts_with("opened")) {
            let is_expected = expected.iter().any(|invariant| line.contains(invariant));
            assert!(is_expected, "{line} opened; all that was told: {told:#?}");
        }
    }

    /// The ticket opens, nothing else does; after the repair it resolves, and all is well.
    fn play(
        mut self,
        ticket: &str,
        grace: Duration,
        expected: &[&str],
        break_it: impl FnOnce(&mut Cluster),
        repair_it: impl FnOnce(&mut Cluster),
    ) {
        let from = self.now();
        break_it(&mut self.cluster);
        self.expect(from, &format!("opened {ticket}"), grace + SOON);
        repair_it(&mut self.cluster);
        self.expect(from, &format!("resolved {ticket}"), REPAIR);
        self.wait_until_healthy(self.now());
        self.only(from, expected);
    }
}

/// So many keys that none comes near its limit.
fn background_load(cluster: &Cluster) -> Process {
    let shape = ["--rate", "40", "--keys", "400", "--connections", "6"];
    let bounds = ["--duration", "600", "--quiet"];
    cluster
        .start_load(
            "background",
            &[shape.as_slice(), bounds.as_slice()].concat(),
        )
        .expect("load")
}

/// What a newcomer has, but for one grace period.
fn config(folder: &Path, cluster: &Cluster, short_grace: Option<&str>) -> PathBuf {
    let path = folder.join("operator.toml");
    let plugin = plugin(folder);
    let mut text = format!(
        "[log]\nheartbeat = \"1s\"\n[subjects.ratelimiter]\nplugin = {:?}\ninterval = \"1s\"\n\
         [subjects.ratelimiter.config]\n",
        plugin.display()
    );
    for setting in cluster.settings() {
        let (key, value) = setting.split_once('=').expect("key=value");
        text += &format!("{key} = {value:?}\n");
    }
    if let Some(invariant) = short_grace {
        text += &format!("[subjects.ratelimiter.invariants.{invariant}]\ngrace_period = \"3s\"\n");
    }
    fs::write(&path, text).expect("write the configuration");
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

fn signal(cluster: &Cluster, place: usize, signal: Signal) {
    let process = cluster.nodes[place].process.as_ref().expect("a node");
    process.signal(signal).expect("a signal");
}

fn kill_node(cluster: &mut Cluster, place: usize) {
    let process = cluster.nodes[place].process.as_mut().expect("a node");
    process.kill().expect("a dead node");
}

#[test]
fn a_killed_node_is_down() {
    Scene::new(Options::default()).play(
        "critical node_down node-2",
        Duration::ZERO,
        &["node_down node-2"],
        |cluster| kill_node(cluster, 1),
        |cluster| cluster.start_node(1).expect("a node"),
    );
}

#[test]
fn a_stopped_node_is_down() {
    Scene::new(Options::default()).play(
        "critical node_down node-3",
        Duration::ZERO,
        &["node_down node-3"],
        |cluster| signal(cluster, 2, Signal::STOP),
        |cluster| signal(cluster, 2, Signal::CONT),
    );
}

#[test]
fn when_the_node_of_the_management_url_dies_another_one_answers() {
    Scene::new(Options::default()).play(
        "critical node_down node-1",
        Duration::ZERO,
        &["node_down node-1"],
        |cluster| kill_node(cluster, 0),
        |cluster| cluster.start_node(0).expect("a node"),
    );
}

#[test]
fn a_killed_redis_is_disconnected_and_no_node_is_down() {
    Scene::new(Options::default()).play(
        "critical redis_disconnected",
        Duration::ZERO,
        &["redis_disconnected"],
        |cluster| {
            cluster
                .redis
                .as_mut()
                .expect("Redis")
                .kill()
                .expect("a dead Redis");
        },
        |cluster| cluster.start_redis().expect("Redis"),
    );
}

#[test]
fn a_frozen_redis_is_disconnected() {
    Scene::new(Options::default()).play(
        "critical redis_disconnected",
        Duration::ZERO,
        &["redis_disconnected"],
        |cluster| {
            let answer = redis::command(cluster.redis_port, "CLIENT PAUSE 8000 ALL");
            assert_eq!(answer.expect("an answer"), "+OK");
        },
        |_| {},
    );
}

#[test]
fn added_latency_is_high_latency() {
    Scene::with_short_grace(Options::default(), Some("high_latency")).play(
        "warning high_latency",
        // Prometheus's rate over the last minute has to see it first.
        GRACE + Duration::from_secs(20),
        &["high_latency"],
        |cluster| cluster.chaos(r#"{"added_latency_ms":100}"#).expect("chaos"),
        |cluster| cluster.chaos(r#"{"added_latency_ms":0}"#).expect("chaos"),
    );
}

#[test]
fn without_prometheus_latency_is_unknown_and_nothing_resolves() {
    let mut scene = Scene::new(Options::default());
    let from = scene.now();
    kill_node(&mut scene.cluster, 1);
    scene.expect(from, "opened critical node_down node-2", SOON);
    let prometheus = scene.cluster.prometheus.as_mut().expect("Prometheus");
    prometheus.kill().expect("a dead Prometheus");
    let unsure = |beat: &serde_json::Value| beat["unknown"].as_u64() > Some(0);
    scene
        .operator
        .wait_for_heartbeat(scene.now(), "unknown latency", REPAIR, unsure)
        .expect("a heartbeat");
    scene.cluster.start_prometheus().expect("Prometheus");
    scene.cluster.start_node(1).expect("a node");
    scene.expect(from, "resolved critical node_down node-2", REPAIR);
    scene.wait_until_healthy(scene.now());
    scene.only(from, &["node_down node-2"]);
}

#[test]
fn checks_that_are_not_atomic_let_too_much_through() {
    let options = Options {
        default_limit: 50,
        default_window_ms: 10_000,
        ..Options::default()
    };
    let scene = Scene::new(options);
    let from = scene.now();
    scene
        .cluster
        .chaos(r#"{"non_atomic":true}"#)
        .expect("chaos");
    scene.drive(&[
        "--connections",
        "200",
        "--keys",
        "1",
        "--key-prefix",
        "hot:",
        "--count",
        "4000",
    ]);
    scene.expect(from, "opened critical ghost_allowing hot:0", SOON);
    let over = scene.operator.told_since(from);
    assert!(
        over.iter().any(|line| line.contains("over_limit hot:0")),
        "{over:#?}"
    );
    scene
        .cluster
        .chaos(r#"{"non_atomic":false}"#)
        .expect("chaos");
    scene.expect(from, "resolved critical ghost_allowing hot:0", REPAIR);
    scene.wait_until_healthy(scene.now());
    scene.only(from, &["ghost_allowing hot:0", "over_limit hot:0"]);
}

#[test]
fn what_was_allowed_while_redis_was_away_shows_when_it_is_back() {
    let options = Options {
        default_limit: 50,
        default_window_ms: 60_000,
        on_redis_error: "allow",
        ..Options::default()
    };
    let mut scene = Scene::new(options);
    let from = scene.now();
    scene
        .cluster
        .redis
        .as_mut()
        .expect("Redis")
        .kill()
        .expect("a dead Redis");
    scene.expect(from, "opened critical redis_disconnected", SOON);
    scene.drive(&[
        "--rate",
        "200",
        "--keys",
        "1",
        "--key-prefix",
        "hot:",
        "--count",
        "600",
    ]);
    scene.cluster.start_redis().expect("Redis");
    scene.expect(from, "resolved critical redis_disconnected", REPAIR);
    let seen = operator_demo::wait::until(REPAIR, "ghost allowing or drift", || {
        let told = scene.operator.told_since(from);
        told.into_iter().find(|line| {
            line.starts_with("opened")
                && (line.contains("ghost_allowing") || line.contains("counter_drift"))
        })
    });
    seen.expect("what was allowed is missed");
}

#[test]
fn when_everything_is_dead_the_subject_is_unobservable_and_open_tickets_stay() {
    let mut scene = Scene::new(Options::default());
    let from = scene.now();
    kill_node(&mut scene.cluster, 1);
    scene.expect(from, "opened critical node_down node-2", SOON);
    for process in [&mut scene.cluster.redis, &mut scene.cluster.prometheus] {
        process
            .as_mut()
            .expect("a server")
            .kill()
            .expect("a dead server");
    }
    kill_node(&mut scene.cluster, 0);
    kill_node(&mut scene.cluster, 2);
    scene.expect(from, "opened critical operator.subject_unobservable", SOON);
    let blind = |beat: &serde_json::Value| beat["observed"] == false;
    for _ in 0..3 {
        let beat = scene
            .operator
            .wait_for_heartbeat(scene.now(), "blind", SOON, blind);
        beat.expect("a blind heartbeat");
    }
    let resolved = scene.operator.told_since(from);
    assert!(
        !resolved.iter().any(|line| line.starts_with("resolved")),
        "{resolved:#?}"
    );
    scene.cluster.start_redis().expect("Redis");
    for place in 0..3 {
        scene.cluster.start_node(place).expect("a node");
    }
    scene.cluster.start_prometheus().expect("Prometheus");
    scene.expect(
        from,
        "resolved critical operator.subject_unobservable",
        REPAIR,
    );
    scene.expect(from, "resolved critical node_down node-2", REPAIR);
    scene.wait_until_healthy(scene.now());
    let tickets = scene.operator.tickets().expect("tickets");
    let open = |ticket: &&serde_json::Value| ticket["state"] == "open";
    assert_eq!(tickets.iter().find(open), None);
    assert!(scene.folder.join("state").exists());
}
