//! The daemon in the foreground: it tells what happens until a signal ends it.

use std::{collections::BTreeSet, io, time::Duration};

use jiff::tz::TimeZone;
use operator_config::{Config, LogConfig, LogFormat};
use operator_model::{AuditEntry, Timestamp};
use operator_service::{Daemon, Event, Hub, Service};
use tokio::sync::{broadcast::error::RecvError, mpsc, watch};
use tracing_subscriber::EnvFilter;

use super::{Exit, Failure, Output, printer::Printer, report::Reporter, signals::Signals};

/// How long the first heartbeat waits for slow subjects to have their first cycle.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(200);
/// How long the end waits for a reader to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How the daemon came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndedHow {
    /// Nothing was watched yet.
    BeforeItsStart,
    /// The cycles in hand were finished.
    InGoodOrder,
    /// A second signal: everything was left as it was.
    AtOnce,
}

/// Runs the daemon until SIGINT or SIGTERM; the first ends it in good order, a second at once.
pub(super) async fn run(service: Service, out: &Output) -> Result<Exit, Failure> {
    // Before all else: from here on, no signal ends it but in good order.
    let mut signals = Signals::new()?;
    let config = service.loaded().config.clone();
    let hub = Hub::default();
    let mut events = hub.listen();
    let mut face = Face::new(&config, hub.clone(), out)?;
    let (tell_acts, mut acts) = mpsc::unbounded_channel();
    let daemon = tokio::select! {
        daemon = Daemon::new(service, hub, tell_acts) => daemon?,
        _ = signals.next() => {
            face.stopped(EndedHow::BeforeItsStart);
            return Ok(Exit::Fine);
        }
    };
    face.greet(&config);
    let mut heartbeat = tokio::time::interval(config.log.heartbeat);
    let mut first = tokio::time::interval(FIRST_HEARTBEAT);
    let (stop, stopped) = watch::channel(false);
    let running = daemon.run(stopped);
    tokio::pin!(running);
    let ending = loop {
        tokio::select! {
            () = &mut running => break EndedHow::InGoodOrder,
            name = signals.next() => {
                if stop.send_replace(true) {
                    break EndedHow::AtOnce;
                }
                face.stopping(name);
            }
            event = events.recv() => face.event(event),
            Some(entry) = acts.recv() => face.act(&entry),
            _ = heartbeat.tick() => face.heartbeats(true),
            _ = first.tick() => face.heartbeats(false),
        }
    };
    while let Ok(event) = events.try_recv() {
        face.event(Ok(event));
    }
    while let Ok(entry) = acts.try_recv() {
        face.act(&entry);
    }
    face.stopped(ending);
    match ending {
        EndedHow::BeforeItsStart | EndedHow::InGoodOrder => Ok(Exit::Fine),
        // Nothing is waited for, not even what the runtime would wait for.
        EndedHow::AtOnce => std::process::exit(Exit::Interrupted.code().into()),
    }
}

/// What is printed, and where.
struct Face {
    reporter: Reporter,
    printer: Printer,
    hub: Hub,
    /// The subjects whose first heartbeat was told.
    met: BTreeSet<String>,
}

impl Face {
    fn new(config: &Config, hub: Hub, out: &Output) -> Result<Self, Failure> {
        let names = config.subjects.iter().map(|subject| subject.name.as_str());
        let out = out.clone();
        let printer = Printer::new(move |line| out.log_line(line)).map_err(|error| {
            Failure::failed(anyhow::Error::new(error).context("cannot start the printing thread"))
        })?;
        Ok(Self {
            reporter: Reporter::new(config.log.format, TimeZone::system(), names),
            printer,
            hub,
            met: BTreeSet::new(),
        })
    }

    fn greet(&mut self, config: &Config) {
        for subject in &config.subjects {
            let interval = humantime::format_duration(subject.interval);
            let how = format!("plugin {}, every {interval}", subject.plugin);
            self.note("watching", &subject.name, &how);
        }
    }

    fn act(&mut self, entry: &AuditEntry) {
        let line = self.reporter.act(entry);
        self.print(line);
    }

    fn stopping(&mut self, signal: &str) {
        let text = format!("{signal}: finishing the cycle in hand; a second signal leaves at once");
        self.note("stopping", "", &text);
    }

    fn stopped(mut self, ending: EndedHow) {
        let text = match ending {
            EndedHow::BeforeItsStart => "before anything was watched",
            EndedHow::InGoodOrder => "in good order",
            EndedHow::AtOnce => "at once, by a second signal",
        };
        self.note("stopped", "", text);
        self.printer.finish(LAST_LINES);
    }

    fn event(&mut self, event: Result<Event, RecvError>) {
        match event {
            Ok(event) => {
                for line in self.reporter.event(&event, Timestamp::now()) {
                    self.print(line);
                }
            }
            Err(RecvError::Lagged(missed)) => {
                let text = format!(
                    "{missed} events were not printed; `operator tickets list` has them all"
                );
                self.note("missed", "", &text);
            }
            Err(RecvError::Closed) => {}
        }
    }

    /// The latest status of every subject, or of those alone that have had their first cycle since.
    fn heartbeats(&mut self, all: bool) {
        for status in self.hub.statuses().into_values() {
            let line = self.reporter.heartbeat(&status, Timestamp::now());
            if self.met.insert(status.subject) || all {
                self.print(line);
            }
        }
    }

    fn note(&mut self, word: &str, subject: &str, text: &str) {
        let line = self.reporter.note(word, subject, text, Timestamp::now());
        self.print(line);
    }

    fn print(&mut self, line: String) {
        let reporter = &self.reporter;
        self.printer.print(line, |missed| {
            let text =
                format!("{missed} lines were not printed; `operator tickets list` has all tickets");
            reporter.note("missed", "", &text, Timestamp::now())
        });
    }
}

/// Diagnostics go to standard error, so that standard output holds events alone.
pub(super) fn log_to_stderr(log: &LogConfig, out: &Output) {
    let filter = operator_service::log_filter(&log.level);
    let filter = EnvFilter::try_new(filter).unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(out.colors_stderr());
    // Only tests call this twice in one process.
    let _ = match log.format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
