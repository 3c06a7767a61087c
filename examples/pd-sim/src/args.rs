//! What the simulator is told.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::clock::MAX_RATE;
use crate::release::Release;

/// Shows a TiKV cluster as PD shows it: PD's HTTP API on several ports, metrics for Prometheus, and a control API that breaks
/// and mends it.
#[derive(Parser, Debug, Clone)]
#[command(name = "pd-sim", version)]
pub struct Args {
    /// TiKV stores; with 0, no store has ever registered with PD.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub stores: u16,
    /// Regions.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub regions: u32,
    /// Replicas of each region.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub replicas: u8,
    /// PD servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub pds: u8,
    /// The first PD's port; the next ones follow with a free one between them. 0 takes free ones.
    #[arg(long, default_value_t = 2_379)]
    pub pd_port: u16,
    /// The port of the control API, and of the stores' metrics; 0 takes a free one.
    #[arg(long, default_value_t = 2_370)]
    pub control_port: u16,
    /// The address to listen on. Whoever reaches it can break the cluster.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// The host in addresses that are told to others; without it, the address listened on.
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Which release of PD to be, from 7.5 on.
    #[arg(long, value_name = "RELEASE", default_value = "8.5.7", value_parser = release)]
    pub release: String,
    /// Seconds of the cluster per second.
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// Write the addresses here, as JSON, once all of them answer.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    let rate = rate.filter(|rate| (0.0..=MAX_RATE).contains(rate));
    rate.ok_or_else(|| format!("from 0 to {MAX_RATE}, such as 60"))
}

fn release(text: &str) -> Result<String, String> {
    text.parse::<Release>().map(|_| text.to_owned())
}
