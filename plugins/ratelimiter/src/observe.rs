//! Builds an observation from the answers of all sources.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use operator_plugin_api::{Deadline, Error, ErrorKind, Observation, Resource, now_ms};
use operator_plugin_kit::{Http, observing::budget};
use serde_json::Value;

use crate::{
    check::suspicion,
    collect::{Collected, Collector},
    config::Settings,
    kept::{Clocks, Kept},
    memory::Memory,
    observation::{
        ApiForm, Checks, Counter, Data, HotKey, Latency, Node, NodeMetrics, Redis, Totals,
    },
    prometheus,
    rates::Rates,
    redis_link::RedisFault,
    roster::Roster,
    sample::{LimitSources, Reporting, read_twice},
    summary,
};

/// What the observation calls a key among its resources.
pub(crate) const KEY: &str = "key";

/// The number of hot keys that are listed.
const HOT_KEYS: usize = 10;

/// Reads all sources, and remembers what later cycles need. `kept` is what the host has kept from an earlier process.
pub(crate) fn observe(
    settings: &Settings,
    http: &Http,
    memory: &Mutex<Memory>,
    deadline: Deadline,
    kept: Option<&Value>,
) -> Result<Observation<Data>, Error> {
    let mut before = memory
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let (false, Some(kept)) = (before.has_observed, Kept::parse(kept)) {
        before = kept.restore(Clocks::read());
    }
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
    let (mut observation, mut after) = Assembly {
        settings,
        http,
        collected,
        end,
        now: Instant::now(),
        refused: None,
    }
    .observation(&before);
    after.has_observed = true;
    let kept = Kept::of(&after, Clocks::read());
    observation.memory = after.told.tell(kept, Instant::now());
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
    /// What Redis refused while the counters were read.
    refused: Option<String>,
}

impl Assembly<'_> {
    fn observation(mut self, before: &Memory) -> (Observation<Data>, Memory) {
        let mut after = before.clone();
        self.learn(&mut after);
        let counters = self.counters(&mut after);
        let reporting = self
            .collected
            .reports
            .iter()
            .filter(|(_, (_, report))| report.allowed.is_some());
        after
            .roster
            .note_reported(reporting.map(|(id, _)| id.as_str()), self.now);
        let mut data = self.data(&before.roster, &after, counters);
        self.judge_keys(&mut data, &mut after);
        let (summary, slis) = (summary::line(&data), summary::slis(&data));
        let mut resources = after.roster.resources(&data.nodes);
        let read = data.counters.iter().flatten();
        let read = read.filter(|counter| counter.redis_low.is_some());
        resources.extend(read.map(|counter| Resource::new(KEY, &counter.key)));
        let mut observation = Observation::new(data).summary(summary);
        observation.slis = slis;
        observation.sources = self.collected.sources;
        let redis = observation.sources.iter_mut();
        if let Some(redis) = redis.into_iter().find(|source| source.name == "redis") {
            redis.error = redis.error.take().or(self.refused);
        }
        observation.resources = resources;
        (observation, after)
    }

    /// What later cycles must know of this one.
    fn learn(&self, after: &mut Memory) {
        let forget = Duration::from_secs(self.settings.forget_node_s);
        after
            .roster
            .learn(&self.collected.heard(), self.now, forget);
        after.form = self.collected.form();
        match &self.collected.managed {
            Some(managed) => {
                after.answers = managed.answers.clone();
                let counters = &managed.answers.counters;
                if let (true, Some(slice)) = (counters.is_fresh, counters.answer()) {
                    after.sweep.advance(slice);
                }
            }
            None => after.answers = after.answers.kept(),
        }
        after.registry_cursor = match &self.collected.redis {
            Ok(view) => view.registry.cursor,
            Err(_) => 0,
        };
        let checks = self.collected.reports.iter();
        let checks = checks.filter_map(|(id, (_, report))| Some((id.clone(), report.checks?)));
        after.checks.note(self.now, &checks.collect());
    }

    /// What Redis and the nodes count; none where no source reports any key.
    fn counters(&mut self, after: &mut Memory) -> Option<Vec<Counter>> {
        let now = self.now;
        let first = self.collected.allowed();
        let managed = self.collected.managed.as_ref();
        let listed = managed.and_then(|managed| managed.answers.counters.answer());
        if listed.is_none() && first.is_empty() {
            return None;
        }
        let sources = LimitSources {
            form: self.collected.form(),
            listed,
            is_fresh: managed.is_some_and(|managed| managed.answers.counters.is_fresh),
            remembered: &after.keys,
            limits: managed.and_then(|managed| managed.limits.as_ref().ok()),
        };
        let choice = sources.choose(&first, self.settings.max_counters, now);
        after.keys.note_unlisted(choice.unlisted);
        let chosen = choice.chosen;
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
        self.refused.clone_from(&readings.refused);
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

    fn judge_keys(&self, data: &mut Data, after: &mut Memory) {
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
            let suspicion = suspicion(counter, data);
            after.keys.judge(&counter.key, suspicion, self.now);
        }
        after.keys.forget(self.now);
        data.counters = Some(counters);
    }

    fn data(&self, before: &Roster, after: &Memory, counters: Option<Vec<Counter>>) -> Data {
        let nodes = self.nodes(before, after);
        let reports = self.collected.reports.iter();
        let node_metrics: BTreeMap<_, _> = reports
            .map(|(id, (_, report))| (id.clone(), report.metrics.clone()))
            .collect();
        let managed = self.collected.managed.as_ref();
        let answers = managed.map(|managed| &managed.answers);
        let listed = answers.and_then(|answers| answers.counters.answer());
        let cluster = answers.and_then(|answers| answers.state.answer()).cloned();
        let counters_total = match listed {
            Some(list) if list.complete => Some(list.counters.len() as u64),
            _ => after.sweep.total(),
        };
        let reported_total = cluster.as_ref().and_then(|state| state.total_keys);
        let rates = Rates::of(
            &nodes,
            &node_metrics,
            self.collected.prometheus.as_ref(),
            |at| after.roster.id_at(at),
        );
        Data {
            api: self.collected.form(),
            nodes_listed: Some(after.roster.is_whole()),
            redis_connected: self.redis_connected(),
            redis: self.redis(),
            hot_keys: counters.as_deref().map(hot_keys),
            counters,
            counters_complete: listed.map(|list| list.complete),
            counters_swept: Some(after.sweep.has_finished()),
            counters_total: counters_total.or(reported_total),
            totals: totals(&node_metrics),
            limits: managed
                .and_then(|managed| managed.limits.as_ref().ok())
                .cloned(),
            blocks: answers.and_then(|answers| answers.blocks.answer()).cloned(),
            cluster,
            latency: self.latency(&nodes, &after.roster),
            block_rate_percent: rates.block_rate_percent,
            block_rate_error: rates.block_rate_error,
            false_block_rate_percent: rates.false_block_rate_percent,
            requests_per_second: rates.requests_per_second,
            thresholds: self.settings.thresholds.into(),
            nodes,
            node_metrics,
        }
    }

    fn nodes(&self, before: &Roster, after: &Memory) -> Vec<Node> {
        let mut nodes = after.roster.observe(
            before,
            &self.collected.heard(),
            &self.settings.expected_nodes,
        );
        let is_older = self.collected.form() == Some(ApiForm::Older);
        for node in nodes.iter_mut().filter(|node| node.answered == Some(true)) {
            node.checks = after.checks.of(&node.id);
            node.redis_connected = match node.redis_connected {
                None if is_older => self.older_reaches_redis(node, after),
                reported => reported,
            };
        }
        nodes
    }

    /// The health of the older form says nothing of Redis. But such a node answers no check without it, and registers itself
    /// there. Where both fail, Redis may refuse to write as well as be out of reach: `checks_failing` tells of that.
    fn older_reaches_redis(&self, node: &Node, after: &Memory) -> Option<bool> {
        let checks = node.checks.as_ref();
        let is_some = |count: fn(&Checks) -> Option<u64>| {
            checks.and_then(count).is_some_and(|count| count > 0)
        };
        if is_some(|checks| checks.served) {
            return Some(true);
        }
        let registered = after.roster.reaches_redis(&node.id, self.now);
        registered.filter(|reaches| *reaches || !is_some(|checks| checks.failed))
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
                error: view.refused.clone().or_else(|| self.refused.clone()),
            },
            Err(fault) => Redis {
                refused: Some(matches!(fault, RedisFault::Refused(_))),
                error: Some(fault.message()),
                ..Redis::default()
            },
        }
    }

    fn latency(&self, nodes: &[Node], roster: &Roster) -> Latency {
        let view = match &self.collected.prometheus {
            Ok(view) => view,
            Err(fault) => {
                return Latency {
                    error: Some(format!("Prometheus: {fault}")),
                    ..Latency::default()
                };
            }
        };
        let timings = &view.latency;
        let serving = nodes.iter().filter(|node| node.answered == Some(true));
        let serving = serving.map(|node| node.id.as_str());
        let id_at = |at: &str| roster.id_at(at);
        let counted = view.requests_per_second.is_some_and(|rate| rate > 0.0);
        Latency {
            p50_ms: timings.p50_ms,
            p99_ms: timings.p99_ms,
            p99_ms_by_node: prometheus::by_node(&timings.p99_ms_by_node, id_at),
            of: timings.of,
            missing: Some(prometheus::missing(&timings.counted, serving, id_at)),
            not_timed: Some(timings.p99_ms.is_none() && counted),
            error: None,
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
