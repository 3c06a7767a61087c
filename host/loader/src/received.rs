//! Makes of a plugin's document what the rest of the operator works with: parsed, cut to size, and without secrets.

use std::sync::Arc;

use operator_model::{Secrets, bounded};
use operator_plugin_api::{
    ActionResult, CheckReport, Source,
    bounds::{KEPT_EVIDENCE, KEPT_RESOURCE, KEPT_TEXT},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json, value::RawValue};

use crate::{bounds, error::CallError, worker::protocol::Call};

/// A larger document is read on another thread, so that nobody else waits. Bytes.
const SMALL: usize = 64 << 10;

/// A document that was read.
pub(crate) struct Received<T> {
    pub(crate) value: T,
    /// Its text, without secrets.
    pub(crate) document: Box<RawValue>,
    /// Its text as the plugin gave it, where that differs.
    pub(crate) original: Option<Box<RawValue>>,
}

/// Reads a plugin's document, and prepares what was read.
pub(crate) async fn read<T: DeserializeOwned + Send + 'static>(
    call: Call,
    document: Box<RawValue>,
    secrets: &Arc<Secrets>,
    prepare: fn(&mut T, usize),
) -> Result<Received<T>, CallError> {
    let size = document.get().len();
    let secrets = Arc::clone(secrets);
    let read = move || -> Result<Received<T>, String> {
        // A plugin that writes to its worker's socket by itself evades the check there. A small document cannot hurt, but names
        // can: they are kept.
        if size > SMALL || matches!(call, Call::Describe | Call::ListActions) {
            bounds::check(call, document.get())?;
        }
        let mut received = masked(call, document, &secrets)?;
        prepare(&mut received.value, size);
        Ok(received)
    };
    let read = if size > SMALL {
        let elsewhere = tokio::task::spawn_blocking(read).await;
        elsewhere.unwrap_or_else(|error| Err(format!("cannot be read: {error}")))
    } else {
        read()
    };
    read.map_err(|why| CallError::BadAnswer {
        call: call.as_str(),
        why,
    })
}

fn masked<T: DeserializeOwned>(
    call: Call,
    document: Box<RawValue>,
    secrets: &Secrets,
) -> Result<Received<T>, String> {
    let malformed = |error: serde_json::Error| bounds::malformed(&error);
    if !secrets.can_be_in(document.get()) {
        let value = serde_json::from_str(document.get()).map_err(malformed)?;
        return Ok(Received {
            value,
            document,
            original: None,
        });
    }
    let mut whole: Value = serde_json::from_str(document.get()).map_err(malformed)?;
    mask(call, &mut whole, secrets);
    let masked = serde_json::value::to_raw_value(&whole).map_err(malformed)?;
    Ok(Received {
        value: serde_json::from_str(masked.get()).map_err(malformed)?,
        document: masked,
        original: Some(document),
    })
}

/// Masks the secrets in a document, but not in what the documents define: its fields, and the names that the plugin declared
/// before it was given any secret.
fn mask(call: Call, document: &mut Value, secrets: &Secrets) {
    match call {
        Call::Observe => {
            let typed = ["observed_at_ms", "slis", "sources", "resources"];
            mask_members(document, &typed, secrets);
            if let Some(Value::Object(slis)) = document.get_mut("slis") {
                let named = std::mem::take(slis).into_iter();
                *slis = named
                    .map(|(name, value)| (secrets.mask(&name), value))
                    .collect();
            }
            mask_entries(document, "sources", &["took_ms"], secrets);
            mask_entries(document, "resources", &["kind"], secrets);
        }
        Call::Check => {
            mask_members(document, &["violations", "unknown"], secrets);
            mask_entries(document, "violations", &["invariant", "severity"], secrets);
            mask_entries(document, "unknown", &["invariant", "kind"], secrets);
        }
        Call::ListActions => {
            for action in entries(document, "actions") {
                if let Some(description) = action.get_mut("description") {
                    secrets.mask_value(description);
                }
                if let Some(schema) = action.get_mut("params_schema") {
                    mask_schema(schema, secrets);
                }
            }
        }
        Call::Invoke => mask_members(document, &["outcome"], secrets),
        _ => {}
    }
}

/// Masks all members of an object but these.
fn mask_members(object: &mut Value, except: &[&str], secrets: &Secrets) {
    for (name, member) in object.as_object_mut().into_iter().flatten() {
        if !except.contains(&name.as_str()) {
            secrets.mask_value(member);
        }
    }
}

fn mask_entries(document: &mut Value, list: &str, except: &[&str], secrets: &Secrets) {
    for entry in entries(document, list) {
        mask_members(entry, except, secrets);
    }
}

fn entries<'a>(document: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = document.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

/// Masks what a schema shows to people, and none of its keywords.
fn mask_schema(schema: &mut Value, secrets: &Secrets) {
    const SHOWN: [&str; 5] = ["title", "description", "default", "examples", "$comment"];
    match schema {
        Value::Array(all) => all.iter_mut().for_each(|one| mask_schema(one, secrets)),
        Value::Object(members) => {
            for (name, member) in members {
                if SHOWN.contains(&name.as_str()) && !member.is_object() {
                    secrets.mask_value(member);
                } else {
                    mask_schema(member, secrets);
                }
            }
        }
        _ => {}
    }
}

/// Cuts what people read of an observation.
pub(crate) fn cut_head(summary: &mut String, sources: &mut [Source]) {
    cut(summary, KEPT_TEXT);
    for error in sources
        .iter_mut()
        .filter_map(|source| source.error.as_mut())
    {
        cut(error, KEPT_TEXT);
    }
}

/// Cuts texts, resources and evidence of a report.
pub(crate) fn cut_report(report: &mut CheckReport, size: usize) {
    for violation in &mut report.violations {
        cut(&mut violation.message, KEPT_TEXT);
        if let Some(resource) = &mut violation.resource {
            cut(resource, KEPT_RESOURCE);
        }
        if size > KEPT_EVIDENCE {
            cut_evidence(&mut violation.evidence);
        }
    }
    for unknown in &mut report.unknown {
        cut(&mut unknown.reason, KEPT_TEXT);
        if let Some(resource) = &mut unknown.resource {
            cut(resource, KEPT_RESOURCE);
        }
    }
}

pub(crate) fn cut_result(result: &mut ActionResult, _: usize) {
    cut(&mut result.message, KEPT_TEXT);
}

fn cut(text: &mut String, most: usize) {
    // A text has at most as many characters as bytes.
    if text.len() > most {
        *text = bounded(text, most);
    }
}

/// Keeps the beginning of evidence that is too large, as text.
fn cut_evidence(evidence: &mut Value) {
    let mut text = evidence.to_string();
    let size = text.len();
    if size > KEPT_EVIDENCE {
        text.truncate(text.floor_char_boundary(KEPT_EVIDENCE));
        *evidence = json!({
            "cut": format!("the evidence has {size} bytes, of which {KEPT_EVIDENCE} are kept"),
            "beginning": text,
        });
    }
}

#[cfg(test)]
#[path = "tests/received.rs"]
mod tests;
