//! `make demo`: a cluster to watch and to break, until ctrl-C.

mod demos;

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, Command},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use demos::{Args, Demo};
use operator_demo::cluster::program;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};

fn main() -> Result<()> {
    let args = Args::parse();
    let signals = listen()?;
    if args.folder.exists() {
        fs::remove_dir_all(&args.folder)
            .with_context(|| format!("empty {}", args.folder.display()))?;
    }
    print(args.announcement());
    let mut demo = demos::start(&args)?;
    print(&demo.instructions(&args)?);
    let mut operator = start_operator(&args, demo.as_ref())?;
    let running = run_until_stopped(demo.as_mut(), &signals, &mut operator);
    end(&mut operator)?;
    drop(demo);
    print("everything is stopped");
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

/// Runs until a signal arrives or the operator ends.
fn run_until_stopped(
    demo: &mut dyn Demo,
    signals: &Receiver<i32>,
    operator: &mut Child,
) -> Result<()> {
    while let Err(RecvTimeoutError::Timeout) = signals.recv_timeout(Duration::from_millis(250)) {
        if operator.try_wait()?.is_some() {
            break;
        }
        demo.maintain()?;
    }
    Ok(())
}

/// The operator writes to the terminal, but is in another process group: ctrl-C reaches only the demo, which then ends it.
fn start_operator(args: &Args, demo: &dyn Demo) -> Result<Child> {
    Command::new(program("operator")?)
        .args(demo.operator_args(args)?)
        .arg("--state-dir")
        .arg(args.folder.join("state"))
        .process_group(0)
        .spawn()
        .context("start the operator")
}

/// Called before the cluster stops, so that the operator does not report that as faults.
fn end(operator: &mut Child) -> Result<()> {
    if operator.try_wait()?.is_none() {
        let pid = i32::try_from(operator.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id")?, Signal::TERM)?;
    }
    operator.wait()?;
    Ok(())
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // If the terminal is gone, there is nowhere to report it.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
