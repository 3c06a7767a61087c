//! What can be shown.

mod ratelimiter;
mod tikv;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use self::{ratelimiter::RateLimiter, tikv::TikvShow};

/// Which kind of cluster.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Subject {
    /// Redis, three rate limiter nodes and load.
    Ratelimiter,
    /// Three PDs and four TiKV stores, simulated.
    Tikv,
}

/// Starts a cluster and a Prometheus on free loopback ports, and the operator on them.
#[derive(Parser)]
pub(crate) struct Args {
    /// What to show.
    #[arg(long, value_enum, default_value = "ratelimiter")]
    subject: Subject,
    /// The plugin that watches the cluster.
    #[arg(long)]
    plugin: PathBuf,
    /// Where everything is kept; emptied at the start.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Between two looks at the cluster.
    #[arg(long, default_value = "1s")]
    interval: String,
    /// Checks per second; of the rate limiter.
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

/// A cluster that is shown.
pub(crate) trait Show {
    /// Brings back what somebody killed.
    fn tend(&mut self) -> Result<()>;
    /// With what the operator is started, but for its state directory.
    fn operator_args(&self, args: &Args) -> Result<Vec<String>>;
    /// How to break it.
    fn instructions(&self, args: &Args) -> Result<String>;
}

pub(crate) fn start(args: &Args) -> Result<Box<dyn Show>> {
    Ok(match args.subject {
        Subject::Ratelimiter => Box::new(RateLimiter::start(args)?),
        Subject::Tikv => Box::new(TikvShow::start(args)?),
    })
}
