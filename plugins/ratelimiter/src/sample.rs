//! Reading what Redis counts and what the nodes allowed, twice and close together, so that the moment in which a window
//! moves on is not mistaken for a fault.

use std::{
    collections::{BTreeMap, HashMap},
    thread,
    time::{Duration, Instant},
};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Endpoint, Http};

use crate::{
    keys::{Keys, matches},
    management::CounterList,
    observation::{Counter, Limits},
    probe::{self, Allowed},
    redis_link::RedisLink,
    redis_view::young_counts,
};

/// Between the two readings: longer than a burst at the start of a window takes to reach every source.
const APART: Duration = Duration::from_millis(60);

/// A key to read, and its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) key: String,
    pub(crate) limit: Option<u64>,
    pub(crate) window_ms: Option<u64>,
}

/// What is known of limits, from the best source to the worst.
pub(crate) struct LimitSources<'a> {
    pub(crate) listed: Option<&'a CounterList>,
    pub(crate) remembered: &'a Keys,
    pub(crate) limits: Option<&'a Limits>,
}

impl LimitSources<'_> {
    /// The keys to read: those that are listed, those that only nodes know, and suspects.
    pub(crate) fn choose(
        &self,
        allowed: &BTreeMap<String, Allowed>,
        max: usize,
        now: Instant,
    ) -> Vec<Chosen> {
        let mut chosen: BTreeMap<String, Chosen> = BTreeMap::new();
        for counter in self
            .listed
            .into_iter()
            .flat_map(|list| &list.counters)
            .take(max)
        {
            let window_ms = counter.window_ms().or(self.default_window());
            let choice = Chosen {
                key: counter.key.clone(),
                limit: counter.limit,
                window_ms,
            };
            chosen.insert(counter.key.clone(), choice);
        }
        // Where the list broke off, a key that is missing in it may have an override that no source reported.
        if self.listed.is_none_or(|list| list.complete) {
            for key in busiest(allowed, max) {
                self.add(&mut chosen, key);
            }
        }
        for key in self.remembered.suspects(now) {
            self.add(&mut chosen, key);
        }
        chosen.into_values().collect()
    }

    fn add(&self, chosen: &mut BTreeMap<String, Chosen>, key: &str) {
        if !chosen.contains_key(key) {
            let (limit, window_ms) = self.limit_of(key);
            chosen.insert(
                key.to_owned(),
                Chosen {
                    key: key.to_owned(),
                    limit,
                    window_ms,
                },
            );
        }
    }

    fn limit_of(&self, key: &str) -> (Option<u64>, Option<u64>) {
        if let Some((limit, window_ms)) = self.remembered.limit_of(key) {
            return (limit, Some(window_ms));
        }
        let rules = self
            .limits
            .and_then(|limits| limits.overrides.as_deref())
            .unwrap_or_default();
        let rules = rules.iter().filter(|rule| matches(&rule.key_pattern, key));
        // The exact key wins over a prefix of the same length.
        let longest = rules.max_by_key(|rule| (rule.key_pattern.len(), rule.key_pattern == key));
        match longest {
            Some(rule) => (Some(rule.max_requests), Some(rule.window_ms)),
            None => (
                self.limits.and_then(|limits| limits.default_limit),
                self.default_window(),
            ),
        }
    }

    fn default_window(&self) -> Option<u64> {
        self.limits.and_then(|limits| limits.default_window_ms)
    }
}

fn busiest(allowed: &BTreeMap<String, Allowed>, max: usize) -> Vec<&str> {
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for (key, count) in allowed.values().flat_map(|allowed| &allowed.by_key) {
        *sums.entry(key).or_default() += count;
    }
    let mut keys: Vec<(&str, u64)> = sums.into_iter().collect();
    keys.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    keys.into_iter().take(max).map(|(key, _)| key).collect()
}

/// Both readings of everything.
pub(crate) struct Readings {
    /// For each reading, and in it for each chosen key.
    redis: Vec<Vec<Option<u64>>>,
    nodes: [BTreeMap<String, Allowed>; 2],
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
    let mut count = || young_counts(link.as_deref_mut()?, &windows).ok();
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
                window_ms: chosen.window_ms,
                limit_settled: None,
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
