//! The fake backends that a plugin is pointed at: one for every setting that names one.
//!
//! A setting names a backend if its schema has `"format": "uri"`, or if its default, or its value in the plugin's own
//! `conformance/config.toml`, is a URL.

use std::io;

use operator_model::Property;
use operator_plugin_fakes::{Exchange, Fake, Manner, Protocol};
use serde_json::{Map, Value};

/// How deep tables of settings are nested.
const DEEPEST: usize = 8;

/// One setting that names a backend, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UrlKey {
    /// From the top of the configuration.
    pub(super) path: Vec<String>,
    scheme: String,
    /// Whether it is a list.
    is_list: bool,
}

impl UrlKey {
    pub(super) fn name(&self) -> String {
        self.path.join(".")
    }

    /// Sets it to this URL, or to a list of this one.
    pub(super) fn set(&self, config: &mut Map<String, Value>, url: String) {
        let url = Value::from(url);
        let value = if self.is_list {
            Value::Array(vec![url])
        } else {
            url
        };
        put(config, &self.path, value);
    }
}

/// Every setting that names a backend.
pub(super) fn url_keys(schema: &Value, config: &Map<String, Value>) -> Vec<UrlKey> {
    let mut found = Vec::new();
    let given = Value::Object(config.clone());
    collect(Property::root(schema), &given, &mut Vec::new(), &mut found);
    found
}

fn collect(table: Property<'_>, given: &Value, at: &mut Vec<String>, found: &mut Vec<UrlKey>) {
    for (name, property) in table.properties() {
        at.push(name.to_owned());
        let given = &given[name];
        if let Some((scheme, is_list)) = url_of(property, given) {
            let path = at.clone();
            found.push(UrlKey {
                path,
                scheme,
                is_list,
            });
        } else if at.len() < DEEPEST {
            collect(property, given, at, found);
        }
        at.pop();
    }
}

/// The scheme of a setting's URLs, and whether it holds a list of them.
fn url_of(property: Property<'_>, given: &Value) -> Option<(String, bool)> {
    let declared = property.keyword("default").unwrap_or(&Value::Null);
    let scheme = |value: &Value| {
        let text = value.as_str().or_else(|| value.get(0)?.as_str())?;
        let (scheme, _) = text.split_once("://")?;
        Some(scheme.to_owned())
    };
    let is_uri = |property: Property<'_>| {
        let format = property.keyword("format").and_then(Value::as_str);
        matches!(format, Some("uri" | "url")) && property.kinds().any(|kind| kind == "string")
    };
    let is_list = property.kinds().any(|kind| kind == "array");
    let is_declared = is_uri(property) || property.items().is_some_and(is_uri);
    match scheme(given).or_else(|| scheme(declared)) {
        Some(scheme) => Some((scheme, is_list)),
        None if is_declared => Some(("http".to_owned(), is_list)),
        None => None,
    }
}

fn put(config: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            config.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let below = config.entry(first).or_insert(Value::Null);
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            if let Value::Object(below) = below {
                put(below, rest, value);
            }
        }
    }
}

/// How the backends behave at first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Closed,
    BlackHole,
    As(Manner),
}

/// The running fakes, and the configuration that names them.
pub(super) struct Backends {
    /// Each with the setting that names it.
    pub(super) fakes: Vec<(UrlKey, Fake)>,
    pub(super) config: Map<String, Value>,
}

impl Backends {
    pub(super) fn start(schema: &Value, base: &Map<String, Value>, mode: Mode) -> io::Result<Self> {
        let mut config = base.clone();
        let mut fakes = Vec::new();
        for key in url_keys(schema, base) {
            let protocol = Protocol::of_scheme(&key.scheme);
            let fake = match mode {
                Mode::Closed => Fake::closed(protocol)?,
                Mode::BlackHole => Fake::black_hole()?,
                Mode::As(manner) => Fake::start(protocol, manner)?,
            };
            key.set(&mut config, fake.url(&key.scheme));
            fakes.push((key, fake));
        }
        Ok(Self { fakes, config })
    }

    /// Puts this before the host of every URL: `user:password@`.
    pub(super) fn with_user_info(&self, user_info: &str) -> Map<String, Value> {
        let mut config = self.config.clone();
        for (key, fake) in &self.fakes {
            let url = format!("{}://{user_info}@127.0.0.1:{}", key.scheme, fake.port());
            key.set(&mut config, url);
        }
        config
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        let fakes = self.fakes.iter();
        fakes.flat_map(|(_, fake)| fake.exchanges()).collect()
    }

    /// The requests for a change.
    pub(super) fn changes(&self) -> Vec<Exchange> {
        let mut exchanges = self.exchanges();
        exchanges.retain(|exchange| exchange.changes() == Some(true));
        exchanges
    }

    /// Connections and requests that have reached them.
    pub(super) fn reached(&self) -> usize {
        let of = |fake: &Fake| fake.connections() + fake.exchanges().len();
        self.fakes.iter().map(|(_, fake)| of(fake)).sum()
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.fakes.iter().for_each(|(_, fake)| fake.behave(manner));
    }

    pub(super) fn open(&self, manner: Manner) -> io::Result<()> {
        self.fakes
            .iter()
            .try_for_each(|(_, fake)| fake.open(manner))
    }

    pub(super) fn forget(&self) {
        self.fakes.iter().for_each(|(_, fake)| fake.forget());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_that_name_backends_are_found() {
        let schema = json!({
            "properties": {
                "url": {"type": "string", "default": "http://localhost:1"},
                "more": {"type": "array", "items": {"type": "string", "format": "uri"}},
                "name": {"type": "string", "default": "x"},
                "given": {"type": ["string", "null"]},
                "table": {"$ref": "#/$defs/Table"},
                "maybe": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
            },
            "$defs": {"Table": {"properties": {"store": {"type": "string", "default": "kv://h"}}}},
        });
        let config = json!({"given": "amqp://host/x"});
        let mut keys = url_keys(&schema, config.as_object().unwrap());
        keys.sort_by_key(UrlKey::name);
        let shown: Vec<_> = keys
            .iter()
            .map(|key| format!("{} {} {}", key.name(), key.scheme, key.is_list))
            .collect();
        assert_eq!(
            shown,
            [
                "given amqp false",
                "maybe http false",
                "more http true",
                "table.store kv false",
                "url http false",
            ]
        );
    }

    #[test]
    fn the_configuration_names_the_fakes() {
        let schema = json!({"properties": {
            "url": {"type": "string", "format": "uri"},
            "more": {"type": "array", "items": {"type": "string", "format": "uri"}},
        }});
        let backends = Backends::start(&schema, &Map::new(), Mode::Closed).unwrap();
        let port = backends.fakes[1].1.port();
        let named = &backends.config[&backends.fakes[1].0.name()];
        let url = named.as_str().or_else(|| named[0].as_str()).unwrap();
        assert_eq!(url, format!("http://127.0.0.1:{port}"));
        assert!(backends.config["more"].is_array());
        let named = backends.with_user_info("u:p");
        assert!(named["url"].as_str().unwrap().starts_with("http://u:p@127"));
    }
}
