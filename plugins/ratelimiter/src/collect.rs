//! Reads all sources side by side, each within its timeout, in three steps:
//!
//! 1. every known node's `/health`, the management API of a node that answers, Redis, and Prometheus;
//! 2. the nodes that step 1 made known;
//! 3. each node's own metrics, and the counters in Redis, close together.

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use operator_plugin_api::{Deadline, Source};
use operator_plugin_kit::{Endpoint, Fault, Http, Prometheus, observing::timed};

use crate::{
    config::Settings,
    management::{self, Managed, Management},
    memory::Memory,
    observation::{ApiForm, Listed},
    probe::{self, Allowed, NodeReport, Probed, Target},
    prometheus::PrometheusView,
    redis_link::RedisFault,
    redis_view::{RedisView, Wanted},
    roster::{Heard, MAX_NODES, NodeListing, Roster},
};

/// How long the first answers wait for an endpoint that is preferred.
const PREFERENCE: Duration = Duration::from_millis(50);
/// Management nodes tried before giving up.
const MANAGEMENT_TRIES: usize = 3;
/// A little more than the service itself takes to ask a frozen peer.
const MANAGEMENT_TIMEOUT: Duration = Duration::from_millis(900);
/// Of a node that has just answered its `/health`.
const METRICS_TIMEOUT: Duration = Duration::from_secs(1);
const PROMETHEUS_TIMEOUT: Duration = Duration::from_millis(900);

static NO_REGISTRATIONS: BTreeMap<String, Option<u64>> = BTreeMap::new();

const PANICKED: &str = "reading it panicked";

/// What collecting needs.
pub(crate) struct Collector<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) http: &'a Http,
    pub(crate) before: &'a Memory,
    pub(crate) end: Deadline,
}

/// The answers of all sources; each can be missing.
pub(crate) struct Collected {
    pub(crate) probes: Vec<Probed>,
    pub(crate) listing: Option<NodeListing>,
    pub(crate) managed: Option<Managed>,
    pub(crate) redis: Result<RedisView, RedisFault>,
    pub(crate) prometheus: Result<PrometheusView, Fault>,
    /// What the nodes that answered report, and where they were asked.
    pub(crate) reports: BTreeMap<String, (Endpoint, NodeReport)>,
    pub(crate) sources: Vec<Source>,
}

impl Collected {
    pub(crate) fn heard(&self) -> Heard<'_> {
        Heard {
            probes: &self.probes,
            listing: self.listing.as_ref(),
            registry: self.redis.as_ref().map_or(&[], |view| &view.registry.nodes),
            registry_is_whole: self.redis.as_ref().is_ok_and(|view| view.registry.is_whole),
            registrations: self
                .redis
                .as_ref()
                .map_or(&NO_REGISTRATIONS, |view| &view.registrations),
        }
    }

    pub(crate) fn form(&self) -> Option<ApiForm> {
        self.managed.as_ref().map(|managed| managed.form)
    }

    /// What each node that reports it allowed.
    pub(crate) fn allowed(&self) -> BTreeMap<String, Allowed> {
        let reports = self.reports.iter();
        reports
            .filter_map(|(id, (_, report))| Some((id.clone(), report.allowed.clone()?)))
            .collect()
    }

    pub(crate) fn nothing_answered(&self) -> bool {
        let redis_unavailable = matches!(self.redis, Err(RedisFault::Unavailable(_)));
        redis_unavailable
            && self.prometheus.is_err()
            && self.probes.iter().all(|probed| probed.health.is_err())
    }
}

impl Collector<'_> {
    pub(crate) fn collect(&self) -> Collected {
        let mut collected = self.first();
        let further = Roster::further_targets(&collected.heard());
        collected.probes.extend(self.probe_all(&further, None));
        self.list_again(&mut collected);
        collected.reports = self.read_nodes(&collected.probes, collected.form());
        collected.sources.extend(node_sources(&collected));
        collected
    }

    fn first(&self) -> Collected {
        let targets = self.before.roster.targets(&self.settings.management);
        let (answered, answers) = mpsc::channel();
        let targets = &targets;
        thread::scope(|scope| {
            let probes = scope.spawn(move || self.probe_all(targets, Some(answered)));
            let managed = scope.spawn(move || timed(|| self.manage(targets, &answers)));
            let redis = scope.spawn(|| timed(|| self.redis()));
            let (prometheus, prometheus_took) = timed(|| {
                let deadline = Deadline::after(self.end.at_most(PROMETHEUS_TIMEOUT));
                let server = Prometheus::new(self.http, &self.settings.prometheus);
                PrometheusView::read(server, deadline)
            });
            let (redis, redis_took) = redis.join().unwrap_or_else(|_| {
                let fault = RedisFault::Refused(PANICKED.into());
                (Err(fault), Duration::ZERO)
            });
            let (managed, managed_took): (Result<Managed, Fault>, _) = managed
                .join()
                .unwrap_or_else(|_| (Err(Fault::NoAnswer(PANICKED.into())), Duration::ZERO));
            let redis_error = match &redis {
                Ok(view) => view.refused.clone(),
                Err(fault) => Some(fault.message()),
            };
            let sources = vec![
                Source::new("management")
                    .error(missing(&managed))
                    .took(managed_took),
                Source::new("redis").error(redis_error).took(redis_took),
                Source::new("prometheus")
                    .error(prometheus.as_ref().err())
                    .took(prometheus_took),
            ];
            let managed = managed.ok();
            let listing = managed.as_ref().and_then(|managed| {
                Some(NodeListing {
                    form: managed.form,
                    nodes: managed.nodes()?.clone(),
                })
            });
            Collected {
                probes: probes.join().unwrap_or_default(),
                listing,
                managed,
                redis,
                prometheus,
                reports: BTreeMap::new(),
                sources,
            }
        })
    }

    fn timeout(&self) -> Duration {
        self.end
            .at_most(Duration::from_millis(self.settings.probe_timeout_ms))
    }

    /// Every answer is sent on as soon as it is there, by its rank among the targets.
    fn probe_all(&self, targets: &[Target], answered: Option<Sender<usize>>) -> Vec<Probed> {
        thread::scope(|scope| {
            let probing: Vec<_> = targets
                .iter()
                .enumerate()
                .map(|(rank, target)| {
                    let answered = answered.clone();
                    scope.spawn(move || {
                        let probed = probe::probe(self.http, target, self.timeout(), self.end);
                        if let (Ok(_), Some(answered)) = (&probed.health, answered) {
                            // The receiver is gone once a management node was found.
                            let _ = answered.send(rank);
                        }
                        probed
                    })
                })
                .collect();
            drop(answered);
            probing
                .into_iter()
                .filter_map(|probing| probing.join().ok())
                .collect()
        })
    }

    /// Any live node is enough; of those that answer at once, the first in the order of the targets.
    fn manage(&self, targets: &[Target], answers: &Receiver<usize>) -> Result<Managed, Fault> {
        let mut last = Fault::NotSent("no node answers".into());
        let mut waiting: Vec<usize> = Vec::new();
        for _ in 0..MANAGEMENT_TRIES {
            if waiting.is_empty() {
                waiting.extend(answers.recv_timeout(self.end.remaining()).ok());
            }
            let preference = Instant::now() + PREFERENCE;
            while !waiting.contains(&0) {
                let left = preference.saturating_duration_since(Instant::now());
                let Ok(rank) = answers.recv_timeout(left) else {
                    break;
                };
                waiting.push(rank);
            }
            waiting.sort_unstable_by(|a, b| b.cmp(a));
            let Some(target) = waiting.pop().and_then(|rank| targets.get(rank)) else {
                return Err(last);
            };
            match self.ask_management(&target.endpoint) {
                Ok(managed) => return Ok(managed),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    fn ask_management(&self, endpoint: &Endpoint) -> Result<Managed, Fault> {
        let question = Management {
            http: self.http,
            endpoint,
            before: &self.before.answers,
            assumed: self.before.form,
            max_counters: self.settings.max_counters,
            after: &self.before.sweep.after,
            end: Deadline::after(self.end.at_most(MANAGEMENT_TIMEOUT)),
        };
        question.ask()
    }

    /// As with nodes, one slow answer does not mean that Redis is down.
    fn redis(&self) -> Result<RedisView, RedisFault> {
        let before = self.before;
        // Where no node listed the others in the last cycle, Redis is searched for them.
        let is_listed = before.form.is_some() && before.answers.nodes.answer().is_some();
        let is_older = before.form == Some(ApiForm::Older);
        let wanted = Wanted {
            registry_from: (!is_listed).then_some(before.registry_cursor),
            nodes: before
                .roster
                .ids()
                .filter(|_| is_older)
                .take(MAX_NODES)
                .collect(),
        };
        let once = || {
            let deadline = Deadline::after(self.timeout());
            RedisView::read(&self.settings.redis, &wanted, deadline)
        };
        once().or_else(|fault| {
            if matches!(fault, RedisFault::Unavailable(_)) {
                once()
            } else {
                Err(fault)
            }
        })
    }

    /// A node that refuses while it is still listed as healthy has died or is just signing off; the list shows which
    /// once it is read again.
    fn list_again(&self, collected: &mut Collected) {
        let refused = |probed: &Probed| matches!(probed.health, Err(Fault::NotSent(_)));
        let listed = |id: &Option<String>| {
            let nodes = collected.listing.iter().flat_map(|listing| &listing.nodes);
            nodes
                .into_iter()
                .any(|node| Some(&node.id) == id.as_ref() && node.listed() == Some(Listed::Healthy))
        };
        if !collected
            .probes
            .iter()
            .any(|probed| refused(probed) && listed(&probed.target.id))
        {
            return;
        }
        let Some(alive) = collected.probes.iter().find(|probed| probed.health.is_ok()) else {
            return;
        };
        // Only the newer form's list tells one from the other.
        if collected.form() != Some(ApiForm::V1) {
            return;
        }
        let end = Deadline::after(self.end.at_most(MANAGEMENT_TIMEOUT));
        if let Ok(nodes) = management::list_nodes(self.http, &alive.target.endpoint, end) {
            let form = ApiForm::V1;
            collected.listing = Some(NodeListing { form, nodes });
        }
    }

    fn read_nodes(
        &self,
        probes: &[Probed],
        form: Option<ApiForm>,
    ) -> BTreeMap<String, (Endpoint, NodeReport)> {
        let answering = probes.iter().filter_map(|probed| {
            let health = probed.health.as_ref().ok()?;
            Some((health.node_id.clone(), probed.target.endpoint.clone()))
        });
        // A node that answers at two addresses is asked once.
        let answering: BTreeMap<String, Endpoint> = answering.collect();
        let deadline = Deadline::after(self.end.at_most(METRICS_TIMEOUT));
        thread::scope(|scope| {
            let reading: Vec<_> = answering
                .into_iter()
                .map(|(id, at)| {
                    scope.spawn(move || {
                        let report = probe::read(self.http, &id, &at, form, deadline);
                        (id, (at, report))
                    })
                })
                .collect();
            reading
                .into_iter()
                .filter_map(|reading| reading.join().ok())
                .collect()
        })
    }
}

/// What the management API did not answer.
fn missing(managed: &Result<Managed, Fault>) -> Option<String> {
    match managed {
        Ok(managed) => managed.fault(),
        Err(fault) => Some(fault.to_string()),
    }
}

/// Each node by its id, or by its address where the id is unknown.
fn node_sources(collected: &Collected) -> Vec<Source> {
    let source_of = |probed: &Probed| {
        let id = probed
            .health
            .as_ref()
            .ok()
            .map(|health| health.node_id.clone());
        let report = id
            .as_ref()
            .and_then(|id| collected.reports.get(id))
            .and_then(|(_, report)| report.fault.as_ref());
        let name = id
            .or_else(|| probed.target.id.clone())
            .unwrap_or_else(|| probed.target.endpoint.authority());
        let error = probed
            .health
            .as_ref()
            .err()
            .or(report)
            .map(ToString::to_string);
        Source::new(name).error(error).took(probed.took)
    };
    let mut sources: Vec<Source> = collected.probes.iter().map(source_of).collect();
    // An answer of a node comes before a failure at another address.
    sources.sort_by(|a, b| (&a.name, a.error.is_some()).cmp(&(&b.name, b.error.is_some())));
    sources.dedup_by(|a, b| a.name == b.name);
    sources
}
