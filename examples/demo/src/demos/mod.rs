//! The demos to choose from.

mod ratelimiter;
mod tikv;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use self::{ratelimiter::RateLimiterDemo, tikv::TikvDemo};

/// The system to watch.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Subject {
    /// Redis, three rate limiter nodes and load.
    Ratelimiter,
    /// Three PDs and four TiKV stores, simulated.
    Tikv,
}

/// Starts a cluster and a Prometheus on free loopback ports, and an operator that watches them.
#[derive(Parser)]
pub(crate) struct Args {
    /// The system to watch.
    #[arg(long, value_enum, default_value = "ratelimiter")]
    subject: Subject,
    /// The plugin that watches the cluster.
    #[arg(long)]
    plugin: PathBuf,
    /// Folder of all files; emptied at the start.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Time between two observations of the cluster.
    #[arg(long, default_value = "1s")]
    interval: String,
    /// Checks per second; rate limiter only.
    #[arg(long, default_value = "300")]
    rate: String,
}

impl Args {
    pub(crate) fn announcement(&self) -> &'static str {
        match self.subject {
            Subject::Ratelimiter => {
                "starting Redis, three nodes, Prometheus and load on free loopback ports ..."
            }
            Subject::Tikv => {
                "starting three PDs and four TiKV stores (simulated) and Prometheus on free loopback ports ..."
            }
        }
    }
}

/// A running cluster.
pub(crate) trait Demo {
    /// Restarts processes that have been dead for a while.
    fn maintain(&mut self) -> Result<()>;
    /// The operator's arguments, without its state directory.
    fn operator_args(&self, args: &Args) -> Result<Vec<String>>;
    /// Commands that break it, for the user.
    fn instructions(&self, args: &Args) -> Result<String>;
}

pub(crate) fn start(args: &Args) -> Result<Box<dyn Demo>> {
    Ok(match args.subject {
        Subject::Ratelimiter => Box::new(RateLimiterDemo::start(args)?),
        Subject::Tikv => Box::new(TikvDemo::start(args)?),
    })
}
