//! The metrics of the older service: none has a `node_id`, and checks are not timed.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

const CHECK_BUCKETS: [&str; 11] = [
    "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "+Inf",
];
const HTTP_BUCKETS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Default)]
pub(super) struct Metrics {
    allowed: u64,
    blocked: u64,
    /// By handler, method and class of status.
    requests: BTreeMap<(String, String, String), u64>,
    took: Vec<Duration>,
}

impl Metrics {
    pub(super) fn checked(&mut self, allowed: bool) {
        let count = if allowed {
            &mut self.allowed
        } else {
            &mut self.blocked
        };
        *count += 1;
    }

    pub(super) fn note(&mut self, handler: &str, method: &str, status: u16, took: Duration) {
        let class = format!("{}xx", status / 100);
        let series = (handler.to_owned(), method.to_owned(), class);
        *self.requests.entry(series).or_default() += 1;
        self.took.push(took);
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        head(&mut text, "ratelimiter_requests_checked_total", "counter");
        for (result, count) in [("allowed", self.allowed), ("blocked", self.blocked)] {
            // A label that was never used has no series.
            if count > 0 {
                let _ = writeln!(
                    text,
                    "ratelimiter_requests_checked_total{{result=\"{result}\"}} {count}.0"
                );
            }
        }
        head(&mut text, "ratelimiter_check_duration_seconds", "histogram");
        for bucket in CHECK_BUCKETS {
            let _ = writeln!(
                text,
                "ratelimiter_check_duration_seconds_bucket{{le=\"{bucket}\"}} 0.0"
            );
        }
        text += "ratelimiter_check_duration_seconds_count 0.0\nratelimiter_check_duration_seconds_sum 0.0\n";
        head(&mut text, "ratelimiter_node_up", "gauge");
        text += "ratelimiter_node_up 1.0\n";
        head(&mut text, "http_requests_total", "counter");
        for ((handler, method, class), count) in &self.requests {
            let _ = writeln!(
                text,
                "http_requests_total{{handler=\"{handler}\",method=\"{method}\",status=\"{class}\"}} {count}.0"
            );
        }
        self.durations(&mut text);
        text
    }

    fn durations(&self, text: &mut String) {
        let name = "http_request_duration_highr_seconds";
        head(text, name, "histogram");
        for bucket in HTTP_BUCKETS {
            let within = self.took.iter();
            let within = within.filter(|took| took.as_secs_f64() <= bucket).count();
            let _ = writeln!(text, "{name}_bucket{{le=\"{bucket:?}\"}} {within}.0");
        }
        let count = self.took.len();
        let sum = self.took.iter().sum::<Duration>().as_secs_f64();
        let _ = writeln!(
            text,
            "{name}_bucket{{le=\"+Inf\"}} {count}.0\n{name}_count {count}.0\n{name}_sum {sum}"
        );
    }
}

fn head(text: &mut String, name: &str, kind: &str) {
    let _ = writeln!(
        text,
        "# HELP {name} Of the older service.\n# TYPE {name} {kind}"
    );
}
