//! Whether create accepts valid configurations and refuses invalid ones with a useful message.

use operator_loader::Payload;
use operator_model::Property;
use operator_plugin_api::ErrorKind;
use serde_json::{Map, Value, json};

use crate::{
    backends::Backends, backends::Mode, backends::url_keys, case::Case, context::CaseContext,
    context::LENIENCE, context::Setup, samples, samples::validator, verdict::CaseResult,
    verdict::Status, verdict::Stop, worker::shown,
};

pub(super) const CASES: [Case; 9] = [
    Case {
        id: "config.schema-valid",
        expects: "the configuration schema describes an object and each of its keys, and the defaults are valid",
        fix: "derive JsonSchema for the configuration type, and document its fields",
        run: schema_valid,
    },
    Case {
        id: "config.example-accepted",
        expects: "create accepts conformance/config.toml or, without that file, the keys that the schema requires",
        fix: "fix the file, or state in the schema what create requires",
        run: example_accepted,
    },
    Case {
        id: "config.defaults-accepted",
        expects: "create accepts the defaults of the schema, and {} if no key is required",
        fix: "use the same values in Default and in the schema",
        run: defaults_accepted,
    },
    Case {
        id: "config.unknown-key",
        expects: "create refuses an unknown key and names it",
        fix: "derive #[serde(deny_unknown_fields)] for the configuration",
        run: unknown_key,
    },
    Case {
        id: "config.wrong-type",
        expects: "create refuses a value of the wrong type with an error of kind config",
        fix: "give every key a type, and let serde refuse other values",
        run: wrong_type,
    },
    Case {
        id: "config.missing-required",
        expects: "create refuses a configuration without a required key with an error of kind config",
        fix: "do not use a default for a required key in create",
        run: missing_required,
    },
    Case {
        id: "config.malformed",
        expects: "create refuses text that is not a JSON object with an error of kind config",
        fix: "parse the text, and return ErrorKind::Config if that fails",
        run: malformed,
    },
    Case {
        id: "config.secret-marked",
        expects: "every key whose name suggests a secret is marked x-secret",
        fix: "put #[schemars(extend(\"x-secret\" = true))] on it",
        run: secret_marked,
    },
    Case {
        id: "config.create-offline",
        expects: "create succeeds without delay while every backend is unreachable, and connects to none",
        fix: "connect in observe, not in create",
        run: create_offline,
    },
];

fn schema_valid(context: &CaseContext) -> CaseResult {
    let descriptor = context.loaded()?.describe()?;
    let schema = &descriptor.config_schema;
    if schema["type"] != "object" {
        return Err(Stop::fail("it is not the schema of an object"));
    }
    let Some(validator) = validator(schema) else {
        return Err(Stop::blocked(
            &["describe.valid"],
            Status::Fail,
            "it is not a valid JSON Schema",
        ));
    };
    let mut defaults = samples::required(schema);
    for (name, property) in Property::root(schema).properties() {
        if property.keyword("description").is_none() {
            return Err(Stop::fail(format!("`{name}` has no description")));
        }
        if property.kinds().next().is_none() && property.keyword("enum").is_none() {
            return Err(Stop::fail(format!("`{name}` has no type")));
        }
        if let Some(default) = property.keyword("default") {
            defaults.insert(name.to_owned(), default.clone());
        }
    }
    match validator.validate(&Value::Object(defaults)) {
        Ok(()) => Ok(()),
        Err(error) => Err(Stop::fail(format!(
            "its defaults are not valid: {}: {error}",
            error.instance_path()
        ))),
    }
}

fn example_accepted(context: &CaseContext) -> CaseResult {
    let mut worker = context.loaded()?;
    let descriptor = worker.describe()?;
    let config = context.config(&descriptor);
    let from = match &context.golden.config {
        Some(_) => "conformance/config.toml",
        None => "the keys that the schema requires",
    };
    if context.golden.config.is_some()
        && let Some(validator) = validator(&descriptor.config_schema)
        && let Err(error) = validator.validate(&Value::Object(config.clone()))
    {
        return Err(Stop::fail(format!(
            "{from} is not valid for the schema: {error}"
        )));
    }
    let backends = context.backends(&descriptor, Mode::Closed)?;
    for config in [&config, &backends.config] {
        worker
            .create(0, config)
            .map_err(|stop| of_own(stop).about(from))?;
    }
    Ok(())
}

/// A refusal by create is the finding of this case.
fn of_own(stop: Stop) -> Stop {
    match &stop {
        Stop::Blocked { by, .. } if by.iter().any(|id| id == "config.example-accepted") => {
            stop.attributed_here()
        }
        _ => stop,
    }
}

fn defaults_accepted(context: &CaseContext) -> CaseResult {
    let mut worker = context.loaded()?;
    let schema = worker.describe()?.config_schema;
    let mut defaults = samples::required(&schema);
    // A required key has no default, and a value made from its type need not be valid.
    for (name, value) in &mut defaults {
        let golden = context.golden.config.as_ref();
        *value = golden
            .and_then(|config| config.get(name))
            .unwrap_or(value)
            .clone();
    }
    for (name, property) in Property::root(&schema).properties() {
        if let Some(default) = property.keyword("default") {
            defaults.entry(name).or_insert_with(|| default.clone());
        }
    }
    let mut configs = vec![("the schema's defaults", Value::Object(defaults))];
    if samples::required(&schema).is_empty() {
        configs.push(("{}", json!({})));
    }
    for (what, config) in configs {
        match worker.try_create(1, config.to_string())? {
            Payload::Text(_) => {}
            other => {
                return Err(Stop::fail(format!(
                    "given {what}, create {}",
                    shown(&other)
                )));
            }
        }
    }
    Ok(())
}

/// That create refuses a configuration with an error of kind config. Returns the message.
fn refuses(setup: &mut Setup, what: &str, config: &str) -> Result<String, Stop> {
    match setup.worker.try_create(1, config)? {
        Payload::Text(_) => Err(Stop::fail(format!("it accepted {what}"))),
        payload @ Payload::Error { .. } if payload.error_kind() != Some(ErrorKind::Config) => {
            Err(Stop::fail(format!("given {what}, it {}", shown(&payload))))
        }
        Payload::Error { message, .. } if message.trim().is_empty() => {
            Err(Stop::fail(format!("it refused {what} without a message")))
        }
        Payload::Error { message, .. } => Ok(message),
        other => Err(Stop::fail(format!("given {what}, it {}", shown(&other)))),
    }
}

fn valid(setup: &Setup) -> Map<String, Value> {
    setup.backends.config.clone()
}

fn unknown_key(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let mut config = valid(&setup);
    config.insert("no_such_key".into(), json!(1));
    let config = Value::Object(config).to_string();
    let message = refuses(&mut setup, "an unknown key", &config)?;
    if message.contains("no_such_key") {
        Ok(())
    } else {
        Err(Stop::fail(format!(
            "it refused an unknown key without naming it: {message:.200}"
        )))
    }
}

fn wrong_type(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let config = Value::Object(valid(&setup));
    let invalid_params = samples::of_wrong_type(&setup.descriptor.config_schema.clone(), &config);
    if invalid_params.is_empty() {
        return Err(Stop::skip(
            "no key of the configuration has a type that can be violated",
        ));
    }
    for invalid in invalid_params {
        refuses(&mut setup, &invalid.what, &invalid.params.to_string())?;
    }
    Ok(())
}

fn missing_required(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let schema = setup.descriptor.config_schema.clone();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    if required.is_empty() {
        return Err(Stop::skip("no key of the configuration is required"));
    }
    for name in required.iter().filter_map(Value::as_str) {
        let mut config = valid(&setup);
        config.remove(name);
        let config = Value::Object(config).to_string();
        refuses(
            &mut setup,
            &format!("a configuration without `{name}`"),
            &config,
        )?;
    }
    Ok(())
}

fn malformed(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let deep = "[".repeat(100_000);
    for text in [
        "", " ", "null", "{", "[]", "\"text\"", "42", "{} {}", "{\"a\":}", "\u{0}", &deep,
    ] {
        refuses(&mut setup, &format!("{text:.20?}"), text)?;
    }
    Ok(())
}

/// Words in the name of a key that suggest a secret.
const SECRET_WORDS: [&str; 7] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "credential",
    "private",
];

fn secret_marked(context: &CaseContext) -> CaseResult {
    let descriptor = context.loaded()?.describe()?;
    secrets_in(Property::root(&descriptor.config_schema), "", 8)
}

fn secrets_in(table: Property<'_>, at: &str, depth: usize) -> CaseResult {
    for (name, property) in table.properties() {
        let key = format!("{at}{name}");
        let flat = name.to_ascii_lowercase().replace(['_', '-'], "");
        let is_text = property.kinds().any(|kind| kind == "string");
        let suggests = SECRET_WORDS.iter().any(|word| flat.contains(word));
        if is_text && suggests && !property.is_secret() {
            return Err(Stop::fail(format!("`{key}` is not marked with x-secret")));
        }
        if depth > 0 && !property.is_secret() {
            secrets_in(property, &format!("{key}."), depth - 1)?;
        }
    }
    Ok(())
}

fn create_offline(context: &CaseContext) -> CaseResult {
    use operator_plugin_fakes::Manner;
    let mut worker = context.loaded()?;
    let descriptor = worker.describe()?;
    let base = context.config(&descriptor);
    let has_backends = !url_keys(&descriptor.config_schema, &base).is_empty();
    for mode in [Mode::BlackHole, Mode::As(Manner::Stall), Mode::Closed] {
        let backends = context.backends(&descriptor, mode)?;
        let begun = std::time::Instant::now();
        worker.create(0, &backends.config)?;
        if begun.elapsed() > LENIENCE {
            let took = begun.elapsed().as_millis();
            return Err(Stop::fail(format!(
                "it took {took} ms while its backends were unreachable"
            )));
        }
        no_connection(&backends)?;
    }
    if has_backends {
        Ok(())
    } else {
        Err(Stop::skip(
            "no setting of this plugin names a backend by URL (\"format\": \"uri\")",
        ))
    }
}

fn no_connection(backends: &Backends) -> CaseResult {
    if backends.reached() == 0 {
        return Ok(());
    }
    let connected: Vec<_> = backends
        .fakes
        .iter()
        .filter(|(_, fake)| fake.connections() > 0)
        .map(|(key, _)| key.name())
        .collect();
    Err(Stop::fail(format!(
        "it connected to {}",
        connected.join(", ")
    )))
}
