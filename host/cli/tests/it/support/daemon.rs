//! Real daemons: the built binary on a configuration of its own, followed by what it prints as JSON.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use super::common::{hello_subject, is_alive, wait_for};

/// A directory with a configuration, the state of its daemons, and whatever its plugins read and write.
pub(crate) struct Site {
    dir: TempDir,
    config: String,
}

impl Site {
    /// Heartbeats are as frequent as they may be.
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            config: "log.heartbeat = \"1s\"\n".into(),
        }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Adds a line above the subjects.
    pub(crate) fn line(&mut self, line: &str) -> &mut Self {
        self.config.insert_str(0, &format!("{line}\n"));
        self
    }

    /// Adds a subject; `lines` go into its table, and may begin tables below it.
    pub(crate) fn subject(&mut self, name: &str, plugin: &Path, lines: &str) -> &mut Self {
        self.config += &format!("[subjects.{name}]\nplugin = {plugin:?}\n{lines}\n");
        self
    }

    /// Adds a subject that is well all the time.
    pub(crate) fn honest(&mut self, name: &str, lines: &str) -> &mut Self {
        let file = self.path("fresh");
        fs::write(&file, "").unwrap();
        let lines = format!("{lines}\nconfig = {{ file = {file:?}, max_age_s = 3600 }}");
        self.subject(name, hello_subject(), &lines)
    }

    /// The command on this site's configuration.
    pub(crate) fn operator(&self) -> Command {
        // A daemon may be reading it just now.
        put(&self.path("operator.toml"), &self.config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_operator"));
        command
            .env_clear()
            .env("HOME", "/does/not/exist")
            .env("USER", "anna")
            .current_dir(self.dir.path())
            .args(["--config", "operator.toml", "--state-dir"])
            .arg(self.path("state"));
        command
    }

    /// What a command prints when it succeeds.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let output = self.operator().args(arguments).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {complaints}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every ticket in any state, the oldest first; none while no daemon has made a database.
    pub(crate) fn tickets(&self) -> Vec<Value> {
        let database = self.path("state/operator.db");
        if !self.config.contains("database = ") && !database.exists() {
            return Vec::new();
        }
        let mut tickets: Vec<Value> =
            serde_json::from_str(&self.ask(&["tickets", "list", "--all", "--json"])).unwrap();
        tickets.reverse();
        tickets
    }

    /// Starts a daemon, in a process group of its own.
    pub(crate) fn start(&self) -> Daemon {
        self.start_with(|_| {})
    }

    pub(crate) fn start_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = self.operator();
        let errors = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.errors())
            .unwrap();
        command
            .args(["--log-format", "json"])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        change(&mut command);
        Daemon::follow(command.spawn().unwrap())
    }

    /// Starts a daemon with mounts of its own, after this shell command.
    pub(crate) fn start_in(&self, prepare: &str) -> Daemon {
        let operator = self.operator();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(format!("{prepare} && exec \"$0\" \"$@\""))
            .arg(operator.get_program())
            .args(operator.get_args())
            .args(["--log-format", "json"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Daemon::follow(command.spawn().unwrap())
    }

    /// Starts a daemon whose output has no reader any more.
    pub(crate) fn start_unread(&self) -> Daemon {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.start_with(|command| {
            command.stdout(writer);
        })
    }

    /// Where daemons put what is not an event: their standard error.
    pub(crate) fn errors(&self) -> PathBuf {
        self.path("errors")
    }

    /// The workers of any daemon of this site that run, known by their private directory.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let state = self.path("state");
        let is_ours = |pid: &u32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&state))
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| is_ours(pid) && is_alive(*pid))
            .collect()
    }

    #[track_caller]
    pub(crate) fn wait_for_no_workers(&self) {
        wait_for("the workers' end", || {
            self.workers().is_empty().then_some(())
        });
    }
}

/// A running daemon; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn follow(mut child: Child) -> Self {
        let output = child.stdout.take();
        let events = Arc::default();
        Self {
            reader: output.map(|output| read(output, Arc::clone(&events))),
            child,
            events,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until it has printed an event that matches, and returns the first.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_after(0, what, is_it)
    }

    /// Like [`wait_for`](Self::wait_for), but skips this many events.
    #[track_caller]
    pub(crate) fn wait_for_after(
        &mut self,
        after: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        wait_for(what, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("waited for {what}; the daemon ended with {status}");
            }
            self.events().into_iter().skip(after).find(&is_it)
        })
    }

    /// Waits for an event of this kind on a ticket of a subject's invariant, and returns the ticket.
    #[track_caller]
    pub(crate) fn wait_for_ticket(&mut self, subject: &str, invariant: &str, kind: &str) -> Value {
        let what = format!("{invariant} of {subject} {kind}");
        let event = self.wait_for(&what, |event| {
            event["subject"] == subject
                && event["kind"] == kind
                && event["ticket"]["invariant"] == invariant
        });
        event["ticket"].clone()
    }

    /// What has happened to the tickets of a subject, in order: kind and invariant.
    pub(crate) fn story(&self, subject: &str) -> Vec<(String, String)> {
        let events = self.events().into_iter();
        events
            .filter(|event| event["event"] == "ticket" && event["subject"] == subject)
            .map(|event| (text(&event["kind"]), text(&event["ticket"]["invariant"])))
            .collect()
    }

    /// The latest heartbeat of a subject.
    pub(crate) fn heartbeat(&self, subject: &str) -> Option<Heartbeat> {
        let events = self.events();
        events.iter().rev().find_map(|event| {
            let is_it = event["event"] == "heartbeat" && event["subject"] == subject;
            is_it.then(|| Heartbeat::of(event))
        })
    }

    /// Waits for a heartbeat of a subject that was printed from now on.
    #[track_caller]
    pub(crate) fn next_heartbeat(&mut self, subject: &str) -> Heartbeat {
        let seen = self.events().len();
        let event = self.wait_for_after(seen, "a heartbeat", |event| {
            event["event"] == "heartbeat" && event["subject"] == subject
        });
        Heartbeat::of(&event)
    }

    /// Waits for another cycle of a subject, counted from the latest heartbeat.
    #[track_caller]
    pub(crate) fn wait_for_another_cycle(&mut self, subject: &str) {
        let before = self.next_heartbeat(subject);
        self.wait_for_cycle_after(subject, &before);
    }

    /// Waits until a heartbeat counts more cycles than this one. Heartbeats come by the clock, also while a cycle is slow.
    #[track_caller]
    pub(crate) fn wait_for_cycle_after(&mut self, subject: &str, before: &Heartbeat) {
        self.wait_for("another cycle", |event| {
            event["event"] == "heartbeat"
                && event["subject"] == subject
                && Heartbeat::of(event).cycles > before.cycles
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// As a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and until all that it has printed has been read.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = wait_for("the daemon's end", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Stops it gracefully.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().code(), Some(0), "{:?}", self.events().last());
    }

    /// Kills it and reaps the process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(output: ChildStdout, events: Arc<Mutex<Vec<Value>>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line);
            events
                .lock()
                .unwrap()
                .push(event.unwrap_or_else(|error| panic!("{error}: {line}")));
        }
    })
}

/// How watching a subject was going at some moment.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat {
    pub(crate) at: Timestamp,
    pub(crate) cycles: u64,
    pub(crate) late: u64,
    pub(crate) observed: bool,
}

impl Heartbeat {
    fn of(event: &Value) -> Self {
        Self {
            at: text(&event["at"]).parse().unwrap(),
            cycles: event["cycles"].as_u64().unwrap(),
            late: event["late"].as_u64().unwrap(),
            observed: event["observed"] == true,
        }
    }

    /// Asserts that the subject was observed in every interval since an earlier heartbeat. A quarter may be missing on a
    /// busy machine; waiting for another subject's plugin would cost more.
    #[track_caller]
    pub(crate) fn assert_kept_up_since(&self, earlier: &Self, interval: Duration) {
        let cycles = self.cycles - earlier.cycles;
        let due = self.at.duration_since(earlier.at).as_secs_f64() / interval.as_secs_f64();
        let missing = due - cycles as f64;
        assert!(
            missing <= 1.0 + due / 4.0 && self.late - earlier.late <= 1 + cycles / 4,
            "{cycles} cycles where {due:.1} were due: {earlier:?} {self:?}"
        );
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Replaces a file at once, so that nobody reads half of it.
pub(crate) fn put(path: &Path, content: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, content).unwrap();
    fs::rename(&draft, path).unwrap();
}

/// Lets this much time pass in which something must not happen.
pub(crate) fn watch_for(time: Duration, mut must_hold: impl FnMut()) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        must_hold();
        thread::sleep(Duration::from_millis(20));
    }
}
