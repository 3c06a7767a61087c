//! When each check is due.

use std::time::Duration;

/// How checks are spread over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Schedule {
    AsFastAsAnswered,
    Steady { per_second: f64 },
    Bursts { size: u64, every: Duration },
}

impl Schedule {
    /// When check `index` is due, from the start of the run; `None` if it is due as soon as it can be sent.
    pub(crate) fn due(self, index: u64) -> Option<Duration> {
        match self {
            Self::AsFastAsAnswered => None,
            Self::Steady { per_second } => Some(Duration::from_secs_f64(float(index) / per_second)),
            Self::Bursts { size, every } => Some(every.mul_f64(float(index / size))),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^52, where f64 is exact"
)]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_even() {
        let schedule = Schedule::Steady { per_second: 200.0 };
        assert_eq!(schedule.due(0), Some(Duration::ZERO));
        assert_eq!(schedule.due(100), Some(Duration::from_millis(500)));
    }

    #[test]
    fn all_of_a_burst_are_due_at_once() {
        let every = Duration::from_secs(2);
        let schedule = Schedule::Bursts { size: 10, every };
        assert_eq!(schedule.due(9), Some(Duration::ZERO));
        assert_eq!(schedule.due(10), Some(every));
        assert_eq!(schedule.due(25), Some(2 * every));
    }
}
