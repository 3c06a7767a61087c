//! A private directory, and the plugin in it as a subject.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use operator_loader::{Plugin, SubjectSpec, set_worker_program};
use operator_model::{Deadlines, Isolation, Sandbox};
use serde_json::Value;
use tempfile::TempDir;

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn workspace() -> &'static Path {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.ancestors().nth(2).unwrap()
}

/// A directory that is gone at the end.
pub(crate) struct Site(TempDir);

impl Site {
    pub(crate) fn new() -> Self {
        set_worker_program(env!("CARGO_BIN_EXE_operator"));
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn spec(&self, plugin: &Path, isolation: Isolation, config: Value) -> SubjectSpec {
        SubjectSpec {
            name: "subject".into(),
            plugin: Arc::new(Plugin::open(plugin, None, &self.path("copies")).unwrap()),
            config: config.as_object().cloned().unwrap(),
            isolation,
            sandbox: Sandbox::default(),
            deadlines: Deadlines {
                create: PATIENCE,
                observe: PATIENCE,
                check: PATIENCE,
                invoke: PATIENCE,
            },
        }
    }
}

pub(crate) fn wait_for(what: &str, mut is_reached: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_reached() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
