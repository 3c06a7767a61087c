//! A simulated TiKV cluster, a real Prometheus, and an operator that has reported the cluster as healthy.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use operator_demo::{Operator, Tikv, cluster::program};
use serde_json::Value;

/// Enough for a grace period and a few cycles in which a part of the cluster hangs, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(40);
/// Rates cover a minute, and regions report to PD once a minute.
pub(crate) const REPAIR: Duration = Duration::from_secs(150);

pub(crate) struct Scene {
    pub(crate) cluster: Tikv,
    pub(crate) operator: Operator,
    temp: tempfile::TempDir,
}

impl Scene {
    /// The grace periods of these invariants are shortened to a second; all other settings are the defaults.
    pub(crate) fn new(stores: u32, shortened: &[&str]) -> Self {
        Self::with(stores, shortened, "")
    }

    /// With more lines in the plugin's configuration.
    pub(crate) fn with(stores: u32, shortened: &[&str], settings: &str) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let cluster = Tikv::start(temp.path(), stores, 120).expect("a cluster");
        let config = config(temp.path(), &cluster, shortened, settings);
        let args = ["--config".to_owned(), config.display().to_string()];
        let operator = Operator::start(temp.path(), &args).expect("an operator");
        let scene = Self {
            cluster,
            operator,
            temp,
        };
        scene.wait_until_healthy();
        scene
    }

    /// Waits until every invariant holds and none is unknown.
    pub(crate) fn wait_until_healthy(&self) {
        let is_healthy = |heartbeat: &Value| {
            heartbeat["observed"] == true && heartbeat["violated"] == 0 && heartbeat["unknown"] == 0
        };
        self.wait_for_heartbeat("healthy", is_healthy);
    }

    /// Waits for the next heartbeat that matches.
    pub(crate) fn wait_for_heartbeat(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let heartbeat = self
            .operator
            .wait_for_heartbeat(self.now(), what, REPAIR, is_it);
        heartbeat.expect(what)
    }

    /// The number of log lines so far, as a starting point for later assertions.
    pub(crate) fn now(&self) -> usize {
        self.operator.lines().len()
    }

    pub(crate) fn opens(&self, from: usize, ticket: &str) {
        let events = format!("opened {ticket}");
        self.operator.wait_for(from, &events, SOON).expect(&events);
    }

    pub(crate) fn resolves(&self, from: usize, ticket: &str) {
        let events = format!("resolved {ticket}");
        self.operator
            .wait_for(from, &events, REPAIR)
            .expect(&events);
    }

    /// Sends a request to the control API, such as `stores/2/kill`.
    pub(crate) fn control(&self, action: &str) {
        self.cluster.control(action).expect(action);
    }

    /// Sends a POST request to PD.
    pub(crate) fn pd(&self, path: &str, body: &str) {
        self.cluster.pd(path, body).expect(path);
    }

    pub(crate) fn restart_prometheus_without_data(&mut self) {
        let prometheus = self.cluster.prometheus.as_mut().expect("Prometheus");
        prometheus.kill().expect("a dead Prometheus");
        fs::remove_dir_all(self.temp.path().join("prometheus")).expect("its data");
        self.cluster.start_prometheus().expect("Prometheus");
    }

    /// Since line `from`, only these tickets have opened.
    pub(crate) fn assert_only_opened(&self, from: usize, expected: &[&str]) {
        let events = self.operator.ticket_events_since(from);
        for line in events.iter().filter(|line| line.starts_with("opened")) {
            let is_expected = expected.iter().any(|ticket| line.ends_with(ticket));
            assert!(is_expected, "{line}; all events: {events:#?}");
        }
    }

    /// The tickets open, nothing else does; after the repair they resolve, and all is well.
    pub(crate) fn break_and_repair(
        self,
        tickets: &[&str],
        break_it: impl FnOnce(&Self),
        repair_it: impl FnOnce(&Self),
    ) {
        let from = self.now();
        break_it(&self);
        for ticket in tickets {
            self.opens(from, ticket);
        }
        repair_it(&self);
        for ticket in tickets {
            self.resolves(from, ticket);
        }
        self.wait_until_healthy();
        self.assert_only_opened(from, tickets);
    }
}

fn config(folder: &Path, cluster: &Tikv, shortened: &[&str], settings: &str) -> PathBuf {
    let path = folder.join("operator.toml");
    let mut text = format!(
        "[log]\nheartbeat = \"1s\"\n[subjects.tikv]\nplugin = {:?}\ninterval = \"1s\"\n[subjects.tikv.config]\n{}{settings}",
        plugin(folder).display(),
        cluster.settings()
    );
    for invariant in shortened {
        text += &format!("[subjects.tikv.invariants.{invariant}]\ngrace_period = \"1s\"\n");
    }
    fs::write(&path, text).expect("write the configuration");
    path
}

/// A copy of the built plugin whose permissions the operator accepts regardless of the umask.
fn plugin(folder: &Path) -> PathBuf {
    let built = program("libtikv.so").expect("a built plugin");
    let path = folder.join("libtikv.so");
    fs::copy(built, &path).expect("copy the plugin");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set permissions");
    path
}
