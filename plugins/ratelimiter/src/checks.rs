//! How many checks each node answered in the last seconds, and how many it failed, by the counters of its `/metrics`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::observation::Checks;

/// Long enough for a share, short enough to be over soon after a fault.
const WINDOW: Duration = Duration::from_secs(5);

/// The counters of one node at one moment. What it does not report is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CheckTotals {
    pub(crate) served: Option<u64>,
    pub(crate) failed: Option<u64>,
}

/// The counters of every node in the last seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct CheckCounts {
    nodes: BTreeMap<String, VecDeque<(Instant, CheckTotals)>>,
}

impl CheckCounts {
    /// Takes in what the nodes reported now. A node that did not report begins anew.
    pub(crate) fn note(&mut self, now: Instant, reports: &BTreeMap<String, CheckTotals>) {
        self.nodes.retain(|id, _| reports.contains_key(id));
        for (id, totals) in reports {
            let seen = self.nodes.entry(id.clone()).or_default();
            if seen
                .back()
                .is_some_and(|(_, last)| has_restarted(*last, *totals))
            {
                seen.clear();
            }
            seen.push_back((now, *totals));
            // The first one is the last that is older than the window.
            while seen
                .get(1)
                .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
            {
                seen.pop_front();
            }
        }
    }

    /// What happened since the beginning of the window; none before a second report.
    pub(crate) fn of(&self, id: &str) -> Option<Checks> {
        let seen = self.nodes.get(id)?;
        let ((since, first), (until, last)) = (seen.front()?, seen.back()?);
        let over_ms = u64::try_from(until.duration_since(*since).as_millis()).ok()?;
        let between = |of: fn(&CheckTotals) -> Option<u64>| of(last)?.checked_sub(of(first)?);
        (over_ms > 0).then(|| Checks {
            served: between(|totals| totals.served),
            failed: between(|totals| totals.failed),
            over_ms: Some(over_ms),
        })
    }
}

fn has_restarted(last: CheckTotals, now: CheckTotals) -> bool {
    let fell = |last: Option<u64>, now: Option<u64>| last > now;
    fell(last.served, now.served) || fell(last.failed, now.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(served: u64, failed: Option<u64>) -> BTreeMap<String, CheckTotals> {
        let served = Some(served);
        BTreeMap::from([("n".to_owned(), CheckTotals { served, failed })])
    }

    #[test]
    fn the_difference_over_the_window_is_told_and_a_restart_begins_anew() {
        let (mut counts, start) = (CheckCounts::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        counts.note(at(0), &totals(1_000, Some(0)));
        assert_eq!(counts.of("n"), None);
        for second in 1..10 {
            counts.note(at(second), &totals(1_000 + 300 * second, Some(second)));
        }
        let expected = Checks {
            served: Some(1_500),
            failed: Some(5),
            over_ms: Some(5_000),
        };
        assert_eq!(counts.of("n"), Some(expected));
        counts.note(at(10), &totals(5, Some(0)));
        assert_eq!(counts.of("n"), None);
        counts.note(at(11), &totals(6, None));
        assert_eq!(counts.of("n"), None, "it no longer reports failures");
        counts.note(at(12), &totals(8, None));
        let checks = counts.of("n").unwrap();
        assert_eq!((checks.served, checks.failed), (Some(2), None));
        counts.note(at(13), &BTreeMap::new());
        assert_eq!(counts.of("n"), None);
    }
}
