//! Whether secrets leak.

use operator_loader::Payload;
use operator_model::Property;
use operator_plugin_fakes::{Manner, Reads};
use serde_json::{Map, Value, json};

use crate::{
    backends::Backends, backends::Mode, backends::UrlKey, case::Case, context::CaseContext,
    context::DEADLINE, context::Setup, verdict::CaseResult, verdict::Stop,
};

pub(super) const CASES: [Case; 5] = [
    Case {
        id: "secrets.errors",
        expects: "no error contains the value of a secret key",
        fix: "name the key in an error, not its value",
        run: |context| by_key(context, |output| &output.errors, "an error"),
    },
    Case {
        id: "secrets.url-userinfo",
        expects: "a password in a URL appears in no error, observation, report or output",
        fix: "print only host and port of a URL, also in errors of libraries",
        run: url_userinfo,
    },
    Case {
        id: "secrets.observation",
        expects: "no observation contains the value of a secret key",
        fix: "do not copy the configuration into the observation",
        run: |context| by_key(context, |output| &output.observations, "an observation"),
    },
    Case {
        id: "secrets.violation",
        expects: "no report and no action result contains the value of a secret key",
        fix: "do not copy requests or the configuration into evidence or details",
        run: |context| by_key(context, |output| &output.reports, "a report or a result"),
    },
    Case {
        id: "secrets.logs",
        expects: "the plugin prints no value of a secret key",
        fix: "do not print the configuration or request headers",
        run: |context| by_key(context, |output| &output.printed, "the output"),
    },
];

/// Canaries for secret values and for passwords in URLs.
const SECRET: &str = "c4n4ry-5ecret-7f3a9e";
const PASSWORD: &str = "c4n4ry-passw0rd-b81d2c";
const USER: &str = "conformance";

/// The output of a plugin that was given the canaries.
#[derive(Default)]
struct Output {
    errors: Vec<String>,
    observations: Vec<String>,
    reports: Vec<String>,
    printed: Vec<String>,
}

impl Output {
    fn take(&mut self, payload: Payload, documents: fn(&mut Self) -> &mut Vec<String>) {
        match payload {
            Payload::Text(text) => documents(self).push(text),
            Payload::Error { message, .. } => self.errors.push(message),
            Payload::TooLarge(_) | Payload::Nothing(_) => {}
        }
    }
}

/// The configuration with a canary in every secret key, and how many there are.
fn with_secrets(schema: &Value, urls: &[UrlKey], config: &Map<String, Value>) -> (Value, usize) {
    let mut config = Value::Object(config.clone());
    let mut keys = Vec::new();
    secret_keys(Property::root(schema), &mut Vec::new(), &mut keys);
    keys.retain(|path| !urls.iter().any(|url| url.path == *path));
    for path in &keys {
        let mut at = &mut config;
        for part in path {
            if !at[part].is_object() && path.last() != Some(part) {
                at[part] = json!({});
            }
            at = &mut at[part];
        }
        *at = json!(SECRET);
    }
    (config, keys.len())
}

fn secret_keys(table: Property<'_>, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    const DEEPEST: usize = 8;
    for (name, property) in table.properties() {
        at.push(name.to_owned());
        if property.is_secret() && property.kinds().any(|kind| kind == "string") {
            found.push(at.clone());
        } else if at.len() < DEEPEST {
            secret_keys(property, at, found);
        }
        at.pop();
    }
}

/// The output of the plugin, and how many secrets and passwords it was given.
struct Collected {
    secrets: usize,
    passwords: usize,
    output: Output,
}

fn collect(context: &CaseContext) -> Result<Collected, Stop> {
    let mut setup = context.set_up(Mode::As(Manner::Refuse))?;
    let keys: Vec<_> = setup
        .backends
        .fakes
        .iter()
        .map(|(key, _)| key.clone())
        .collect();
    let schema = setup.descriptor.config_schema.clone();
    let mut output = Output::default();
    let plain = setup.backends.config.clone();
    let named = setup.backends.with_user_info(&format!("{USER}:{PASSWORD}"));
    let (both, secrets) = with_secrets(&schema, &keys, &named);
    let (only_secrets, _) = with_secrets(&schema, &keys, &plain);
    let configs = [
        both,
        only_secrets,
        Value::Object(named),
        Value::Object(plain),
    ];
    let mut accepted = None;
    for config in &configs {
        let payload = setup.worker.try_create(0, config.to_string())?;
        if matches!(payload, Payload::Text(_)) {
            accepted = Some(config.clone());
            break;
        }
        output.take(payload, |output| &mut output.errors);
    }
    refusals(&mut setup, &configs[0], &keys, &mut output)?;
    if let Some(config) = accepted {
        setup.worker.try_create(0, config.to_string())?;
        everything(context, &mut setup, &mut output)?;
    }
    let passwords = keys.len();
    let (_, printed) = setup.worker.probe.close(DEADLINE);
    output.printed.push(printed);
    Ok(Collected {
        secrets,
        passwords,
        output,
    })
}

/// Configurations with canaries that create must refuse: errors often repeat the value.
fn refusals(setup: &mut Setup, config: &Value, keys: &[UrlKey], output: &mut Output) -> CaseResult {
    let mut wrong = vec![config.clone()];
    wrong[0]["no_such_key"] = json!(SECRET);
    for key in keys {
        for url in [
            format!("http://{USER}:{PASSWORD}@[nonsense"),
            format!("{USER}:{PASSWORD}@127.0.0.1"),
            format!("nonsense://{USER}:{PASSWORD}@127.0.0.1:1"),
        ] {
            let mut members = config.as_object().cloned().unwrap_or_default();
            key.set(&mut members, url);
            wrong.push(Value::Object(members));
        }
    }
    for config in wrong {
        let payload = setup.worker.try_create(1, config.to_string())?;
        // A configuration that create accepts is used as well.
        if matches!(payload, Payload::Text(_)) {
            let payload = setup.worker.observe(1, DEADLINE / 3)?.payload;
            output.take(payload, |output| &mut output.observations);
        }
        // The error may contain the unknown key and its value, which is not secret.
        if !matches!(&payload, Payload::Error { message, .. } if message.contains("no_such_key")) {
            output.take(payload, |output| &mut output.errors);
        }
    }
    Ok(())
}

/// Every answer of the plugin with backends that refuse, fail and accept.
fn everything(context: &CaseContext, setup: &mut Setup, output: &mut Output) -> CaseResult {
    let golden: Vec<_> = context
        .golden
        .all()
        .map(|(_, document)| document.to_string())
        .collect();
    let calls = setup.calls().map(|(calls, _)| calls).unwrap_or_default();
    for manner in [
        Manner::Refuse,
        Manner::Error500,
        Manner::Html,
        Manner::Agree(Reads::EmptyObject),
        Manner::Agree(Reads::NotFound),
    ] {
        setup.backends.behave(manner);
        let observed = setup.worker.observe(0, DEADLINE)?.payload;
        if let Payload::Text(text) = &observed {
            let payload = setup.worker.check(0, text)?;
            output.take(payload, |output| &mut output.reports);
        }
        output.take(observed, |output| &mut output.observations);
        for call in &calls {
            let payload = setup.worker.invoke(0, call)?.payload;
            output.take(payload, |output| &mut output.reports);
        }
    }
    for text in golden {
        let payload = setup.worker.check(0, &text)?;
        output.take(payload, |output| &mut output.reports);
    }
    let closed: Backends = context.backends(&setup.descriptor, Mode::Closed)?;
    let mut config = closed.with_user_info(&format!("{USER}:{PASSWORD}"));
    let keys: Vec<_> = closed.fakes.iter().map(|(key, _)| key.clone()).collect();
    let schema = &setup.descriptor.config_schema;
    config = with_secrets(schema, &keys, &config)
        .0
        .as_object()
        .cloned()
        .unwrap_or_default();
    let config = Value::Object(config).to_string();
    if matches!(setup.worker.try_create(0, config)?, Payload::Text(_)) {
        let payload = setup.worker.observe(0, DEADLINE)?.payload;
        output.take(payload, |output| &mut output.observations);
        for call in &calls {
            let payload = setup.worker.invoke(0, call)?.payload;
            output.take(payload, |output| &mut output.reports);
        }
    }
    Ok(())
}

/// The first text that contains the canary, also upper-cased, reversed, in hex or in base64.
fn holding<'a>(texts: &'a [String], canary: &str) -> Option<&'a String> {
    let backwards: String = canary.chars().rev().collect();
    let mut forms = vec![canary.to_owned(), canary.to_uppercase(), backwards];
    forms.push(hex(canary));
    forms.extend(base64_cores(canary));
    let holds = |text: &&String| forms.iter().any(|form| text.contains(form));
    texts.iter().find(holds)
}

fn hex(text: &str) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let digits = text
        .bytes()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.collect()
}

/// The base64 encodings of a text at its three possible offsets, without the characters that depend on adjacent bytes.
fn base64_cores(text: &str) -> [String; 3] {
    [0, 1, 2].map(|before| {
        let padded = [vec![0; before], text.as_bytes().to_vec()].concat();
        let whole = padded.len() / 3 * 3;
        let encoded = base64(&padded[..whole]);
        encoded[if before == 0 { 0 } else { 4 }..].to_owned()
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).flat_map(|three| {
        let bits = three
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63]))
    });
    groups.collect()
}

fn by_key(context: &CaseContext, place: fn(&Output) -> &Vec<String>, what: &str) -> CaseResult {
    let collected = collect(context)?;
    if collected.secrets == 0 {
        return Err(Stop::skip(
            "no key of the configuration is a secret (\"x-secret\": true)",
        ));
    }
    match holding(place(&collected.output), SECRET) {
        Some(text) => Err(Stop::fail(format!(
            "{what} contains it: {}",
            around(text, SECRET)
        ))),
        None => Ok(()),
    }
}

fn url_userinfo(context: &CaseContext) -> CaseResult {
    let Collected {
        passwords, output, ..
    } = collect(context)?;
    if passwords == 0 {
        return Err(Stop::skip(
            "no setting of this plugin names a backend by URL",
        ));
    }
    let places = [
        ("an error", &output.errors),
        ("an observation", &output.observations),
        ("a report or a result", &output.reports),
        ("the output", &output.printed),
    ];
    for (what, texts) in places {
        if let Some(text) = holding(texts, PASSWORD) {
            return Err(Stop::fail(format!(
                "{what} contains it: {}",
                around(text, PASSWORD)
            )));
        }
    }
    Ok(())
}

/// The part of a text around the canary.
fn around(text: &str, canary: &str) -> String {
    let at = text.find(canary).unwrap_or(0);
    let from = text.floor_char_boundary(at.saturating_sub(80));
    text[from..].chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_in_any_form() {
        assert_eq!(base64(b"user:pass123"), "dXNlcjpwYXNzMTIz");
        let found = |text: &str| holding(&[text.to_owned()], "pass123canary").is_some();
        assert!(found("http://u:pass123canary@h"));
        assert!(found("dXNlcjpwYXNzMTIzY2FuYXJ5")); // user:pass123canary
        assert!(found("YXV0aDpwYXNzMTIzY2FuYXJ5"));
        assert!(found(&hex("x pass123canary")));
        assert!(!found("pass123"));
    }

    #[test]
    fn secret_keys_get_the_canary_wherever_they_lie() {
        let schema = json!({"properties": {
            "token": {"type": "string", "x-secret": true},
            "nested": {"properties": {"key": {"type": ["string", "null"], "x-secret": true}}},
            "plain": {"type": "string"},
        }});
        let (config, count) = with_secrets(&schema, &[], &Map::new());
        assert_eq!(count, 2);
        assert_eq!(config, json!({"token": SECRET, "nested": {"key": SECRET}}));
    }
}
