//! Reads all sources with a fixed number of requests, side by side, each within its timeout:
//!
//! 1. from every configured PD, whether it is available and which leader it knows;
//! 2. from one PD that knows a leader, the state of the cluster; from any PD that is available, the health of the members;
//! 3. at the same time, Prometheus and the log.

mod cluster;

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use operator_plugin_api::{Deadline, Source};
use operator_plugin_kit::{Endpoint, Fault, Http, observing::timed};

use crate::{
    config::{LogSource, Settings},
    costs::Costs,
    log::{LogEvidence, LogTail},
    meter::{Measured, Meter},
    pd::{
        Pd,
        error::{PdError, PdErrorKind},
        wire,
    },
};

pub(crate) use cluster::{ClusterAnswers, KnownLists, evict_leader};

use cluster::cluster_sources;

/// A healthy PD answers within milliseconds what it knows itself.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// A follower searches for a leader for 3 s before it reports that there is none, and PD waits 3 s for each member.
const MEMBERS_TIMEOUT: Duration = Duration::from_millis(3_600);

/// What collecting needs.
pub(crate) struct Collector<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) http: &'a Http,
    /// Members to ask when no configured PD answers.
    pub(crate) members: &'a [Endpoint],
    pub(crate) lists: &'a KnownLists,
    pub(crate) stats: Option<&'a (wire::RegionStats, Instant)>,
    pub(crate) costs: &'a Costs,
    /// Stores that PD no longer lists; a few are asked for in each cycle.
    pub(crate) missing: &'a [u64],
    /// Whether the rules about leaders must be read.
    pub(crate) reads_leader_rules: bool,
    pub(crate) meter: &'a Meter,
    pub(crate) log: &'a Mutex<LogTail>,
    pub(crate) end: Deadline,
}

/// The answers of one PD about itself.
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) version: Option<String>,
    pub(crate) members: Result<wire::Members, PdError>,
    took: Duration,
}

impl Asked {
    /// Whether a PD is available, leader or not.
    pub(crate) fn is_available(&self) -> bool {
        self.version.is_some()
            || self
                .members
                .as_ref()
                .map_or_else(PdError::is_from_pd, |_| true)
    }

    fn knows_leader(&self) -> bool {
        let members = self.members.as_ref();
        members.is_ok_and(|members| members.leader.is_some())
    }
}

/// An answer, or an error.
pub(crate) type Got<T> = Result<T, PdError>;

/// How one PD found the members.
type Health = Got<Vec<wire::Member>>;

/// The answers of all sources; each can be missing.
pub(crate) struct Collected {
    pub(crate) asked: Vec<Asked>,
    pub(crate) health: Health,
    /// None where no PD knows a leader.
    pub(crate) cluster: Option<ClusterAnswers>,
    pub(crate) metrics: Result<Measured, String>,
    /// None where no log is configured.
    pub(crate) log: Option<Result<LogEvidence, String>>,
    pub(crate) sources: Vec<Source>,
}

impl Collected {
    /// The members, from the first PD that knows a leader.
    pub(crate) fn members(&self) -> Option<&wire::Members> {
        let knows = self.asked.iter().find(|asked| asked.knows_leader());
        knows.and_then(|asked| asked.members.as_ref().ok())
    }

    /// False only if every PD that is available reports that there is none.
    pub(crate) fn has_leader(&self) -> Option<bool> {
        if self.members().is_some() {
            return Some(true);
        }
        let mut there = self
            .asked
            .iter()
            .filter(|asked| asked.is_available())
            .peekable();
        there.peek()?;
        there.all(reports_no_leader).then_some(false)
    }
}

fn reports_no_leader(asked: &Asked) -> bool {
    use PdErrorKind as Kind;
    match &asked.members {
        Ok(members) => members.leader.is_none(),
        Err(error) => matches!(
            error.kind,
            Kind::NoLeader | Kind::NotLeader | Kind::LeaderSilent
        ),
    }
}

impl Collector<'_> {
    pub(crate) fn collect(&self) -> Collected {
        thread::scope(|scope| {
            let metrics = scope.spawn(|| timed(|| self.meter.read(self.end)));
            let log = scope.spawn(|| {
                self.settings
                    .log
                    .as_ref()
                    .map(|source| timed(|| self.read_log(source)))
            });
            let (asked, health, cluster) = self.ask_pd();
            let (metrics, metrics_took) = metrics
                .join()
                .unwrap_or_else(|_| (Err(PANICKED.into()), Duration::ZERO));
            let log = log
                .join()
                .unwrap_or_else(|_| Some((Err(PANICKED.into()), Duration::ZERO)));
            let mut sources: Vec<_> = asked.iter().map(pd_source).collect();
            sources.push(Source::new("pd health").error(health.as_ref().err()));
            sources.extend(cluster_sources(cluster.as_ref()));
            let prometheus = Source::new("prometheus").error(metrics.as_ref().err());
            sources.push(prometheus.took(metrics_took));
            if let Some((log, took)) = &log {
                sources.push(Source::new("log").error(log.as_ref().err()).took(*took));
            }
            Collected {
                asked,
                health,
                cluster: cluster.map(|(answers, _)| answers),
                metrics,
                log: log.map(|(log, _)| log),
                sources,
            }
        })
    }

    fn ask_pd(&self) -> (Vec<Asked>, Health, Option<(ClusterAnswers, Duration)>) {
        let mut asked = self.ask_all(&self.settings.pd);
        if !asked.iter().any(Asked::is_available) {
            asked.extend(self.ask_all(self.members));
        }
        let there = asked.iter().find(|asked| asked.is_available());
        let chosen = choose(&asked);
        let (health, cluster) = thread::scope(|scope| {
            let health = scope.spawn(|| match there {
                Some(there) => self
                    .pd(&there.endpoint)
                    .get("/health", self.end.at_most(MEMBERS_TIMEOUT)),
                None => Err(not_asked()),
            });
            let cluster = chosen.map(|chosen| timed(|| self.ask(self.pd(&chosen.endpoint))));
            let health = health.join().unwrap_or_else(|_| Err(panicked()));
            (health, cluster)
        });
        (asked, health, cluster)
    }

    fn ask_all(&self, endpoints: &[Endpoint]) -> Vec<Asked> {
        thread::scope(|scope| {
            let asking: Vec<_> = endpoints
                .iter()
                .map(|endpoint| scope.spawn(move || self.ask_one(endpoint)))
                .collect();
            let asked = asking.into_iter().zip(endpoints).map(|(asking, endpoint)| {
                asking.join().unwrap_or_else(|_| Asked {
                    endpoint: endpoint.clone(),
                    version: None,
                    members: Err(panicked()),
                    took: Duration::ZERO,
                })
            });
            asked.collect()
        })
    }

    /// Whether it is available first, which is quick: only a PD that is available is waited for.
    fn ask_one(&self, endpoint: &Endpoint) -> Asked {
        let pd = self.pd(endpoint);
        let ((version, members), took) = timed(|| {
            let status = pd.get::<wire::ServerStatus>("/status", self.end.at_most(STATUS_TIMEOUT));
            match status {
                Err(error) if !error.is_from_pd() => (None, Err(error)),
                status => {
                    let members = pd.get("/members", self.end.at_most(MEMBERS_TIMEOUT));
                    (status.ok().map(|status| status.version), members)
                }
            }
        });
        Asked {
            endpoint: endpoint.clone(),
            version,
            members,
            took,
        }
    }

    fn read_log(&self, source: &LogSource) -> Result<LogEvidence, String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(source)
    }

    fn pd<'b>(&'b self, endpoint: &'b Endpoint) -> Pd<'b> {
        Pd {
            http: self.http,
            endpoint,
        }
    }
}

/// The leader itself where it was asked, which saves a hop; otherwise the first that knows one.
fn choose(asked: &[Asked]) -> Option<&Asked> {
    let mut knowing = asked.iter().filter(|asked| asked.knows_leader());
    let first = knowing.clone().next();
    knowing.find(|asked| leads(asked)).or(first)
}

fn leads(asked: &Asked) -> bool {
    let members = asked.members.as_ref().ok();
    let leader = members.and_then(|members| members.leader.as_ref());
    let urls = leader.and_then(|leader| leader.client_urls.as_ref());
    let mut urls = urls
        .into_iter()
        .flatten()
        .filter_map(|url| Endpoint::parse_reported(url));
    urls.any(|url| url.authority() == asked.endpoint.authority())
}

const PANICKED: &str = "reading it panicked";

fn panicked() -> PdError {
    PdError::from(Fault::NoAnswer(PANICKED.into()))
}

fn not_asked() -> PdError {
    PdError::from(Fault::NotSent("no PD answers".into()))
}

fn pd_source(asked: &Asked) -> Source {
    Source::new(format!("pd {}", asked.endpoint.authority()))
        .error(asked.members.as_ref().err())
        .took(asked.took)
}
