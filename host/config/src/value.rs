//! Settings' values: from what a person wrote to what the daemon acts on.
//!
//! A file gives typed TOML values; variables and flags give text, which is read as a TOML string. Both come through here.

use std::{ops::RangeInclusive, time::Duration};

use operator_model::{Approve, Isolation, MaintenanceWindow, Mode, OPERATOR, OnFailure, When};
use operator_plugin_api::{Risk, Severity};
use serde_json::{Map, Value};
use toml::de::DeValue;

use super::LogFormat;

/// Why a value cannot be used, and how to fix it.
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) fix: String,
}

pub(super) type Parsed<T> = Result<T, Wrong>;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// More often than this, a subject would be busy with being watched.
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
pub(super) const HEARTBEAT: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
/// A call that may hang for longer than an hour is not bounded.
pub(super) const DEADLINE: RangeInclusive<Duration> = MILLISECOND..=HOUR;
pub(super) const WAIT: RangeInclusive<Duration> = Duration::ZERO..=DAY.saturating_mul(365);
/// A time that must pass, and within which a person still remembers.
pub(super) const SOON: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY.saturating_mul(7);
pub(super) const COUNT: RangeInclusive<u32> = 1..=u32::MAX;
/// A number of times that may be none.
pub(super) const FEW: RangeInclusive<u32> = 0..=10;
pub(super) const KEPT: RangeInclusive<Duration> = HOUR..=DAY.saturating_mul(36_500);

impl Wrong {
    pub(super) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }

    fn type_of(value: &DeValue<'_>, wanted: &str, example: &str) -> Self {
        Self::new(
            format!("{} is not {wanted}", described(value)),
            format!("write it like {example}"),
        )
    }
}

/// The value as it was written, if it is short, and its type.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(integer) => format!("{integer}, an integer,"),
        DeValue::Float(float) => format!("{float}, a number,"),
        DeValue::Boolean(boolean) => format!("{boolean}, a boolean,"),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

pub(super) fn text(value: &DeValue<'_>) -> Parsed<String> {
    match value {
        DeValue::String(text) if !text.trim().is_empty() => Ok(text.clone().into_owned()),
        DeValue::String(_) => Err(Wrong::new("it is empty", "give it a value or remove it")),
        other => Err(Wrong::type_of(other, "a string", r#""text""#)),
    }
}

pub(super) fn texts(value: &DeValue<'_>) -> Parsed<Vec<String>> {
    let wrong = || Wrong::type_of(value, "a list of strings", r#"["one", "two"]"#);
    value
        .as_array()
        .ok_or_else(wrong)?
        .iter()
        .map(|item| text(item.get_ref()))
        .collect()
}

pub(super) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    value
        .as_bool()
        .ok_or_else(|| Wrong::type_of(value, "a boolean", "true or false"))
}

/// A whole number within bounds.
pub(super) fn number(bounds: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Parsed<u32> {
    move |value| {
        let (least, most) = (bounds.start(), bounds.end());
        let DeValue::Integer(integer) = value else {
            let example = (1000).clamp(*least, *most).to_string();
            return Err(Wrong::type_of(value, "a count", &example));
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix());
        number
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                Wrong::new(
                    format!("{integer} is out of bounds"),
                    format!("choose from {least} to {most}"),
                )
            })
    }
}

/// A duration such as `"1m 30s"`, within bounds.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    move |value| {
        let wrong = || Wrong::type_of(value, "a duration", r#""30s", "500ms" or "1h 30m""#);
        let text = value.as_str().ok_or_else(wrong)?;
        let duration = humantime::parse_duration(text).map_err(|_| wrong())?;
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| written(*bound));
        Err(Wrong::new(
            format!("{text:?} is out of bounds"),
            format!("choose from \"{least}\" to \"{most}\""),
        ))
    }
}

/// A duration as people write it in a configuration: days are the largest unit that has one length.
pub(super) fn written(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
        (1, "ms"),
    ];
    let mut rest = ms;
    let mut parts = Vec::new();
    for (unit, name) in units {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

/// One of a few words.
fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Parsed<T> {
    let found = value
        .as_str()
        .and_then(|text| words.iter().find(|(word, _)| *word == text));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let names: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        Wrong::new(
            format!("{} is not possible", described(value)),
            format!("choose from {}", names.join(", ")),
        )
    })
}

pub(super) fn log_format(value: &DeValue<'_>) -> Parsed<LogFormat> {
    word(
        value,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    )
}

pub(super) fn isolation(value: &DeValue<'_>) -> Parsed<Isolation> {
    word(
        value,
        &[("worker", Isolation::Worker), ("none", Isolation::None)],
    )
}

pub(super) fn mode(value: &DeValue<'_>) -> Parsed<Mode> {
    word(
        value,
        &[("observe", Mode::Observe), ("execute", Mode::Execute)],
    )
}

pub(super) fn approve(value: &DeValue<'_>) -> Parsed<Approve> {
    word(
        value,
        &[
            ("on", Approve::From(Risk::Low)),
            ("medium", Approve::From(Risk::Medium)),
            ("high", Approve::From(Risk::High)),
            ("off", Approve::Off),
        ],
    )
}

pub(super) fn on_failure(value: &DeValue<'_>) -> Parsed<OnFailure> {
    word(
        value,
        &[
            ("stop", OnFailure::Stop),
            ("compensate", OnFailure::Compensate),
        ],
    )
}

/// `"done"`, `"failed"`, `"always"`, or `{ pointer = "/healthy", is = true }`.
pub(super) fn when(value: &DeValue<'_>) -> Parsed<When> {
    let Some(table) = value.as_table() else {
        return word(value, &[("done", 0), ("failed", 1), ("always", 2)]).map(
            |choice| match choice {
                0 => When::Done,
                1 => When::Failed,
                _ => When::Always,
            },
        );
    };
    let wrong = || {
        Wrong::new(
            "it is not a condition",
            r#"write "done", "failed", "always", or { pointer = "/healthy", is = true }"#,
        )
    };
    let mut fields = Map::new();
    for (key, item) in table {
        fields.insert(key.get_ref().clone().into_owned(), json(item.get_ref())?);
    }
    let is = fields.remove("is").ok_or_else(wrong)?;
    match fields.remove("pointer") {
        Some(Value::String(pointer)) if fields.is_empty() && pointer.starts_with('/') => {
            Ok(When::Detail { pointer, is })
        }
        _ => Err(wrong()),
    }
}

/// Times of the week.
pub(super) fn windows(value: &DeValue<'_>) -> Parsed<Vec<MaintenanceWindow>> {
    let parsed = texts(value)?.into_iter().map(|text| {
        text.parse().map_err(|why: String| {
            Wrong::new(
                format!("{text:?}: {why}"),
                r#"write it like "Mon-Fri 09:00-17:00 Europe/Berlin""#,
            )
        })
    });
    parsed.collect()
}

/// A table as JSON.
pub(super) fn table(value: &DeValue<'_>) -> Parsed<Map<String, Value>> {
    match json(value)? {
        Value::Object(table) => Ok(table),
        _ => Err(Wrong::type_of(value, "a table", r#"{ node = "a" }"#)),
    }
}

pub(super) fn severity(value: &DeValue<'_>) -> Parsed<Severity> {
    word(
        value,
        &[
            ("info", Severity::Info),
            ("warning", Severity::Warning),
            ("critical", Severity::Critical),
        ],
    )
}

/// A filter of `tracing`; a bare level is the simplest one.
pub(super) fn log_level(value: &DeValue<'_>) -> Parsed<String> {
    let level = text(value)?;
    let wrong = |_| {
        Wrong::new(
            format!("{level:?} is not a log level"),
            r#"choose from "error", "warn", "info", "debug", "trace", or write a filter like "info,operator_store=debug""#,
        )
    };
    // A single unknown word would be taken for the name of a target, and silence the rest.
    if level.contains(['=', ',']) {
        tracing_subscriber::EnvFilter::try_new(&level).map_err(|e| wrong(e.to_string()))?;
    } else {
        level
            .parse::<tracing_subscriber::filter::LevelFilter>()
            .map_err(|e| wrong(e.to_string()))?;
    }
    Ok(level)
}

/// The hash of a plugin file, in lower case.
pub(super) fn sha256(value: &DeValue<'_>) -> Parsed<String> {
    let hash = text(value)?.to_ascii_lowercase();
    if hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(hash);
    }
    Err(Wrong::new(
        format!("{hash:?} is not a SHA-256 hash"),
        "write the 64 hexadecimal digits that `sha256sum FILE` prints",
    ))
}

/// `sqlite:PATH`, or the address of a `PostgreSQL` database. The value is never repeated: it may hold a password.
pub(super) fn database(value: &DeValue<'_>) -> Parsed<String> {
    let url = text(value)?;
    if ["sqlite:", "postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Ok(url);
    }
    Err(Wrong::new(
        "it is not the address of a database",
        r#"write it like "sqlite:/var/lib/operator/operator.db" or "postgres://user@host/operator""#,
    ))
}

/// What the plugin is given, as JSON.
pub(super) fn json(value: &DeValue<'_>) -> Parsed<Value> {
    Ok(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(boolean) => Value::from(*boolean),
        DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::from)
            .map_err(|_| Wrong::new("the integer is too large", "stay within 64 bits"))?,
        DeValue::Float(float) => float
            .as_str()
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| Wrong::new("the number is not finite", "write a number such as 0.5"))?,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| json(item.get_ref()))
                .collect::<Parsed<_>>()?,
        ),
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, item)| Ok((key.get_ref().clone().into_owned(), json(item.get_ref())?)))
                .collect::<Parsed<_>>()?,
        ),
    })
}

/// Names are shown in tables, on command lines and in URLs.
/// Of a subject.
pub(super) fn subject_name(subject: &str) -> Parsed<()> {
    if subject == OPERATOR {
        return Err(Wrong::new(
            format!("the name {OPERATOR:?} is reserved for the tickets of the operator itself"),
            "give the subject another name",
        ));
    }
    name(subject)
}

pub(super) fn name(name: &str) -> Parsed<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 64 && name.chars().all(fits) {
        return Ok(());
    }
    Err(Wrong::new(
        format!("{name:?} cannot be a name"),
        "use up to 64 letters, digits, `-`, `_` and `.`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_as_it_would_be_written() {
        for text in ["0s", "90d", "1h 30m", "1m 500ms"] {
            let duration = humantime::parse_duration(text).expect("it is one");
            assert_eq!(written(duration), text);
        }
    }
}
