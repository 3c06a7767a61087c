//! Builds an observation from the answers of all sources.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use operator_plugin_api::{Deadline, Error, ErrorKind, Observation, Resource, now_ms};
use operator_plugin_kit::{Endpoint, Http, observing::budget};

use crate::{
    check,
    collect::{ClusterAnswers, Collected, Collector, Got},
    config::Settings,
    convert, kept,
    log::LogTail,
    memory::{Memory, note},
    meter::Meter,
    observation::{
        ClusterMetrics, Data, EvictLeader, Operators, PausedScheduler, RegionCount, Regions,
        Schedulers,
    },
    pd::{operator, regions::Listed, units::time_ms, wire},
    summary,
    thresholds::Thresholds,
};

/// The number of operators that are listed.
const MAX_OPERATORS: usize = 100;
/// PD has at most a handful of members.
const MAX_MEMBERS: usize = 16;
/// Rules are many in large clusters, and change when a person changes them.
const PACE_OF_RULES: Duration = Duration::from_mins(1);

/// Reads all sources, and remembers what later cycles need.
pub(crate) fn observe(
    settings: &Settings,
    http: &Http,
    meter: &Meter,
    memory: &Mutex<Memory>,
    log: &Mutex<LogTail>,
    deadline: Deadline,
) -> Result<Observation<Data>, Error> {
    let end = budget(deadline, Duration::from_millis(settings.observe_timeout_ms))?;
    let (members, lists, stats, costs, missing, reads_leader_rules) = {
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = memory.leader_rules.as_ref();
        (
            memory.members.clone(),
            memory.lists.clone(),
            memory.stats.clone(),
            memory.costs.clone(),
            memory.missing.clone(),
            rules.is_none_or(|(at, _)| at.elapsed() >= PACE_OF_RULES),
        )
    };
    let collector = Collector {
        settings,
        http,
        members: &members,
        lists: &lists,
        stats: stats.as_ref(),
        costs: &costs,
        missing: &missing,
        reads_leader_rules,
        meter,
        log,
        end,
    };
    let collected = collector.collect();
    let now = Instant::now();
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    if !collected
        .asked
        .iter()
        .any(crate::collect::Asked::is_available)
    {
        memory.leader.learn(None, now);
        return Err(nothing(&collected));
    }
    learn(&mut memory, &collected, now);
    Ok(assemble(collected, settings.thresholds, &memory, now))
}

fn nothing(collected: &Collected) -> Error {
    let faults: Vec<_> = collected
        .asked
        .iter()
        .filter_map(|asked| {
            Some(format!(
                "{}: {}",
                asked.endpoint,
                asked.members.as_ref().err()?
            ))
        })
        .collect();
    Error::retryable(
        ErrorKind::Unavailable,
        format!("no PD answers: {}", faults.join("; ")),
    )
}

fn learn(memory: &mut Memory, collected: &Collected, now: Instant) {
    let leader = collected
        .members()
        .and_then(|members| members.leader.as_ref()?.member_id);
    // While it is unknown whether there is a leader, it is unknown whether it changed.
    if collected.has_leader().is_some() {
        memory.leader.learn(leader, now);
    }
    if let Some(members) = collected.members() {
        if let Some(id) = members.header.as_ref().and_then(|header| header.cluster_id) {
            memory.learn_cluster(id);
        }
        let urls = members
            .members
            .iter()
            .filter_map(|member| member.client_urls.as_ref()?.first());
        memory.members = urls
            .filter_map(|url| Endpoint::parse_reported(url))
            .take(MAX_MEMBERS)
            .collect();
    }
    let Some(answers) = &collected.cluster else {
        return;
    };
    for (id, gone) in &answers.gone {
        if let Ok(Some(why)) = gone {
            memory.learn_gone(*id, why);
        }
    }
    match &answers.leader_rules {
        Some(Ok(rules)) => memory.leader_rules = Some((now, rules.clone())),
        Some(Err(_)) => memory.leader_rules = None,
        None => {}
    }
    if let Ok((stores, _)) = &answers.stores {
        let listed = stores.stores.iter();
        let listed = listed.filter(|info| info.store.state_name.as_deref() != Some("Tombstone"));
        memory.learn_stores(&listed.map(|info| info.store.id).collect());
        let heartbeats = stores.stores.iter();
        let heartbeats =
            heartbeats.filter_map(|info| Some((info.store.id, convert::heartbeat_ms(info)?)));
        memory.leader.learn_heartbeats(heartbeats);
    }
    if let Ok(evicting) = &answers.evict_leader {
        note(&mut memory.evicting, evicting, now);
    }
    if let Ok(schedule) = &answers.schedule {
        memory.halted = convert::flag(schedule.halt_scheduling.as_deref())
            .unwrap_or_default()
            .then(|| memory.halted.unwrap_or(now));
    }
    if let Ok(stats) = &answers.stats {
        memory.stats = Some(stats.clone());
    }
    for (question, cost) in &answers.costs {
        memory.costs.learn(question, *cost);
    }
    for (check, got) in &answers.checks {
        if let Ok(list) = got {
            memory.lists.insert(check, list.clone());
        }
    }
}

fn assemble(
    collected: Collected,
    thresholds: Thresholds,
    memory: &Memory,
    now: Instant,
) -> Observation<Data> {
    let mut data = Data {
        pd: convert::pd(&collected),
        thresholds: thresholds.into(),
        ..Data::default()
    };
    data.pd.leader_changed_ago_ms = memory.leader.changed_ago(now).map(ms);
    data.pd.regions_settled = memory.leader.regions_settled(now);
    if let Some(answers) = &collected.cluster {
        fill(&mut data, answers, memory, now);
    }
    match &collected.metrics {
        Ok(measured) => {
            let metrics = &measured.metrics;
            data.metrics_age_ms = Some(ms(now.saturating_duration_since(measured.at)));
            data.metrics_instances = metrics.instances.named();
            data.metrics_instance_count = Some(metrics.instances.count() as u64);
            data.store_metrics = data
                .stores
                .as_deref()
                .map(|stores| metrics.of_stores(stores));
            let of_stores = data.store_metrics.as_ref();
            data.cluster_metrics.write_latency_p99_ms = of_stores.and_then(|of_stores| {
                metrics.write_latency_p99_ms(check::serving_stores(&data), of_stores)
            });
        }
        Err(error) => data.metrics_error = Some(error.clone()),
    }
    data.cluster_metrics.qps = summary::qps(&data);
    data.log = collected.log.and_then(Result::ok);
    let (summary, slis) = (summary::line(&data), summary::slis(&data));
    let resources = resources(&data, memory);
    let mut observation = Observation::new(data).summary(summary);
    observation.slis = slis;
    observation.resources = resources;
    observation.memory = Some(kept::keep(memory, now));
    observation.sources = collected.sources;
    observation
}

/// The stores that PD lists, and those that are known to have left; none while PD does not list them.
fn resources(data: &Data, memory: &Memory) -> Vec<Resource> {
    let Some(stores) = &data.stores else {
        return Vec::new();
    };
    let of = |id: u64| Resource::new(check::STORE, check::resource(id));
    let listed = stores.iter().map(|store| of(store.id));
    let gone = memory.gone.iter().map(|(id, why)| of(*id).gone(why));
    listed.chain(gone).collect()
}

/// Fills in the answers about the cluster, each part by itself.
fn fill(data: &mut Data, answers: &ClusterAnswers, memory: &Memory, now: Instant) {
    let stores = answers.stores.as_ref().ok();
    let clock =
        stores.map(|(stores, date_ms)| convert::clock(stores, date_ms.unwrap_or_else(now_ms)));
    let evicting = answers.evict_leader.as_ref().ok();
    data.stores = stores
        .zip(clock)
        .map(|((stores, _), clock)| convert::stores(stores, clock, evicting));
    for store in data.stores.iter_mut().flatten() {
        let at = store.last_heartbeat_ms;
        let rules = memory.leader_rules.as_ref();
        let labels = store.labels.as_ref();
        store.may_lead = rules
            .zip(labels)
            .map(|((_, rules), labels)| rules.allow(labels));
        store.heard_by_leader = at.map(|at| memory.leader.has_heard_of(store.id, at, now));
    }
    data.cluster_metrics = cluster_metrics(answers, data);
    data.regions = regions(answers, now);
    data.operators = answers
        .operators
        .as_ref()
        .ok()
        .map(|texts| operators(texts));
    data.schedulers = schedulers(answers, clock.unwrap_or_else(now_ms), memory, now);
    data.hot_stores = answers.hot.as_ref().ok().map(convert::hot_stores);
    data.config = convert::config(
        answers.schedule.as_ref().ok(),
        answers.replication.as_ref().ok(),
    );
}

fn cluster_metrics(answers: &ClusterAnswers, data: &Data) -> ClusterMetrics {
    let stats = answers.stats.as_ref().ok().map(|(stats, _)| stats);
    let by_state = data.stores.as_deref().map(|stores| {
        let mut by_state = BTreeMap::new();
        for state in stores.iter().filter_map(|store| store.state) {
            *by_state.entry(state).or_default() += 1;
        }
        by_state
    });
    ClusterMetrics {
        store_count: data.stores.as_ref().map(|stores| stores.len() as u64),
        stores_by_state: by_state,
        region_count: stats.and_then(|stats| stats.count),
        empty_region_count: stats.and_then(|stats| stats.empty_count),
        storage_size_mib: stats.and_then(|stats| stats.storage_size),
        leader_count: stats.and_then(|stats| stats.store_leader_count.clone()),
        peer_count: stats.and_then(|stats| stats.store_peer_count.clone()),
        qps: None,
        write_latency_p99_ms: None,
    }
}

fn regions(answers: &ClusterAnswers, now: Instant) -> Regions {
    let count = |check: &str| {
        answers
            .checks
            .get(check)
            .and_then(|got| region_count(got, now))
    };
    let stats = answers.stats.as_ref().ok();
    Regions {
        leaderless: stats.and_then(|(stats, _)| leaderless(stats)),
        stats_age_ms: stats.map(|(_, at)| ms(now.saturating_duration_since(*at))),
        down_peer: count("down-peer"),
        miss_peer: count("miss-peer"),
        pending_peer: count("pending-peer"),
        extra_peer: count("extra-peer"),
        offline_peer: count("offline-peer"),
    }
}

fn region_count(got: &Got<(Listed, Instant)>, now: Instant) -> Option<RegionCount> {
    let (list, at) = got.as_ref().ok()?;
    Some(RegionCount {
        count: list.count,
        examples: list.examples.clone(),
        age_ms: ms(now.saturating_duration_since(*at)),
    })
}

/// PD counts a region for its leader's store only if it has a leader.
fn leaderless(stats: &wire::RegionStats) -> Option<u64> {
    let led = stats
        .store_leader_count
        .as_ref()?
        .values()
        .try_fold(0_u64, |sum, count| sum.checked_add(*count));
    stats.count?.checked_sub(led?)
}

fn operators(texts: &[String]) -> Operators {
    let mut running: Vec<_> = texts
        .iter()
        .filter_map(|text| operator::parse(text))
        .collect();
    running.sort_by(|a, b| (a.region_id, &a.desc).cmp(&(b.region_id, &b.desc)));
    running.truncate(MAX_OPERATORS);
    Operators {
        count: texts.len() as u64,
        running,
    }
}

fn schedulers(
    answers: &ClusterAnswers,
    clock_ms: i64,
    memory: &Memory,
    now: Instant,
) -> Schedulers {
    let since = |since: &Instant| ms(now.saturating_duration_since(*since));
    let evict_leader = answers.evict_leader.as_ref().ok().map(|stores| {
        let held = stores.iter().map(|store_id| EvictLeader {
            store_id: *store_id,
            seen_for_ms: memory.evicting.get(store_id).map(since),
            leaders_left: leaders_on(answers, *store_id),
        });
        held.collect()
    });
    let paused = answers.paused.as_ref().ok();
    let schedule = answers.schedule.as_ref().ok();
    Schedulers {
        names: answers.schedulers.as_ref().ok().map(|names| {
            let mut names = names.clone();
            names.sort();
            names
        }),
        paused: paused.map(|paused| {
            paused
                .iter()
                .map(|one| paused_scheduler(one, clock_ms))
                .collect()
        }),
        evict_leader,
        // PD leaves it out while it is false.
        halted: schedule.and_then(|schedule| match &schedule.halt_scheduling {
            None => Some(false),
            Some(text) => convert::flag(Some(text)),
        }),
        halted_for_ms: memory.halted.as_ref().map(since),
    }
}

fn leaders_on(answers: &ClusterAnswers, store_id: u64) -> Option<u64> {
    let (stats, _) = answers.stats.as_ref().ok()?;
    let counts = stats.store_leader_count.as_ref()?;
    Some(
        counts
            .get(&store_id.to_string())
            .copied()
            .unwrap_or_default(),
    )
}

fn paused_scheduler(paused: &wire::PausedScheduler, clock_ms: i64) -> PausedScheduler {
    let at = |time: &Option<String>| time.as_deref().and_then(time_ms);
    let since = at(&paused.paused_at).map(|at| clock_ms.saturating_sub(at).max(0).unsigned_abs());
    let until = at(&paused.resume_at).map(|at| at.saturating_sub(clock_ms).max(0).unsigned_abs());
    PausedScheduler {
        name: paused.name.clone(),
        paused_for_ms: since,
        resumes_in_ms: until,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
