//! The smallest complete plugin: it watches a file and reports when the file is too old.

use std::{fs, path::PathBuf};

use operator_plugin_api::{
    CheckReport, Deadline, Description, Error, Invariant, Observation, Severity, Source, Subject,
    Unknown, Violation, export_subject,
    schemars::{self, JsonSchema},
    serde::{Deserialize, Serialize},
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields)]
struct Config {
    /// The file that must be touched regularly.
    #[schemars(extend("x-env" = "HELLO_FILE", "x-path" = "read"))]
    #[serde(default = "default_file")]
    file: PathBuf,
    /// How old it may be. Seconds.
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
    /// Milliseconds since the last write; absent when it could not be read.
    age_ms: Option<i64>,
    max_age_ms: i64,
}

struct Hello(Config);

impl Subject for Hello {
    type Config = Config;
    type Data = Data;

    fn describe() -> Description {
        let stale = Invariant::new(
            "stale",
            Severity::Warning,
            "The file was written to within max_age_s.",
        )
        .runbook("Find out what has stopped writing the file.");
        Description::new("hello", "A file that must be written to regularly").invariants([stale])
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
        let data = Data {
            age_ms,
            max_age_ms: i64::from(self.0.max_age_s) * 1000,
        };
        let summary = age_ms.map_or("the file is not there".into(), |age| {
            format!("{age} ms old")
        });
        Ok(Observation::new(data)
            .summary(summary)
            .sli("age_ms", age_ms.map(|age| age as f64))
            .source(Source::new("file").error(written.err())))
    }

    fn check(&self, observation: &Observation<Data>) -> CheckReport {
        let data = &observation.data;
        let mut report = CheckReport::default();
        match data.age_ms {
            None => report.unknown.push(Unknown::new(
                "stale",
                "the age of the file could not be read",
            )),
            Some(age) if age > data.max_age_ms => {
                let most = data.max_age_ms;
                let message = format!("last written {age} ms ago, {most} ms are allowed");
                report.violations.push(Violation::new("stale", message));
            }
            Some(_) => {}
        }
        report
    }
}

export_subject!(Hello);
