//! Costly questions, asked seldom: those whose answer takes the watched system longer the more keys it has.
//!
//! A question that took long is not asked again for fifty times as long, so that its answers cost the system at most 2 % of
//! its time. One that was given up may still be running there, so it gets a long rest.

use std::time::{Duration, Instant};

use operator_plugin_kit::Fault;

/// For each second that an answer took, this many seconds pass before the next question.
const REST: u32 = 50;
/// An answer within a fiftieth of this costs less than 2 % even in every cycle.
const CYCLE: Duration = Duration::from_secs(1);
/// After a question that was given up; doubled each time, up to [`LONGEST`].
const GIVEN_UP: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_mins(10);

/// The last answer to a question, and when it may be asked again.
#[derive(Debug, Clone)]
pub(crate) struct Recurring<T> {
    pub(crate) last: Option<Result<T, Fault>>,
    /// Whether the last answer is from this cycle.
    pub(crate) is_fresh: bool,
    next: Option<Instant>,
    times_given_up: u32,
}

impl<T> Default for Recurring<T> {
    fn default() -> Self {
        Self {
            last: None,
            is_fresh: false,
            next: None,
            times_given_up: 0,
        }
    }
}

impl<T: Clone> Recurring<T> {
    pub(crate) fn failed(fault: Fault) -> Self {
        Self {
            last: Some(Err(fault)),
            ..Self::default()
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// Asks if it is time, and not before `least` has passed since; otherwise the last answer stays.
    pub(crate) fn ask(&self, least: Duration, question: impl FnOnce() -> Result<T, Fault>) -> Self {
        let asked = Instant::now();
        if !self.is_due(asked) {
            return self.kept();
        }
        let answer = question();
        self.answered(answer, asked.elapsed(), least, Instant::now())
    }

    /// The last answer, which is no longer fresh.
    pub(crate) fn kept(&self) -> Self {
        Self {
            is_fresh: false,
            ..self.clone()
        }
    }

    fn answered(
        &self,
        answer: Result<T, Fault>,
        took: Duration,
        least: Duration,
        now: Instant,
    ) -> Self {
        let was_given_up = matches!(answer, Err(Fault::TimedOut(_)));
        let times_given_up = if was_given_up {
            self.times_given_up.saturating_add(1)
        } else {
            0
        };
        let rest = took.saturating_mul(REST).saturating_sub(CYCLE).max(least);
        let rest = if was_given_up {
            let doubled = GIVEN_UP.saturating_mul(1 << (times_given_up - 1).min(8));
            rest.max(doubled.min(LONGEST))
        } else {
            rest
        };
        Self {
            last: Some(answer),
            is_fresh: true,
            next: Some(now + rest),
            times_given_up,
        }
    }

    pub(crate) fn was_just_given_up(&self) -> bool {
        self.is_fresh && matches!(self.last, Some(Err(Fault::TimedOut(_))))
    }

    pub(crate) fn answer(&self) -> Option<&T> {
        self.last.as_ref()?.as_ref().ok()
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.last.as_ref()?.as_ref().err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LEAST: Duration = Duration::ZERO;

    fn after(took_ms: u64, least: Duration) -> Duration {
        let now = Instant::now();
        let took = Duration::from_millis(took_ms);
        let asked = Recurring::<u8>::default().answered(Ok(1), took, least, now);
        asked.next.unwrap() - now
    }

    #[test]
    fn a_quick_answer_may_be_had_in_every_cycle_and_a_slow_one_for_two_percent_of_the_time() {
        assert_eq!(after(20, NO_LEAST), Duration::ZERO);
        assert_eq!(after(300, NO_LEAST), Duration::from_secs(14));
        assert_eq!(after(1, Duration::from_secs(10)), Duration::from_secs(10));
    }

    #[test]
    fn what_was_given_up_is_not_asked_again_while_it_may_still_run() {
        let now = Instant::now();
        let took = Duration::from_millis(900);
        let give_up = |before: &Recurring<u8>| {
            before.answered(Err(Fault::TimedOut(String::new())), took, NO_LEAST, now)
        };
        let once = give_up(&Recurring::default());
        assert!(!once.is_due(now + Duration::from_secs(59)));
        assert!(once.is_due(now + Duration::from_mins(1)));
        let twice = give_up(&once);
        assert!(!twice.is_due(now + Duration::from_secs(119)));
        let often = (0..20).fold(twice, |before, _| give_up(&before));
        assert!(often.is_due(now + LONGEST));
        let answered = often.answered(Ok(1), took, NO_LEAST, now);
        assert!(answered.is_due(now + Duration::from_secs(44)));
    }

    #[test]
    fn what_is_not_asked_keeps_its_last_answer() {
        let asked = Recurring::default().ask(Duration::from_mins(1), || Ok(7));
        assert!(asked.is_fresh);
        let kept = asked.ask(Duration::from_mins(1), || unreachable!("it is not due"));
        assert_eq!((kept.answer(), kept.is_fresh), (Some(&7), false));
    }
}
