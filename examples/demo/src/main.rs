//! `make demo`: a cluster to watch and to break, until ctrl-C.

mod show;

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
use operator_demo::cluster::program;
use rustix::process::{Pid, Signal, kill_process};
use show::{Args, Show};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};

fn main() -> Result<()> {
    let args = Args::parse();
    let signals = listen()?;
    if args.folder.exists() {
        fs::remove_dir_all(&args.folder)
            .with_context(|| format!("empty {}", args.folder.display()))?;
    }
    say(args.announcement());
    let mut shown = show::start(&args)?;
    say(&shown.instructions(&args)?);
    let mut operator = start_operator(&args, shown.as_ref())?;
    let running = tend_until(shown.as_mut(), &signals, &mut operator);
    end(&mut operator)?;
    drop(shown);
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

/// Until a signal comes or the operator ends.
fn tend_until(shown: &mut dyn Show, signals: &Receiver<i32>, operator: &mut Child) -> Result<()> {
    while let Err(RecvTimeoutError::Timeout) = signals.recv_timeout(Duration::from_millis(250)) {
        if operator.try_wait()?.is_some() {
            break;
        }
        shown.tend()?;
    }
    Ok(())
}

/// The operator has the terminal for its lines, but not the terminal's ctrl-C: that is for the demo to pass on.
fn start_operator(args: &Args, shown: &dyn Show) -> Result<Child> {
    Command::new(program("operator")?)
        .args(shown.operator_args(args)?)
        .arg("--state-dir")
        .arg(args.folder.join("state"))
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
