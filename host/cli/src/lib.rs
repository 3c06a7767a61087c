//! The command line: parse, call the service, print. No decisions.
//!
//! One file for each noun: `operator tickets` is `tickets.rs`.

mod actions;
mod audit;
mod check;
mod completions;
mod config;
mod conformance;
mod control;
mod daemon;
mod definition;
mod each;
mod exit;
mod failure;
mod flags;
mod guidance;
mod ids;
mod junit;
mod mute;
mod observe;
mod output;
mod plugin_new;
mod plugins;
mod printable;
mod printer;
mod proposals;
mod quarantine;
mod removed;
mod report;
mod signals;
mod status;
mod style;
mod table;
mod ticket;
mod tickets;
mod workflows;

use std::{ffi::OsString, process::ExitCode};

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, error::ErrorKind};
use operator_config::{Loaded, load, load_leniently};
use operator_model::shown_database;
use operator_service::Service;

pub use exit::Exit;
pub use failure::Failure;
pub use output::Output;

pub use operator_config::Environment;

/// Watches distributed systems through plugins, keeps one ticket per broken invariant, and runs a subject's own actions.
///
/// Without a command, the daemon runs. `operator --plugin libhello.so` is enough to watch one subject.
#[derive(Debug, Parser)]
#[command(name = "operator", version, after_help = exit::HELP, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: flags::Global,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the subjects until stopped; the same as no command
    Run,
    /// Show the running daemons and how their loops are doing
    #[command(after_help = status::HELP)]
    Status(Json),
    /// Observe the subjects once, and show what was seen
    Observe(Json),
    /// Observe and check the subjects once; the exit code is the verdict
    #[command(after_help = exit::HELP)]
    Check(Json),
    /// List proposals, create them and decide about them
    #[command(subcommand)]
    Proposals(proposals::Proposals),
    /// List the actions of the subjects, and run one at once
    #[command(subcommand)]
    Actions(actions::Actions),
    /// List, show and run workflows: several actions that are approved as one
    #[command(subcommand)]
    Workflows(workflows::Workflows),
    /// Show or choose whether anything runs
    Mode(control::ModeCommand),
    /// Stop all actions, and let none begin until it is lifted
    KillSwitch(control::KillSwitch),
    /// Show what was done and by whom, and prove that nothing of it was changed
    #[command(subcommand)]
    Audit(audit::Audit),
    /// List tickets, follow them, and decide about them
    #[command(subcommand)]
    Tickets(tickets::Tickets),
    /// List plugins, inspect one, and keep bad ones from running
    #[command(subcommand)]
    Plugins(plugins::Plugins),
    /// Test whether a plugin is safe to run
    #[command(after_help = conformance::HELP)]
    Conformance(conformance::Conformance),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// How a listing is written.
#[derive(Debug, Clone, Copy, Args)]
struct Json {
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Whether the exit code says more than that the command could do its work.
    fn tells_by_exit_code(&self) -> bool {
        match &self.command {
            Some(
                Command::Status(_)
                | Command::Observe(_)
                | Command::Check(_)
                | Command::Actions(_)
                | Command::Workflows(_)
                | Command::Conformance(_)
                | Command::Config(_)
                | Command::Audit(audit::Audit::Verify(_)),
            ) => true,
            None
            | Some(
                Command::Run
                | Command::Proposals(_)
                | Command::Mode(_)
                | Command::KillSwitch(_)
                | Command::Audit(_)
                | Command::Tickets(_)
                | Command::Plugins(_)
                | Command::Completions(_),
            ) => false,
        }
    }
}

/// The whole life of the `operator` command.
pub fn main(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(flags::gathered(&arguments)) {
        Ok(cli) => cli,
        Err(error) => return explained(&error, &arguments).into(),
    };
    let out = Output::new(cli.global.color());
    let exit = run(cli, environment, &out).unwrap_or_else(|failure| {
        out.failure(&failure);
        failure.exit()
    });
    exit.into()
}

/// `--help` and `--version` are answers, everything else is a mistake; clap prints each where it belongs.
fn explained(error: &clap::Error, arguments: &[OsString]) -> Exit {
    // There is nowhere left to report that the output is closed.
    let _ = error.print();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Exit::Fine;
    }
    if let Some(hint) = removed::hint(arguments) {
        Output::new(ColorChoice::Auto).hint(&hint);
    }
    Exit::BadInput
}

fn run(cli: Cli, environment: &Environment, out: &Output) -> Result<Exit, Failure> {
    let verdict = out.beside_a_verdict();
    let out = if cli.tells_by_exit_code() {
        &verdict
    } else {
        out
    };
    match &cli.command {
        Some(Command::Completions(completions)) => return completions.run(out),
        Some(Command::Config(config::ConfigCommand::Default)) => return config::default(out),
        Some(Command::Conformance(conformance)) => return conformance.run(&cli.global, out),
        Some(Command::Plugins(plugins::Plugins::New(new))) => return new.run(out),
        _ => {}
    }
    let loaded = loaded(&cli, environment, out)?;
    daemon::log_to_stderr(&loaded.config.log, out);
    let service = Service::new(loaded, environment);
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| anyhow::Error::new(error).context("cannot start the runtime"))
        .map_err(Failure::Failed)?;
    runtime.block_on(dispatch(cli, service, environment, out))
}

fn loaded(cli: &Cli, environment: &Environment, out: &Output) -> Result<Loaded, Failure> {
    let mut flags = cli.global.flags();
    if matches!(
        cli.command,
        Some(Command::Tickets(_) | Command::Audit(_) | Command::Status(_))
    ) {
        // There --subject is a filter, and records outlive the subjects of the configuration.
        flags.subjects.clear();
    }
    if let Some(Command::KillSwitch(_)) = &cli.command {
        // Whatever is wrong with the configuration, everything can be stopped.
        flags.subjects.clear();
        let (loaded, faults) = load_leniently(&flags, environment);
        for fault in &faults.0 {
            out.warn(&fault.to_string());
        }
        if !faults.0.is_empty() {
            let database = shown_database(&loaded.config.database);
            out.warn(&format!(
                "the configuration is at fault; the database is taken to be {database}"
            ));
        }
        return Ok(loaded);
    }
    let loaded = load(&flags, environment)?;
    for warning in &loaded.warnings {
        out.warn(warning);
    }
    Ok(loaded)
}

async fn dispatch(
    cli: Cli,
    service: Service,
    environment: &Environment,
    out: &Output,
) -> Result<Exit, Failure> {
    let person = environment.get("USER").or(environment.get("LOGNAME"));
    let person = person.unwrap_or("someone");
    match cli.command {
        None | Some(Command::Run) => daemon::run(service, out).await,
        Some(Command::Status(json)) => status::run(json, &service, out).await,
        Some(Command::Observe(json)) => observe::run(json, &service, out).await,
        Some(Command::Check(json)) => check::run(json, &service, out).await,
        Some(Command::Proposals(proposals)) => {
            let subjects = cli.global.subjects();
            proposals.run(&service, subjects, person, out).await
        }
        Some(Command::Actions(actions)) => actions.run(&service, person, out).await,
        Some(Command::Workflows(workflows)) => workflows.run(&service, person, out).await,
        Some(Command::Mode(mode)) => {
            let subjects = cli.global.subjects();
            mode.run(&service, subjects, person, out).await
        }
        Some(Command::KillSwitch(switch)) => switch.run(&service, person, out).await,
        Some(Command::Audit(audit)) => audit.run(&service, cli.global.subjects(), out).await,
        Some(Command::Tickets(tickets)) => {
            let subjects = cli.global.subjects();
            tickets.run(&service, subjects, person, out).await
        }
        Some(Command::Plugins(plugins)) => plugins.run(&service, person, out).await,
        Some(Command::Config(config)) => config.run(&service, out).await,
        Some(Command::Completions(completions)) => completions.run(out),
        Some(Command::Conformance(conformance)) => conformance.run(&cli.global, out),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
