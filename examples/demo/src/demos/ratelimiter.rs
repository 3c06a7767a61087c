//! The rate limiter: real processes that the user can kill.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use operator_demo::{Cluster, Options, Process, cluster::program};

use super::{Args, Demo};

/// How long a killed process stays dead before the demo restarts it.
const RESTART_AFTER: Duration = Duration::from_secs(20);

/// Redis, nodes, Prometheus and load.
pub(crate) struct RateLimiterDemo {
    cluster: Cluster,
    load: Process,
    rate: String,
    dead_since: BTreeMap<String, Instant>,
}

impl RateLimiterDemo {
    pub(crate) fn start(args: &Args) -> Result<Self> {
        let cluster = Cluster::start(&args.folder, Options::default())?;
        Ok(Self {
            load: start_load(&cluster, &args.rate)?,
            rate: args.rate.clone(),
            cluster,
            dead_since: BTreeMap::new(),
        })
    }

    fn restart_dead(&mut self) -> Result<()> {
        if self.is_due_for_restart("redis") {
            self.cluster.start_redis()?;
        }
        for index in 0..self.cluster.nodes.len() {
            let name = self.cluster.nodes[index].id.clone();
            if self.is_due_for_restart(&name) {
                self.cluster.start_node(index)?;
            }
        }
        if self.is_due_for_restart("prometheus") {
            self.cluster.start_prometheus()?;
        }
        Ok(())
    }

    /// Whether this process has been dead for [`RESTART_AFTER`].
    fn is_due_for_restart(&mut self, name: &str) -> bool {
        let cluster = &mut self.cluster;
        let process = match name {
            "redis" => cluster.redis.as_mut(),
            "prometheus" => cluster.prometheus.as_mut(),
            node => cluster
                .nodes
                .iter_mut()
                .find(|known| known.id == node)
                .and_then(|node| node.process.as_mut()),
        };
        if process.is_some_and(|process| !process.has_ended()) {
            self.dead_since.remove(name);
            return false;
        }
        let since = self
            .dead_since
            .entry(name.to_owned())
            .or_insert_with(Instant::now);
        let over = since.elapsed() >= RESTART_AFTER;
        if over {
            self.dead_since.remove(name);
        }
        over
    }
}

impl Demo for RateLimiterDemo {
    fn maintain(&mut self) -> Result<()> {
        self.restart_dead()?;
        if self.load.has_ended() {
            self.load = start_load(&self.cluster, &self.rate)?;
        }
        Ok(())
    }

    fn operator_args(&self, args: &Args) -> Result<Vec<String>> {
        let settings = self.cluster.settings().into_iter();
        let settings = settings.flat_map(|setting| ["--set".to_owned(), setting]);
        let plugin = args.plugin.display().to_string();
        let fixed = ["--plugin", &plugin, "--interval", &args.interval].map(str::to_owned);
        Ok(fixed.into_iter().chain(settings).collect())
    }

    fn instructions(&self, args: &Args) -> Result<String> {
        let cluster = &self.cluster;
        let node = &cluster.nodes[1];
        let pid = node.process.as_ref().map_or(0, Process::pid);
        let redis = cluster.redis.as_ref().map_or(0, Process::pid);
        let prometheus = cluster.prometheus.as_ref().map_or(0, Process::pid);
        let chaos = format!(
            "curl -s -X PUT {}/api/v1/chaos -H 'content-type: application/json' -d",
            node.url()
        );
        let operator = program("operator")?;
        let state = args.folder.join("state");
        Ok(format!(
            "The cluster is up. Break it from another terminal; killed processes restart after {} seconds.\n\
             \n\
             a node dies             kill -9 {pid}\n\
             a node hangs            kill -STOP {pid}    and back: kill -CONT {pid}\n\
             Redis dies              kill -9 {redis}\n\
             Redis hangs             redis-cli -p {} client pause 10000\n\
             Prometheus dies         kill -9 {prometheus}\n\
             a node is slow          {chaos} '{{\"added_latency_ms\":100}}'    and back: 0\n\
             \n\
             All tickets             {} --state-dir {} tickets list --all\n\
             \n\
             ctrl-C stops everything.\n",
            RESTART_AFTER.as_secs(),
            cluster.redis_port,
            operator.display(),
            state.display(),
        ))
    }
}

/// Many keys, some of them far busier than others, as in production.
fn start_load(cluster: &Cluster, rate: &str) -> Result<Process> {
    let shape = [
        "--keys",
        "500",
        "--zipf",
        "0.6",
        "--connections",
        "16",
        "--quiet",
    ];
    let bounds = ["--duration", "3600", "--rate", rate];
    cluster.start_load("load", &[shape.as_slice(), bounds.as_slice()].concat())
}
