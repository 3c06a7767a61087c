//! The parameters of the actions. Their bounds are those of the service; they stand in the schema and are proven again
//! here, all at once, before anything is sent.

use operator_plugin_api::{Call, Error, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

const MAX_KEY_BYTES: usize = 512;
const MAX_NODE_ID_BYTES: usize = 128;
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
    /// Whether this very key or prefix had a limit of its own. If not, the override is deleted.
    pub(crate) had_override: bool,
    /// The limit it had.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(crate) limit: u64,
    /// The window it had. Milliseconds.
    #[schemars(range(min = 1, max = 31_622_400_000_u64))]
    pub(crate) window_ms: u64,
}

/// A key, and for how long to refuse it.
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

/// What does not fit, one entry for each fault.
trait Bounded {
    fn faults(&self) -> Vec<String>;
}

impl Bounded for Key {
    fn faults(&self) -> Vec<String> {
        text("key", &self.key, MAX_KEY_BYTES).into_iter().collect()
    }
}

impl Bounded for NewLimit {
    fn faults(&self) -> Vec<String> {
        limit(&self.key, self.limit, self.window_ms)
    }
}

impl Bounded for PreviousLimit {
    fn faults(&self) -> Vec<String> {
        limit(&self.key, self.limit, self.window_ms)
    }
}

impl Bounded for Block {
    fn faults(&self) -> Vec<String> {
        let key = text("key", &self.key, MAX_KEY_BYTES);
        let duration = number(
            "duration_seconds",
            self.duration_seconds,
            1,
            MAX_BLOCK_SECONDS,
        );
        key.into_iter().chain(duration).collect()
    }
}

impl Bounded for Node {
    fn faults(&self) -> Vec<String> {
        text("node_id", &self.node_id, MAX_NODE_ID_BYTES)
            .into_iter()
            .collect()
    }
}

fn limit(key: &str, limit: u64, window_ms: u64) -> Vec<String> {
    let faults = [
        text("key", key, MAX_KEY_BYTES),
        number("limit", limit, 0, MAX_LIMIT),
        number("window_ms", window_ms, 1, MAX_WINDOW_MS),
    ];
    faults.into_iter().flatten().collect()
}

fn text(name: &str, text: &str, most: usize) -> Option<String> {
    let length = text.len();
    (!(1..=most).contains(&length))
        .then(|| format!("`{name}` must have from 1 to {most} bytes, not {length}"))
}

fn number(name: &str, number: u64, least: u64, most: u64) -> Option<String> {
    (!(least..=most).contains(&number))
        .then(|| format!("`{name}` must be from {least} to {most}, not {number}"))
}

#[expect(
    private_bounds,
    reason = "only the parameters of this module are bounded"
)]
pub(super) fn parse<P: DeserializeOwned + Bounded>(call: &Call) -> Result<P, Error> {
    let params: P = call.params()?;
    let faults = params.faults();
    if faults.is_empty() {
        return Ok(params);
    }
    let message = format!("parameters of `{}`: {}", call.action, faults.join("; "));
    Err(Error::new(ErrorKind::Invalid, message))
}
