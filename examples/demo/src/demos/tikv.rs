//! TiKV: a simulated cluster that the user breaks through the simulator's control API.

use std::{fs, time::Duration, time::Instant};

use anyhow::Result;
use operator_demo::{Process, Tikv, cluster::program};

use super::{Args, Demo};

/// How long a killed Prometheus stays dead before the demo restarts it.
const RESTART_AFTER: Duration = Duration::from_secs(20);
/// One store more than replicas, so that PD can replace peers.
const STORES: u32 = 4;
const REGIONS: u32 = 200;
/// Invariants whose grace period is a minute or more by default, too long for a demo.
const SHORTENED: [&str; 13] = [
    "store_down",
    "store_disconnected",
    "low_disk_space",
    "high_latency",
    "raft_log_lag",
    "write_stall",
    "server_busy",
    "region_unavailable",
    "under_replicated",
    "leader_imbalance",
    "pd_no_leader",
    "pd_member_down",
    "pd_quorum_at_risk",
];

/// The simulator and Prometheus.
pub(crate) struct TikvDemo {
    cluster: Tikv,
    prometheus_dead_since: Option<Instant>,
}

impl TikvDemo {
    pub(crate) fn start(args: &Args) -> Result<Self> {
        Ok(Self {
            cluster: Tikv::start(&args.folder, STORES, REGIONS)?,
            prometheus_dead_since: None,
        })
    }
}

impl Demo for TikvDemo {
    fn maintain(&mut self) -> Result<()> {
        if let Some(death) = self.cluster.simulator.death() {
            anyhow::bail!(death);
        }
        let prometheus = self.cluster.prometheus.as_mut();
        if prometheus.is_some_and(|process| !process.has_ended()) {
            self.prometheus_dead_since = None;
            return Ok(());
        }
        let since = self.prometheus_dead_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= RESTART_AFTER {
            self.cluster.start_prometheus()?;
        }
        Ok(())
    }

    fn operator_args(&self, args: &Args) -> Result<Vec<String>> {
        let plugin = args.plugin.canonicalize()?;
        let mut text = format!(
            "[subjects.tikv]\nplugin = {:?}\ninterval = {:?}\n[subjects.tikv.config]\n{}",
            plugin.display(),
            args.interval,
            self.cluster.settings()
        );
        for invariant in SHORTENED {
            text += &format!("[subjects.tikv.invariants.{invariant}]\ngrace_period = \"5s\"\n");
        }
        let path = self.cluster.folder.join("operator.toml");
        fs::write(&path, text)?;
        Ok(vec!["--config".to_owned(), path.display().to_string()])
    }

    fn instructions(&self, args: &Args) -> Result<String> {
        let control = &self.cluster.control_url;
        let pd = &self.cluster.pd_urls[0];
        let prometheus = self.cluster.prometheus.as_ref().map_or(0, Process::pid);
        let operator = program("operator")?;
        let state = args.folder.join("state");
        let post = format!("curl -s -X POST {control}");
        Ok(format!(
            "The cluster is up. Break it from another terminal. Grace periods are 5 seconds here, and a minute by default.\n\
             \n\
             a store dies            {post}/stores/2/kill    and back: {post}/stores/2/start\n\
             ... half an hour later  {post}/clock?advance=31m\n\
             a disk is full          {post}/stores/1/fill?available=0.1\n\
             a store is slow         {post}/stores/3/slow?ms=400\n\
             writes stall            {post}/stores/3/write-stall?us=500000\n\
             followers lag           {post}/stores/3/raft-lag?entries=9000\n\
             a store is busy         {post}/stores/3/busy?per_second=5\n\
             regions lose leaders    {post}/regions/lose-leader?count=3    and back: {post}/regions/heal\n\
             leaders gather          curl -s -X POST {pd}/pd/api/v1/config -d '{{\"leader-schedule-limit\":0}}'; \
             {post}/stores/1/lead?share=0.8    and back: the limit to 4\n\
             a PD dies               {post}/pds/pd2/kill    and back: {post}/pds/pd2/start\n\
             PD's leader changes     {post}/pds/pd1/lead    no ticket may open\n\
             a store is taken out    {post}/stores/4/decommission    then: {post}/clock?rate=60\n\
             Prometheus dies         kill -9 {prometheus}\n\
             undo all faults         {post}/heal\n\
             \n\
             The cluster             curl -s {control}/state\n\
             All tickets             {} --state-dir {} tickets list --all\n\
             \n\
             ctrl-C stops everything.\n",
            operator.display(),
            state.display(),
        ))
    }
}
