//! Counts and latencies of the last ten seconds.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

const SLOTS: u64 = 10;
/// The highest recorded latency, in µs.
const MAX_MICROS: u64 = 60_000_000;

#[derive(Clone)]
struct Slot {
    second: u64,
    allowed: u64,
    blocked: u64,
    decided: u64,
    failed: u64,
    micros: Histogram<u32>,
}

/// A ring of one-second slots.
pub(crate) struct RecentWindow {
    started: Instant,
    slots: Vec<Slot>,
}

/// The sum over the last ten seconds.
pub(crate) struct RecentTotals {
    pub(crate) allowed: u64,
    pub(crate) blocked: u64,
    decided: u64,
    failed: u64,
    micros: Histogram<u32>,
    span: Duration,
}

fn empty_histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, MAX_MICROS, 2)
        .expect("the bounds and digits are constant and valid")
}

impl RecentWindow {
    pub(crate) fn new() -> Self {
        let slot = Slot {
            second: 0,
            allowed: 0,
            blocked: 0,
            decided: 0,
            failed: 0,
            micros: empty_histogram(),
        };
        let slots = (0..SLOTS).map(|_| slot.clone()).collect();
        Self {
            started: Instant::now(),
            slots,
        }
    }

    pub(crate) fn record(&mut self, allowed: bool, took: Duration) {
        let slot = self.slot_at(self.started.elapsed().as_secs());
        if allowed {
            slot.allowed += 1;
        } else {
            slot.blocked += 1;
        }
        slot.micros.saturating_record(micros(took));
    }

    /// Whether Redis decided a check. One that it did not decide can have been allowed without it.
    pub(crate) fn record_outcome(&mut self, failed: bool) {
        let slot = self.slot_at(self.started.elapsed().as_secs());
        if failed {
            slot.failed += 1;
        } else {
            slot.decided += 1;
        }
    }

    fn slot_at(&mut self, second: u64) -> &mut Slot {
        let index = usize::try_from(second % SLOTS).unwrap_or_default();
        let slot = &mut self.slots[index];
        if slot.second != second {
            slot.second = second;
            slot.allowed = 0;
            slot.blocked = 0;
            slot.decided = 0;
            slot.failed = 0;
            slot.micros.reset();
        }
        slot
    }

    pub(crate) fn add_to(&self, recent: &mut RecentTotals) {
        let up = self.started.elapsed();
        let first = (up.as_secs() + 1).saturating_sub(SLOTS);
        for slot in self.slots.iter().filter(|slot| slot.second >= first) {
            recent.allowed += slot.allowed;
            recent.blocked += slot.blocked;
            recent.decided += slot.decided;
            recent.failed += slot.failed;
            // Fails only if a value is out of bounds, and all histograms have the same bounds.
            let _fits = recent.micros.add(&slot.micros);
        }
        let whole = Duration::from_secs(SLOTS - 1) + Duration::from_nanos(up.subsec_nanos().into());
        recent.span = up.min(whole);
    }
}

impl RecentTotals {
    pub(crate) fn new() -> Self {
        Self {
            allowed: 0,
            blocked: 0,
            decided: 0,
            failed: 0,
            micros: empty_histogram(),
            span: Duration::ZERO,
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        // Keeps a node that has just started from reporting thousands per second after its first check.
        count(self.allowed + self.blocked) / self.span.as_secs_f64().max(1.0)
    }

    /// `part` as a percentage of all; `None` if there was nothing.
    pub(crate) fn percent(&self, part: u64) -> Option<f64> {
        let all = self.allowed + self.blocked;
        (all > 0).then(|| 100.0 * count(part) / count(all))
    }

    /// The checks that Redis did not decide, as a percentage of all; `None` if there were none.
    pub(crate) fn failed_percent(&self) -> Option<f64> {
        let all = self.decided + self.failed;
        (all > 0).then(|| 100.0 * count(self.failed) / count(all))
    }

    /// A latency quantile in ms; `None` if nothing was recorded.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        (!self.micros.is_empty()).then(|| count(self.micros.value_at_quantile(quantile)) / 1_000.0)
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).map_or(MAX_MICROS, |micros| micros.min(MAX_MICROS))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^52, where f64 is exact"
)]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(rolling: &RecentWindow) -> RecentTotals {
        let mut recent = RecentTotals::new();
        rolling.add_to(&mut recent);
        recent
    }

    #[test]
    fn nothing_observed_is_unknown_and_not_zero() {
        let recent = recent(&RecentWindow::new());
        assert_eq!(recent.quantile_ms(0.99), None);
        assert_eq!(recent.percent(recent.allowed), None);
        assert_eq!(recent.failed_percent(), None);
    }

    #[test]
    fn a_failed_check_counts_as_such_whether_it_was_answered_or_not() {
        let mut rolling = RecentWindow::new();
        rolling.record_outcome(true);
        for _ in 0..3 {
            rolling.record_outcome(false);
            rolling.record(true, Duration::from_millis(1));
        }
        let recent = recent(&rolling);
        assert_eq!(recent.failed_percent(), Some(25.0));
        assert_eq!(recent.percent(recent.allowed), Some(100.0));
    }

    #[test]
    fn shares_and_quantiles_are_of_what_was_recorded() {
        let mut rolling = RecentWindow::new();
        for _ in 0..3 {
            rolling.record(true, Duration::from_millis(1));
        }
        rolling.record(false, Duration::from_millis(100));
        let recent = recent(&rolling);
        assert_eq!(recent.percent(recent.allowed), Some(75.0));
        assert!((recent.quantile_ms(0.5).unwrap() - 1.0).abs() < 0.05);
        assert!((recent.quantile_ms(0.99).unwrap() - 100.0).abs() < 5.0);
    }

    #[test]
    fn what_is_older_than_ten_seconds_is_gone() {
        let mut rolling = RecentWindow::new();
        rolling.record(true, Duration::from_millis(1));
        rolling.started = rolling
            .started
            .checked_sub(Duration::from_secs(11))
            .unwrap();
        assert_eq!(recent(&rolling).allowed, 0);
    }
}
