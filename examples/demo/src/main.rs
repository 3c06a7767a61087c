//! `make demo`: a cluster to watch and to break, until ctrl-C.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use operator_demo::{Cluster, Options, Process, cluster::program};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};

/// How long something that was killed stays dead before the demo starts it again.
const DEAD_FOR: Duration = Duration::from_secs(20);

/// Starts Redis, three rate limiter nodes, Prometheus and load on free loopback ports, and the operator on them.
#[derive(Parser)]
struct Args {
    /// The plugin that watches the cluster.
    #[arg(long)]
    plugin: PathBuf,
    /// Where everything is kept; emptied at the start.
    #[arg(long)]
    folder: PathBuf,
    /// Between two looks at the cluster.
    #[arg(long, default_value = "1s")]
    interval: String,
    /// Checks per second.
    #[arg(long, default_value = "300")]
    rate: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let signals = listen()?;
    if args.folder.exists() {
        fs::remove_dir_all(&args.folder)
            .with_context(|| format!("empty {}", args.folder.display()))?;
    }
    say("starting Redis, three nodes, Prometheus and load on free loopback ports ...");
    let mut demo = Demo::start(&args)?;
    say(&demo.instructions(&args)?);
    let mut operator = start_operator(&args, &demo.cluster)?;
    let running = demo.tend_until(&args, &signals, &mut operator);
    end(&mut operator)?;
    drop(demo);
    say("everything is stopped");
    running
}

/// The signals that end the demo. A closed terminal is one of them.
fn listen() -> Result<Receiver<i32>> {
    let (sender, receiver) = mpsc::channel();
    let hangup = signal_hook::consts::SIGHUP;
    let wanted = TERM_SIGNALS.iter().copied().chain([hangup]);
    let mut signals = Signals::new(wanted).context("listen for signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let _ = sender.send(signal);
        }
    });
    Ok(receiver)
}

/// What the demo keeps alive.
struct Demo {
    cluster: Cluster,
    load: Process,
    dead_since: BTreeMap<String, Instant>,
}

impl Demo {
    fn start(args: &Args) -> Result<Self> {
        let cluster = Cluster::start(&args.folder, Options::default())?;
        Ok(Self {
            load: start_load(&cluster, args)?,
            cluster,
            dead_since: BTreeMap::new(),
        })
    }

    /// Brings back what somebody killed, until a signal comes or the operator ends.
    fn tend_until(
        &mut self,
        args: &Args,
        signals: &Receiver<i32>,
        operator: &mut Child,
    ) -> Result<()> {
        while let Err(RecvTimeoutError::Timeout) = signals.recv_timeout(Duration::from_millis(250))
        {
            if operator.try_wait()?.is_some() {
                break;
            }
            self.revive()?;
            if self.load.has_ended() {
                self.load = start_load(&self.cluster, args)?;
            }
        }
        Ok(())
    }

    fn revive(&mut self) -> Result<()> {
        if self.has_been_dead("redis") {
            self.cluster.start_redis()?;
        }
        for place in 0..self.cluster.nodes.len() {
            let name = self.cluster.nodes[place].id.clone();
            if self.has_been_dead(&name) {
                self.cluster.start_node(place)?;
            }
        }
        if self.has_been_dead("prometheus") {
            self.cluster.start_prometheus()?;
        }
        Ok(())
    }

    /// Whether the process of this name has been dead for long enough.
    fn has_been_dead(&mut self, name: &str) -> bool {
        let cluster = &mut self.cluster;
        let process = match name {
            "redis" => cluster.redis.as_mut(),
            "prometheus" => cluster.prometheus.as_mut(),
            node => cluster
                .nodes
                .iter_mut()
                .find(|known| known.id == node)
                .and_then(|node| node.process.as_mut()),
        };
        if process.is_some_and(|process| !process.has_ended()) {
            self.dead_since.remove(name);
            return false;
        }
        let since = self
            .dead_since
            .entry(name.to_owned())
            .or_insert_with(Instant::now);
        let over = since.elapsed() >= DEAD_FOR;
        if over {
            self.dead_since.remove(name);
        }
        over
    }

    fn instructions(&self, args: &Args) -> Result<String> {
        let cluster = &self.cluster;
        let node = &cluster.nodes[1];
        let pid = node.process.as_ref().map_or(0, Process::pid);
        let redis = cluster.redis.as_ref().map_or(0, Process::pid);
        let prometheus = cluster.prometheus.as_ref().map_or(0, Process::pid);
        let chaos = format!(
            "curl -s -X PUT {}/api/v1/chaos -H 'content-type: application/json' -d",
            node.url()
        );
        let operator = program("operator")?;
        let state = args.folder.join("state");
        Ok(format!(
            "The cluster is up. Break it from another terminal; what is killed comes back after {} seconds.\n\
             \n\
             a node dies             kill -9 {pid}\n\
             a node hangs            kill -STOP {pid}    and back: kill -CONT {pid}\n\
             Redis dies              kill -9 {redis}\n\
             Redis hangs             redis-cli -p {} client pause 10000\n\
             Prometheus dies         kill -9 {prometheus}\n\
             a node is slow          {chaos} '{{\"added_latency_ms\":100}}'    and back: 0\n\
             \n\
             All tickets             {} --state-dir {} tickets list --all\n\
             \n\
             ctrl-C stops everything.\n",
            DEAD_FOR.as_secs(),
            cluster.redis_port,
            operator.display(),
            state.display(),
        ))
    }
}

/// Many keys, some of them far busier than others, as in the field.
fn start_load(cluster: &Cluster, args: &Args) -> Result<Process> {
    let shape = [
        "--keys",
        "500",
        "--zipf",
        "0.6",
        "--connections",
        "16",
        "--quiet",
    ];
    let bounds = ["--duration", "3600", "--rate", &args.rate];
    cluster.start_load("load", &[shape.as_slice(), bounds.as_slice()].concat())
}

/// The operator has the terminal for its lines, but not the terminal's ctrl-C: that is for the demo to pass on.
fn start_operator(args: &Args, cluster: &Cluster) -> Result<Child> {
    let mut command = Command::new(program("operator")?);
    command
        .arg("--plugin")
        .arg(&args.plugin)
        .arg("--state-dir")
        .arg(args.folder.join("state"))
        .args(["--interval", &args.interval]);
    for setting in cluster.settings() {
        command.args(["--set", &setting]);
    }
    command
        .process_group(0)
        .spawn()
        .context("start the operator")
}

/// The operator ends first, so that it does not see the cluster go.
fn end(operator: &mut Child) -> Result<()> {
    if operator.try_wait()?.is_none() {
        let pid = i32::try_from(operator.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id")?, Signal::TERM)?;
    }
    operator.wait()?;
    Ok(())
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told that the terminal is gone.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
