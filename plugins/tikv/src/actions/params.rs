//! The parameters of the actions.

use operator_plugin_kit::{Faults, params::Bounded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// PD counts its ids up from 1.
const MAX_ID: u64 = i64::MAX as u64;
/// What PD itself sets for "without a limit". Peers a minute.
const MAX_RATE: f64 = 100_000_000.0;
const MAX_NAME_BYTES: usize = 128;
const MAX_KEY_BYTES: usize = 16_384;
/// A pause that is forgotten longer than this breaks `scheduler_paused_too_long` anyway. Seconds.
const MAX_PAUSE_S: u64 = 3_600;
const MAX_SCHEDULE_LIMIT: u64 = 65_536;
const TTL_S: std::ops::RangeInclusive<u64> = 10..=86_400;

/// A region, and where its leader should be.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaderMove {
    /// The region.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) region_id: u64,
    /// A store that holds a healthy voter of it.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) to_store_id: u64,
}

/// A region, and where one of its peers should go.
#[expect(clippy::struct_field_names, reason = "they are the parameters' names")]
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerMove {
    /// The region.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) region_id: u64,
    /// The store that holds the peer.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) from_store_id: u64,
    /// A store without a peer of the region; never `from_store_id`, which no schema can express.
    #[schemars(
        range(min = 1, max = 9_223_372_036_854_775_807_u64),
        extend("examples" = [2])
    )]
    pub(crate) to_store_id: u64,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Region {
    /// The region.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) region_id: u64,
}

/// How the key to split at is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum SplitPolicy {
    /// The middle by TiKV's estimate: quick.
    Approximate,
    /// The middle by reading the region: exact.
    Scan,
    /// The key that is given.
    Usekey,
}

/// A region, and where to split it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Split {
    /// The region.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) region_id: u64,
    /// How the key is found.
    pub(crate) policy: SplitPolicy,
    /// With the policy `usekey`, and only then: the key, in hexadecimal digits as PD shows it.
    #[serde(default)]
    #[schemars(length(min = 2, max = 16_384), regex(pattern = "^([0-9A-Fa-f]{2})+$"))]
    pub(crate) key: Option<String>,
}

/// A region, and the neighbour that absorbs it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Merge {
    /// The region that ends.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) source_region_id: u64,
    /// Its neighbour, which grows.
    #[schemars(
        range(min = 1, max = 9_223_372_036_854_775_807_u64),
        extend("examples" = [2])
    )]
    pub(crate) target_region_id: u64,
}

/// A store.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    /// The store.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) store_id: u64,
}

/// Which way peers move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(crate) enum LimitKind {
    /// To the store.
    AddPeer,
    /// From the store.
    RemovePeer,
}

/// How fast peers may move to or from a store.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreLimit {
    /// The store.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64))]
    pub(crate) store_id: u64,
    /// Which way.
    #[serde(rename = "type")]
    pub(crate) kind: LimitKind,
    /// Peers a minute. 15 is PD's default, 100000000 is unlimited.
    #[schemars(range(min = 0.1, max = 100_000_000.0))]
    pub(crate) rate: f64,
}

/// A scheduler, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pause {
    /// The scheduler, such as `balance-leader-scheduler`.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[a-z0-9-]+-scheduler(-[0-9]+)?$"),
        extend("examples" = ["balance-leader-scheduler"])
    )]
    pub(crate) name: String,
    /// After this it resumes by itself.
    #[schemars(range(min = 1, max = 3_600))]
    pub(crate) seconds: u64,
}

/// A scheduler.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scheduler {
    /// The scheduler, such as `balance-leader-scheduler`.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[a-z0-9-]+-scheduler(-[0-9]+)?$"),
        extend("examples" = ["balance-leader-scheduler"])
    )]
    pub(crate) name: String,
}

/// How many operators of a kind may run.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleLimit {
    /// Operators at a time; 0 is none.
    #[schemars(range(min = 0, max = 65_536))]
    pub(crate) limit: u64,
    /// After this PD reverts it by itself. Without it the limit is permanent.
    #[serde(default)]
    #[schemars(range(min = 10, max = 86_400))]
    pub(crate) ttl_seconds: Option<u64>,
}

/// The usage at which a store takes no more regions.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LowSpace {
    /// Of the capacity. PD's default is 80, and its high-space ratio must stay below.
    #[schemars(range(min = 1.0, max = 99.0))]
    pub(crate) used_percent: f64,
}

/// A member of PD.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PdMember {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub(crate) name: String,
}

impl Bounded for LeaderMove {
    fn check(&self, faults: &mut Faults) {
        check_id("region_id", self.region_id, faults);
        check_id("to_store_id", self.to_store_id, faults);
    }
}

impl Bounded for PeerMove {
    fn check(&self, faults: &mut Faults) {
        check_id("region_id", self.region_id, faults);
        check_id("from_store_id", self.from_store_id, faults);
        check_id("to_store_id", self.to_store_id, faults);
        if self.from_store_id == self.to_store_id {
            faults.push("`from_store_id` and `to_store_id` must differ");
        }
    }
}

impl Bounded for Region {
    fn check(&self, faults: &mut Faults) {
        check_id("region_id", self.region_id, faults);
    }
}

impl Bounded for Split {
    fn check(&self, faults: &mut Faults) {
        check_id("region_id", self.region_id, faults);
        let by_key = self.policy == SplitPolicy::Usekey;
        match &self.key {
            Some(key) if by_key => check_hex("key", key, faults),
            None if by_key => faults.push("`key` must be given with the policy `usekey`"),
            Some(_) => faults.push("`key` is only for the policy `usekey`"),
            None => {}
        }
    }
}

impl Bounded for Merge {
    fn check(&self, faults: &mut Faults) {
        check_id("source_region_id", self.source_region_id, faults);
        check_id("target_region_id", self.target_region_id, faults);
        if self.source_region_id == self.target_region_id {
            faults.push("`source_region_id` and `target_region_id` must differ");
        }
    }
}

impl Bounded for Store {
    fn check(&self, faults: &mut Faults) {
        check_id("store_id", self.store_id, faults);
    }
}

impl Bounded for StoreLimit {
    fn check(&self, faults: &mut Faults) {
        check_id("store_id", self.store_id, faults);
        faults.within("rate", self.rate, 0.1..=MAX_RATE);
    }
}

impl Bounded for Pause {
    fn check(&self, faults: &mut Faults) {
        check_scheduler("name", &self.name, faults);
        faults.within("seconds", self.seconds, 1..=MAX_PAUSE_S);
    }
}

impl Bounded for Scheduler {
    fn check(&self, faults: &mut Faults) {
        check_scheduler("name", &self.name, faults);
    }
}

impl Bounded for ScheduleLimit {
    fn check(&self, faults: &mut Faults) {
        faults.within("limit", self.limit, 0..=MAX_SCHEDULE_LIMIT);
        if let Some(ttl) = self.ttl_seconds {
            faults.within("ttl_seconds", ttl, TTL_S);
        }
    }
}

impl Bounded for LowSpace {
    fn check(&self, faults: &mut Faults) {
        faults.within("used_percent", self.used_percent, 1.0..=99.0);
    }
}

impl Bounded for PdMember {
    fn check(&self, faults: &mut Faults) {
        faults.length("name", &self.name, 1..=MAX_NAME_BYTES);
    }
}

fn check_id(name: &str, id: u64, faults: &mut Faults) {
    faults.within(name, id, 1..=MAX_ID);
}

fn check_hex(name: &str, key: &str, faults: &mut Faults) {
    faults.length(name, key, 1..=MAX_KEY_BYTES);
    let fits = key.len().is_multiple_of(2) && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !fits {
        faults.push(format!("`{name}` must be pairs of hexadecimal digits"));
    }
}

/// A single scheduler: PD accepts `all` too, which no action of this plugin should pause.
fn check_scheduler(name: &str, scheduler: &str, faults: &mut Faults) {
    faults.length(name, scheduler, 1..=MAX_NAME_BYTES);
    let bare = scheduler.trim_end_matches(|c: char| c.is_ascii_digit());
    let bare = bare
        .strip_suffix('-')
        .filter(|_| bare.len() < scheduler.len())
        .unwrap_or(scheduler);
    let known = scheduler
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let fits = known && bare.len() > "-scheduler".len() && bare.ends_with("-scheduler");
    if !fits {
        faults.push(format!(
            "`{name}` must name one scheduler, as in `balance-leader-scheduler`"
        ));
    }
}
