//! Processes that a test needs.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// Between two attempts of [`wait_for`].
const POLL: Duration = Duration::from_millis(20);

/// A process that is ended with the test.
pub struct Process(Child);

impl Process {
    /// Starts it without input and output.
    pub fn start(command: &mut Command) -> Self {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = quiet.spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// A Prometheus on this port, with this configuration; both are written into the folder.
    pub fn prometheus(folder: &Path, config: &str, port: u16) -> Self {
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config).expect("write the configuration of Prometheus");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self::start(&mut command)
    }

    /// Sends a signal by its name: `STOP`, `CONT`, `KILL`.
    pub fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{signal}")).arg(self.0.id().to_string());
        assert!(kill.status().expect("run kill").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of the loopback device on which nothing listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Polls until there is a result; panics with what was waited for if there is none in time.
pub fn wait_for<T>(what: &str, timeout: Duration, mut poll: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        thread::sleep(POLL);
    }
}

/// A binary of another package of the workspace, next to the running test. It is built if it is not there.
pub fn binary(package: &str, name: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let test = std::env::current_exe().expect("the running test");
    let folder = test.parent().and_then(Path::parent);
    let binary = folder.expect("a target directory").join(name);
    let _one_at_a_time = BUILDING.lock().expect("no build panicked");
    if !binary.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", package, "--bin", name]);
        assert!(build.status().expect("run cargo").success());
    }
    binary
}
