//! The cluster's clock: it starts as the wall clock, and can run faster or jump ahead.

use std::time::Instant;

use crate::world::Nanos;

/// The highest speed, in seconds per second.
pub(crate) const MAX_RATE: f64 = 3_600.0;

#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    wall_at_start: Nanos,
    /// The reading of this clock at `since`.
    base: Nanos,
    /// After `started`.
    since: Nanos,
    rate: f64,
    /// Fixes both wall and cluster time.
    #[cfg(test)]
    standing: Option<Nanos>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The cluster's time.
    pub(crate) now: Nanos,
    /// Wall time minus cluster time. Reported times are shifted by it, so that clients that compare them with their own
    /// clocks see the right ages at any speed of this clock.
    pub(crate) offset: Nanos,
}

impl Clock {
    pub(crate) fn new(rate: f64) -> Self {
        let wall = wall();
        Self {
            started: Instant::now(),
            wall_at_start: wall,
            base: wall,
            since: 0,
            rate,
            #[cfg(test)]
            standing: None,
        }
    }

    /// A clock that stands still.
    #[cfg(test)]
    pub(crate) fn standing(at: Nanos) -> Self {
        Self {
            standing: Some(at),
            ..Self::new(1.0)
        }
    }

    pub(crate) fn read(&self) -> Reading {
        #[cfg(test)]
        if let Some(now) = self.standing {
            return Reading { now, offset: 0 };
        }
        let elapsed = self.elapsed();
        let now = self.base + scaled(elapsed - self.since, self.rate);
        Reading {
            now,
            offset: self.wall_at_start + elapsed - now,
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    pub(crate) fn set_rate(&mut self, rate: f64) {
        self.base = self.read().now;
        self.since = self.elapsed();
        self.rate = rate;
    }

    pub(crate) fn advance(&mut self, by: Nanos) {
        self.base += by;
    }

    fn elapsed(&self) -> Nanos {
        Nanos::try_from(self.started.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }
}

fn scaled(nanos: Nanos, rate: f64) -> Nanos {
    if (rate - 1.0).abs() < f64::EPSILON {
        // Exact, so that times are identical from one reply to the next.
        return nanos;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a fast clock need not be exact to the nanosecond"
    )]
    let scaled = (nanos as f64 * rate) as Nanos;
    scaled
}

/// Unix time in ns.
pub(crate) fn wall() -> Nanos {
    Nanos::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_rate_one_times_are_exact() {
        let clock = Clock::new(1.0);
        assert_eq!(clock.read().offset, clock.read().offset);
    }

    #[test]
    fn the_clock_can_jump() {
        let mut clock = Clock::new(1.0);
        let before = clock.read().offset;
        clock.advance(300_000_000_000);
        assert_eq!(clock.read().offset, before - 300_000_000_000);
    }

    #[test]
    fn a_new_rate_continues_from_the_current_time() {
        let mut clock = Clock::new(0.0);
        let before = clock.read().now;
        clock.set_rate(1.0);
        clock.set_rate(0.0);
        let after = clock.read().now;
        assert!((before..before + 1_000_000_000).contains(&after));
        assert_eq!(clock.read().now, after);
    }
}
