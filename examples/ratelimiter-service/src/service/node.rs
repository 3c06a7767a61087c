//! State that all parts of one node share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use super::allowed_counts::{AllowedCounts, InWindow};
use super::chaos::Chaos;
use super::clock::RedisClock;
use super::metrics::Metrics;
use super::policy::Policy;
use super::recent::{RecentTotals, RecentWindow};
use super::redis_client::{RedisClient, RedisFailure};
use super::refusal_cache::RefusalCache;
use super::registry::{NodeRecord, NodeState, Roster};
use super::settings::Settings;
use super::store::{CounterKeys, Store};
use super::working::Working;

/// The version that every node reports.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) struct Node {
    pub(crate) settings: Settings,
    /// The host:port under which the other nodes reach this one.
    pub(crate) address: String,
    pub(crate) registered_at_ms: u64,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: RedisClock,
    /// The connection for everything except checks.
    pub(crate) redis: Arc<RedisClient>,
    pub(crate) store: Store,
    pub(crate) worker_states: Vec<Arc<WorkerState>>,
    /// Whether Redis decides checks; with a trial when there are none.
    pub(crate) checks: Working,
    pub(crate) heartbeats: Working,
    /// Keys that hold something else than a counter; for the log alone, since other keys work.
    pub(crate) odd_keys: Working,
    /// Requests an early heartbeat.
    pub(crate) heartbeat_now: Notify,
    policy: RwLock<Arc<Policy>>,
    roster: Mutex<Roster>,
    draining: AtomicBool,
    /// A drain requested here while Redis was unavailable, which Redis does not know yet.
    drain_unsaved: AtomicBool,
    redis_connected: AtomicBool,
}

/// What one worker records about the checks it answered.
pub(crate) struct WorkerState {
    allowed_counts: Mutex<AllowedCounts>,
    recent: Mutex<RecentWindow>,
    refused: Mutex<RefusalCache>,
}

impl WorkerState {
    pub(crate) fn allowed_counts(&self) -> MutexGuard<'_, AllowedCounts> {
        self.allowed_counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recent(&self) -> MutexGuard<'_, RecentWindow> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refusal_cache(&self) -> MutexGuard<'_, RefusalCache> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// # Errors
    /// If the settings cannot be used. Nothing is connected yet.
    pub(crate) fn new(settings: Settings, port: u16) -> anyhow::Result<Self> {
        let chaos = Arc::new(Chaos::default());
        let metrics = Arc::new(Metrics::new(&settings.node_id)?);
        let redis = Arc::new(RedisClient::open(
            &settings,
            chaos.clone(),
            metrics.clone(),
        )?);
        let clock = RedisClock::default();
        let worker_state = || {
            Arc::new(WorkerState {
                allowed_counts: Mutex::default(),
                recent: Mutex::new(RecentWindow::new()),
                refused: Mutex::default(),
            })
        };
        Ok(Self {
            address: format!("{}:{port}", settings.node_host),
            registered_at_ms: clock.now_ms(),
            store: Store::new(redis.clone(), counter_keys(&settings)),
            worker_states: (0..settings.worker_count())
                .map(|_| worker_state())
                .collect(),
            chaos,
            metrics,
            clock,
            redis,
            settings,
            checks: Working::new("checks"),
            heartbeats: Working::new("heartbeats"),
            odd_keys: Working::new("the check of a key"),
            heartbeat_now: Notify::new(),
            policy: RwLock::default(),
            roster: Mutex::default(),
            draining: AtomicBool::new(false),
            // A drain lasts as long as the process: the first heartbeat ends a drain of an earlier process.
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

    /// Loads the policy from Redis and applies it.
    pub(crate) async fn load_policy(
        &self,
        redis: &RedisClient,
    ) -> Result<Arc<Policy>, RedisFailure> {
        let policy = Arc::new(Store::policy(redis).await?);
        if policy.version.is_empty() {
            self.redis_lost_its_data();
        }
        if !self.drain_unsaved.load(Ordering::Acquire) {
            self.apply_drain(policy.drains.contains(self.id()));
        }
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy.clone();
        Ok(policy)
    }

    /// After Redis lost its data, this node still knows whether it is draining.
    pub(crate) fn redis_lost_its_data(&self) {
        if self.is_draining() {
            self.drain_unsaved.store(true, Ordering::Release);
        }
        self.heartbeat_now.notify_one();
    }

    fn apply_drain(&self, drain: bool) {
        if self.draining.swap(drain, Ordering::AcqRel) != drain {
            tracing::info!(drain, "drain state changed");
            self.heartbeat_now.notify_one();
        }
    }

    /// Starts or ends draining at once, and records it in Redis now or when Redis is back.
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
            // If it was switched again meanwhile, the next heartbeat writes the current state.
            Ok(()) if drain != self.is_draining() => {}
            Ok(()) => self.drain_unsaved.store(false, Ordering::Release),
            Err(error) => {
                tracing::warn!(%error, "could not write the drain state to redis yet");
            }
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn redis_connected(&self) -> bool {
        self.redis_connected.load(Ordering::Acquire)
    }

    /// Returns the previous value.
    pub(crate) fn set_redis_connected(&self, connected: bool) -> bool {
        self.redis_connected.swap(connected, Ordering::AcqRel)
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's own record.
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

    /// The state that others see, or will see once they miss this node's heartbeats.
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

    /// What this node itself allowed, per key, within the key's window.
    pub(crate) fn allowed_in_window(&self) -> HashMap<String, InWindow> {
        let (now, policy) = (self.clock.now_ms(), self.policy());
        let mut sums = HashMap::new();
        for worker_state in &self.worker_states {
            worker_state
                .allowed_counts()
                .add_to(&mut sums, now, |key| policy.last_reset(key));
        }
        sums
    }

    pub(crate) fn recent(&self) -> RecentTotals {
        let mut recent = RecentTotals::new();
        for worker_state in &self.worker_states {
            worker_state.recent().add_to(&mut recent);
        }
        recent
    }
}

fn counter_keys(settings: &Settings) -> CounterKeys {
    CounterKeys {
        cluster: settings.redis_cluster,
    }
}
