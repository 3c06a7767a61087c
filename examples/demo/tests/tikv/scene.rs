//! A simulated TiKV cluster, a real Prometheus, and an operator that has found it healthy.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use operator_demo::{Tikv, Watched, cluster::program};
use serde_json::Value;

/// A grace period, a few looks at a cluster of which a part hangs, and a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(40);
/// Rates look back over a minute, and PD's regions report once in one.
pub(crate) const REPAIR: Duration = Duration::from_secs(150);

pub(crate) struct Scene {
    pub(crate) cluster: Tikv,
    pub(crate) operator: Watched,
    _temp: tempfile::TempDir,
}

impl Scene {
    /// These invariants wait for a second only, in place of a minute or more; everything else is as a newcomer has it.
    pub(crate) fn new(stores: u32, hasty: &[&str]) -> Self {
        Self::with(stores, hasty, "")
    }

    /// The same, with more lines for the plugin.
    pub(crate) fn with(stores: u32, hasty: &[&str], settings: &str) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let cluster = Tikv::start(temp.path(), stores, 120).expect("a cluster");
        let config = config(temp.path(), &cluster, hasty, settings);
        let args = ["--config".to_owned(), config.display().to_string()];
        let operator = Watched::start(temp.path(), &args).expect("an operator");
        let scene = Self {
            cluster,
            operator,
            _temp: temp,
        };
        scene.wait_until_healthy();
        scene
    }

    /// Everything holds and everything is known, from now on.
    pub(crate) fn wait_until_healthy(&self) {
        let is_healthy = |beat: &Value| {
            beat["observed"] == true && beat["violated"] == 0 && beat["unknown"] == 0
        };
        self.beat("healthy", is_healthy);
    }

    /// The next heartbeat of which this is true.
    pub(crate) fn beat(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let beat = self
            .operator
            .wait_for_heartbeat(self.now(), what, REPAIR, is_it);
        beat.expect(what)
    }

    /// What has been said so far, to look only at what comes after.
    pub(crate) fn now(&self) -> usize {
        self.operator.lines().len()
    }

    pub(crate) fn opens(&self, from: usize, ticket: &str) {
        let told = format!("opened {ticket}");
        self.operator.wait_for(from, &told, SOON).expect(&told);
    }

    pub(crate) fn resolves(&self, from: usize, ticket: &str) {
        let told = format!("resolved {ticket}");
        self.operator.wait_for(from, &told, REPAIR).expect(&told);
    }

    /// Does this to the cluster, such as `stores/2/kill`.
    pub(crate) fn control(&self, deed: &str) {
        self.cluster.control(deed).expect(deed);
    }

    /// Asks this of PD.
    pub(crate) fn pd(&self, path: &str, body: &str) {
        self.cluster.pd(path, body).expect(path);
    }

    /// Nothing but these tickets has opened since then.
    pub(crate) fn only(&self, from: usize, expected: &[&str]) {
        let told = self.operator.told_since(from);
        for line in told.iter().filter(|line| line.starts_with("opened")) {
            let is_expected = expected.iter().any(|ticket| line.ends_with(ticket));
            assert!(is_expected, "{line}; all that was told: {told:#?}");
        }
    }

    /// The tickets open, nothing else does; after the repair they resolve, and all is well.
    pub(crate) fn play(
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
        self.only(from, tickets);
    }
}

fn config(folder: &Path, cluster: &Tikv, hasty: &[&str], settings: &str) -> PathBuf {
    let path = folder.join("operator.toml");
    let mut text = format!(
        "[log]\nheartbeat = \"1s\"\n[subjects.tikv]\nplugin = {:?}\ninterval = \"1s\"\n[subjects.tikv.config]\n{}{settings}",
        plugin(folder).display(),
        cluster.settings()
    );
    for invariant in hasty {
        text += &format!("[subjects.tikv.invariants.{invariant}]\ngrace_period = \"1s\"\n");
    }
    fs::write(&path, text).expect("write the configuration");
    path
}

/// The built plugin, in a place and with permissions that the operator accepts whatever the umask was.
fn plugin(folder: &Path) -> PathBuf {
    let built = program("libtikv.so").expect("a built plugin");
    let path = folder.join("libtikv.so");
    fs::copy(built, &path).expect("copy the plugin");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set permissions");
    path
}
