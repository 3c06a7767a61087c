//! Deadlines and timings of an observation.

use std::time::{Duration, Instant};

use operator_plugin_api::{Deadline, Error, ErrorKind};

/// The share of a deadline that is kept for building the observation.
const MARGIN_PERCENT: u32 = 15;

/// When the sources must have answered: within `most`, and early enough to build the observation before its deadline. An
/// error where no time is left.
pub fn budget(deadline: Deadline, most: Duration) -> Result<Deadline, Error> {
    let left = deadline.remaining() * (100 - MARGIN_PERCENT) / 100;
    if left.is_zero() {
        let message = "observe: the deadline passed before any source was asked";
        return Err(Error::retryable(ErrorKind::Deadline, message));
    }
    Ok(Deadline::after(left.min(most)))
}

/// The result, and how long it took.
pub fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let since = Instant::now();
    let result = run();
    (result, since.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_before_its_deadline() {
        let second = Duration::from_secs(1);
        let end = budget(Deadline::after(second), Duration::from_mins(1)).unwrap();
        assert!(end.remaining() <= second * 85 / 100);
        let end = budget(Deadline::after(second), Duration::from_millis(5)).unwrap();
        assert!(end.remaining() <= Duration::from_millis(5));
        let error = budget(Deadline::after(Duration::ZERO), second).unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Deadline, true));
    }
}
