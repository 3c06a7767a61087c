//! The counters of a node's `/metrics`, in the text format of Prometheus.

use crate::checks::CheckTotals;

const CHECKED: &str = "ratelimiter_requests_checked_total";
const FAILED: &str = "ratelimiter_checks_failed_total";
/// What services of the older form count beside their own metrics.
const REQUESTS: &str = "http_requests_total";

/// Checks with this result since the node started; none where it does not tell.
pub(crate) fn checked(text: &str, result: &str) -> Option<u64> {
    sum(text, CHECKED, |labels| {
        labels.contains(&format!("result=\"{result}\""))
    })
}

/// Checks that were answered, and those that failed.
pub(crate) fn checks(text: &str) -> CheckTotals {
    // A key that holds something else than a counter fails its own checks alone.
    let failed = sum(text, FAILED, |labels| {
        !labels.contains("reason=\"wrong_type\"")
    });
    let errors = || {
        sum(text, REQUESTS, |labels| {
            labels.contains("handler=\"/check\"") && labels.contains("status=\"5")
        })
    };
    CheckTotals {
        served: sum(text, CHECKED, |_| true),
        failed: failed.or_else(errors),
    }
}

/// The sum of a counter's series with these labels: 0 where it has none, and unknown where the node has no such counter.
fn sum(text: &str, name: &str, is_meant: impl Fn(&str) -> bool) -> Option<u64> {
    let mut total = None;
    for line in text.lines() {
        let rest = line.strip_prefix("# TYPE ").unwrap_or(line);
        let Some(rest) = rest.strip_prefix(name) else {
            continue;
        };
        if rest.starts_with(' ') && line.starts_with('#') {
            total = total.or(Some(0));
        } else if let Some((labels, value)) = series(rest) {
            let value = if is_meant(labels) { value } else { 0 };
            total = Some(total.unwrap_or(0_u64).saturating_add(value));
        }
    }
    total
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter is a natural number, written as a float"
)]
fn series(rest: &str) -> Option<(&str, u64)> {
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest.strip_prefix(' ')?),
    };
    let value: f64 = value.split_whitespace().next()?.parse().ok()?;
    (value >= 0.0).then_some((labels, value as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_both_forms_of_the_metrics() {
        let ours = "# HELP ratelimiter_requests_checked_total x\n\
            ratelimiter_requests_checked_total{node_id=\"n\",result=\"allowed\"} 17\n\
            ratelimiter_checks_failed_total{node_id=\"n\",reason=\"refused\"} 2\n\
            ratelimiter_checks_failed_total{node_id=\"n\",reason=\"wrong_type\"} 5\n";
        let older = "ratelimiter_requests_checked_total{result=\"allowed\"} 1.7e1 1700000000\n\
            # TYPE http_requests_total counter\n\
            http_requests_total{handler=\"/check\",method=\"POST\",status=\"2xx\"} 17.0\n\
            http_requests_total{handler=\"/check\",method=\"POST\",status=\"5xx\"} 2.0\n\
            http_requests_total{handler=\"/api/blocks\",method=\"GET\",status=\"5xx\"} 9.0\n";
        for text in [ours, older] {
            assert_eq!(checked(text, "allowed"), Some(17));
            let expected = CheckTotals {
                served: Some(17),
                failed: Some(2),
            };
            assert_eq!(checks(text), expected);
        }
    }

    #[test]
    fn a_counter_without_series_is_zero_and_one_that_is_not_there_is_unknown() {
        let idle = "# TYPE ratelimiter_requests_checked_total counter\n";
        assert_eq!(checks(idle).served, Some(0));
        assert_eq!(checks(idle).failed, None);
        assert_eq!(checks(""), CheckTotals::default());
        let other = "ratelimiter_requests_checked_total_of_others 7\n";
        assert_eq!(checks(other), CheckTotals::default());
    }
}
