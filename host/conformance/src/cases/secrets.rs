//! Whether a secret turns up where it must not.

use operator_loader::Payload;
use operator_model::Property;
use operator_plugin_fakes::{Manner, Reads};
use serde_json::{Map, Value, json};

use crate::{
    backends::Backends, backends::Mode, backends::UrlKey, case::Case, lab::DEADLINE, lab::Lab,
    lab::Ready, verdict::Ran, verdict::Stop,
};

pub(super) const CASES: [Case; 5] = [
    Case {
        id: "secrets.errors",
        expects: "no error repeats the value of a secret key",
        fix: "name the key in an error, and never its value",
        run: |lab| by_key(lab, |spilled| &spilled.errors, "an error"),
    },
    Case {
        id: "secrets.url-userinfo",
        expects: "a user's password in a URL turns up in no error, observation, report or output",
        fix: "print of a URL only host and port, also where a library's error repeats it",
        run: url_userinfo,
    },
    Case {
        id: "secrets.observation",
        expects: "no observation holds the value of a secret key",
        fix: "do not copy the configuration into the observation",
        run: |lab| by_key(lab, |spilled| &spilled.observations, "an observation"),
    },
    Case {
        id: "secrets.violation",
        expects: "no report and no action's result holds the value of a secret key",
        fix: "do not put requests or the configuration into evidence or details",
        run: |lab| by_key(lab, |spilled| &spilled.reports, "a report or a result"),
    },
    Case {
        id: "secrets.logs",
        expects: "the plugin prints no value of a secret key",
        fix: "do not print the configuration, nor requests with their headers",
        run: |lab| by_key(lab, |spilled| &spilled.printed, "what it printed"),
    },
];

/// In the place of secret values, and of passwords in URLs. No other text holds them by chance.
const SECRET: &str = "c4n4ry-5ecret-7f3a9e";
const PASSWORD: &str = "c4n4ry-passw0rd-b81d2c";
const USER: &str = "conformance";

/// All that came out of a plugin that knows the canaries.
#[derive(Default)]
struct Spilled {
    errors: Vec<String>,
    observations: Vec<String>,
    reports: Vec<String>,
    printed: Vec<String>,
}

impl Spilled {
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

/// How many secrets and passwords the plugin was given, and what came out of it.
struct Tried {
    secrets: usize,
    passwords: usize,
    spilled: Spilled,
}

fn spill(lab: &Lab) -> Result<Tried, Stop> {
    let mut ready = lab.ready(Mode::As(Manner::Refuse))?;
    let keys: Vec<_> = ready
        .backends
        .fakes
        .iter()
        .map(|(key, _)| key.clone())
        .collect();
    let schema = ready.descriptor.config_schema.clone();
    let mut spilled = Spilled::default();
    let plain = ready.backends.config.clone();
    let named = ready.backends.with_user_info(&format!("{USER}:{PASSWORD}"));
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
        let payload = ready.bench.try_create(0, config.to_string())?;
        if matches!(payload, Payload::Text(_)) {
            accepted = Some(config.clone());
            break;
        }
        spilled.take(payload, |spilled| &mut spilled.errors);
    }
    refusals(&mut ready, &configs[0], &keys, &mut spilled)?;
    if let Some(config) = accepted {
        ready.bench.try_create(0, config.to_string())?;
        everything(lab, &mut ready, &mut spilled)?;
    }
    let passwords = keys.len();
    let (_, printed) = ready.bench.probe.close(DEADLINE);
    spilled.printed.push(printed);
    Ok(Tried {
        secrets,
        passwords,
        spilled,
    })
}

/// Configurations that are refused while they hold the canaries: an error likes to repeat what it is about.
fn refusals(ready: &mut Ready, config: &Value, keys: &[UrlKey], spilled: &mut Spilled) -> Ran {
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
        let payload = ready.bench.try_create(1, config.to_string())?;
        // What a lenient plugin takes is tried out as well.
        if matches!(payload, Payload::Text(_)) {
            let payload = ready.bench.observe(1, DEADLINE / 3)?.payload;
            spilled.take(payload, |spilled| &mut spilled.observations);
        }
        // The key itself may be repeated, and here its value is no secret's.
        if !matches!(&payload, Payload::Error { message, .. } if message.contains("no_such_key")) {
            spilled.take(payload, |spilled| &mut spilled.errors);
        }
    }
    Ok(())
}

/// Everything that the plugin says against backends that let nobody in, that break, and that agree.
fn everything(lab: &Lab, ready: &mut Ready, spilled: &mut Spilled) -> Ran {
    let golden: Vec<_> = lab
        .golden
        .all()
        .map(|(_, document)| document.to_string())
        .collect();
    let calls = ready.calls().map(|(calls, _)| calls).unwrap_or_default();
    for manner in [
        Manner::Refuse,
        Manner::Error500,
        Manner::Html,
        Manner::Agree(Reads::EmptyObject),
        Manner::Agree(Reads::NotFound),
    ] {
        ready.backends.behave(manner);
        let observed = ready.bench.observe(0, DEADLINE)?.payload;
        if let Payload::Text(text) = &observed {
            let payload = ready.bench.check(0, text)?;
            spilled.take(payload, |spilled| &mut spilled.reports);
        }
        spilled.take(observed, |spilled| &mut spilled.observations);
        for call in &calls {
            let payload = ready.bench.invoke(0, call)?.payload;
            spilled.take(payload, |spilled| &mut spilled.reports);
        }
    }
    for text in golden {
        let payload = ready.bench.check(0, &text)?;
        spilled.take(payload, |spilled| &mut spilled.reports);
    }
    let closed: Backends = lab.backends(&ready.descriptor, Mode::Closed)?;
    let mut config = closed.with_user_info(&format!("{USER}:{PASSWORD}"));
    let keys: Vec<_> = closed.fakes.iter().map(|(key, _)| key.clone()).collect();
    let schema = &ready.descriptor.config_schema;
    config = with_secrets(schema, &keys, &config)
        .0
        .as_object()
        .cloned()
        .unwrap_or_default();
    let config = Value::Object(config).to_string();
    if matches!(ready.bench.try_create(0, config)?, Payload::Text(_)) {
        let payload = ready.bench.observe(0, DEADLINE)?.payload;
        spilled.take(payload, |spilled| &mut spilled.observations);
        for call in &calls {
            let payload = ready.bench.invoke(0, call)?.payload;
            spilled.take(payload, |spilled| &mut spilled.reports);
        }
    }
    Ok(())
}

/// The first text that holds the canary, in any form that is easily read back.
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

/// What base64 makes of a text at each of the three places where it can begin, without the characters that depend on what
/// stands beside it.
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

fn by_key(lab: &Lab, place: fn(&Spilled) -> &Vec<String>, what: &str) -> Ran {
    let tried = spill(lab)?;
    if tried.secrets == 0 {
        return Err(Stop::skip(
            "no key of the configuration is a secret (\"x-secret\": true)",
        ));
    }
    match holding(place(&tried.spilled), SECRET) {
        Some(text) => Err(Stop::fail(format!(
            "{what} holds it: {}",
            around(text, SECRET)
        ))),
        None => Ok(()),
    }
}

fn url_userinfo(lab: &Lab) -> Ran {
    let Tried {
        passwords, spilled, ..
    } = spill(lab)?;
    if passwords == 0 {
        return Err(Stop::skip(
            "no setting of this plugin names a backend by URL",
        ));
    }
    let places = [
        ("an error", &spilled.errors),
        ("an observation", &spilled.observations),
        ("a report or a result", &spilled.reports),
        ("what it printed", &spilled.printed),
    ];
    for (what, texts) in places {
        if let Some(text) = holding(texts, PASSWORD) {
            return Err(Stop::fail(format!(
                "{what} holds it: {}",
                around(text, PASSWORD)
            )));
        }
    }
    Ok(())
}

/// The part of a text that shows it.
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
