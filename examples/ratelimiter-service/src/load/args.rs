//! Command-line arguments of the load generator.

use std::str::FromStr;
use std::time::Duration;

use clap::Parser;

use super::schedule::Schedule;

/// Sends checks to one or more nodes of a rate limiter and reports how they were answered.
///
/// Stops after --duration or --count, whichever comes first. Sends requests to the targets only.
///
/// Exit codes: 0 every check was allowed or blocked, 1 some checks failed or had another status, 2 wrong command line,
/// 3 no check was answered.
#[derive(Parser, Debug, Clone)]
#[command(name = "ratelimiter-load", version)]
pub struct Args {
    /// A node, as http://host:port. Repeat it for several nodes; connections are distributed over them in turn.
    #[arg(
        long = "target",
        value_name = "URL",
        default_value = "http://127.0.0.1:8000"
    )]
    pub targets: Vec<Target>,
    /// Stop after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// Stop after this many checks.
    #[arg(long, default_value_t = 100_000_000)]
    pub count: u64,
    /// Number of connections, each with one check in flight.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub connections: u16,
    /// Checks per second over all connections, sent on schedule even if replies lag behind. Default: as fast as replies
    /// arrive.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "burst", value_parser = rate)]
    pub rate: Option<f64>,
    /// Instead of a steady rate, bursts of COUNT@SECONDS, such as 500@2 for 500 checks every 2 seconds.
    #[arg(long, value_name = "CHECKS@SECONDS")]
    pub burst: Option<Burst>,
    /// Number of different keys.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub keys: u32,
    /// Prefix of the keys; a number follows it.
    #[arg(long, default_value = "load:")]
    pub key_prefix: String,
    /// Skew of the key distribution (Zipf exponent): 0 is uniform, 1 has a few hot keys.
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.0, value_parser = exponent)]
    pub zipf: f64,
    /// The limit in each check. Default: the node applies the key's limit.
    #[arg(long)]
    pub limit: Option<u64>,
    /// The window in each check. Default: the node applies the key's window.
    #[arg(long, value_name = "MS")]
    pub window_ms: Option<u64>,
    /// How long to wait for a reply.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
    /// Number of sending threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print no progress.
    #[arg(long)]
    pub quiet: bool,
}

impl Args {
    pub(crate) fn schedule(&self) -> Schedule {
        match (self.rate, self.burst) {
            (Some(per_second), _) => Schedule::Steady { per_second },
            (None, Some(Burst { size, every })) => Schedule::Bursts { size, every },
            (None, None) => Schedule::AsFastAsAnswered,
        }
    }
}

/// A node to send checks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As host:port.
    pub(crate) authority: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a target; write http://127.0.0.1:8000");
        let authority = text.strip_prefix("http://").ok_or_else(wrong)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || host.contains(['/', '@', ' ']) || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self {
            authority: authority.to_owned(),
        })
    }
}

/// A number of checks sent at once, at a fixed interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    size: u64,
    every: Duration,
}

impl FromStr for Burst {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a burst; write 500@2 for 500 checks every 2 seconds");
        let (size, every) = text.split_once('@').ok_or_else(wrong)?;
        let size = size
            .parse()
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(wrong)?;
        let every = seconds(every).map_err(|_| wrong())?;
        Ok(Self { size, every })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_hours(24))
        .ok_or_else(|| "more than 0 and at most 86400 seconds, such as 2.5".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= 1e7);
    rate.ok_or_else(|| "more than 0 and at most 10000000 checks per second, such as 200".to_owned())
}

fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|it| (0.0..=10.0).contains(it));
    exponent.ok_or_else(|| "from 0 to 10, such as 1.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_scheme_a_host_and_a_port() {
        let target: Target = "http://127.0.0.1:8001/".parse().unwrap();
        assert_eq!(target.authority, "127.0.0.1:8001");
        for wrong in [
            "127.0.0.1:8001",
            "https://a:1",
            "http://a",
            "http://a:x",
            "http://a:1/check",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn wrong_numbers_are_refused_with_an_example() {
        assert!("500".parse::<Burst>().unwrap_err().contains("500@2"));
        assert!("0@2".parse::<Burst>().is_err());
        assert!(seconds("0").is_err());
        assert_eq!(seconds("2.5s"), Ok(Duration::from_millis(2_500)));
        assert!(rate("-1").is_err());
        assert!(exponent("NaN").is_err());
    }

    #[test]
    fn a_rate_and_bursts_exclude_each_other() {
        let both = ["ratelimiter-load", "--rate=5", "--burst=5@1"];
        assert!(Args::try_parse_from(both).is_err());
    }
}
