//! One look at everything: a fixed number of requests, side by side, each of them bounded.
//!
//! 1. every configured PD: is it there, and whom does it take for the leader;
//! 2. the rest, from one PD that knows a leader; the health of the members from any that is there;
//! 3. beside these, Prometheus and the log.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use operator_plugin_api::{Deadline, Source};

use crate::{
    config::{LogSource, Settings},
    endpoint::Endpoint,
    http::Http,
    log::{LogEvidence, LogTail},
    pd::{
        Pd,
        error::{PdError, PdErrorKind},
        parse,
        regions::{Listed, listed},
        wire,
    },
    prometheus::{self, Metrics},
};

/// A PD that is well answers what it knows by itself in milliseconds.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// A follower looks for a leader for 3 s before it says that there is none, and PD asks each member for 3 s.
const MEMBERS_TIMEOUT: Duration = Duration::from_millis(3_600);
const PROMETHEUS_TIMEOUT: Duration = Duration::from_secs(2);
/// What is read of a list of regions: its length, and the first few.
const LIST_HEAD_BYTES: u64 = 16 << 10;
/// PD has to write a long list as a whole, whatever is read of it: it is asked for again only after a while.
const LONG_LIST: u64 = 10_000;
const LONG_LIST_PACE: Duration = Duration::from_secs(30);

/// The checks that are counted.
pub(crate) const REGION_CHECKS: [&str; 5] = [
    "down-peer",
    "miss-peer",
    "pending-peer",
    "extra-peer",
    "offline-peer",
];

/// The last long list of each check, and when it was read.
pub(crate) type LongLists = BTreeMap<&'static str, (Listed, Instant)>;

/// With what to look.
pub(crate) struct Looker<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) http: &'a Http,
    /// Members to ask when no configured PD answers.
    pub(crate) members: &'a [Endpoint],
    pub(crate) long_lists: &'a LongLists,
    pub(crate) log: &'a Mutex<LogTail>,
    pub(crate) end: Deadline,
}

/// What one PD said of itself.
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) version: Option<String>,
    pub(crate) members: Result<wire::Members, PdError>,
    took_ms: f64,
}

impl Asked {
    /// Whether a PD is there, leader or not.
    pub(crate) fn is_there(&self) -> bool {
        self.version.is_some()
            || self
                .members
                .as_ref()
                .map_or_else(PdError::is_from_pd, |_| true)
    }

    fn knows_a_leader(&self) -> bool {
        let members = self.members.as_ref();
        members.is_ok_and(|members| members.leader.is_some())
    }
}

/// An answer, or why there is none.
pub(crate) type Got<T> = Result<T, PdError>;

/// How one PD found the members.
type Health = Got<Vec<wire::Member>>;

/// What one PD that knows a leader told.
pub(crate) struct Told {
    pub(crate) stores: Got<(wire::Stores, Option<i64>)>,
    pub(crate) stats: Got<wire::RegionStats>,
    /// How many, and when that was.
    pub(crate) checks: BTreeMap<&'static str, Got<(Listed, Instant)>>,
    pub(crate) operators: Got<Vec<String>>,
    pub(crate) schedulers: Got<Vec<String>>,
    pub(crate) paused: Got<Vec<wire::PausedScheduler>>,
    pub(crate) evict_leader: Got<Vec<u64>>,
    pub(crate) schedule: Got<wire::ScheduleConfig>,
    pub(crate) replication: Got<wire::ReplicationConfig>,
    pub(crate) hot: Got<wire::HotStores>,
}

/// What was seen; every part can be missing.
pub(crate) struct Seen {
    pub(crate) asked: Vec<Asked>,
    pub(crate) health: Health,
    /// None where no PD knows a leader.
    pub(crate) told: Option<Told>,
    pub(crate) metrics: Result<Metrics, String>,
    /// None where no log is configured.
    pub(crate) log: Option<Result<LogEvidence, String>>,
    pub(crate) sources: Vec<Source>,
}

impl Seen {
    /// The first PD that knows a leader, and whom.
    pub(crate) fn members(&self) -> Option<&wire::Members> {
        let knows = self.asked.iter().find(|asked| asked.knows_a_leader());
        knows.and_then(|asked| asked.members.as_ref().ok())
    }

    /// False only if every PD that is there says that there is none.
    pub(crate) fn has_leader(&self) -> Option<bool> {
        if self.members().is_some() {
            return Some(true);
        }
        let mut there = self
            .asked
            .iter()
            .filter(|asked| asked.is_there())
            .peekable();
        there.peek()?;
        there.all(says_no_leader).then_some(false)
    }
}

fn says_no_leader(asked: &Asked) -> bool {
    use PdErrorKind as Kind;
    match &asked.members {
        Ok(members) => members.leader.is_none(),
        Err(error) => matches!(
            error.kind,
            Kind::NoLeader | Kind::NotLeader | Kind::LeaderSilent
        ),
    }
}

impl Looker<'_> {
    pub(crate) fn look(&self) -> Seen {
        thread::scope(|scope| {
            let metrics = scope.spawn(|| timed(|| self.metrics()));
            let log = scope.spawn(|| {
                self.settings
                    .log
                    .as_ref()
                    .map(|source| timed(|| self.read_log(source)))
            });
            let (asked, health, told) = self.look_at_pd();
            let (metrics, metrics_ms) = metrics
                .join()
                .unwrap_or_else(|_| (Err(PANICKED.into()), 0.0));
            let log = log
                .join()
                .unwrap_or_else(|_| Some((Err(PANICKED.into()), 0.0)));
            let mut sources: Vec<_> = asked.iter().map(pd_source).collect();
            sources.push(source("pd health", said(&health).as_ref(), 0.0));
            sources.extend(told_sources(told.as_ref()));
            sources.push(source("prometheus", metrics.as_ref().err(), metrics_ms));
            if let Some((log, took_ms)) = &log {
                sources.push(source("log", log.as_ref().err(), *took_ms));
            }
            Seen {
                asked,
                health,
                told: told.map(|(told, _)| told),
                metrics,
                log: log.map(|(log, _)| log),
                sources,
            }
        })
    }

    fn look_at_pd(&self) -> (Vec<Asked>, Health, Option<(Told, f64)>) {
        let mut asked = self.ask_all(&self.settings.pd);
        if !asked.iter().any(Asked::is_there) {
            asked.extend(self.ask_all(self.members));
        }
        let there = asked.iter().find(|asked| asked.is_there());
        let chosen = choose(&asked);
        let (health, told) = thread::scope(|scope| {
            let health = scope.spawn(|| match there {
                Some(there) => self
                    .pd(&there.endpoint)
                    .get("/health", self.end.at_most(MEMBERS_TIMEOUT)),
                None => Err(not_asked()),
            });
            let told = chosen.map(|chosen| timed(|| self.ask(self.pd(&chosen.endpoint))));
            let health = health.join().unwrap_or_else(|_| Err(panicked()));
            (health, told)
        });
        (asked, health, told)
    }

    fn ask_all(&self, endpoints: &[Endpoint]) -> Vec<Asked> {
        thread::scope(|scope| {
            let asking: Vec<_> = endpoints
                .iter()
                .map(|endpoint| scope.spawn(move || self.ask_whom(endpoint)))
                .collect();
            let asked = asking.into_iter().zip(endpoints).map(|(asking, endpoint)| {
                asking.join().unwrap_or_else(|_| Asked {
                    endpoint: endpoint.clone(),
                    version: None,
                    members: Err(panicked()),
                    took_ms: 0.0,
                })
            });
            asked.collect()
        })
    }

    /// Whether it is there first, which is quick: only who is there is waited for.
    fn ask_whom(&self, endpoint: &Endpoint) -> Asked {
        let pd = self.pd(endpoint);
        let ((version, members), took_ms) = timed(|| {
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
            took_ms,
        }
    }

    /// Three at a time: PD answers one client's requests side by side.
    fn ask(&self, pd: Pd<'_>) -> Told {
        let timeout = || self.end.at_most(MEMBERS_TIMEOUT);
        thread::scope(|scope| {
            let first = scope.spawn(move || {
                (
                    stores(pd, timeout()),
                    pd.get("/stats/region?start_key=&end_key=", timeout()),
                )
            });
            let second = scope.spawn(move || self.region_checks(pd));
            let operators = pd.get::<Option<Vec<String>>>("/operators", timeout());
            let schedulers = pd.get("/schedulers", timeout());
            let paused = pd.get("/schedulers?status=paused&timestamp", timeout());
            let evict_leader = evict_leader(pd, timeout());
            let schedule = pd.get("/config/schedule", timeout());
            let replication = pd.get("/config/replicate", timeout());
            let hot = pd.get("/hotspot/stores", timeout());
            let (stores, stats) = first
                .join()
                .unwrap_or_else(|_| (Err(panicked()), Err(panicked())));
            Told {
                stores,
                stats,
                checks: second.join().unwrap_or_default(),
                operators: operators.map(Option::unwrap_or_default),
                schedulers,
                paused,
                evict_leader,
                schedule,
                replication,
                hot,
            }
        })
    }

    fn region_checks(&self, pd: Pd<'_>) -> BTreeMap<&'static str, Got<(Listed, Instant)>> {
        let checks = REGION_CHECKS.into_iter().map(|check| {
            let known = self.long_lists.get(check);
            let known =
                known.filter(|(list, at)| list.count > LONG_LIST && at.elapsed() < LONG_LIST_PACE);
            (
                check,
                known
                    .cloned()
                    .map_or_else(|| self.region_check(pd, check), Ok),
            )
        });
        checks.collect()
    }

    fn region_check(&self, pd: Pd<'_>, check: &str) -> Got<(Listed, Instant)> {
        let path = format!("/regions/check/{check}");
        let answer = pd.answer(&path, self.end.at_most(MEMBERS_TIMEOUT), LIST_HEAD_BYTES)?;
        let list = listed(&answer.body)
            .ok_or_else(|| PdError::foreign(200, "answered with no list of regions"))?;
        Ok((list, Instant::now()))
    }

    fn read_log(&self, source: &LogSource) -> Result<LogEvidence, String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look(source)
    }

    fn metrics(&self) -> Result<Metrics, String> {
        let deadline = Deadline::after(self.end.at_most(PROMETHEUS_TIMEOUT));
        prometheus::look(self.http, self.settings, deadline)
    }

    fn pd<'b>(&'b self, endpoint: &'b Endpoint) -> Pd<'b> {
        Pd {
            http: self.http,
            endpoint,
        }
    }
}

/// The stores, and PD's clock.
fn stores(pd: Pd<'_>, timeout: Duration) -> Got<(wire::Stores, Option<i64>)> {
    let answer = pd.answer("/stores", timeout, crate::http::MAX_BODY_BYTES)?;
    Ok((parse(&answer)?, answer.date_ms))
}

/// No such scheduler is an answer: it holds no store.
pub(crate) fn evict_leader(pd: Pd<'_>, timeout: Duration) -> Got<Vec<u64>> {
    let path = "/scheduler-config/evict-leader-scheduler/list";
    match pd.get::<wire::EvictLeaderConfig>(path, timeout) {
        Ok(config) => {
            let ids: Result<Vec<u64>, _> = config.stores.keys().map(|id| id.parse()).collect();
            ids.map_err(|_| PdError::foreign(200, "answered with a store id that is no number"))
        }
        Err(error) if error.status == Some(404) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The leader itself where it is among them, which spares a hop; else the first that knows one.
fn choose(asked: &[Asked]) -> Option<&Asked> {
    let mut knowing = asked.iter().filter(|asked| asked.knows_a_leader());
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
        .filter_map(|url| Endpoint::of_member(url));
    urls.any(|url| url.authority() == asked.endpoint.authority())
}

const PANICKED: &str = "reading it panicked";

fn panicked() -> PdError {
    PdError::from(crate::http::Fault::NoAnswer(PANICKED.into()))
}

fn not_asked() -> PdError {
    PdError::from(crate::http::Fault::NotSent("no PD answers".into()))
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let since = Instant::now();
    let result = run();
    (result, since.elapsed().as_secs_f64() * 1_000.0)
}

fn source(name: &str, error: Option<&String>, took_ms: f64) -> Source {
    Source {
        name: name.into(),
        error: error.cloned(),
        took_ms,
    }
}

fn pd_source(asked: &Asked) -> Source {
    let error = asked.members.as_ref().err().map(ToString::to_string);
    source(
        &format!("pd {}", asked.endpoint.authority()),
        error.as_ref(),
        asked.took_ms,
    )
}

fn said<T>(got: &Got<T>) -> Option<String> {
    got.as_ref().err().map(ToString::to_string)
}

/// What was asked of the one PD, by what it is about.
fn told_sources(told: Option<&(Told, f64)>) -> Vec<Source> {
    let Some((told, took_ms)) = told else {
        let nobody = "no PD that answers knows a leader".to_owned();
        return vec![source("pd cluster", Some(&nobody), 0.0)];
    };
    let checks = told.checks.values().find_map(said);
    let parts = [
        ("pd stores", said(&told.stores)),
        ("pd regions", said(&told.stats).or(checks)),
        ("pd operators", said(&told.operators)),
        (
            "pd schedulers",
            said(&told.schedulers)
                .or(said(&told.paused))
                .or(said(&told.evict_leader)),
        ),
        (
            "pd config",
            said(&told.schedule).or(said(&told.replication)),
        ),
        ("pd hotspot", said(&told.hot)),
    ];
    parts
        .map(|(name, error)| source(name, error.as_ref(), *took_ms))
        .into()
}
