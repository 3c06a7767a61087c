//! The load generator: each connection sends one check after the other, on schedule or as fast as replies arrive.

mod args;
mod client;
mod keys;
mod schedule;
mod summary;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use self::args::{Args, Burst, Target};

use self::client::{Client, Template};
use self::keys::Keys;
use self::schedule::Schedule;
use self::summary::{Counts, ReplyCounts, Summary, empty_histogram, micros};

/// Delay of a connection after a failure, so that a target that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(50);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// State that all connections share.
struct Run {
    args: Args,
    schedule: Schedule,
    keys: Keys,
    start: Instant,
    next: AtomicU64,
    stop: AtomicBool,
    counts: Counts,
}

/// Sends all checks and prints the summary.
///
/// # Errors
/// If the threads cannot start or the output cannot be written. Failed checks are counted, not returned as errors.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let run = Arc::new(Run {
        schedule: args.schedule(),
        keys: Keys::new(args.keys, args.zipf)?,
        start: Instant::now(),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        counts: Counts::default(),
        args,
    });
    let threads: Vec<_> = (0..run.args.threads)
        .map(|thread| {
            let run = run.clone();
            std::thread::spawn(move || drive(&run, thread))
        })
        .collect();
    let mut latencies = empty_histogram();
    for thread in threads {
        let driven = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a sending thread panicked"))?;
        latencies.add(driven?)?;
    }
    let summary = Summary::new(run.counts.now(), &latencies, run.start.elapsed());
    if !run.args.quiet && std::io::stderr().is_terminal() {
        writeln!(std::io::stderr())?;
    }
    let text = if run.args.json {
        serde_json::to_string(&summary)?
    } else {
        summary.to_text()
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(exit_code(summary.answers))
}

fn exit_code(answers: ReplyCounts) -> ExitCode {
    match (answers.answered(), answers.errors()) {
        (0, _) => ExitCode::from(3),
        (_, 0) => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

/// Runs one thread with its share of the connections; the first thread also prints the progress.
fn drive(run: &Arc<Run>, thread: u16) -> anyhow::Result<Histogram<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let latencies = Arc::new(Mutex::new(empty_histogram()));
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        let mine = (thread..run.args.connections).step_by(run.args.threads.into());
        for connection in mine {
            connections.spawn(send(run.clone(), connection.into(), latencies.clone()));
        }
        let others = async {
            if thread == 0 {
                tokio::join!(stop_on_signal(run), print_progress(run));
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = others => {}
        }
    });
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(latencies.clone())
}

async fn stop_on_signal(run: &Run) {
    // Without the signal handler, the run still ends by its duration or its count.
    if tokio::signal::ctrl_c().await.is_ok() {
        run.stop.store(true, Ordering::Relaxed);
    }
    std::future::pending::<()>().await;
}

/// Runs one connection: takes the next check until none is left.
async fn send(run: Arc<Run>, connection: usize, latencies: Arc<Mutex<Histogram<u64>>>) {
    let args = &run.args;
    let target = &args.targets[connection % args.targets.len()];
    let template = Template::new(
        &target.authority,
        &args.key_prefix,
        args.limit,
        args.window_ms,
    );
    let mut client = None;
    while let Some(due) = run.take() {
        let free = Instant::now();
        // Latency counts from the due time, so a check that had to wait for the previous reply includes that wait.
        let since = match due {
            Due::At(due) if due < free => due,
            Due::At(due) => {
                sleep_until(due).await;
                Instant::now()
            }
            Due::Now => free,
        };
        let key = run.keys.pick();
        let asked = timeout(args.timeout, check(&mut client, &template, key)).await;
        let answer = asked.ok().and_then(Result::ok);
        run.counts.add(answer);
        if answer.is_some() {
            let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.saturating_record(micros(since.elapsed()));
        } else {
            client = None;
            sleep(PAUSE).await;
        }
    }
}

async fn check(
    client: &mut Option<Client>,
    template: &Template,
    key: u32,
) -> std::io::Result<client::Reply> {
    match client {
        Some(client) => client.check(key).await,
        None => {
            client
                .insert(Client::connect(template.clone()).await?)
                .check(key)
                .await
        }
    }
}

impl Run {
    /// The index of the next check; `None` at the end of the run.
    fn take(&self) -> Option<Due> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let end = self.start + self.args.duration;
        let (due, at) = match self.schedule.due(index) {
            Some(after) => (Due::At(self.start + after), self.start + after),
            None => (Due::Now, Instant::now()),
        };
        let over = self.stop.load(Ordering::Relaxed) || at >= end;
        (!over && index < self.args.count).then_some(due)
    }
}

/// When to send a check.
enum Due {
    Now,
    At(Instant),
}

async fn print_progress(run: &Run) {
    if run.args.quiet {
        return std::future::pending().await;
    }
    let terminal = std::io::stderr().is_terminal();
    let mut before = ReplyCounts::default();
    loop {
        sleep(PROGRESS_EVERY).await;
        let now = run.counts.now();
        let line = format!(
            "{:>4} s  {:>7}/s  {} allowed  {} blocked  {} without redis  {} errors",
            run.start.elapsed().as_secs(),
            now.answered() - before.answered(),
            now.allowed,
            now.blocked,
            now.degraded,
            now.errors()
        );
        before = now;
        // A closed stderr must not stop the run.
        let _ = if terminal {
            write!(std::io::stderr(), "\r\x1b[2K{line}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }
}
