//! The heartbeats of a node of the older form: it registers itself in Redis for a while, and renews that. What is left of
//! its registration shows whether it reaches Redis, at the cost of one PTTL.

use std::time::{Duration, Instant};

/// The registration of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeat {
    /// The longest that was ever left: close to the time for which the node registers itself. Milliseconds.
    ttl_ms: u64,
    left_ms: Option<u64>,
    gone_since: Option<Instant>,
}

impl Heartbeat {
    pub(crate) fn of_ttl(ttl_ms: u64) -> Self {
        Self {
            ttl_ms,
            ..Self::default()
        }
    }

    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    pub(crate) fn note(&mut self, left_ms: Option<u64>, now: Instant) {
        self.left_ms = left_ms;
        self.ttl_ms = self.ttl_ms.max(left_ms.unwrap_or_default());
        self.gone_since = match left_ms {
            Some(_) => None,
            None => self.gone_since.or(Some(now)),
        };
    }

    /// A registration is renewed long before half of it has passed. One that is gone may be one that Redis lost, which the
    /// next heartbeat restores; after that it means that heartbeats do not arrive.
    pub(crate) fn reaches_redis(&self, now: Instant) -> Option<bool> {
        if self.ttl_ms == 0 {
            return None;
        }
        match (self.left_ms, self.gone_since) {
            (Some(left_ms), _) if left_ms >= self.ttl_ms / 2 => Some(true),
            (None, Some(since)) => {
                let restored = Duration::from_millis(self.ttl_ms / 2);
                (now.saturating_duration_since(since) > restored).then_some(false)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_that_is_renewed_reaches_redis_and_one_that_stays_gone_does_not() {
        let (mut heartbeat, start) = (Heartbeat::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(heartbeat.reaches_redis(start), None);
        heartbeat.note(None, start);
        assert_eq!(
            heartbeat.reaches_redis(at(100)),
            None,
            "it never registered"
        );
        heartbeat.note(Some(30_000), start);
        assert_eq!(heartbeat.reaches_redis(start), Some(true));
        heartbeat.note(Some(14_000), at(16));
        assert_eq!(heartbeat.reaches_redis(at(16)), None, "it may be late");
        heartbeat.note(None, at(31));
        assert_eq!(
            heartbeat.reaches_redis(at(46)),
            None,
            "Redis may have lost it"
        );
        heartbeat.note(None, at(47));
        assert_eq!(heartbeat.reaches_redis(at(47)), Some(false));
        heartbeat.note(Some(29_000), at(48));
        assert_eq!(heartbeat.reaches_redis(at(48)), Some(true));
    }
}
