//! `operator run`: the daemon in the foreground, which prints what happens until a signal ends it.

use std::{collections::BTreeSet, time::Duration};

use jiff::tz::TimeZone;
use operator_config::{Config, LogConfig, LogFormat};
use operator_model::Timestamp;
use operator_service::{Daemon, Service, Stop, Update};
use tracing_subscriber::EnvFilter;

use super::{
    Exit, Failure, Output, printable::VisibleStderr, printer::Printer, report::Reporter,
    signals::Signals,
};

/// How long the first heartbeat waits for slow subjects to have their first cycle.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(200);
/// How long the end waits for a reader to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndedHow {
    /// Nothing was watched yet.
    BeforeItsStart,
    /// The current cycles were finished.
    Gracefully,
    /// A second signal: everything was left as it was.
    Immediately,
}

/// Runs the daemon until SIGINT or SIGTERM; the first stops it gracefully, a second immediately.
pub(super) async fn run(service: Service, out: &Output) -> Result<Exit, Failure> {
    // Comes first: from here on, a signal only stops it gracefully.
    let mut signals = Signals::new()?;
    let config = service.loaded().config.clone();
    let mut updates = service.subscribe();
    let mut console = Console::new(&config, service.clone(), out)?;
    let preparing = Daemon::new(service);
    tokio::pin!(preparing);
    let daemon = loop {
        tokio::select! {
            daemon = &mut preparing => break daemon?,
            _ = signals.next() => {
                console.stopped(EndedHow::BeforeItsStart);
                return Ok(Exit::Fine);
            }
            Some(update) = updates.next() => console.update(&update),
        }
    };
    console.greet(&config);
    let mut heartbeat = tokio::time::interval(config.log.heartbeat);
    let mut first = tokio::time::interval(FIRST_HEARTBEAT);
    let stop = Stop::default();
    let running = daemon.run(stop.clone());
    tokio::pin!(running);
    let ending = loop {
        tokio::select! {
            () = &mut running => break EndedHow::Gracefully,
            name = signals.next() => {
                if stop.request() {
                    break EndedHow::Immediately;
                }
                console.stopping(name);
            }
            Some(update) = updates.next() => console.update(&update),
            _ = heartbeat.tick() => console.heartbeats(true),
            _ = first.tick() => console.heartbeats(false),
        }
    };
    while let Some(update) = updates.try_next() {
        console.update(&update);
    }
    console.stopped(ending);
    match ending {
        EndedHow::BeforeItsStart | EndedHow::Gracefully => Ok(Exit::Fine),
        // Nothing is waited for, not even what the runtime would wait for.
        EndedHow::Immediately => std::process::exit(Exit::Interrupted.code().into()),
    }
}

/// What is printed, and where.
struct Console {
    reporter: Reporter,
    printer: Printer,
    service: Service,
    /// The subjects whose first heartbeat was printed.
    met: BTreeSet<String>,
}

impl Console {
    fn new(config: &Config, service: Service, out: &Output) -> Result<Self, Failure> {
        let names = config.subjects.iter().map(|subject| subject.name.as_str());
        let out = out.clone();
        let printer = Printer::new(move |line| out.log_line(line)).map_err(|error| {
            Failure::failed(anyhow::Error::new(error).context("cannot start the printing thread"))
        })?;
        Ok(Self {
            reporter: Reporter::new(config.log.format, TimeZone::system(), names),
            printer,
            service,
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

    fn stopping(&mut self, signal: &str) {
        let text =
            format!("{signal}: finishing the current cycle; a second signal stops immediately");
        self.note("stopping", "", &text);
    }

    fn stopped(mut self, ending: EndedHow) {
        let text = match ending {
            EndedHow::BeforeItsStart => "before anything was watched",
            EndedHow::Gracefully => "gracefully",
            EndedHow::Immediately => "immediately, by a second signal",
        };
        self.note("stopped", "", text);
        self.printer.finish(LAST_LINES);
    }

    fn update(&mut self, update: &Update) {
        match update {
            Update::Event(event) => {
                for line in self.reporter.event(event, Timestamp::now()) {
                    self.print(line);
                }
            }
            Update::Action(entry) => {
                let line = self.reporter.act(entry);
                self.print(line);
            }
            Update::Missed(missed) => {
                let text = format!(
                    "{missed} events were not printed; `operator tickets list` has them all"
                );
                self.note("missed", "", &text);
            }
        }
    }

    /// The latest status of every subject, or of those alone that have had their first cycle since.
    fn heartbeats(&mut self, all: bool) {
        for status in self.service.statuses() {
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
    let is_json = log.format == LogFormat::Json;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || VisibleStderr { is_json })
        .with_ansi(out.colors_stderr());
    // Only tests call this twice in one process.
    let _ = match log.format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
