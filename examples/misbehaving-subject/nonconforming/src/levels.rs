//! The well-behaved subject: nodes with levels, read from one HTTP backend. Some faults are implemented here.

use std::{
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use operator_plugin_api::{
    ActionDefinition, ActionResult, Call, CheckReport, Deadline, Description, Error, ErrorKind,
    Invariant, Inverse, InverseParam, Observation, Outcome, Resource, Risk, Severity, Source,
    Subject, Unknown, Violation,
    schemars::{self, JsonSchema, schema_for},
    serde::{Deserialize, Serialize},
    serde_json::{self, Value, json},
};

use crate::{
    http::{Fault, request},
    switch::is_on,
};

/// The share of a deadline that a request may use.
const SHARE_OF_DEADLINE: f64 = 0.8;

/// The plugin's configuration.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields)]
pub struct Config {
    /// The name of the cluster.
    #[allow(dead_code, reason = "a key that must be given")]
    pub name: String,
    /// Base URL of the backend.
    #[serde(default = "url")]
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// The highest level that is not a violation.
    #[serde(default = "max_level")]
    pub max_level: i64,
    /// The token for the backend.
    #[serde(default)]
    #[schemars(extend("x-secret" = true))]
    pub token: Option<String>,
}

fn url() -> String {
    "http://localhost:8001".into()
}

fn max_level() -> i64 {
    100
}

/// The data of an observation.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde")]
pub struct Data {
    /// Absent if the backend did not reply.
    nodes: Option<Vec<Node>>,
    /// Whether the backend's answer has a list of nodes; absent if there was no answer.
    #[serde(default)]
    has_nodes: Option<bool>,
    /// The highest level that is not a violation.
    max_level: Option<i64>,
    /// Content that violates a case: a secret, or nine megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extra: Option<String>,
}

/// One node.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde")]
pub struct Node {
    name: Option<String>,
    up: Option<bool>,
    level: Option<i64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields)]
struct SetLevel {
    /// Which node.
    #[schemars(length(min = 1, max = 32))]
    node: String,
    /// From 0 to 100.
    #[schemars(range(min = 0, max = 100))]
    level: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields)]
struct Nothing {}

pub struct Levels {
    pub config: Config,
    observing: AtomicU32,
    invoking: AtomicU32,
    invoked: AtomicU32,
    has_stalled: AtomicBool,
    was_refused: AtomicBool,
    has_answered: AtomicBool,
}

/// What is to be known again after a restart.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "operator_plugin_api::serde")]
struct Memory {
    has_answered: bool,
}

/// Held over every observation, for `concurrency.shutdown-in-flight`.
static IN_FLIGHT: RwLock<()> = RwLock::new(());
/// The URL of the instance created last, for `concurrency.two-instances`.
static LAST_URL: Mutex<String> = Mutex::new(String::new());

impl Subject for Levels {
    type Config = Config;
    type Data = Data;

    fn describe() -> Description {
        let invariant = |name: &str, severity| {
            Invariant::new(
                name,
                severity,
                format!("No node breaks `{name}`, and all is well."),
            )
            .suggested_actions(["reset"])
        };
        Description {
            subject: "levels",
            description: "Nodes with levels, and a switch for every way of failing the suite",
            invariants: vec![
                invariant("node_down", Severity::Critical),
                invariant("level_high", Severity::Warning),
                invariant("nodes_listed", Severity::Warning),
            ],
            slos: Vec::new(),
        }
    }

    fn create(config: Config) -> Result<Self, Error> {
        if is_on("config.create-offline") {
            let _ = request(&config.url, "GET /", "", Duration::from_millis(200));
        }
        if is_on("secrets.logs") {
            println!("the token is {:?}", config.token);
        }
        if is_on("concurrency.two-instances") {
            *LAST_URL.lock().unwrap_or_else(PoisonError::into_inner) = config.url.clone();
        }
        Ok(Self {
            config,
            observing: AtomicU32::new(0),
            invoking: AtomicU32::new(0),
            invoked: AtomicU32::new(0),
            has_stalled: AtomicBool::new(false),
            was_refused: AtomicBool::new(false),
            has_answered: AtomicBool::new(false),
        })
    }

    fn observe(&self, deadline: Deadline) -> Result<Observation<Data>, Error> {
        self.observe_again(deadline, None)
    }

    fn observe_again(
        &self,
        deadline: Deadline,
        memory: Option<&Value>,
    ) -> Result<Observation<Data>, Error> {
        let _held = is_on("concurrency.shutdown-in-flight").then(|| IN_FLIGHT.read());
        let _counted = Counted::new(&self.observing);
        self.collide()?;
        let read = self.read(deadline);
        let (nodes, error) = match read {
            Ok(nodes) => (nodes, None),
            Err(error) if is_on("observe.garbage-backend") && error.contains("JSON") => {
                return Err(Error::new(ErrorKind::Internal, error));
            }
            Err(error) => (None, Some(error)),
        };
        let is_hidden = is_on("observe.names-failed-source");
        let extra = self.extra(error.as_deref());
        let has_answered = error.is_none() || self.has_answered_before(memory);
        self.has_answered.store(has_answered, Ordering::Relaxed);
        let data = Data {
            has_nodes: self.has_nodes(nodes.as_deref(), error.is_none(), memory),
            nodes,
            max_level: Some(self.config.max_level),
            extra,
        };
        let mut observation = Observation::new(data)
            .summary("levels were read")
            .source(Source::new("levels").error(error.filter(|_| !is_hidden)))
            .memory(self.memory(has_answered));
        if has_answered {
            observation = observation.resource(Resource::new("backend", "levels"));
        }
        Ok(observation)
    }

    fn check(&self, observation: &Observation<Data>) -> CheckReport {
        let mut report = CheckReport::default();
        match observation.data.has_nodes {
            Some(true) => {}
            Some(false) => violate(&mut report, "nodes_listed", "levels"),
            None => unknown(&mut report, "nodes_listed", None, "nothing was answered"),
        }
        let Some(nodes) = &observation.data.nodes else {
            unknown(&mut report, "node_down", None, "no node is known");
            unknown(&mut report, "level_high", None, &self.reason());
            return report;
        };
        let most = if is_on("check.pure-config") {
            Some(self.config.max_level)
        } else {
            observation.data.max_level
        };
        for (place, node) in nodes.iter().enumerate() {
            let resource = format!("{place}: {}", node.name.as_deref().unwrap_or_default());
            match node.up {
                Some(true) => {}
                Some(false) => violate(&mut report, "node_down", &resource),
                None => unknown(
                    &mut report,
                    "node_down",
                    Some(&resource),
                    "it was not asked",
                ),
            }
            match (node.level, most) {
                (Some(level), Some(most)) if level > most => {
                    violate(&mut report, "level_high", &resource);
                }
                (Some(_), Some(_)) => {}
                _ if is_on("check.wrong-shape") => {}
                _ => unknown(
                    &mut report,
                    "level_high",
                    Some(&resource),
                    "no level is known",
                ),
            }
        }
        report
    }

    fn actions(&self) -> Vec<ActionDefinition> {
        let define = |name: &str, params_schema: Value, inverse| ActionDefinition {
            name: name.into(),
            description: format!("Does `{name}` on the backend."),
            params_schema,
            risk: Risk::Low,
            idempotent: true,
            inverse,
            mends: vec!["level_high".into()],
            dry_run: true,
        };
        let inverse = Inverse {
            action: "set_level".into(),
            params: [
                ("node".into(), InverseParam::Param("node".into())),
                ("level".into(), InverseParam::Detail("before".into())),
            ]
            .into(),
        };
        vec![
            define("set_level", schema_for!(SetLevel).to_value(), Some(inverse)),
            define("reset", schema_for!(Nothing).to_value(), None),
        ]
    }

    fn invoke(&self, call: &Call) -> Result<ActionResult, Error> {
        let _counted = Counted::new(&self.invoking);
        if is_on("concurrency.observe-with-invoke") {
            thread::sleep(Duration::from_millis(40));
        }
        let (line, body) = self.plan(call).inspect_err(|_| {
            if is_on("invoke.rejects-before-effect") {
                let _ = request(&self.config.url, "POST /audit", "", Duration::from_secs(1));
            }
        })?;
        if call.dry_run && !is_on("invoke.dry-run") {
            return Ok(done("nothing was done"));
        }
        if call.action == "reset" && is_on("invoke.effect-observable") {
            return Ok(done("nothing was asked for"));
        }
        self.send(call, &line, &body)
    }
}

impl Levels {
    /// Fails if other calls run at the same time, after giving them time to overlap.
    fn collide(&self) -> Result<(), Error> {
        let broken = |what: &str| Err(Error::new(ErrorKind::Internal, what));
        if is_on("concurrency.observe-x16") {
            thread::sleep(Duration::from_millis(40));
            if self.observing.load(Ordering::SeqCst) > 4 {
                return broken("too many at once");
            }
        }
        if is_on("concurrency.observe-with-invoke") {
            thread::sleep(Duration::from_millis(20));
            if self.invoking.load(Ordering::SeqCst) > 0 {
                return broken("an action is under way");
            }
        }
        Ok(())
    }

    fn has_answered_before(&self, memory: Option<&Value>) -> bool {
        let memory = memory.filter(|_| !is_on("memory.restart"));
        let memory = memory.and_then(|memory| Memory::deserialize(memory).ok());
        self.has_answered.load(Ordering::Relaxed) || memory.unwrap_or_default().has_answered
    }

    fn memory(&self, has_answered: bool) -> Value {
        let mut memory = json!(Memory { has_answered });
        if is_on("memory.size") {
            memory["padding"] = "m".repeat(70_000).into();
        }
        memory
    }

    fn has_nodes(
        &self,
        nodes: Option<&[Node]>,
        is_answered: bool,
        memory: Option<&Value>,
    ) -> Option<bool> {
        if is_answered {
            return Some(nodes.is_some());
        }
        let is_forgotten = memory.is_none() && is_on("memory.forgotten");
        let is_assumed = memory.is_some() && is_on("memory.vanished-source");
        (is_forgotten || is_assumed).then_some(true)
    }

    fn url(&self) -> String {
        if is_on("concurrency.two-instances") {
            return LAST_URL
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
        }
        self.config.url.clone()
    }

    fn read(&self, deadline: Deadline) -> Result<Option<Vec<Node>>, String> {
        if self.was_refused.load(Ordering::Relaxed) && is_on("observe.recovers") {
            return Err("it was away once".into());
        }
        let timeout = deadline.remaining().mul_f64(SHARE_OF_DEADLINE);
        if is_on("observe.read-only") {
            let _ = request(&self.url(), "POST /seen", "", timeout / 2);
        }
        let answer = request(&self.url(), "GET /levels", "", timeout).map_err(|fault| {
            self.remember(&fault);
            self.with_url(&fault.message())
        })?;
        if answer.status != 200 {
            return Err(self.with_url(&format!("it answered {}", answer.status)));
        }
        let found: Value = serde_json::from_str(&answer.body)
            .map_err(|error| format!("it answered with invalid JSON: {error}"))?;
        serde_json::from_value(found["nodes"].clone()).map_err(|error| error.to_string())
    }

    fn remember(&self, fault: &Fault) {
        match fault {
            Fault::NotSent(_) => self.was_refused.store(true, Ordering::Relaxed),
            Fault::NoAnswer(why) if why.contains("in time") => {
                self.has_stalled.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn with_url(&self, why: &str) -> String {
        if is_on("secrets.url-userinfo") {
            format!("{}: {why}", self.config.url)
        } else {
            why.to_owned()
        }
    }

    fn token(&self) -> String {
        self.config.token.clone().unwrap_or_default()
    }

    fn reason(&self) -> String {
        if is_on("secrets.violation") {
            format!("nobody took the token {}", self.token())
        } else {
            "no node is known".into()
        }
    }

    fn extra(&self, error: Option<&str>) -> Option<String> {
        if is_on("secrets.observation") {
            return Some(self.token());
        }
        let is_long = error.is_some_and(|error| error.contains("too long"));
        (is_long && is_on("observe.size-cap")).then(|| "x".repeat(9 << 20))
    }

    /// The HTTP request for an action.
    fn plan(&self, call: &Call) -> Result<(String, String), Error> {
        match call.action.as_str() {
            "set_level" => {
                let SetLevel { node, level } = call.params()?;
                if level > 100 || !(1..=32).contains(&node.chars().count()) {
                    let message =
                        "`level` must be from 0 to 100, `node` have from 1 to 32 characters";
                    return Err(Error::new(ErrorKind::Invalid, message));
                }
                let count = self.invoked.fetch_add(1, Ordering::Relaxed);
                let step = if is_on("invoke.idempotent") { count } else { 0 };
                Ok((
                    "POST /levels".into(),
                    json!({"node": node, "level": level, "step": step}).to_string(),
                ))
            }
            "reset" => {
                let Nothing {} = call.params()?;
                Ok(("DELETE /levels".into(), String::new()))
            }
            other => {
                let message = format!("there is no action `{other}`");
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    }

    fn send(&self, call: &Call, line: &str, body: &str) -> Result<ActionResult, Error> {
        let timeout = call.deadline.remaining().mul_f64(SHARE_OF_DEADLINE);
        let (outcome, message) = match request(&self.config.url, line, body, timeout) {
            Ok(answer) if answer.status == 200 => return Ok(done("the backend took it")),
            Ok(answer) if answer.status == 401 && is_on("secrets.errors") => {
                let message = format!("the token {} was refused", self.token());
                return Err(Error::new(ErrorKind::Refused, message));
            }
            Ok(answer) => (Outcome::Failed, format!("it answered {}", answer.status)),
            Err(Fault::NotSent(why)) => (Outcome::Failed, why),
            Err(fault) if is_on("invoke.deadline") => (Outcome::Failed, fault.message()),
            Err(fault) => (Outcome::Unknown, fault.message()),
        };
        let message = self.with_url(&message);
        Ok(ActionResult {
            outcome,
            message,
            details: Value::Null,
        })
    }
}

impl Drop for Levels {
    fn drop(&mut self) {
        if is_on("concurrency.shutdown-in-flight") {
            drop(IN_FLIGHT.write());
        }
        if is_on("lifecycle.shutdown-deadline") && self.has_stalled.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1500));
        }
    }
}

/// Counts the calls in progress.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn done(message: &str) -> ActionResult {
    ActionResult {
        outcome: Outcome::Done,
        message: message.into(),
        details: json!({"before": 0}),
    }
}

fn unknown(report: &mut CheckReport, invariant: &str, resource: Option<&str>, reason: &str) {
    let mut unknown = Unknown::new(invariant, reason);
    unknown.resource = resource.map(Into::into);
    report.unknown.push(unknown);
}

fn violate(report: &mut CheckReport, invariant: &str, resource: &str) {
    report.violations.push(Violation {
        invariant: invariant.into(),
        resource: Some(resource.into()),
        severity: None,
        message: format!("{resource} breaks it"),
        evidence: Value::Null,
    });
}
