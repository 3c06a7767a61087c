//! Command-line arguments.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::clock::MAX_RATE;
use crate::release::Release;

/// Simulates a TiKV cluster: PD's HTTP API on several ports, metrics for Prometheus, and a control API to inject faults and
/// undo them.
#[derive(Parser, Debug, Clone)]
#[command(name = "pd-sim", version)]
pub struct Args {
    /// TiKV stores; with 0, no store has ever registered with PD.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub stores: u16,
    /// Number of regions.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub regions: u32,
    /// Replicas of each region.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub replicas: u8,
    /// Number of PD servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub pds: u8,
    /// The first PD's port; each further PD uses the next but one, leaving room for a peer port. 0 picks free ports.
    #[arg(long, default_value_t = 2_379)]
    pub pd_port: u16,
    /// The port of the control API and of the stores' metrics; 0 picks a free one.
    #[arg(long, default_value_t = 2_370)]
    pub control_port: u16,
    /// The address to listen on. Anyone who can reach it can break the cluster.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// The host in advertised addresses; by default the listen address.
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// The PD release to simulate, from 7.5 on.
    #[arg(long, value_name = "RELEASE", default_value = "8.5.7", value_parser = release)]
    pub release: String,
    /// Speed of the cluster's clock: cluster seconds per second.
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// Write the addresses to this file, as JSON, once all of them accept connections.
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
