//! Instant queries of Prometheus.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

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
struct Reply<T> {
    data: T,
    /// Of Prometheus and Thanos: what could not be read, so that the data may be less than the whole.
    #[serde(default)]
    warnings: Option<Vec<String>>,
    /// Of compatible servers: one of the storage nodes did not answer.
    #[serde(default, rename = "isPartial")]
    is_partial: Option<bool>,
}

/// A metric of one target.
#[derive(Deserialize)]
struct Exposed {
    target: BTreeMap<String, String>,
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
    ///
    /// An answer that the server calls partial, or that has warnings, is a [`Fault::Partial`]: what it lacks must not be
    /// taken for zero. Prometheus ends a query at the timeout too, so that none runs on that nobody waits for.
    pub fn query(&self, query: &str, timeout: Duration) -> Result<Vec<Sample>, Fault> {
        let (query, ms) = (segment(query), timeout.as_millis().max(1));
        let path = format!("/api/v1/query?query={query}&timeout={ms}ms");
        let vector: Vector = self.read(&path, timeout)?;
        Ok(vector.result.into_iter().filter_map(sample).collect())
    }

    /// The targets whose last scrapes had this metric, by their labels, whether or not relabelling dropped its series. So a
    /// counter that does not exist before its first event can be told from one that is not stored.
    pub fn targets_with(
        &self,
        metric: &str,
        timeout: Duration,
    ) -> Result<Vec<BTreeMap<String, String>>, Fault> {
        let path = format!("/api/v1/targets/metadata?metric={}", segment(metric));
        let exposed: Vec<Exposed> = self.read(&path, timeout)?;
        Ok(exposed.into_iter().map(|one| one.target).collect())
    }

    fn read<T: DeserializeOwned>(&self, path: &str, timeout: Duration) -> Result<T, Fault> {
        let options = RequestOptions::new(timeout).bearer_token(self.bearer_token);
        let reply: Reply<T> = self.http.get(self.endpoint, path, options)?.ok()?;
        let warning = reply.warnings.as_ref().and_then(|all| all.first());
        match (warning, reply.is_partial) {
            (Some(warning), _) => Err(Fault::Partial(warning.clone())),
            (None, Some(true)) => Err(Fault::Partial("a part of it did not answer".into())),
            (None, _) => Ok(reply.data),
        }
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
        answers_with(
            &json!({"status": "success", "data": {"resultType": "vector", "result": result}}),
        )
    }

    fn answers_with(body: &serde_json::Value) -> Result<Vec<Sample>, Fault> {
        let fake = Fake::always(Reply::Body(200, body.to_string()));
        let endpoint = Endpoint::parse(&fake.url()).unwrap();
        let http = Http::new("test");
        let samples = Prometheus::new(&http, &endpoint).query("max(up)", Duration::from_secs(5));
        assert_eq!(
            fake.requests(),
            ["GET /api/v1/query?query=max%28up%29&timeout=5000ms"]
        );
        samples
    }

    #[test]
    fn a_partial_answer_is_none() {
        let data = json!({"resultType": "vector", "result": []});
        let whole = json!({"status": "success", "data": data, "warnings": [], "isPartial": false});
        assert_eq!(answers_with(&whole), Ok(vec![]));
        let mut warned = whole.clone();
        warned["warnings"] = json!(["remote read failed"]);
        let fault = answers_with(&warned).unwrap_err();
        assert_eq!(fault.code(), "partial");
        assert!(fault.to_string().contains("remote read failed"), "{fault}");
        let mut partial = whole;
        partial["isPartial"] = json!(true);
        assert_eq!(answers_with(&partial).unwrap_err().code(), "partial");
    }

    #[test]
    fn the_targets_of_a_metric_have_their_labels() {
        let target =
            json!({"target": {"instance": "a:1", "job": "tikv"}, "type": "counter", "help": ""});
        let body = json!({"status": "success", "data": [target]});
        let fake = Fake::always(Reply::Body(200, body.to_string()));
        let endpoint = Endpoint::parse(&fake.url()).unwrap();
        let http = Http::new("test");
        let server = Prometheus::new(&http, &endpoint);
        let targets = server.targets_with("full_total", Duration::from_secs(5));
        assert_eq!(targets.unwrap()[0]["instance"], "a:1");
        let expected = "GET /api/v1/targets/metadata?metric=full_total";
        assert_eq!(fake.requests(), [expected]);
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
