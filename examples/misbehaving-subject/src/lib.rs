//! A plugin with a switch for every fault. With every switch off it is a well-behaved synthetic subject, which reports the
//! content of a file.

mod actions;
mod config;
mod fault;
mod processes;
mod shared;

use std::{
    fs,
    io::Write,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use operator_plugin_api::{
    ActionDefinition, ActionResult, Call, CheckReport, Deadline, Description, Error, ErrorKind,
    Invariant, Objective, Observation, Outcome, Resource, Severity, Slo, Source, Subject, Unknown,
    Violation, export_subject,
    schemars::{self, JsonSchema},
    serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct},
    serde_json::{self, Value, from_value, json},
};

use config::Config;
use fault::{Fault, HUGE, Place};

pub struct Misbehaving {
    config: Config,
    /// How often the call with the fault was made.
    calls: AtomicU32,
    checks: AtomicU64,
    level: AtomicU32,
    has_observed: AtomicBool,
}

/// The content of the observation file, from which `check` builds its report.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", default)]
pub struct FileContent {
    violations: Vec<Violation>,
    unknown: Vec<Unknown>,
    summary: String,
    slis: std::collections::BTreeMap<String, Option<f64>>,
    sources: Vec<Source>,
    resources: Vec<Resource>,
    /// What the next `observe` is given.
    memory: Option<Value>,
    /// A memory of this many bytes instead.
    memory_bytes: Option<usize>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde")]
pub struct Data {
    /// Absent when the observation file could not be read.
    file: Option<FileContent>,
    #[serde(default)]
    padding: String,
    /// The fault that was active when it was created.
    #[serde(skip)]
    #[schemars(skip)]
    fault: Option<Fault>,
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.fault {
            // Not as a string, because escaping it takes seconds.
            Some(Fault::HugeAnswer) => raw(serializer, &format!("\"{}\"", "x".repeat(HUGE))),
            Some(Fault::NotJson) => raw(serializer, "{\"file\": nonsense"),
            Some(Fault::WrongShape) => json!(["another", "shape"]).serialize(serializer),
            _ => {
                let mut data = serializer.serialize_struct("Data", 2)?;
                data.serialize_field("file", &self.file)?;
                data.serialize_field("padding", &self.padding)?;
                data.end()
            }
        }
    }
}

/// Writes text without escaping, through the private name of `serde_json`'s `RawValue`.
fn raw<S: Serializer>(serializer: S, text: &str) -> Result<S::Ok, S::Error> {
    let token = "$serde_json::private::RawValue";
    let mut raw = serializer.serialize_struct(token, 1)?;
    raw.serialize_field(token, text)?;
    raw.end()
}

impl Subject for Misbehaving {
    type Config = Config;
    type Data = Data;

    fn describe() -> Description {
        let invariant = |name: &str, severity| {
            Invariant::new(
                name,
                severity,
                format!("The observation file reports no breach of `{name}`."),
            )
            .suggested_actions(["repair"])
            .runbook("Remove the entry from the observation file.")
        };
        Description {
            subject: "misbehaving",
            description: "A synthetic subject that breaks on demand",
            invariants: vec![
                invariant("first", Severity::Critical),
                invariant("second", Severity::Warning),
                invariant("third", Severity::Info),
                invariant("listed", Severity::Warning).on("node"),
            ],
            slos: vec![Slo {
                name: "latency".into(),
                description: "The latency in the file stays under a hundred.".into(),
                sli: "latency_ms".into(),
                objective: Objective::AtMost,
                target: 100.0,
                unit: "ms".into(),
            }],
        }
    }

    fn create(config: Config) -> Result<Self, Error> {
        let subject = Self {
            config,
            calls: AtomicU32::new(0),
            checks: AtomicU64::new(0),
            level: AtomicU32::new(0),
            has_observed: AtomicBool::new(false),
        };
        subject.apply_fault(Place::Create)?;
        Ok(subject)
    }

    fn observe(&self, deadline: Deadline) -> Result<Observation<Data>, Error> {
        self.observe_again(deadline, None)
    }

    fn observe_again(
        &self,
        _deadline: Deadline,
        memory: Option<&Value>,
    ) -> Result<Observation<Data>, Error> {
        self.record_memory(memory);
        let fault = self.apply_fault(Place::Observe)?;
        thread::sleep(Duration::from_millis(self.config.latency_ms));
        let (file, error) = self.read_file();
        let content = file.as_ref();
        let mut sources = vec![Source {
            name: "file".into(),
            error,
            took_ms: 0.0,
        }];
        sources.extend(
            content
                .into_iter()
                .flat_map(|content| content.sources.clone()),
        );
        let summary = content.map(|content| content.summary.clone());
        let slis = content.map(|content| content.slis.clone());
        let resources = content.map(|content| content.resources.clone());
        let memory = content.map(FileContent::memory);
        let data = Data {
            file,
            padding: "x".repeat(self.config.padding),
            fault: Some(fault),
        };
        let mut observation = Observation::new(data).summary(summary.unwrap_or_default());
        observation.slis = slis.unwrap_or_default();
        observation.sources = sources;
        observation.resources = resources.unwrap_or_default();
        observation.memory = memory.flatten();
        Ok(observation)
    }

    fn check(&self, observation: &Observation<Data>) -> CheckReport {
        // `check` cannot return an error; such a fault results in the normal report.
        let fault = self.apply_fault(Place::Check).unwrap_or(Fault::None);
        let Some(file) = &observation.data.file else {
            return unreadable();
        };
        let mut report = CheckReport {
            violations: file.violations.clone(),
            unknown: file.unknown.clone(),
        };
        report
            .violations
            .extend((0..self.config.violations).map(synthetic));
        match fault {
            Fault::Undeclared => report.violations.push(violation("undeclared", None)),
            Fault::Fickle => {
                let count = self.checks.fetch_add(1, Ordering::Relaxed);
                report
                    .violations
                    .push(violation("third", Some(format!("call-{count}"))));
            }
            Fault::HugeAnswer => {
                let mut huge = violation("third", None);
                huge.message = "x".repeat(HUGE);
                report.violations.push(huge);
            }
            _ => {}
        }
        report
    }

    fn actions(&self) -> Vec<ActionDefinition> {
        let fault = self.apply_fault(Place::ListActions);
        actions::list(fault.unwrap_or(Fault::None))
    }

    fn invoke(&self, call: &Call) -> Result<ActionResult, Error> {
        let fault = self.apply_fault(Place::Invoke)?;
        thread::sleep(Duration::from_millis(self.config.latency_ms));
        if fault == Fault::HugeAnswer {
            return Ok(ActionResult {
                outcome: Outcome::Done,
                message: "x".repeat(HUGE),
                details: Value::Null,
            });
        }
        actions::run(self, call)
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        self.record_effect("dropped");
        let _ = self.apply_fault(Place::Drop);
    }
}

impl FileContent {
    fn memory(&self) -> Option<Value> {
        // Two of the bytes are the quotes.
        let sized = |bytes: usize| Value::from("m".repeat(bytes.saturating_sub(2)));
        self.memory_bytes.map(sized).or_else(|| self.memory.clone())
    }
}

impl Misbehaving {
    /// The first `observe` of an instance records the memory that it is given.
    fn record_memory(&self, memory: Option<&Value>) {
        let is_first = !self.has_observed.swap(true, Ordering::Relaxed);
        if let Some(memory) = memory.filter(|_| is_first) {
            self.record_effect(&format!("remembers {memory}"));
        }
    }

    /// Commits the fault if it belongs to this call. Returns the active fault, for those that the call itself implements.
    fn apply_fault(&self, place: Place) -> Result<Fault, Error> {
        let (fault, fault_in) = self.active_fault()?;
        if fault_in != place || self.calls.fetch_add(1, Ordering::Relaxed) < self.config.fault_after
        {
            return Ok(Fault::None);
        }
        fault.trigger(&self.config.token, |effect| self.record_effect(effect))?;
        Ok(fault)
    }

    fn active_fault(&self) -> Result<(Fault, Place), Error> {
        let text = self.config.fault_file.as_ref().map(fs::read_to_string);
        let Some(Ok(text)) = text else {
            return Ok((self.config.fault, self.config.fault_in));
        };
        let invalid = |error: serde_json::Error| Error::new(ErrorKind::Config, error.to_string());
        let mut words = text.split_whitespace();
        let fault = words.next().unwrap_or("none");
        let place = words.next().unwrap_or("observe");
        Ok((
            from_value(json!(fault)).map_err(invalid)?,
            from_value(json!(place)).map_err(invalid)?,
        ))
    }

    /// The content of the observation file, or the error of reading it.
    fn read_file(&self) -> (Option<FileContent>, Option<String>) {
        let Some(file) = &self.config.observation_file else {
            return (Some(FileContent::default()), None);
        };
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return (Some(FileContent::default()), None);
            }
            Err(error) => return (None, Some(error.to_string())),
        };
        match serde_json::from_str(&text) {
            Ok(content) => (Some(content), None),
            Err(error) => (None, Some(error.to_string())),
        }
    }

    /// Appends a line to the effects file.
    fn record_effect(&self, effect: &str) {
        let Some(file) = &self.config.effects_file else {
            return;
        };
        let opened = fs::OpenOptions::new().create(true).append(true).open(file);
        let written = opened.and_then(|mut file| file.write_all(format!("{effect}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("{}: {error}", file.display());
        }
    }
}

fn unreadable() -> CheckReport {
    let unknown = ["first", "second", "third", "listed"]
        .map(|name| Unknown::new(name, "the observation file could not be read"));
    CheckReport {
        violations: Vec::new(),
        unknown: unknown.into(),
    }
}

fn synthetic(number: u32) -> Violation {
    violation("second", Some(format!("node-{number:04}")))
}

fn violation(invariant: &str, resource: Option<String>) -> Violation {
    Violation {
        invariant: invariant.into(),
        resource,
        severity: None,
        message: "injected violation".into(),
        evidence: Value::Null,
    }
}

export_subject!(Misbehaving);
