//! The parameters of the actions. Their bounds are those of the service.

use operator_plugin_kit::{Faults, params::Bounded};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::wire::MAX_NODE_ID_BYTES;

const MAX_KEY_BYTES: usize = 512;
const MAX_LIMIT: u64 = 1_000_000_000;
/// 366 days.
const MAX_WINDOW_MS: u64 = 31_622_400_000;
const MAX_BLOCK_SECONDS: u64 = MAX_WINDOW_MS / 1_000;

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    /// The key, exactly as clients name it.
    #[schemars(length(min = 1, max = 512), extend("x-resource" = true))]
    pub(crate) key: String,
}

/// A new limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLimit {
    /// The key, or a prefix that ends in `*`.
    #[schemars(length(min = 1, max = 512), extend("x-resource" = true))]
    pub(crate) key: String,
    /// How many requests a window holds at most; 0 refuses all.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(crate) limit: u64,
    /// The length of the window. Milliseconds.
    #[schemars(range(min = 1, max = 31_622_400_000_u64))]
    pub(crate) window_ms: u64,
}

/// The limit that a key had.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviousLimit {
    /// The key, or a prefix that ends in `*`.
    #[schemars(length(min = 1, max = 512), extend("x-resource" = true))]
    pub(crate) key: String,
    /// Whether this key or prefix itself had an override. If not, the override is deleted.
    pub(crate) had_override: bool,
    /// The limit it had.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(crate) limit: u64,
    /// The window it had. Milliseconds.
    #[schemars(range(min = 1, max = 31_622_400_000_u64))]
    pub(crate) window_ms: u64,
}

/// A key, and how long to refuse it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Block {
    /// The key, exactly as clients name it.
    #[schemars(length(min = 1, max = 512), extend("x-resource" = true))]
    pub(crate) key: String,
    /// For how long.
    #[schemars(range(min = 1, max = 31_622_400))]
    pub(crate) duration_seconds: u64,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// The node's id.
    #[schemars(length(min = 1, max = 128), extend("x-resource" = true))]
    pub(crate) node_id: String,
}

impl Bounded for Key {
    fn check(&self, faults: &mut Faults) {
        faults.length("key", &self.key, 1..=MAX_KEY_BYTES);
    }
}

impl Bounded for NewLimit {
    fn check(&self, faults: &mut Faults) {
        check_limit(&self.key, self.limit, self.window_ms, faults);
    }
}

impl Bounded for PreviousLimit {
    fn check(&self, faults: &mut Faults) {
        check_limit(&self.key, self.limit, self.window_ms, faults);
    }
}

impl Bounded for Block {
    fn check(&self, faults: &mut Faults) {
        faults.length("key", &self.key, 1..=MAX_KEY_BYTES);
        faults.within(
            "duration_seconds",
            self.duration_seconds,
            1..=MAX_BLOCK_SECONDS,
        );
    }
}

impl Bounded for Node {
    fn check(&self, faults: &mut Faults) {
        faults.length("node_id", &self.node_id, 1..=MAX_NODE_ID_BYTES);
    }
}

fn check_limit(key: &str, limit: u64, window_ms: u64, faults: &mut Faults) {
    faults.length("key", key, 1..=MAX_KEY_BYTES);
    faults.within("limit", limit, 0..=MAX_LIMIT);
    faults.within("window_ms", window_ms, 1..=MAX_WINDOW_MS);
}
