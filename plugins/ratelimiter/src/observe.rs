//! Builds an observation from the answers of all sources.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use operator_plugin_api::{Deadline, Error, ErrorKind, Observation, now_ms};
use operator_plugin_kit::{Http, observing::budget};

use crate::{
    check::is_suspicious,
    collect::{Collected, Collector},
    config::Settings,
    memory::Memory,
    observation::{Counter, Data, HotKey, Latency, Limits, Node, NodeMetrics, Redis, Totals},
    prometheus,
    redis_link::RedisFault,
    roster::Roster,
    sample::{Chosen, LimitSources, Reporting, read_twice},
    summary,
};

/// The number of hot keys that are listed.
const HOT_KEYS: usize = 10;

/// Reads all sources, and remembers what later cycles need.
pub(crate) fn observe(
    settings: &Settings,
    http: &Http,
    memory: &Mutex<Memory>,
    deadline: Deadline,
) -> Result<Observation<Data>, Error> {
    let before = memory
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let end = budget(deadline, Duration::from_millis(settings.observe_timeout_ms))?;
    let collected = Collector {
        settings,
        http,
        before: &before,
        end,
    }
    .collect();
    if collected.nothing_answered() {
        return Err(nothing(&collected));
    }
    let (observation, after) = Assembly {
        settings,
        http,
        collected,
        end,
        now: Instant::now(),
    }
    .observation(&before);
    *memory.lock().unwrap_or_else(PoisonError::into_inner) = after;
    Ok(observation)
}

fn nothing(collected: &Collected) -> Error {
    let faults: Vec<_> = collected
        .sources
        .iter()
        .map(|source| {
            format!(
                "{}: {}",
                source.name,
                source.error.as_deref().unwrap_or("no answer")
            )
        })
        .collect();
    Error::retryable(
        ErrorKind::Unavailable,
        format!("no part of the rate limiter answers: {}", faults.join("; ")),
    )
}

/// The parts that an observation is put together from.
struct Assembly<'a> {
    settings: &'a Settings,
    http: &'a Http,
    collected: Collected,
    end: Deadline,
    now: Instant,
}

impl Assembly<'_> {
    fn observation(mut self, before: &Memory) -> (Observation<Data>, Memory) {
        let mut after = before.clone();
        let forget = Duration::from_secs(self.settings.forget_node_s);
        after
            .roster
            .learn(&self.collected.heard(), self.now, forget);
        after.form = self.collected.form();
        let limits = self
            .collected
            .cluster
            .as_ref()
            .and_then(|view| view.limits.as_ref().ok())
            .cloned();
        let counters = self.counters(&mut after, limits.as_ref());
        let reporting = self
            .collected
            .reports
            .iter()
            .filter(|(_, (_, report))| report.allowed.is_some());
        after
            .roster
            .note_reported(reporting.map(|(id, _)| id.as_str()), self.now);
        let mut data = self.data(&before.roster, &after.roster, counters, limits);
        self.remember_keys(&mut data, &mut after);
        let (summary, slis) = (summary::line(&data), summary::slis(&data));
        let mut observation = Observation::new(data).summary(summary);
        observation.slis = slis;
        observation.sources = self.collected.sources;
        (observation, after)
    }

    /// What Redis and the nodes count; none where no source reports any key.
    fn counters(&mut self, after: &mut Memory, limits: Option<&Limits>) -> Option<Vec<Counter>> {
        let now = self.now;
        let first = self.collected.allowed();
        let listed = self
            .collected
            .cluster
            .as_ref()
            .and_then(|view| view.counters.as_ref().ok());
        if listed.is_none() && first.is_empty() {
            return None;
        }
        let sources = LimitSources {
            listed,
            remembered: &after.keys,
            limits,
        };
        let chosen: Vec<Chosen> = sources.choose(&first, self.settings.max_counters, now);
        let reporting: Reporting = first
            .keys()
            .filter_map(|id| Some((id.clone(), self.collected.reports.get(id)?.0.clone())))
            .collect();
        let link = self
            .collected
            .redis
            .as_mut()
            .ok()
            .map(|view| &mut view.link);
        let readings = read_twice(self.http, &chosen, first, &reporting, link, self.end);
        let roster = &after.roster;
        let silent: Vec<&str> = roster
            .ids()
            .filter(|id| !reporting.contains_key(*id))
            .collect();
        let missed = |window| {
            silent
                .iter()
                .any(|id| roster.is_missed(id, window, now, now_ms()))
        };
        let restarted = |window| roster.any_started_within(reporting.keys(), window, now_ms());
        Some(readings.counters(chosen, missed, restarted))
    }

    fn remember_keys(&self, data: &mut Data, after: &mut Memory) {
        let rules = data
            .limits
            .as_ref()
            .and_then(|limits| limits.overrides.clone())
            .unwrap_or_default();
        let Some(mut counters) = data.counters.take() else {
            return;
        };
        for counter in &mut counters {
            after.keys.learn(counter, &rules, self.now, now_ms());
            if is_suspicious(counter, data) {
                after.keys.suspect(&counter.key, self.now);
            }
        }
        after.keys.forget(self.now);
        data.counters = Some(counters);
    }

    fn data(
        &self,
        before: &Roster,
        after: &Roster,
        counters: Option<Vec<Counter>>,
        limits: Option<Limits>,
    ) -> Data {
        let nodes = self.nodes(before, after);
        let reports = self.collected.reports.iter();
        let node_metrics: BTreeMap<_, _> = reports
            .map(|(id, (_, report))| (id.clone(), report.metrics.clone()))
            .collect();
        let view = self.collected.cluster.as_ref();
        let prometheus = self.collected.prometheus.as_ref().ok();
        let own = summary::own_rates(&nodes, &node_metrics);
        Data {
            api: self.collected.form(),
            redis_connected: self.redis_connected(),
            redis: self.redis(),
            hot_keys: counters.as_deref().map(hot_keys),
            counters,
            counters_complete: view.and_then(|view| Some(view.counters.as_ref().ok()?.complete)),
            totals: totals(&node_metrics),
            limits,
            blocks: view.and_then(|view| view.blocks.as_ref().ok()).cloned(),
            cluster: view
                .and_then(|view| view.state.as_ref().ok())
                .cloned()
                .flatten(),
            latency: self.latency(after),
            block_rate_percent: prometheus
                .and_then(|p| p.block_rate_percent)
                .or(own.block_rate_percent),
            false_block_rate_percent: prometheus.and_then(|p| p.false_block_rate_percent),
            requests_per_second: prometheus
                .and_then(|p| p.requests_per_second)
                .or(own.requests_per_second),
            thresholds: self.settings.thresholds.into(),
            nodes,
            node_metrics,
        }
    }

    fn nodes(&self, before: &Roster, after: &Roster) -> Vec<Node> {
        let mut nodes = after.observe(
            before,
            &self.collected.heard(),
            &self.settings.expected_nodes,
        );
        for node in &mut nodes {
            let report = self.collected.reports.get(&node.id);
            let reported = report.and_then(|(_, report)| report.redis_connected);
            node.redis_connected = node.redis_connected.or(reported);
        }
        nodes
    }

    fn redis_connected(&self) -> Option<bool> {
        match &self.collected.redis {
            Ok(_) => Some(true),
            Err(RedisFault::Unavailable(_)) => Some(false),
            Err(RedisFault::Refused(_)) => None,
        }
    }

    fn redis(&self) -> Redis {
        match &self.collected.redis {
            Ok(view) => Redis {
                ping_ms: Some(view.ping_ms),
                uptime_s: view.uptime_s,
                refused: Some(false),
                error: None,
            },
            Err(fault) => Redis {
                refused: Some(matches!(fault, RedisFault::Refused(_))),
                error: Some(fault.message()),
                ..Redis::default()
            },
        }
    }

    fn latency(&self, roster: &Roster) -> Latency {
        match &self.collected.prometheus {
            Ok(view) => Latency {
                p50_ms: view.p50_ms,
                p99_ms: view.p99_ms,
                p99_ms_by_node: prometheus::by_node(&view.p99_ms_by_node, |at| roster.id_at(at)),
                error: None,
            },
            Err(fault) => Latency {
                error: Some(format!("Prometheus: {fault}")),
                ..Latency::default()
            },
        }
    }
}

fn totals(metrics: &BTreeMap<String, NodeMetrics>) -> Totals {
    let sum = |of: fn(&NodeMetrics) -> Option<u64>| {
        metrics.values().filter_map(of).reduce(u64::saturating_add)
    };
    Totals {
        allowed: sum(|node| node.allowed_total),
        blocked: sum(|node| node.blocked_total),
    }
}

fn hot_keys(counters: &[Counter]) -> Vec<HotKey> {
    let count = |counter: &Counter| counter.redis_high.max(counter.allowed_low);
    let known = counters.iter().filter_map(|counter| {
        Some(HotKey {
            key: counter.key.clone(),
            count: count(counter)?,
        })
    });
    let mut keys: Vec<HotKey> = known.filter(|hot| hot.count > 0).collect();
    keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    keys.truncate(HOT_KEYS);
    keys
}
