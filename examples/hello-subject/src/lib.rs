//! A minimal plugin: it watches a file, and reports a violation when the file is too old.

use std::{fs, path::PathBuf};

use operator_plugin_api::{
    CheckReport, Deadline, Description, Error, Invariant, Observation, Severity, Source, Subject,
    Unknown, Violation, export_subject, now_ms,
    schemars::{self, JsonSchema},
    serde::{Deserialize, Serialize},
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields)]
struct Config {
    /// The file that must be written to regularly.
    #[schemars(extend("x-env" = "HELLO_FILE", "x-path" = "read"))]
    #[serde(default = "default_file")]
    file: PathBuf,
    /// The maximum age of the file. Seconds.
    #[serde(default = "default_max_age_s")]
    max_age_s: u32,
}

fn default_file() -> PathBuf {
    "/tmp/hello".into()
}

fn default_max_age_s() -> u32 {
    60
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde")]
struct Data {
    /// Milliseconds since the last write; absent if the file could not be read.
    age_ms: Option<i64>,
    max_age_ms: i64,
}

struct Hello(Config);

impl Subject for Hello {
    type Config = Config;
    type Data = Data;

    fn describe() -> Description {
        Description {
            subject: "hello",
            description: "A file that must be written to regularly",
            invariants: vec![Invariant {
                name: "stale".into(),
                description: "The file was written to within max_age_s.".into(),
                severity: Severity::Warning,
                grace_period_ms: 0,
                keep_firing_for_ms: 0,
                suggested_actions: Vec::new(),
                runbook: "Find out why the file is no longer written.".into(),
            }],
            slos: Vec::new(),
        }
    }

    fn create(config: Config) -> Result<Self, Error> {
        Ok(Self(config))
    }

    fn observe(&self, _deadline: Deadline) -> Result<Observation<Data>, Error> {
        let written = fs::metadata(&self.0.file).and_then(|metadata| metadata.modified());
        let age_ms = written
            .as_ref()
            .ok()
            .map(|at| at.elapsed().map_or(0, |age| age.as_millis() as i64));
        Ok(Observation {
            observed_at_ms: now_ms(),
            summary: age_ms.map_or("the file is not there".into(), |age| {
                format!("{age} ms old")
            }),
            data: Data {
                age_ms,
                max_age_ms: i64::from(self.0.max_age_s) * 1000,
            },
            slis: [("age_ms".to_owned(), age_ms.map(|age| age as f64))].into(),
            sources: vec![Source {
                name: "file".into(),
                error: written.err().map(|error| error.to_string()),
                took_ms: 0.0,
            }],
        })
    }

    fn check(&self, observation: &Observation<Data>) -> CheckReport {
        let data = &observation.data;
        let mut report = CheckReport::default();
        match data.age_ms {
            None => report.unknown.push(Unknown {
                invariant: "stale".into(),
                resource: None,
                reason: "the file could not be read".into(),
            }),
            Some(age) if age > data.max_age_ms => report.violations.push(Violation {
                invariant: "stale".into(),
                resource: None,
                severity: None,
                message: format!(
                    "last written {age} ms ago, {} ms are allowed",
                    data.max_age_ms
                ),
                evidence: Default::default(),
            }),
            Some(_) => {}
        }
        report
    }
}

export_subject!(Hello);
