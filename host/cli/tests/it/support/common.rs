//! What tests with real plugins share: building the examples, connecting to them, and waiting for states.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use operator_loader::{Invoker, Observer, Plugin, SubjectSpec, connect, set_worker_program};
use operator_model::{
    ActionRules, Control, Deadlines, GateView, Isolation, Mark, Mode, ProposalParts, Sandbox,
    Timestamp,
};
use operator_plugin_api::{ActionDefinition, ActionList, Risk};
use operator_policy::{Approved, Case, Registry, ValidPlan, approval_by, permit};
use serde_json::Value;
use tempfile::TempDir;

/// Enough for a busy machine; a test waits this long only if it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}

/// Tests that measure time share the machine, and one that keeps every core busy has it alone.
static MACHINE: RwLock<()> = RwLock::new(());

pub(crate) fn quiet_machine() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn busy_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The library of a package in a workspace that is built apart from ours, such as `examples/hello-subject`.
///
/// Built once for each test process; cargo's own lock keeps processes from building at the same time.
pub(crate) fn built(manifest_dir: &str, package: &str) -> PathBuf {
    let target = workspace().join("target/test-plugins");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", package])
        .arg("--manifest-path")
        .arg(workspace().join(manifest_dir).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // Without their debug information they are built, copied and hashed in a fraction of the time.
        .envs([
            ("CARGO_PROFILE_DEV_DEBUG", "0"),
            ("CARGO_PROFILE_DEV_STRIP", "debuginfo"),
        ])
        .status()
        .unwrap();
    assert!(status.success(), "{package} cannot be built");
    let name = package.replace('-', "_");
    let dir = target.join("debug");
    let file = dir.join(format!("lib{name}.{}", std::env::consts::DLL_EXTENSION));
    // Wherever the umask lets a group write, a plugin would be refused.
    for path in [&file, &dir] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        fs::set_permissions(path, Permissions::from_mode(mode & !0o022)).unwrap();
    }
    file
}

/// The smallest honest plugin; its lockfile is older than the workspace's.
pub(crate) fn hello_subject() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| built("examples/hello-subject", "hello-subject"))
}

/// The plugin with a switch for every fault. With none on, it reports the content of `observation_file`.
pub(crate) fn misbehaving_subject() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| built("examples/misbehaving-subject", "misbehaving-subject"))
}

/// A private directory that is gone at the end of the test, and the plugins that were copied into it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        set_worker_program(env!("CARGO_BIN_EXE_operator"));
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join(name.as_ref())
    }

    pub(crate) fn open(&self, plugin: &Path) -> Arc<Plugin> {
        Arc::new(Plugin::open(plugin, None, &self.path("copies")).unwrap())
    }

    pub(crate) fn spec(&self, plugin: &Path, isolation: Isolation, config: Value) -> SubjectSpec {
        let Value::Object(config) = config else {
            panic!("a configuration is an object");
        };
        SubjectSpec {
            name: "subject".into(),
            plugin: self.open(plugin),
            config,
            isolation,
            // Where the tests keep the files that they name in a configuration.
            sandbox: Sandbox {
                write: vec![self.dir.path().to_owned()],
                ..Sandbox::default()
            },
            deadlines: deadlines(),
        }
    }

    /// The misbehaving plugin with this configuration.
    pub(crate) fn misbehaving(&self, isolation: Isolation, config: Value) -> (Observer, Invoker) {
        handles(self.spec(misbehaving_subject(), isolation, config))
    }

    /// The lines that the misbehaving plugin wrote to `effects_file`, if that is [`Bench::effects_file`].
    pub(crate) fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(self.effects_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn effects_file(&self) -> PathBuf {
        self.path("effects")
    }
}

/// Both handles to a subject.
pub(crate) fn handles(spec: SubjectSpec) -> (Observer, Invoker) {
    let observer = connect(spec);
    let invoker = Invoker::new(&observer, operator_policy::Acting);
    (observer, invoker)
}

/// Permission for a call, as the rules of the gate give it to a person who approved it.
pub(crate) fn approved(action: &str, params: Value) -> Approved {
    let definition = ActionDefinition {
        name: action.to_owned(),
        description: String::new(),
        params_schema: Value::Object(serde_json::Map::new()),
        risk: Risk::Low,
        idempotent: true,
        inverse: None,
        mends: Vec::new(),
        dry_run: true,
    };
    let actions = vec![definition];
    let registry = Registry::new("subject", ActionList { actions });
    let params = params.as_object().cloned().unwrap();
    let plan = Arc::new(ValidPlan::from(registry.resolve(action, params).unwrap()));
    let mark = Mark::now("ada", "");
    let mut proposal = ProposalParts::new(plan.subject(), plan.shown(), plan.risk(), mark.clone());
    let view = GateView {
        control: Control::default(),
        ticket: None,
        live: Vec::new(),
        busy: Vec::new(),
        recent: Vec::new(),
        follows: None,
    };
    let rules = ActionRules {
        mode: Mode::Execute,
        ..ActionRules::default()
    };
    proposal.approval = Some(approval_by(mark, false, &plan, &proposal, &view, &rules));
    let case = Case {
        plan: &plan,
        step: 0,
        proposal: &proposal,
        view: &view,
        rules: &rules,
        now: Timestamp::now(),
    };
    permit(&plan, case).unwrap().0
}

/// Generous, so that only a test which shortens one of them meets it.
pub(crate) fn deadlines() -> Deadlines {
    Deadlines {
        create: PATIENCE,
        observe: PATIENCE,
        check: PATIENCE,
        invoke: PATIENCE,
    }
}

/// Runs a statement in a database from outside; what it prints.
#[track_caller]
pub(crate) fn sqlite3(database: &Path, statement: &str) -> String {
    let output = Command::new("sqlite3")
        .arg(database)
        .arg(statement)
        .output()
        .expect("sqlite3 is installed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits until `state` gives something, and fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(reached) = state() {
            return reached;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs; a zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

/// The direct children of a process.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent) && is_alive(*pid))
        .collect()
}

/// All processes whose working directory lies in `dir`.
pub(crate) fn processes_in(dir: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_there =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
    pids.filter(|pid| is_there(pid) && is_alive(*pid)).collect()
}

/// The workers of this process whose private directory lies in `dir`.
pub(crate) fn children_in(dir: &Path) -> Vec<u32> {
    let is_there =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
    let children = children_of(std::process::id()).into_iter();
    children.filter(is_there).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}
