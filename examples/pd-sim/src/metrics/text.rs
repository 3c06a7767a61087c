//! Prometheus's text format.

use std::fmt::Write as _;

/// A metrics page under construction.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Starts a metric; its type is `gauge`, `counter` or `histogram`.
    pub(crate) fn metric(&mut self, name: &str, kind: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
    }

    /// Writes one sample. `labels` are `a="b",c="d"`, or empty.
    pub(crate) fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    /// Writes a metric with one sample.
    pub(crate) fn one(&mut self, name: &str, kind: &str, labels: &str, value: f64) {
        self.metric(name, kind);
        self.sample(name, labels, value);
    }

    /// Writes a gauge with one sample per label set.
    pub(crate) fn gauges(&mut self, name: &str, label: &str, samples: &[(&str, f64)]) {
        self.metric(name, "gauge");
        for (value, sample) in samples {
            self.sample(name, &format!("{label}=\"{value}\""), *sample);
        }
    }

    /// Writes a histogram from its cumulative buckets and the sum of its values.
    pub(crate) fn histogram(&mut self, name: &str, labels: &str, buckets: &[(f64, f64)], sum: f64) {
        let joined = if labels.is_empty() {
            String::new()
        } else {
            format!("{labels},")
        };
        let bucket = format!("{name}_bucket");
        let mut count = 0.0;
        for (bound, accumulated) in buckets {
            let bound = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".to_owned()
            };
            self.sample(&bucket, &format!("{joined}le=\"{bound}\""), *accumulated);
            count = *accumulated;
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}
