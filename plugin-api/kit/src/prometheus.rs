//! Instant queries of Prometheus.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use crate::{
    endpoint::{Endpoint, segment},
    http::{Fault, Http, RequestOptions},
};

/// A Prometheus server.
#[derive(Clone, Copy)]
pub struct Prometheus<'a> {
    http: &'a Http,
    endpoint: &'a Endpoint,
    bearer_token: Option<&'a str>,
}

/// One series of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The labels by name.
    pub labels: BTreeMap<String, String>,
    /// The value, which is finite.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

#[derive(Deserialize)]
struct Reply {
    data: Vector,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// The time, and the value as text.
    value: (f64, String),
}

impl<'a> Prometheus<'a> {
    /// A server that needs no token.
    pub fn new(http: &'a Http, endpoint: &'a Endpoint) -> Self {
        Self {
            http,
            endpoint,
            bearer_token: None,
        }
    }

    /// Sends a bearer token, if there is one.
    #[must_use]
    pub fn bearer_token(mut self, token: Option<&'a str>) -> Self {
        self.bearer_token = token;
        self
    }

    /// The series of an instant vector. A series that is NaN or infinite is left out: it is unknown.
    pub fn query(&self, query: &str, timeout: Duration) -> Result<Vec<Sample>, Fault> {
        let path = format!("/api/v1/query?query={}", segment(query));
        let options = RequestOptions::new(timeout).bearer_token(self.bearer_token);
        let reply: Reply = self.http.get(self.endpoint, &path, options)?.ok()?;
        let samples = reply.data.result.into_iter().filter_map(sample);
        Ok(samples.collect())
    }

    /// The value of a query whose result is at most one series.
    pub fn value(&self, query: &str, timeout: Duration) -> Result<Option<f64>, Fault> {
        let samples = self.query(query, timeout)?;
        Ok(samples.first().map(|sample| sample.value))
    }
}

fn sample(series: Series) -> Option<Sample> {
    let value: f64 = series.value.1.parse().ok()?;
    value.is_finite().then_some(Sample {
        labels: series.metric,
        value,
    })
}

/// The samples by the value of a label; those without the label are left out.
pub fn by_label(samples: Vec<Sample>, label: &str) -> BTreeMap<String, f64> {
    let labelled = samples
        .into_iter()
        .filter_map(|mut sample| Some((sample.labels.remove(label)?, sample.value)));
    labelled.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::fake::{Fake, Reply};

    fn answers(result: &serde_json::Value) -> Result<Vec<Sample>, Fault> {
        let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
        let fake = Fake::always(Reply::Body(200, body.to_string()));
        let endpoint = Endpoint::parse(&fake.url()).unwrap();
        let http = Http::new("test");
        let samples = Prometheus::new(&http, &endpoint).query("max(up)", Duration::from_secs(5));
        assert_eq!(fake.requests(), ["GET /api/v1/query?query=max%28up%29"]);
        samples
    }

    #[test]
    fn nan_and_infinity_are_unknown() {
        let series = |instance: &str, value: &str| json!({"metric": {"instance": instance}, "value": [1.5, value]});
        let result = json!([
            series("a:1", "0.25"),
            series("b:1", "NaN"),
            series("c:1", "+Inf"),
            {"metric": {}, "value": [1, "3"]},
        ]);
        let samples = answers(&result).unwrap();
        assert_eq!(samples[0].label("instance"), Some("a:1"));
        let expected = BTreeMap::from([("a:1".to_owned(), 0.25)]);
        assert_eq!(by_label(samples, "instance"), expected);
        assert_eq!(answers(&json!([])), Ok(vec![]));
    }

    #[test]
    fn an_answer_of_another_shape_is_garbage() {
        assert_eq!(answers(&json!(7)).unwrap_err().code(), "garbage");
    }
}
