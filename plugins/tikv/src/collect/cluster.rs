//! The state of the cluster, from one PD that knows a leader.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use operator_plugin_api::Source;
use operator_plugin_kit::{Fault, RequestOptions};

use super::{Collector, Got, MEMBERS_TIMEOUT, panicked};
use crate::costs::{Cost, STATS, Turn};
use crate::leader_rules::LeaderRules;
use crate::pd::{
    Pd,
    error::{PdError, PdErrorKind},
    parse,
    regions::{Listed, listed},
    wire,
};

/// How much is read of a list of regions: its length, and the first few.
const LIST_HEAD_BYTES: u64 = 16 << 10;
/// PD writes a long list as a whole, however much of it is read, so it is requested again only after a while.
const LONG_LIST: u64 = 10_000;
const LONG_LIST_PACE: Duration = Duration::from_secs(30);
/// The stores that PD no longer lists and that are asked for in one cycle.
const MAX_MISSING: usize = 3;

/// The checks that are counted.
const REGION_CHECKS: [&str; 5] = [
    "down-peer",
    "miss-peer",
    "pending-peer",
    "extra-peer",
    "offline-peer",
];

/// The last list of each check, and when it was read.
pub(crate) type KnownLists = BTreeMap<&'static str, (Listed, Instant)>;

/// The answers of one PD that knows a leader.
pub(crate) struct ClusterAnswers {
    pub(crate) stores: Got<(wire::Stores, Option<i64>)>,
    /// The numbers of regions, and when they were read.
    pub(crate) stats: Got<(wire::RegionStats, Instant)>,
    /// The regions that each check lists, and when the list was read.
    pub(crate) checks: BTreeMap<&'static str, Got<(Listed, Instant)>>,
    pub(crate) operators: Got<Vec<String>>,
    pub(crate) schedulers: Got<Vec<String>>,
    pub(crate) paused: Got<Vec<wire::PausedScheduler>>,
    pub(crate) evict_leader: Got<Vec<u64>>,
    pub(crate) schedule: Got<wire::ScheduleConfig>,
    pub(crate) replication: Got<wire::ReplicationConfig>,
    pub(crate) hot: Got<wire::HotStores>,
    /// None where they are known from an earlier cycle.
    pub(crate) leader_rules: Option<Got<LeaderRules>>,
    /// Why each of these is gone; None where it is not.
    pub(crate) gone: BTreeMap<u64, Got<Option<&'static str>>>,
    /// What the costly ones of these questions cost.
    pub(crate) costs: Vec<(&'static str, Cost)>,
}

/// An answer and when it was read, and what it cost if it was asked for now.
type Costly<T> = (Got<(T, Instant)>, Option<Cost>);

impl Collector<'_> {
    /// Three requests at a time, which PD answers side by side.
    pub(super) fn ask(&self, pd: Pd<'_>) -> ClusterAnswers {
        let timeout = || self.end.at_most(MEMBERS_TIMEOUT);
        thread::scope(|scope| {
            let first = scope.spawn(move || {
                let stats = self.costly(STATS, self.stats, |timeout| {
                    pd.get("/stats/region?start_key=&end_key=", timeout)
                });
                (stores(pd, timeout()), stats)
            });
            let second = scope.spawn(move || self.region_checks(pd));
            let operators = pd.get::<Option<Vec<String>>>("/operators", timeout());
            let schedulers = pd.get("/schedulers", timeout());
            let paused = pd.get("/schedulers?status=paused&timestamp", timeout());
            let evict_leader = evict_leader(pd, timeout());
            let schedule = pd.get("/config/schedule", timeout());
            let replication = pd.get("/config/replicate", timeout());
            let hot = pd.get("/hotspot/stores", timeout());
            let leader_rules = self.reads_leader_rules.then(|| leader_rules(pd, timeout()));
            let missing = self.missing.iter().take(MAX_MISSING);
            let gone = missing.map(|id| (*id, gone(pd, *id, timeout()))).collect();
            let (stores, (stats, stats_cost)) = first
                .join()
                .unwrap_or_else(|_| (Err(panicked()), (Err(panicked()), None)));
            let checks = second.join().unwrap_or_default();
            let costs = checks.iter().map(|(check, (_, cost))| (*check, *cost));
            let costs = costs.chain([(STATS, stats_cost)]);
            ClusterAnswers {
                costs: costs
                    .filter_map(|(name, cost)| Some((name, cost?)))
                    .collect(),
                stores,
                stats,
                checks: checks
                    .into_iter()
                    .map(|(check, (got, _))| (check, got))
                    .collect(),
                operators: operators.map(Option::unwrap_or_default),
                schedulers,
                paused,
                evict_leader,
                schedule,
                replication,
                hot,
                leader_rules,
                gone,
            }
        })
    }

    fn region_checks(&self, pd: Pd<'_>) -> BTreeMap<&'static str, Costly<Listed>> {
        let checks = REGION_CHECKS.into_iter().map(|check| {
            let known = self.lists.get(check);
            let is_long = |(list, at): &&(Listed, Instant)| {
                list.count > LONG_LIST && at.elapsed() < LONG_LIST_PACE
            };
            let answer = match known.filter(is_long) {
                Some(long) => (Ok(long.clone()), None),
                None => self.costly(check, known, |timeout| region_check(pd, check, timeout)),
            };
            (check, answer)
        });
        checks.collect()
    }

    /// Asks, or gives the last answer while that is new enough for what it cost.
    fn costly<T: Clone>(
        &self,
        question: &'static str,
        last: Option<&(T, Instant)>,
        ask: impl FnOnce(Duration) -> Got<T>,
    ) -> Costly<T> {
        match (self.costs.turn(question, Instant::now()), last) {
            (Turn::UseLast, Some(last)) => return (Ok(last.clone()), None),
            (Turn::StillAtWork, _) => return (Err(still_at_work()), None),
            _ => {}
        }
        let (timeout, asked) = (self.end.at_most(MEMBERS_TIMEOUT), Instant::now());
        let got = ask(timeout);
        let took = asked.elapsed();
        let is_silent = |error: &PdError| error.kind == PdErrorKind::NoAnswer;
        let cost = Cost {
            asked,
            took,
            is_given_up: got.as_ref().is_err_and(is_silent) && took * 10 >= timeout * 9,
        };
        (got.map(|answer| (answer, Instant::now())), Some(cost))
    }
}

fn region_check(pd: Pd<'_>, check: &str, timeout: Duration) -> Got<Listed> {
    let path = format!("/regions/check/{check}");
    let options = RequestOptions::new(timeout);
    let answer = pd.answer(&path, options.max_body_bytes(LIST_HEAD_BYTES))?;
    listed(&answer.body)
        .ok_or_else(|| PdError::foreign(200, "did not answer with a list of regions"))
}

fn still_at_work() -> PdError {
    let why = "it did not answer in time and may still be at work on it; it is asked again soon";
    PdError::from(Fault::TimedOut(why.into()))
}

/// The stores, and PD's clock.
fn stores(pd: Pd<'_>, timeout: Duration) -> Got<(wire::Stores, Option<i64>)> {
    let answer = pd.answer("/stores", RequestOptions::new(timeout))?;
    Ok((parse(&answer)?, answer.date_ms))
}

/// A PD that does not have the one, or does not use the other, has no such rules.
fn leader_rules(pd: Pd<'_>, timeout: Duration) -> Got<LeaderRules> {
    fn or_none<T>(error: PdError) -> Got<Option<T>> {
        match error.status {
            Some(404 | 412) => Ok(None),
            _ => Err(error),
        }
    }
    let properties = pd.get("/config/label-property", timeout);
    let properties: Option<wire::LabelProperties> = properties.or_else(or_none)?;
    let rules: Option<Vec<wire::PlacementRule>> =
        pd.get("/config/rules", timeout).or_else(or_none)?;
    Ok(LeaderRules::new(properties.unwrap_or_default(), rules))
}

/// Why a store that PD does not list is gone; None where PD knows it as a part of the cluster.
fn gone(pd: Pd<'_>, id: u64, timeout: Duration) -> Got<Option<&'static str>> {
    match pd.get::<wire::StoreInfo>(&format!("/store/{id}"), timeout) {
        Ok(info) if info.store.state_name.as_deref() == Some("Tombstone") => Ok(Some(
            "it was removed from the cluster: PD calls it Tombstone",
        )),
        Ok(_) => Ok(None),
        Err(error) if error.is("ErrStoreNotFound") => Ok(Some("PD knows no such store any more")),
        Err(error) => Err(error),
    }
}

/// Where there is no such scheduler, it holds no store.
pub(crate) fn evict_leader(pd: Pd<'_>, timeout: Duration) -> Got<Vec<u64>> {
    let path = "/scheduler-config/evict-leader-scheduler/list";
    match pd.get::<wire::EvictLeaderConfig>(path, timeout) {
        Ok(config) => {
            let ids: Result<Vec<u64>, _> = config.stores.keys().map(|id| id.parse()).collect();
            ids.map_err(|_| PdError::foreign(200, "answered with a store id that is not a number"))
        }
        Err(error) if error.status == Some(404) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The requests to the one PD, by their subject.
pub(super) fn cluster_sources(answers: Option<&(ClusterAnswers, Duration)>) -> Vec<Source> {
    let Some((answers, took)) = answers else {
        let error = "no PD that answers knows a leader";
        return vec![Source::new("pd cluster").error(Some(error))];
    };
    let checks = answers.checks.values().find_map(error_of);
    let schedulers = error_of(&answers.schedulers).or(error_of(&answers.paused));
    let parts = [
        (
            "pd stores",
            error_of(&answers.stores).or(answers.gone.values().find_map(error_of)),
        ),
        ("pd regions", error_of(&answers.stats).or(checks)),
        ("pd operators", error_of(&answers.operators)),
        (
            "pd schedulers",
            schedulers.or(error_of(&answers.evict_leader)),
        ),
        (
            "pd config",
            error_of(&answers.schedule)
                .or(error_of(&answers.replication))
                .or(answers.leader_rules.as_ref().and_then(error_of)),
        ),
        ("pd hotspot", error_of(&answers.hot)),
    ];
    parts
        .map(|(name, error)| Source::new(name).error(error).took(*took))
        .into()
}

fn error_of<T>(got: &Got<T>) -> Option<&PdError> {
    got.as_ref().err()
}
