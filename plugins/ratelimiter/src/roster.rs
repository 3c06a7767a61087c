//! The nodes that are known, and what is remembered of each: a node that dies vanishes from the lists of older services,
//! and only memory shows that it is missing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use operator_plugin_api::Resource;
use operator_plugin_kit::Endpoint;

use crate::{
    heartbeat::Heartbeat,
    kept::{Clocks, KeptNode},
    observation::{ApiForm, Listed, Node},
    probe::{Probed, Target},
    redis_view::Registered,
    wire::{Health, ListedNode},
};

/// Nodes beyond this many are not asked: a registry full of rubbish must not start a thousand threads.
pub(crate) const MAX_NODES: usize = 64;

/// Nodes beyond this many are not remembered, and the list of nodes then counts as not read to its end.
const MAX_KNOWN: usize = 1_000;

/// What the observation calls a node among its resources.
pub(crate) const NODE: &str = "node";
/// The same for a node as a client of Redis, which is known only of nodes that answer.
pub(crate) const REDIS_CLIENT: &str = "redis_client";

/// How long a forgotten node is named as gone, so that the tickets about it resolve.
const TELL_GONE: Duration = Duration::from_mins(10);

/// A node that stops may answer no more for this long before it signs off.
const SIGN_OFF: Duration = Duration::from_secs(30);

/// What is remembered of one node.
#[derive(Debug, Clone)]
struct Known {
    address: Option<String>,
    registered_at_ms: Option<i64>,
    last_heartbeat_at_ms: Option<i64>,
    version: Option<String>,
    /// Where it last answered.
    answers_at: Option<Endpoint>,
    draining: bool,
    /// Since when it does not answer although it is meant to.
    down_since: Option<Instant>,
    left: bool,
    /// When it last answered or was listed.
    seen: Instant,
    /// When it last reported what it had allowed.
    reported: Option<Instant>,
    /// In the older form, which renews a registration that expires.
    heartbeat: Heartbeat,
}

impl Known {
    fn new(now: Instant) -> Self {
        Self {
            address: None,
            registered_at_ms: None,
            last_heartbeat_at_ms: None,
            version: None,
            answers_at: None,
            draining: false,
            down_since: None,
            left: false,
            seen: now,
            reported: None,
            heartbeat: Heartbeat::default(),
        }
    }
}

/// The nodes that are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster {
    nodes: BTreeMap<String, Known>,
    /// Whether a list of nodes was ever read to its end. Before that, nodes may be missing of which nothing is known.
    is_whole: bool,
    /// Nodes that were forgotten a short while ago.
    forgotten: BTreeMap<String, Instant>,
}

/// The list of nodes as the management API gave it.
#[derive(Debug, Clone)]
pub(crate) struct NodeListing {
    pub(crate) form: ApiForm,
    pub(crate) nodes: Vec<ListedNode>,
}

/// Everything that one cycle heard about nodes.
pub(crate) struct Heard<'a> {
    pub(crate) probes: &'a [Probed],
    pub(crate) listing: Option<&'a NodeListing>,
    pub(crate) registry: &'a [Registered],
    /// Whether the registry was now read to its end.
    pub(crate) registry_is_whole: bool,
    /// For how long the registration of a node of the older form still holds, in ms; none where it is gone.
    pub(crate) registrations: &'a BTreeMap<String, Option<u64>>,
}

impl Roster {
    /// The nodes to ask: the configured URLs first, then every known node that answers elsewhere.
    pub(crate) fn targets(&self, configured: &[Endpoint]) -> Vec<Target> {
        let at = |endpoint: &Endpoint| {
            self.nodes
                .iter()
                .find(|(_, node)| node.answers_at_authority(&endpoint.authority()))
        };
        let mut targets: Vec<Target> = configured
            .iter()
            .map(|endpoint| Target {
                endpoint: endpoint.clone(),
                id: at(endpoint).map(|(id, _)| id.clone()),
            })
            .collect();
        for (id, node) in &self.nodes {
            let by_address = || {
                node.address
                    .as_deref()
                    .and_then(Endpoint::parse_reported_address)
            };
            if let Some(endpoint) = node.answers_at.clone().or_else(by_address) {
                push_new(&mut targets, endpoint, id);
            }
        }
        targets.truncate(MAX_NODES);
        targets
    }

    /// The nodes to ask in addition: those that have just become known, and those that are registered at another address than
    /// the one that did not answer.
    pub(crate) fn further_targets(heard: &Heard<'_>) -> Vec<Target> {
        let mut targets: Vec<Target> = heard
            .probes
            .iter()
            .map(|probed| probed.target.clone())
            .collect();
        let asked = targets.len();
        let answered = |id: &str| heard.probes.iter().any(|probed| is_answer_of(probed, id));
        let listed = heard.listing.into_iter().flat_map(|listing| &listing.nodes);
        let listed = listed.map(|node| (&node.id, &node.address));
        let registered = heard.registry.iter().map(|node| (&node.id, &node.address));
        for (id, address) in listed.chain(registered).filter(|(id, _)| !answered(id)) {
            if let Some(endpoint) = address
                .as_deref()
                .and_then(Endpoint::parse_reported_address)
            {
                push_new(&mut targets, endpoint, id);
            }
        }
        targets.truncate(MAX_NODES.max(asked));
        targets.split_off(asked)
    }

    /// Takes in what was heard, and forgets what has been gone for long.
    pub(crate) fn learn(&mut self, heard: &Heard<'_>, now: Instant, forget: Duration) {
        let mut has_room = true;
        let room = |nodes: &BTreeMap<String, Known>, id: &str| {
            nodes.len() < MAX_KNOWN || nodes.contains_key(id)
        };
        for node in heard.registry {
            if !room(&self.nodes, &node.id) {
                has_room = false;
                continue;
            }
            let known = self.known(&node.id, now);
            known.seen = now;
            known.address = node.address.clone().or(known.address.take());
            known.registered_at_ms = node.since_ms.or(known.registered_at_ms);
        }
        for listed in heard.listing.into_iter().flat_map(|listing| &listing.nodes) {
            if room(&self.nodes, &listed.id) {
                self.learn_listed(listed, now);
            } else {
                has_room = false;
            }
        }
        for probed in heard.probes {
            if let Ok(health) = &probed.health {
                self.learn_health(health, &probed.target.endpoint, now);
            }
        }
        for (id, known) in &mut self.nodes {
            known.note_absence(id, heard, now);
            if let Some(left_ms) = heard.registrations.get(id) {
                known.heartbeat.note(*left_ms, now);
            }
        }
        self.is_whole |= heard.listing.is_some() || heard.registry_is_whole;
        self.is_whole &= has_room;
        self.forget(now, forget);
    }

    fn forget(&mut self, now: Instant, forget: Duration) {
        let is_old = |known: &Known| now.duration_since(known.seen) >= forget;
        let old = self.nodes.iter().filter(|(_, known)| is_old(known));
        let old: Vec<String> = old.map(|(id, _)| id.clone()).collect();
        for id in old {
            self.nodes.remove(&id);
            self.forgotten.insert(id, now);
        }
        self.forgotten
            .retain(|id, at| now.duration_since(*at) < TELL_GONE && !self.nodes.contains_key(id));
    }

    /// Whether a list of nodes was ever read to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether the node reaches Redis, by its heartbeats of the older form.
    pub(crate) fn reaches_redis(&self, id: &str, now: Instant) -> Option<bool> {
        self.nodes.get(id)?.heartbeat.reaches_redis(now)
    }

    /// Every node that is known, and those that are gone.
    pub(crate) fn resources(&self, nodes: &[Node]) -> Vec<Resource> {
        let of_node = |node: &Node| {
            let resource = |kind| Resource::new(kind, &node.id);
            if node.left {
                let gone = "it signed off";
                return vec![resource(NODE).gone(gone), resource(REDIS_CLIENT).gone(gone)];
            }
            let mut resources = vec![resource(NODE)];
            if node.answered == Some(true) && node.redis_connected.is_some() {
                resources.push(resource(REDIS_CLIENT));
            }
            resources
        };
        let forgotten = self.forgotten.keys().flat_map(|id| {
            let gone = "it neither answered nor was listed for `forget_node_s`";
            [NODE, REDIS_CLIENT].map(|kind| Resource::new(kind, id).gone(gone))
        });
        nodes.iter().flat_map(of_node).chain(forgotten).collect()
    }

    /// What is kept over a restart, the nodes that were seen last first.
    pub(crate) fn keep(&self, clocks: Clocks) -> Vec<KeptNode> {
        let mut nodes: Vec<(&String, &Known)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(_, known)| std::cmp::Reverse((known.answers_at.is_some(), known.seen)));
        nodes
            .into_iter()
            .map(|(id, known)| KeptNode {
                id: id.clone(),
                address: known.address.clone(),
                answers_at: known.answers_at.as_ref().map(Endpoint::authority),
                registered_at_ms: known.registered_at_ms,
                last_heartbeat_at_ms: known.last_heartbeat_at_ms,
                draining: known.draining,
                left: known.left,
                down_since_ms: known.down_since.map(|since| clocks.ms_of(since)),
                seen_ms: clocks.ms_of(known.seen),
                ttl_ms: known.heartbeat.ttl_ms(),
            })
            .collect()
    }

    /// The roster of an earlier process. Moments that lie in the future count as now.
    pub(crate) fn restore(nodes: Vec<KeptNode>, is_whole: bool, clocks: Clocks) -> Self {
        let known = |kept: &KeptNode| Known {
            address: kept.address.clone(),
            registered_at_ms: kept.registered_at_ms,
            last_heartbeat_at_ms: kept.last_heartbeat_at_ms,
            version: None,
            answers_at: kept
                .answers_at
                .as_deref()
                .and_then(Endpoint::parse_reported_address),
            draining: kept.draining,
            down_since: kept.down_since_ms.map(|ms| clocks.instant_of(ms)),
            left: kept.left,
            seen: clocks.instant_of(kept.seen_ms),
            reported: None,
            heartbeat: Heartbeat::of_ttl(kept.ttl_ms),
        };
        Self {
            nodes: nodes
                .into_iter()
                .map(|kept| (kept.id.clone(), known(&kept)))
                .collect(),
            is_whole,
            forgotten: BTreeMap::new(),
        }
    }

    fn known(&mut self, id: &str, now: Instant) -> &mut Known {
        self.nodes
            .entry(id.to_owned())
            .or_insert_with(|| Known::new(now))
    }

    fn learn_listed(&mut self, listed: &ListedNode, now: Instant) {
        let known = self.known(&listed.id, now);
        known.seen = now;
        known.left = false;
        known.address = listed.address.clone().or(known.address.take());
        known.registered_at_ms = listed.registered_at.or(known.registered_at_ms);
        known.last_heartbeat_at_ms = listed.last_heartbeat_at.or(known.last_heartbeat_at_ms);
        known.version = listed.version.clone().or(known.version.take());
        match listed.listed() {
            Some(Listed::Draining) => known.draining = true,
            // It died, whatever it did before.
            Some(Listed::Unhealthy) => known.draining = false,
            _ => {}
        }
    }

    fn learn_health(&mut self, health: &Health, endpoint: &Endpoint, now: Instant) {
        let known = self.known(&health.node_id, now);
        known.seen = now;
        known.left = false;
        known.down_since = None;
        known.draining = health.draining.unwrap_or(false);
        known.version = health.version.clone().or(known.version.take());
        known.answers_at = Some(endpoint.clone());
    }

    /// Notes that these nodes reported what they had allowed.
    pub(crate) fn note_reported<'a>(&mut self, ids: impl Iterator<Item = &'a str>, now: Instant) {
        for id in ids {
            self.known(id, now).reported = Some(now);
        }
    }

    /// Whether a node that does not answer can have allowed something in the last `window`.
    pub(crate) fn is_missed(&self, id: &str, window: Duration, now: Instant, now_ms: i64) -> bool {
        let Some(known) = self.nodes.get(id) else {
            return true;
        };
        let since_reported = known.reported.map(|at| now.duration_since(at));
        let beat = known
            .last_heartbeat_at_ms
            .map(|at| now_ms.saturating_sub(at));
        let since_beat = beat
            .and_then(|ms| u64::try_from(ms).ok())
            .map(Duration::from_millis);
        let quiet = [since_reported, since_beat].into_iter().flatten().min();
        quiet.is_none_or(|quiet| quiet <= window)
    }

    /// Whether one of these nodes started less than `window` ago; none when that is not known of one.
    pub(crate) fn any_started_within<'a>(
        &self,
        ids: impl Iterator<Item = &'a String>,
        window: Duration,
        now_ms: i64,
    ) -> Option<bool> {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let started = ids.map(|id| self.nodes.get(id)?.registered_at_ms);
        let young: Option<Vec<bool>> = started
            .map(|at| Some(now_ms.saturating_sub(at?) <= window_ms))
            .collect();
        young.map(|young| young.contains(&true))
    }

    /// The ids of all nodes that are known.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The nodes as this cycle saw them; `before` is the roster as it was remembered.
    pub(crate) fn observe(
        &self,
        before: &Self,
        heard: &Heard<'_>,
        expected: &[String],
    ) -> Vec<Node> {
        let mut ids: Vec<&String> = self.nodes.keys().chain(expected).collect();
        ids.sort_unstable();
        ids.dedup();
        let node = |id: &&String| self.node(id, before, heard, expected.contains(id));
        ids.iter().map(node).collect()
    }

    fn node(&self, id: &str, before: &Self, heard: &Heard<'_>, expected: bool) -> Node {
        let known = self.nodes.get(id);
        let health = heard.probes.iter().find(|probed| is_answer_of(probed, id));
        let health = health.and_then(|probed| probed.health.as_ref().ok());
        let failed = heard
            .probes
            .iter()
            .find(|probed| probed.target.id.as_deref() == Some(id));
        let error = failed
            .filter(|_| health.is_none())
            .map(|probed| match &probed.health {
                Ok(other) => format!("`{}` answers at its address", other.node_id),
                Err(fault) => fault.to_string(),
            });
        let listed_draining = known.map(|known| known.draining);
        Node {
            id: id.to_owned(),
            address: known.and_then(|known| known.address.clone()),
            answered: if health.is_some() {
                Some(true)
            } else {
                failed.map(|_| false)
            },
            error,
            reached_before: before
                .nodes
                .get(id)
                .is_some_and(|known| known.answers_at.is_some()),
            listed: listed(id, heard.listing),
            left: known.is_some_and(|known| known.left),
            expected,
            draining: health.map_or(listed_draining, |health| health.draining.or(Some(false))),
            redis_connected: health.and_then(|health| health.redis_connected),
            checks: None,
            checks_work: health.and_then(Health::checks_work),
            checks_error: health.and_then(Health::checks_error),
            registered_at_ms: known.and_then(|known| known.registered_at_ms),
            last_heartbeat_at_ms: known.and_then(|known| known.last_heartbeat_at_ms),
            version: known.and_then(|known| known.version.clone()),
        }
    }

    /// The node that answered at, or registered, this `host:port`.
    pub(crate) fn id_at(&self, authority: &str) -> Option<String> {
        let at = |node: &Known| {
            node.address.as_deref() == Some(authority) || node.answers_at_authority(authority)
        };
        self.nodes
            .iter()
            .find(|(_, node)| at(node))
            .map(|(id, _)| id.clone())
    }
}

impl Known {
    fn answers_at_authority(&self, authority: &str) -> bool {
        let at = self.answers_at.as_ref();
        at.is_some_and(|at| at.authority() == authority)
    }

    /// A node that is gone from a v1 list signed off, unless it was down for a while before. The older form's list
    /// loses dead nodes too, so its absence from the list means nothing.
    fn note_absence(&mut self, id: &str, heard: &Heard<'_>, now: Instant) {
        if heard.probes.iter().any(|probed| is_answer_of(probed, id)) {
            return;
        }
        if listed(id, heard.listing) == Some(Listed::Absent) {
            let whole_list = heard
                .listing
                .is_some_and(|listing| listing.form == ApiForm::V1);
            let was_down = self
                .down_since
                .is_some_and(|since| now.duration_since(since) >= SIGN_OFF);
            self.left |= self.draining || (whole_list && !was_down);
        } else if !self.draining
            && heard
                .probes
                .iter()
                .any(|probed| probed.target.id.as_deref() == Some(id))
        {
            self.down_since.get_or_insert(now);
        }
    }
}

fn push_new(targets: &mut Vec<Target>, endpoint: Endpoint, id: &str) {
    if !targets
        .iter()
        .any(|target| target.endpoint.authority() == endpoint.authority())
    {
        targets.push(Target {
            endpoint,
            id: Some(id.to_owned()),
        });
    }
}

pub(crate) fn is_answer_of(probed: &Probed, id: &str) -> bool {
    probed
        .health
        .as_ref()
        .is_ok_and(|health| health.node_id == id)
}

fn listed(id: &str, listing: Option<&NodeListing>) -> Option<Listed> {
    match listing?.nodes.iter().find(|node| node.id == id) {
        Some(node) => node.listed(),
        None => Some(Listed::Absent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_full_of_rubbish_is_remembered_in_part_and_not_whole() {
        let node = |number: usize| Registered {
            id: format!("node-{number}"),
            address: None,
            since_ms: None,
        };
        let whole = |count: usize| {
            let registry: Vec<Registered> = (0..count).map(node).collect();
            let mut roster = Roster::default();
            let heard = Heard {
                probes: &[],
                listing: None,
                registry: &registry,
                registry_is_whole: true,
                registrations: &BTreeMap::new(),
            };
            roster.learn(&heard, Instant::now(), Duration::from_hours(1));
            (roster.nodes.len(), roster.is_whole())
        };
        assert_eq!(whole(MAX_KNOWN), (MAX_KNOWN, true));
        assert_eq!(whole(MAX_KNOWN + 1), (MAX_KNOWN, false));
    }

    #[test]
    fn a_node_that_is_forgotten_is_named_as_gone_for_a_while() {
        let registry = [Registered {
            id: "node-1".into(),
            address: None,
            since_ms: None,
        }];
        let nobody = BTreeMap::new();
        let heard = |registry| Heard {
            probes: &[],
            listing: None,
            registry,
            registry_is_whole: true,
            registrations: &nobody,
        };
        let (mut roster, start) = (Roster::default(), Instant::now());
        let hour = Duration::from_hours(1);
        roster.learn(&heard(&registry), start, hour);
        roster.learn(&heard(&[]), start + hour, hour);
        let gone = roster.resources(&[]);
        assert!(gone.iter().all(|resource| resource.gone.is_some()));
        assert_eq!(gone.len(), 2);
        roster.learn(&heard(&[]), start + hour + TELL_GONE, hour);
        assert_eq!(roster.resources(&[]), []);
    }
}
