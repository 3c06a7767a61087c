//! An estimate of Redis's clock, and time formats.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// An estimate of Redis's clock, updated from its replies; before the first reply, this node's own clock.
#[derive(Debug, Default)]
pub(crate) struct RedisClock {
    ahead_ms: AtomicI64,
}

impl RedisClock {
    pub(crate) fn learn(&self, redis_now_ms: u64) {
        let ahead = i64::try_from(redis_now_ms).unwrap_or_default() - own_ms();
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(own_ms() + self.ahead_ms.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

/// This node's own clock with an offset in ms.
pub(crate) fn skewed_ms(skew_ms: i64) -> u64 {
    u64::try_from(own_ms() + skew_ms).unwrap_or_default()
}

fn own_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// RFC 3339 in UTC, as `/api/v1` formats times.
pub(crate) fn rfc3339(ms: u64) -> String {
    format!("{:.3}", timestamp(ms))
}

/// Without a zone and with microseconds, as the legacy form formats times.
pub(crate) fn without_zone(ms: u64) -> String {
    let utc = timestamp(ms).to_zoned(TimeZone::UTC).datetime();
    format!("{utc:.6}")
}

fn timestamp(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_both_forms() {
        assert_eq!(rfc3339(1_769_478_517_123), "2026-01-27T01:48:37.123Z");
        assert_eq!(
            without_zone(1_769_478_517_123),
            "2026-01-27T01:48:37.123000"
        );
    }

    #[test]
    fn a_clock_that_learned_follows_redis() {
        let clock = RedisClock::default();
        clock.learn(skewed_ms(5_000));
        assert!(clock.now_ms() >= skewed_ms(4_900));
    }
}
