//! What all parts of one node share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use super::chaos::Chaos;
use super::clock::RedisClock;
use super::ledger::Ledger;
use super::link::{Fault, Link};
use super::metrics::Metrics;
use super::policy::Policy;
use super::refused::Refused;
use super::registry::{NodeRecord, NodeState, Roster};
use super::rolling::{Recent, Rolling};
use super::settings::Settings;
use super::store::{CounterKeys, Store};

/// The version every node tells.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One node.
pub(crate) struct Node {
    pub(crate) settings: Settings,
    /// host:port under which the other nodes reach this one.
    pub(crate) address: String,
    pub(crate) registered_at_ms: u64,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: RedisClock,
    /// The connection of everything but the checks.
    pub(crate) link: Arc<Link>,
    pub(crate) store: Store,
    pub(crate) desks: Vec<Arc<Desk>>,
    /// Asks for a heartbeat before its time.
    pub(crate) beat_now: Notify,
    policy: RwLock<Arc<Policy>>,
    roster: Mutex<Roster>,
    draining: AtomicBool,
    /// A drain that was asked for here while Redis was away, and that Redis does not know yet.
    drain_unsaved: AtomicBool,
    redis_connected: AtomicBool,
}

/// What one worker keeps about the checks it answered.
pub(crate) struct Desk {
    ledger: Mutex<Ledger>,
    recent: Mutex<Rolling>,
    refused: Mutex<Refused>,
}

impl Desk {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recent(&self) -> MutexGuard<'_, Rolling> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refused(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// # Errors
    /// Where the settings cannot be used. Nothing is connected yet.
    pub(crate) fn new(settings: Settings, port: u16) -> anyhow::Result<Self> {
        let chaos = Arc::new(Chaos::default());
        let metrics = Arc::new(Metrics::new(&settings.node_id)?);
        let link = Arc::new(Link::open(&settings, chaos.clone(), metrics.clone())?);
        let clock = RedisClock::default();
        let desk = || {
            Arc::new(Desk {
                ledger: Mutex::default(),
                recent: Mutex::new(Rolling::new()),
                refused: Mutex::default(),
            })
        };
        Ok(Self {
            address: format!("{}:{port}", settings.node_host),
            registered_at_ms: clock.now_ms(),
            store: Store::new(link.clone(), counter_keys(&settings)),
            desks: (0..settings.worker_count()).map(|_| desk()).collect(),
            chaos,
            metrics,
            clock,
            link,
            settings,
            beat_now: Notify::new(),
            policy: RwLock::default(),
            roster: Mutex::default(),
            draining: AtomicBool::new(false),
            // A drain lasts as long as the process: the first heartbeat ends that of a process before this one.
            drain_unsaved: AtomicBool::new(true),
            redis_connected: AtomicBool::new(false),
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.settings.node_id
    }

    pub(crate) fn counter_keys(&self) -> CounterKeys {
        counter_keys(&self.settings)
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Fetches the policy and puts it in force here.
    pub(crate) async fn load_policy(&self, link: &Link) -> Result<Arc<Policy>, Fault> {
        let policy = Arc::new(Store::policy(link).await?);
        if policy.version.is_empty() {
            self.redis_lost_its_data();
        }
        if !self.drain_unsaved.load(Ordering::Acquire) {
            self.apply_drain(policy.drains.contains(self.id()));
        }
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy.clone();
        Ok(policy)
    }

    /// Redis forgot whether this node drains; the node itself did not.
    pub(crate) fn redis_lost_its_data(&self) {
        if self.is_draining() {
            self.drain_unsaved.store(true, Ordering::Release);
        }
        self.beat_now.notify_one();
    }

    fn apply_drain(&self, drain: bool) {
        if self.draining.swap(drain, Ordering::AcqRel) != drain {
            tracing::info!(drain, "draining switched");
            self.beat_now.notify_one();
        }
    }

    /// Starts or ends draining at once, and lets Redis know, now or when it is back.
    pub(crate) async fn drain_self(&self, drain: bool) {
        self.drain_unsaved.store(true, Ordering::Release);
        self.apply_drain(drain);
        self.save_drain().await;
    }

    pub(crate) async fn save_drain(&self) {
        if !self.drain_unsaved.load(Ordering::Acquire) {
            return;
        }
        let drain = self.is_draining();
        match self.store.set_drain(self.id(), drain).await {
            // Where it was switched meanwhile, the next heartbeat says so.
            Ok(()) if drain != self.is_draining() => {}
            Ok(()) => self.drain_unsaved.store(false, Ordering::Release),
            Err(fault) => {
                tracing::warn!(%fault, "redis does not know yet whether this node drains");
            }
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn redis_connected(&self) -> bool {
        self.redis_connected.load(Ordering::Acquire)
    }

    /// Returns what it was before.
    pub(crate) fn set_redis_connected(&self, connected: bool) -> bool {
        self.redis_connected.swap(connected, Ordering::AcqRel)
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node says about itself.
    pub(crate) fn record(&self) -> NodeRecord {
        NodeRecord {
            id: self.id().to_owned(),
            address: self.address.clone(),
            registered_at_ms: self.registered_at_ms,
            last_heartbeat_ms: 0,
            ttl_ms: self.settings.node_ttl_ms(),
            draining: self.is_draining(),
            version: VERSION.to_owned(),
        }
    }

    /// The state the others see, or will see once they miss this node's heartbeats.
    pub(crate) fn state(&self) -> NodeState {
        match self.roster().get(self.id()) {
            Some(seen) => NodeRecord {
                last_heartbeat_ms: seen.last_heartbeat_ms,
                ..self.record()
            }
            .state(self.clock.now_ms()),
            None if self.is_draining() => NodeState::Draining,
            None => NodeState::Unhealthy,
        }
    }

    /// What this node itself allowed, per key, in the key's window.
    pub(crate) fn allowed_in_window(&self) -> HashMap<String, u64> {
        let (now, policy) = (self.clock.now_ms(), self.policy());
        let mut sums = HashMap::new();
        for desk in &self.desks {
            desk.ledger()
                .add_to(&mut sums, now, |key| policy.last_reset(key));
        }
        sums
    }

    pub(crate) fn recent(&self) -> Recent {
        let mut recent = Recent::new();
        for desk in &self.desks {
            desk.recent().add_to(&mut recent);
        }
        recent
    }
}

fn counter_keys(settings: &Settings) -> CounterKeys {
    CounterKeys {
        cluster: settings.redis_cluster,
    }
}
