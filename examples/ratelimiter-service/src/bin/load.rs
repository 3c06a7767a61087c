//! `ratelimiter-load`: the load generator for the rate limiter.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use ratelimiter_service::load::{Args, run};

fn main() -> ExitCode {
    run(Args::parse()).unwrap_or_else(|error| {
        // A closed stderr is ignored.
        let _ = writeln!(std::io::stderr(), "ratelimiter-load: {error:#}");
        ExitCode::FAILURE
    })
}
