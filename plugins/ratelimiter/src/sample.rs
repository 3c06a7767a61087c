//! Reading what Redis counts and what the nodes allowed, twice and close together, so that the moment in which a window
//! moves on is not mistaken for a fault.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    thread,
    time::{Duration, Instant},
};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Endpoint, Http};

use crate::{
    keys::Keys,
    management::CounterList,
    observation::{ApiForm, Counter, LimitSource, Limits},
    probe::{self, Allowed},
    redis_link::{RedisFault, RedisLink},
    redis_view::young_counts,
    wire::{LimitInWindow, ListedCounter},
};

/// Between the two readings: longer than a burst at the start of a window takes to reach every source.
const APART: Duration = Duration::from_millis(60);

/// A key to read, and its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) key: String,
    pub(crate) limit: Option<u64>,
    pub(crate) window_ms: Option<u64>,
    pub(crate) limit_source: Option<LimitSource>,
    /// Whether a source has named this limit just now.
    pub(crate) is_current: bool,
}

/// What is known of limits.
pub(crate) struct LimitSources<'a> {
    pub(crate) form: Option<ApiForm>,
    pub(crate) listed: Option<&'a CounterList>,
    /// Whether the list is of this cycle.
    pub(crate) is_fresh: bool,
    pub(crate) remembered: &'a Keys,
    pub(crate) limits: Option<&'a Limits>,
}

/// The keys to read, and those that nodes report although no source names their limits.
pub(crate) struct Choice {
    pub(crate) chosen: Vec<Chosen>,
    pub(crate) unlisted: BTreeSet<String>,
}

impl LimitSources<'_> {
    /// The keys to read: those that were suspicious, those that nodes are busiest with, and a slice of all.
    ///
    /// A client can name a limit of its own with each check, so the limit of a key is known only where the service has
    /// named it, in a list or as what its nodes applied. A key that nodes report and no list names is read once it was missing twice: it may be newer than the list.
    pub(crate) fn choose(
        &self,
        allowed: &BTreeMap<String, Allowed>,
        max: usize,
        now: Instant,
    ) -> Choice {
        let mut chosen: BTreeMap<String, Chosen> = BTreeMap::new();
        for counter in self
            .listed
            .into_iter()
            .flat_map(|list| &list.counters)
            .take(max)
            .filter(|counter| !counter.key.is_empty())
        {
            let choice = self.of_listed(counter);
            chosen.insert(counter.key.clone(), choice);
        }
        for key in self.remembered.suspects(now) {
            self.add(&mut chosen, key);
        }
        let can_miss = self.is_fresh && self.listed.is_some_and(|list| list.complete);
        let mut unlisted = BTreeSet::new();
        for key in busiest(allowed, max.div_ceil(2)) {
            if chosen.contains_key(key) {
                continue;
            }
            if let Some(applied) = applied_limit(allowed, key) {
                chosen.insert(key.to_owned(), of_applied(key, applied));
                continue;
            }
            if self.add(&mut chosen, key) {
                continue;
            }
            if can_miss && self.remembered.was_unlisted(key) {
                chosen.insert(key.to_owned(), nothing_known(key));
            }
            if can_miss || self.remembered.was_unlisted(key) {
                unlisted.insert(key.to_owned());
            }
        }
        Choice {
            chosen: chosen.into_values().collect(),
            unlisted,
        }
    }

    fn of_listed(&self, counter: &ListedCounter) -> Chosen {
        Chosen {
            key: counter.key.clone(),
            limit: counter.limit,
            window_ms: counter.window_ms().or(self.default_window()),
            limit_source: Some(self.source()),
            is_current: self.is_fresh,
        }
    }

    /// Adds a key whose limit is remembered, and says whether it is.
    fn add(&self, chosen: &mut BTreeMap<String, Chosen>, key: &str) -> bool {
        let Some((limit, window_ms)) = self.remembered.limit_of(key) else {
            return false;
        };
        let remembered = || Chosen {
            key: key.to_owned(),
            limit,
            window_ms: Some(window_ms),
            limit_source: Some(self.source()),
            is_current: false,
        };
        chosen.entry(key.to_owned()).or_insert_with(remembered);
        true
    }

    fn source(&self) -> LimitSource {
        match self.form {
            Some(ApiForm::V1) => LimitSource::Service,
            _ => LimitSource::Default,
        }
    }

    fn default_window(&self) -> Option<u64> {
        self.limits.and_then(|limits| limits.default_window_ms)
    }
}

/// The limit that every node that allowed something of this key has applied to all of it.
fn applied_limit(allowed: &BTreeMap<String, Allowed>, key: &str) -> Option<LimitInWindow> {
    let mut each = allowed
        .values()
        .filter(|allowed| allowed.by_key.contains_key(key))
        .map(|allowed| allowed.limits.get(key).copied());
    let first = each.next()??;
    each.all(|limit| limit == Some(first)).then_some(first)
}

fn of_applied(key: &str, applied: LimitInWindow) -> Chosen {
    Chosen {
        key: key.to_owned(),
        limit: Some(applied.limit),
        window_ms: Some(applied.window_ms),
        limit_source: Some(LimitSource::Service),
        is_current: true,
    }
}

fn nothing_known(key: &str) -> Chosen {
    Chosen {
        key: key.to_owned(),
        limit: None,
        window_ms: None,
        limit_source: None,
        is_current: false,
    }
}

fn busiest(allowed: &BTreeMap<String, Allowed>, max: usize) -> Vec<&str> {
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for (key, count) in allowed.values().flat_map(|allowed| &allowed.by_key) {
        *sums.entry(key).or_default() += count;
    }
    sums.remove("");
    let mut keys: Vec<(&str, u64)> = sums.into_iter().collect();
    keys.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    keys.into_iter().take(max).map(|(key, _)| key).collect()
}

/// Both readings of everything.
pub(crate) struct Readings {
    /// For each reading, and in it for each chosen key.
    redis: Vec<Vec<Option<u64>>>,
    nodes: [BTreeMap<String, Allowed>; 2],
    /// What Redis did not allow.
    pub(crate) refused: Option<String>,
}

/// The nodes that report what they allow, and their endpoints.
pub(crate) type Reporting = BTreeMap<String, Endpoint>;

/// `first` is what the nodes reported a moment ago.
pub(crate) fn read_twice(
    http: &Http,
    chosen: &[Chosen],
    first: BTreeMap<String, Allowed>,
    reporting: &Reporting,
    link: Option<&mut RedisLink>,
    end: Deadline,
) -> Readings {
    let windows: Vec<(String, u64)> = chosen
        .iter()
        .map(|chosen| (chosen.key.clone(), chosen.window_ms.unwrap_or_default()))
        .collect();
    let mut link = link;
    if let Some(link) = link.as_deref_mut() {
        link.extend(end);
    }
    let mut refused = None;
    let mut count = || match young_counts(link.as_deref_mut()?, &windows) {
        Ok(counts) => Some(counts),
        Err(RedisFault::Refused(why)) => {
            refused = Some(format!("ZCOUNT: {why}"));
            None
        }
        Err(RedisFault::Unavailable(_)) => None,
    };
    let before = count();
    thread::sleep(end.at_most(APART));
    let second = ask_all(http, reporting, end);
    let after = before.as_ref().and_then(|_| count());
    // A single reading is not a range.
    let redis = before
        .zip(after)
        .map_or_else(Vec::new, |(before, after)| vec![before, after]);
    Readings {
        redis,
        nodes: [first, second],
        refused,
    }
}

fn ask_all(http: &Http, reporting: &Reporting, end: Deadline) -> BTreeMap<String, Allowed> {
    thread::scope(|scope| {
        let asking: Vec<_> = reporting
            .iter()
            .map(|(id, at)| {
                scope.spawn(move || Some((id.clone(), probe::allowed_again(http, id, at, end)?)))
            })
            .collect();
        asking
            .into_iter()
            .filter_map(|asked| asked.join().ok().flatten())
            .collect()
    })
}

impl Readings {
    /// `missed`: whether a node that does not report can have allowed something in a window of this length;
    /// `restarted`: whether a node that reports started within it.
    pub(crate) fn counters(
        &self,
        chosen: Vec<Chosen>,
        missed: impl Fn(Duration) -> bool,
        restarted: impl Fn(Duration) -> Option<bool>,
    ) -> Vec<Counter> {
        let counter = |(index, chosen): (usize, Chosen)| {
            let window = chosen.window_ms.map(Duration::from_millis);
            let redis = self.redis(index).filter(|_| window.is_some());
            let (allowed_low, allowed_high) = self.allowed(&chosen.key);
            Counter {
                redis_low: redis.map(|(low, _)| low),
                redis_high: redis.map(|(_, high)| high),
                allowed_low,
                allowed_high: allowed_high.filter(|_| window.is_some_and(|window| !missed(window))),
                node_restarted: window.and_then(&restarted),
                key: chosen.key,
                limit: chosen.limit,
                limit_source: chosen.limit_source,
                window_ms: chosen.window_ms,
                limit_settled: chosen.is_current.then_some(true),
                just_fell: None,
            }
        };
        chosen.into_iter().enumerate().map(counter).collect()
    }

    fn redis(&self, index: usize) -> Option<(u64, u64)> {
        let [before, after] = self.redis.as_slice() else {
            return None;
        };
        let (before, after) = ((*before.get(index)?)?, (*after.get(index)?)?);
        Some((before.min(after), before.max(after)))
    }

    /// The sum over all nodes, from its least to its most.
    fn allowed(&self, key: &str) -> (Option<u64>, Option<u64>) {
        let [first, second] = &self.nodes;
        if first.is_empty() || second.is_empty() {
            return (None, None);
        }
        let least = |reading: &BTreeMap<String, Allowed>| -> u64 {
            let named = reading
                .values()
                .filter_map(|allowed| allowed.by_key.get(key));
            named.sum()
        };
        let most = |reading: &BTreeMap<String, Allowed>| -> u64 {
            let each = reading.values();
            each.map(|allowed| {
                allowed
                    .by_key
                    .get(key)
                    .copied()
                    .unwrap_or(allowed.others_at_most)
            })
            .sum()
        };
        let all_told_twice = first.keys().eq(second.keys());
        let high = most(first).max(most(second));
        (
            Some(least(first).min(least(second))),
            all_told_twice.then_some(high),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_only_where_all_nodes_that_allowed_something_applied_it() {
        let node = |count: Option<u64>, limit: Option<u64>| Allowed {
            by_key: count
                .map(|count| ("k".to_owned(), count))
                .into_iter()
                .collect(),
            limits: limit
                .map(|limit| {
                    let limit = LimitInWindow {
                        limit,
                        window_ms: 1_000,
                    };
                    ("k".to_owned(), limit)
                })
                .into_iter()
                .collect(),
            ..Allowed::default()
        };
        let applied = |nodes: [Allowed; 2]| {
            let named = ["a", "b"].map(str::to_owned).into_iter().zip(nodes);
            applied_limit(&named.collect(), "k").map(|limit| limit.limit)
        };
        assert_eq!(applied([node(Some(3), Some(9)), node(None, None)]), Some(9));
        assert_eq!(
            applied([node(Some(3), Some(9)), node(Some(1), Some(9))]),
            Some(9)
        );
        assert_eq!(
            applied([node(Some(3), Some(9)), node(Some(1), Some(8))]),
            None
        );
        assert_eq!(applied([node(Some(3), Some(9)), node(Some(1), None)]), None);
        assert_eq!(applied([node(None, None), node(None, None)]), None);
    }
}
