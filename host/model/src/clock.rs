//! The clock of this process: it never steps by itself.
//!
//! [`Timestamp::now`](crate::Timestamp::now) is the time since the machine started plus an offset that was measured once. When
//! somebody sets the wall clock, nothing changes until the daemon has moved the stored times as well and adopts the new offset.

use std::sync::{
    LazyLock,
    atomic::{AtomicI64, Ordering},
};

use rustix::time::{ClockId, clock_gettime};

/// A wall clock that is set by no more than this is not followed. Milliseconds.
pub const TOLERANCE_MS: i64 = 1_000;

/// The offset that this process goes by.
static ADOPTED: LazyLock<AtomicI64> = LazyLock::new(|| AtomicI64::new(measured_offset()));

/// Which clock a time was read from: a machine between two of its starts, and the offset of its wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineClock {
    /// Identifies the start of the machine.
    pub boot: String,
    /// How much later the wall clock is than the time since that start. Milliseconds.
    pub offset_ms: i64,
}

impl MachineClock {
    /// As the wall clock is set now.
    pub fn measured() -> Self {
        static BOOT: LazyLock<String> = LazyLock::new(|| {
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
        });
        Self {
            boot: BOOT.trim().to_owned(),
            offset_ms: measured_offset(),
        }
    }

    /// How much later the wall clock is than the clock of this process; zero within the tolerance. Milliseconds.
    pub fn ahead_ms(&self) -> i64 {
        let ahead = self.offset_ms - ADOPTED.load(Ordering::Relaxed);
        if ahead.abs() <= TOLERANCE_MS {
            0
        } else {
            ahead
        }
    }

    /// From now on this process goes by it.
    pub fn adopt(&self) {
        ADOPTED.store(self.offset_ms, Ordering::Relaxed);
    }
}

/// How long the machine has slept since it started. Milliseconds.
pub fn slept_ms() -> i64 {
    since_start_ms() - read_ms(ClockId::Monotonic)
}

/// Milliseconds since 1970, by the clock of this process.
pub(crate) fn now_ms() -> i64 {
    since_start_ms().saturating_add(ADOPTED.load(Ordering::Relaxed))
}

fn measured_offset() -> i64 {
    read_ms(ClockId::Realtime) - since_start_ms() + injected_ms()
}

/// Time since the machine started, sleep included.
fn since_start_ms() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    read_ms(clock)
}

fn read_ms(clock: ClockId) -> i64 {
    let at = clock_gettime(clock);
    at.tv_sec * 1_000 + at.tv_nsec / 1_000_000
}

/// In debug builds, what the file `OPERATOR_TEST_CLOCK` says that the wall clock is off by. Milliseconds.
fn injected_ms() -> i64 {
    if !cfg!(debug_assertions) {
        return 0;
    }
    let path = std::env::var_os("OPERATOR_TEST_CLOCK");
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test that changes the clock of this process.
    #[test]
    fn the_clock_steps_only_when_a_step_is_adopted() {
        let measured = MachineClock::measured();
        assert_eq!(measured.ahead_ms(), 0);
        let before = now_ms();
        let stepped = MachineClock {
            offset_ms: measured.offset_ms - 3_600_000,
            ..measured.clone()
        };
        assert!((-3_601_000..=-3_599_000).contains(&stepped.ahead_ms()));
        assert!(now_ms() >= before);
        stepped.adopt();
        assert_eq!(stepped.ahead_ms(), 0);
        assert!(now_ms() < before - 3_500_000);
        measured.adopt();
        assert!(now_ms() >= before);
    }
}
