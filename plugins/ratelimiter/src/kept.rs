//! What a subject keeps over restarts of its worker and of the daemon, as the host stores it. It holds no secret: of an URL
//! it keeps host and port.

use std::time::{Duration, Instant};

use operator_plugin_api::{MAX_MEMORY, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{memory::Memory, observation::ApiForm, roster::Roster};

/// The share of the memory that nodes may take; keys take the rest.
const NODES_BYTES: usize = MAX_MEMORY / 2;
const KEYS_BYTES: usize = MAX_MEMORY / 4;
/// Times alone are told again no more often than this, so that the host does not write in every cycle.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// The monotonic clock and the wall clock at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) now: Instant,
    pub(crate) now_ms: i64,
}

impl Clocks {
    pub(crate) fn read() -> Self {
        Self {
            now: Instant::now(),
            now_ms: now_ms(),
        }
    }

    pub(crate) fn ms_of(self, at: Instant) -> i64 {
        let ago = self.now.saturating_duration_since(at).as_millis();
        self.now_ms - i64::try_from(ago).unwrap_or(i64::MAX)
    }

    /// A moment that lies in the future counts as now: the wall clock has been set back.
    pub(crate) fn instant_of(self, ms: i64) -> Instant {
        let ago = u64::try_from(self.now_ms.saturating_sub(ms)).unwrap_or_default();
        let at = self.now.checked_sub(Duration::from_millis(ago));
        at.unwrap_or(self.now)
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptNode {
    pub(crate) id: String,
    pub(crate) address: Option<String>,
    pub(crate) answers_at: Option<String>,
    pub(crate) registered_at_ms: Option<i64>,
    pub(crate) last_heartbeat_at_ms: Option<i64>,
    pub(crate) draining: bool,
    pub(crate) left: bool,
    pub(crate) down_since_ms: Option<i64>,
    pub(crate) seen_ms: i64,
    pub(crate) ttl_ms: u64,
}

/// A key that was suspicious, and its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptKey {
    pub(crate) key: String,
    pub(crate) limit: Option<u64>,
    pub(crate) window_ms: u64,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) nodes: Vec<KeptNode>,
    /// Whether a list of nodes was ever read to its end.
    pub(crate) is_whole: bool,
    pub(crate) form: Option<ApiForm>,
    pub(crate) suspects: Vec<KeptKey>,
    /// The key up to which all keys were looked at.
    pub(crate) after: String,
}

impl Kept {
    pub(crate) fn of(memory: &Memory, clocks: Clocks) -> Self {
        let mut nodes = memory.roster.keep(clocks);
        truncate(&mut nodes, NODES_BYTES);
        let mut suspects = memory.keys.keep();
        truncate(&mut suspects, KEYS_BYTES);
        Self {
            nodes,
            is_whole: memory.roster.is_whole(),
            form: memory.form,
            suspects,
            after: memory.sweep.after.clone(),
        }
    }

    /// What another version wrote, or nobody, counts as nothing.
    pub(crate) fn parse(document: Option<&Value>) -> Option<Self> {
        Self::deserialize(document?).ok()
    }

    pub(crate) fn restore(self, clocks: Clocks) -> Memory {
        let mut memory = Memory {
            roster: Roster::restore(self.nodes, self.is_whole, clocks),
            form: self.form,
            ..Memory::default()
        };
        memory.keys.restore(&self.suspects, clocks.now);
        memory.sweep.restart_after(self.after);
        memory
    }

    /// The same without what changes in every cycle.
    fn without_times(&self) -> Self {
        let mut same = self.clone();
        for node in &mut same.nodes {
            (node.seen_ms, node.ttl_ms, node.last_heartbeat_at_ms) = (0, 0, None);
            node.down_since_ms = node.down_since_ms.map(|_| 0);
        }
        same.nodes.sort_by(|a, b| a.id.cmp(&b.id));
        same.after.clear();
        same
    }
}

/// What the host was told last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Option<(Instant, Kept)>);

impl Told {
    /// The document for the host, where it has to know more than it knows.
    pub(crate) fn tell(&mut self, kept: Kept, now: Instant) -> Option<Value> {
        let is_known = self.0.as_ref().is_some_and(|(at, told)| {
            now.saturating_duration_since(*at) < TELL_AGAIN
                && told.without_times() == kept.without_times()
        });
        if is_known {
            return None;
        }
        let document = serde_json::to_value(&kept).ok()?;
        self.0 = Some((now, kept));
        Some(document)
    }
}

fn truncate<T: Serialize>(entries: &mut Vec<T>, most: usize) {
    let mut bytes = 0;
    entries.retain(|entry| {
        bytes += serde_json::to_string(entry).map_or(most, |text| text.len() + 1);
        bytes <= most
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> KeptNode {
        KeptNode {
            id: id.into(),
            address: Some("localhost:8001".into()),
            answers_at: Some("localhost:8001".into()),
            registered_at_ms: None,
            last_heartbeat_at_ms: None,
            draining: false,
            left: false,
            down_since_ms: Some(1_000),
            seen_ms: 1_000,
            ttl_ms: 30_000,
        }
    }

    fn clocks(now_ms: i64) -> Clocks {
        Clocks {
            now: Instant::now(),
            now_ms,
        }
    }

    #[test]
    fn what_is_kept_is_restored_and_a_moment_in_the_future_is_now() {
        let kept = Kept {
            nodes: vec![node("node-1")],
            is_whole: true,
            form: Some(ApiForm::Older),
            suspects: vec![KeptKey {
                key: "k".into(),
                limit: Some(5),
                window_ms: 1_000,
            }],
            after: "m".into(),
        };
        let later = clocks(61_000);
        assert_eq!(Kept::of(&kept.clone().restore(later), later), kept);
        let earlier = clocks(500);
        let restored = Kept::of(&kept.restore(earlier), earlier);
        assert_eq!(restored.nodes[0].seen_ms, 500);
    }

    #[test]
    fn another_document_counts_as_nothing() {
        assert_eq!(Kept::parse(None), None);
        for other in [serde_json::json!(7), serde_json::json!({"nodes": 1})] {
            assert_eq!(Kept::parse(Some(&other)), None);
        }
    }

    #[test]
    fn a_registry_full_of_rubbish_fits_into_the_memory() {
        let id = |index: usize| format!("{index}-{}", "x".repeat(200));
        let nodes = (0..10_000).map(|index| node(&id(index))).collect();
        let key = |index| KeptKey {
            key: format!("{index}-{}", "\u{1}".repeat(500)),
            limit: None,
            window_ms: 1,
        };
        let kept = Kept {
            nodes,
            suspects: (0..100).map(key).collect(),
            ..Kept::default()
        };
        let now = clocks(2_000);
        let document = serde_json::to_string(&Kept::of(&kept.restore(now), now)).unwrap();
        assert!(document.len() < MAX_MEMORY, "{}", document.len());
        assert!(document.len() > MAX_MEMORY / 4);
    }

    #[test]
    fn the_host_is_told_what_is_new_and_times_now_and_then() {
        let (mut told, start) = (Told::default(), Instant::now());
        let mut kept = Kept {
            nodes: vec![node("node-1")],
            ..Kept::default()
        };
        assert!(told.tell(kept.clone(), start).is_some());
        kept.nodes[0].seen_ms += 1_000;
        assert_eq!(told.tell(kept.clone(), start), None);
        assert!(told.tell(kept.clone(), start + TELL_AGAIN).is_some());
        kept.nodes[0].left = true;
        assert!(told.tell(kept, start + TELL_AGAIN).is_some());
    }
}
