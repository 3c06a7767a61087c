//! Whether create takes what it must and refuses what it must, with words that help.

use operator_loader::Payload;
use operator_model::Property;
use operator_plugin_api::ErrorKind;
use serde_json::{Map, Value, json};

use crate::{
    backends::Backends, backends::Mode, backends::url_keys, bench::shown, case::Case,
    lab::LENIENCE, lab::Lab, lab::Ready, samples, samples::validator, verdict::Ran,
    verdict::Status, verdict::Stop,
};

pub(super) const CASES: [Case; 9] = [
    Case {
        id: "config.schema-valid",
        expects: "the schema of the configuration is one of an object, describes every key, and its defaults fit it",
        fix: "derive JsonSchema for the type that create is given, and document its fields",
        run: schema_valid,
    },
    Case {
        id: "config.example-accepted",
        expects: "create takes conformance/config.toml, or without that file whatever the schema requires",
        fix: "fix the file, or what create demands beyond its schema",
        run: example_accepted,
    },
    Case {
        id: "config.defaults-accepted",
        expects: "create takes {} when no key is required, and the schema's own defaults written out",
        fix: "make Default and the schema's defaults the same values",
        run: defaults_accepted,
    },
    Case {
        id: "config.unknown-key",
        expects: "create refuses a key that it does not know, and names it",
        fix: "derive #[serde(deny_unknown_fields)] for the configuration",
        run: unknown_key,
    },
    Case {
        id: "config.wrong-type",
        expects: "create refuses a value of the wrong type with an error of kind config",
        fix: "give every key a type, and let serde refuse the rest",
        run: wrong_type,
    },
    Case {
        id: "config.missing-required",
        expects: "create refuses a configuration without a required key with an error of kind config",
        fix: "do not give a required key a default in create",
        run: missing_required,
    },
    Case {
        id: "config.malformed",
        expects: "create refuses what is no JSON object with an error of kind config",
        fix: "parse the text, and answer ErrorKind::Config when that fails",
        run: malformed,
    },
    Case {
        id: "config.secret-marked",
        expects: "every key that is named like a secret says x-secret",
        fix: "put #[schemars(extend(\"x-secret\" = true))] on it",
        run: secret_marked,
    },
    Case {
        id: "config.create-offline",
        expects: "create succeeds at once while every backend is away, and asks none of them anything",
        fix: "connect in observe, not in create",
        run: create_offline,
    },
];

fn schema_valid(lab: &Lab) -> Ran {
    let descriptor = lab.loaded()?.describe()?;
    let schema = &descriptor.config_schema;
    if schema["type"] != "object" {
        return Err(Stop::fail("it is not the schema of an object"));
    }
    let Some(validator) = validator(schema) else {
        return Err(Stop::blocked(
            &["describe.valid"],
            Status::Fail,
            "it is no JSON Schema",
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
            "its defaults do not fit it: {}: {error}",
            error.instance_path()
        ))),
    }
}

fn example_accepted(lab: &Lab) -> Ran {
    let mut bench = lab.loaded()?;
    let descriptor = bench.describe()?;
    let config = lab.config(&descriptor);
    let from = match &lab.golden.config {
        Some(_) => "conformance/config.toml",
        None => "what the schema requires",
    };
    if lab.golden.config.is_some()
        && let Some(validator) = validator(&descriptor.config_schema)
        && let Err(error) = validator.validate(&Value::Object(config.clone()))
    {
        return Err(Stop::fail(format!(
            "{from} does not fit the schema: {error}"
        )));
    }
    let backends = lab.backends(&descriptor, Mode::Closed)?;
    for config in [&config, &backends.config] {
        bench
            .create(0, config)
            .map_err(|stop| of_own(stop).about(from))?;
    }
    Ok(())
}

/// What create is refused for is this case's own business.
fn of_own(stop: Stop) -> Stop {
    match &stop {
        Stop::Blocked { by, .. } if by.iter().any(|id| id == "config.example-accepted") => {
            stop.of_this()
        }
        _ => stop,
    }
}

fn defaults_accepted(lab: &Lab) -> Ran {
    let mut bench = lab.loaded()?;
    let schema = bench.describe()?.config_schema;
    let mut defaults = samples::required(&schema);
    // What is required has no default, and what was made of its type need not be good.
    for (name, value) in &mut defaults {
        let golden = lab.golden.config.as_ref();
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
        match bench.try_create(1, config.to_string())? {
            Payload::Text(_) => {}
            other => return Err(Stop::fail(format!("to {what} create {}", shown(&other)))),
        }
    }
    Ok(())
}

/// That create refuses a configuration with an error of kind config; its words.
fn refuses(ready: &mut Ready, what: &str, config: &str) -> Result<String, Stop> {
    match ready.bench.try_create(1, config)? {
        Payload::Text(_) => Err(Stop::fail(format!("it took {what}"))),
        payload @ Payload::Error { .. } if payload.error_kind() != Some(ErrorKind::Config) => {
            Err(Stop::fail(format!("to {what} it {}", shown(&payload))))
        }
        Payload::Error { message, .. } if message.trim().is_empty() => {
            Err(Stop::fail(format!("it refused {what} without a word")))
        }
        Payload::Error { message, .. } => Ok(message),
        other => Err(Stop::fail(format!("to {what} it {}", shown(&other)))),
    }
}

fn good(ready: &Ready) -> Map<String, Value> {
    ready.backends.config.clone()
}

fn unknown_key(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let mut config = good(&ready);
    config.insert("no_such_key".into(), json!(1));
    let config = Value::Object(config).to_string();
    let words = refuses(&mut ready, "an unknown key", &config)?;
    if words.contains("no_such_key") {
        Ok(())
    } else {
        Err(Stop::fail(format!(
            "it refused an unknown key without naming it: {words:.200}"
        )))
    }
}

fn wrong_type(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let config = Value::Object(good(&ready));
    let misfits = samples::of_wrong_type(&ready.descriptor.config_schema.clone(), &config);
    if misfits.is_empty() {
        return Err(Stop::skip("no key of the configuration has a type"));
    }
    for misfit in misfits {
        refuses(&mut ready, &misfit.what, &misfit.params.to_string())?;
    }
    Ok(())
}

fn missing_required(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let schema = ready.descriptor.config_schema.clone();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    if required.is_empty() {
        return Err(Stop::skip("no key of the configuration is required"));
    }
    for name in required.iter().filter_map(Value::as_str) {
        let mut config = good(&ready);
        config.remove(name);
        let config = Value::Object(config).to_string();
        refuses(
            &mut ready,
            &format!("a configuration without `{name}`"),
            &config,
        )?;
    }
    Ok(())
}

fn malformed(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let deep = "[".repeat(100_000);
    for text in [
        "", " ", "null", "{", "[]", "\"text\"", "42", "{} {}", "{\"a\":}", "\u{0}", &deep,
    ] {
        refuses(&mut ready, &format!("{text:.20?}"), text)?;
    }
    Ok(())
}

/// Words in a key that make it a secret.
const SECRET_WORDS: [&str; 7] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "credential",
    "private",
];

fn secret_marked(lab: &Lab) -> Ran {
    let descriptor = lab.loaded()?.describe()?;
    secrets_in(Property::root(&descriptor.config_schema), "", 8)
}

fn secrets_in(table: Property<'_>, at: &str, depth: usize) -> Ran {
    for (name, property) in table.properties() {
        let key = format!("{at}{name}");
        let flat = name.to_ascii_lowercase().replace(['_', '-'], "");
        let is_text = property.kinds().any(|kind| kind == "string");
        let sounds = SECRET_WORDS.iter().any(|word| flat.contains(word));
        if is_text && sounds && !property.is_secret() {
            return Err(Stop::fail(format!("`{key}` is not marked")));
        }
        if depth > 0 && !property.is_secret() {
            secrets_in(property, &format!("{key}."), depth - 1)?;
        }
    }
    Ok(())
}

fn create_offline(lab: &Lab) -> Ran {
    use operator_plugin_fakes::Manner;
    let mut bench = lab.loaded()?;
    let descriptor = bench.describe()?;
    let base = lab.config(&descriptor);
    let has_backends = !url_keys(&descriptor.config_schema, &base).is_empty();
    for mode in [Mode::BlackHole, Mode::As(Manner::Stall), Mode::Closed] {
        let backends = lab.backends(&descriptor, mode)?;
        let begun = std::time::Instant::now();
        bench.create(0, &backends.config)?;
        if begun.elapsed() > LENIENCE {
            let took = begun.elapsed().as_millis();
            return Err(Stop::fail(format!(
                "it took {took} ms while its backends were away"
            )));
        }
        asks_nothing(&backends)?;
    }
    if has_backends {
        Ok(())
    } else {
        Err(Stop::skip(
            "no setting of this plugin names a backend by URL (\"format\": \"uri\")",
        ))
    }
}

fn asks_nothing(backends: &Backends) -> Ran {
    if backends.reached() == 0 {
        return Ok(());
    }
    let asked: Vec<_> = backends
        .fakes
        .iter()
        .filter(|(_, fake)| fake.connections() > 0)
        .map(|(key, _)| key.name())
        .collect();
    Err(Stop::fail(format!("it connected to {}", asked.join(", "))))
}
