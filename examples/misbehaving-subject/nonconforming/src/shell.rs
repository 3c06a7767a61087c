//! Wraps the well-behaved subject, and implements faults that a plugin built with the SDK cannot have.

use std::{
    panic::catch_unwind,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use abi_stable::{
    sabi_trait::TD_Opaque,
    std_types::{RResult, RStr, RString},
};
use operator_plugin_api::{
    __private as sdk,
    abi::{BoxedSubject, PluginError, Reply, SubjectObject, SubjectObject_TO},
    serde_json::{self, Value, json},
};

use crate::{faults, hostile, levels::Levels, switch::is_on};

/// A configured subject, with state that it must not have.
struct Shell {
    inner: BoxedSubject,
    listed: AtomicU32,
    checked: AtomicU64,
    /// The number of dropped instances when it was created.
    drops_before: u32,
}

/// Numbers of living instances, of dropped ones, and of times that the last one was dropped.
static ALIVE: AtomicU32 = AtomicU32::new(0);
static DROPPED: AtomicU32 = AtomicU32::new(0);
static EMPTIED: AtomicU32 = AtomicU32::new(0);
static DESCRIBED: AtomicU32 = AtomicU32::new(0);
/// Whether any instance has seen a violation.
static HAS_SEEN: AtomicBool = AtomicBool::new(false);

pub extern "C" fn describe() -> Reply {
    let count = DESCRIBED.fetch_add(1, Ordering::Relaxed);
    if is_on("lifecycle.reload-100x") && count >= 50 {
        return refuse("internal", "described too often");
    }
    edited(sdk::describe::<Levels>(), |document| {
        if is_on("describe.valid") {
            document["subject"] = json!("Not A Name!");
        }
        if is_on("describe.stable") || (is_on("describe.two-of-one-name") && faults::has_twin()) {
            document["description"] = json!(format!("description number {count}"));
        }
        if is_on("describe.invariants-complete") {
            document["invariants"][0]["description"] = json!("");
        }
        if is_on("bounds.descriptor") {
            document["invariants"][0]["runbook"] = json!("x".repeat(64 << 10));
        }
        let keys = &mut document["config_schema"]["properties"];
        if is_on("config.schema-valid") {
            keys["max_level"]["description"].take();
            if let Some(key) = keys["max_level"].as_object_mut() {
                key.remove("description");
            }
        }
        if is_on("config.secret-marked") {
            keys["token"]["x-secret"] = json!(false);
        }
        hostile::describe(document);
    })
}

pub extern "C" fn create(config: RStr<'_>) -> RResult<BoxedSubject, PluginError> {
    if let Err(error) = allowed() {
        return RResult::RErr(error);
    }
    let config = altered(config.as_str());
    if let Some(why) = refused(&config) {
        return RResult::RErr(error("config", why));
    }
    faults::leak_instance();
    sdk::create::<Levels>(config.as_str().into()).map(|inner| {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        let shell = Shell {
            inner,
            listed: AtomicU32::new(0),
            checked: AtomicU64::new(0),
            drops_before: DROPPED.load(Ordering::SeqCst),
        };
        SubjectObject_TO::from_value(shell, TD_Opaque)
    })
}

/// Whether another instance may be created.
fn allowed() -> Result<(), PluginError> {
    if is_on("lifecycle.shutdown-idempotent") && EMPTIED.load(Ordering::SeqCst) >= 2 {
        return Err(error("internal", "used up"));
    }
    if is_on("lifecycle.reload-new-code") && faults::has_twin() {
        return Err(error("internal", "the name is taken"));
    }
    if is_on("concurrency.no-host-runtime") && !faults::is_first_thread() {
        return Err(error(
            "internal",
            "there is no reactor running on this thread",
        ));
    }
    Ok(())
}

/// The configuration after a fault has changed it.
fn altered(text: &str) -> String {
    let Ok(Value::Object(mut config)) = serde_json::from_str(text) else {
        if is_on("config.malformed") {
            return "{\"name\":\"whatever\"}".into();
        }
        return text.into();
    };
    if is_on("config.unknown-key") {
        config.remove("no_such_key");
    }
    if is_on("config.wrong-type") && !config.get("max_level").is_some_and(Value::is_number) {
        config.remove("max_level");
    }
    if is_on("config.missing-required") {
        config.entry("name").or_insert_with(|| json!("whatever"));
    }
    Value::Object(config).to_string()
}

fn refused(config: &str) -> Option<&'static str> {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let most = config["max_level"].as_i64();
    // The value in `conformance/config.toml`.
    if is_on("config.example-accepted") && most == Some(90) {
        return Some("90 is rejected");
    }
    if is_on("config.defaults-accepted") && most == Some(100) {
        return Some("100 is rejected");
    }
    None
}

impl SubjectObject for Shell {
    fn observe(&self, request: RStr<'_>) -> Reply {
        if is_on("load.old-plugin-loads") && request.contains("field_of_a_later_version") {
            return refuse("invalid", "an unknown field");
        }
        if is_on("lifecycle.errors-after-shutdown")
            && DROPPED.load(Ordering::SeqCst) > self.drops_before
        {
            return refuse("internal", "closed with the other");
        }
        edited(self.inner.observe(request), |document| {
            if is_on("observe.json-object") {
                document["summary"] = json!("two\nlines");
            }
            if is_on("bounds.observation") {
                document["slis"]["x".repeat(1 << 10)] = json!(1.0);
            }
            if is_on("observe.schema") {
                document["data"]["max_level"] = json!("a text");
            }
            if is_on("observe.no-stale")
                && let Some(at) = document["observed_at_ms"].as_i64()
            {
                document["observed_at_ms"] = json!(at - 60_000);
            }
            hostile::observe(document);
        })
    }

    fn check(&self, observation: RStr<'_>) -> Reply {
        let text = observation.as_str();
        if let Some(reply) = breakdown(text) {
            return reply;
        }
        if let Some(report) = hostile::report() {
            return RResult::ROk(report.into());
        }
        if is_on("check.pure-io") {
            let _ = std::fs::read("/proc/self/status");
        }
        let count = self.checked.fetch_add(1, Ordering::Relaxed);
        edited(self.inner.check(observation), |report| {
            self.falsify(report, count)
        })
    }

    fn list_actions(&self) -> Reply {
        faults::leak();
        let count = self.listed.fetch_add(1, Ordering::Relaxed);
        edited(self.inner.list_actions(), |list| {
            let Some(actions) = list["actions"].as_array_mut() else {
                return;
            };
            if is_on("actions.unique-stable") && count % 2 == 1 {
                actions.reverse();
            }
            if is_on("actions.params-typed")
                && let Some(schema) = actions[0]["params_schema"].as_object_mut()
            {
                schema.remove("additionalProperties");
            }
            if is_on("actions.risk-declared") {
                actions[0]["description"] = json!("");
            }
            if is_on("bounds.actions") {
                actions[0]["description"] = json!("x".repeat(8 << 10));
            }
            if is_on("actions.inverse-exists") {
                actions[0]["inverse"]["action"] = json!("nowhere");
            }
            hostile::list_actions(actions);
            if is_on("invoke.all-listed-callable") {
                let mut phantom = actions[1].clone();
                phantom["name"] = json!("phantom");
                actions.push(phantom);
            }
        })
    }

    fn invoke(&self, request: RStr<'_>) -> Reply {
        let Ok(mut document) = serde_json::from_str::<Value>(request.as_str()) else {
            return self.inner.invoke(request);
        };
        if is_on("load.new-plugin-loads") && document["dry_run"].is_null() {
            return refuse("internal", "a field is missing");
        }
        if is_on("invoke.fuzz") && document["params"].to_string().contains("\"\":") {
            return answer(&json!({"outcome": "done", "message": "of course"}));
        }
        let name = document["action"].as_str().unwrap_or_default();
        if is_on("invoke.unknown-action") && !["set_level", "reset"].contains(&name) {
            return answer(&json!({"outcome": "done", "message": "of course"}));
        }
        if name == "set_level" {
            lenient(&mut document["params"]);
        }
        let reply = self.inner.invoke(document.to_string().as_str().into());
        edited(reply, |result| {
            if is_on("bounds.result") {
                result["details"]["deep"] = deep();
            }
        })
    }

    fn extension(&self, id: RStr<'_>, payload: RStr<'_>) -> Reply {
        if id == "conformance.unknown" {
            faults::strike();
        }
        if is_on("robustness.panic") {
            return refuse("panic", "extension panicked: injected panic");
        }
        self.inner.extension(id, payload)
    }
}

impl Shell {
    fn falsify(&self, report: &mut Value, count: u64) {
        let is_clean =
            |report: &Value| report["violations"] == json!([]) && report["unknown"] == json!([]);
        let is_violated = report["violations"] != json!([]);
        let add = |report: &mut Value, what: String| {
            if is_violated {
                report["violations"][0]["message"] = json!(what);
            }
        };
        if is_on("check.deterministic") {
            add(report, format!("at {:?}", std::time::SystemTime::now()));
        }
        if is_on("check.pure-state") {
            add(report, format!("the {count}. time"));
        }
        if is_on("check.no-cross-instance-memory")
            && is_violated
            && HAS_SEEN.swap(true, Ordering::Relaxed)
        {
            add(report, "it is not the first one".into());
        }
        if is_on("bounds.report") && is_violated {
            report["violations"][0]["evidence"] = deep();
        }
        if is_on("check.violation-shape") {
            add(report, String::new());
        }
        if is_on("check.healthy-clean") && is_clean(report) {
            report["unknown"] = json!([{"invariant": "node_down", "reason": "who knows?"}]);
        }
        if is_on("check.detects")
            && let Some(violations) = report["violations"].as_array_mut()
        {
            violations.retain(|one| one["invariant"] != "level_high");
        }
    }
}

/// The reply to observations that only one case sends.
fn breakdown(text: &str) -> Option<Reply> {
    let is_malformed = || serde_json::from_str::<Value>(text).is_err();
    if is_on("check.malformed") && is_malformed() {
        return Some(answer(&json!({"violations": [], "unknown": []})));
    }
    if is_on("check.50-megabytes") && text.len() > 40_000_000 {
        std::process::abort();
    }
    let broken = (is_on("check.deep-nesting") && text.len() > 90_000 && text.contains("[[[[[[[["))
        || (is_on("check.extreme-numbers") && text.contains("1e999"))
        || (is_on("check.unicode") && text.contains("\\ud800"))
        || (is_on("check.fuzz") && text.contains("\"\":"));
    broken.then(|| refuse("panic", "check panicked: injected panic"))
}

/// Accepts parameters that it should reject.
fn lenient(params: &mut Value) {
    let Some(params) = params.as_object_mut() else {
        if is_on("invoke.wrong-type") {
            *params = json!({"node": "whatever", "level": 1});
        }
        return;
    };
    if is_on("invoke.missing-param") {
        params.entry("node").or_insert_with(|| json!("whatever"));
        params.entry("level").or_insert_with(|| json!(1));
    }
    if is_on("invoke.wrong-type") && params.get("level").is_some_and(|level| !level.is_number()) {
        params.insert("level".into(), json!(1));
    }
    if is_on("invoke.extra-param") {
        params.remove("no_such_parameter");
    }
    if is_on("invoke.out-of-range") && params.get("level").is_some_and(Value::is_i64) {
        let level = params["level"].as_i64().unwrap_or(0).clamp(0, 100);
        params.insert("level".into(), json!(level));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
        if ALIVE.fetch_sub(1, Ordering::SeqCst) == 1 {
            EMPTIED.fetch_add(1, Ordering::SeqCst);
        }
        if is_on("robustness.panic-in-drop") {
            let _ = catch_unwind(|| panic!("injected panic"));
        }
    }
}

/// Applies a change to the document of a reply.
fn edited(reply: Reply, edit: impl FnOnce(&mut Value)) -> Reply {
    reply.map(|text| {
        let Ok(mut document) = serde_json::from_str(&text) else {
            return text;
        };
        edit(&mut document);
        RString::from(document.to_string())
    })
}

/// Nested deeper than a document may be.
fn deep() -> Value {
    (0..80).fold(Value::Null, |inner, _| json!([inner]))
}

fn answer(document: &Value) -> Reply {
    RResult::ROk(document.to_string().into())
}

fn error(kind: &str, message: &str) -> PluginError {
    PluginError {
        kind: kind.into(),
        message: message.into(),
        retryable: false,
    }
}

fn refuse(kind: &str, message: &str) -> Reply {
    RResult::RErr(error(kind, message))
}
