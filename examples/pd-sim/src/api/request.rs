//! Query parameters, and bodies parsed like Go parses them.

use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::reply::Reply;

/// The query in the given order; a name may occur several times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(
            pairs
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.0.iter().filter(|(known, _)| known == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.all(name)
            .first()
            .copied()
            .filter(|value| !value.is_empty())
    }

    /// A number; `None` if it is absent or not a number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.first(name)?.parse().ok()
    }
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// A body that must be a JSON object.
pub(crate) fn object(body: &str) -> Result<Map<String, Value>, Reply> {
    match serde_json::from_str(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => {
            let is = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            let text = format!(
                "json: cannot unmarshal {is} into Go value of type map[string]interface {{}}"
            );
            Err(Reply::input(
                &text,
                json!({"Value": is, "Offset": body.len()}),
            ))
        }
        Err(_) => {
            let (message, offset) = syntax_error(body);
            let data = offset.map_or_else(|| json!({}), |offset| json!({"Offset": offset}));
            Err(Reply::input(&message, data))
        }
    }
}

/// Go's error message for invalid JSON, and the byte offset.
fn syntax_error(body: &str) -> (String, Option<usize>) {
    let text = body.trim_start();
    let skipped = body.len() - text.len();
    if text.is_empty() {
        return ("EOF".to_owned(), None);
    }
    for literal in ["false", "true", "null"] {
        if text[..1] != literal[..1] {
            continue;
        }
        let differs = text
            .chars()
            .zip(literal.chars())
            .position(|(is, due)| is != due);
        if let Some(place) = differs {
            let is = text.chars().nth(place).unwrap_or_default();
            let due = &literal[place..=place];
            let message =
                format!("invalid character '{is}' in literal {literal} (expecting '{due}')");
            return (message, Some(skipped + place + 1));
        }
    }
    if text.starts_with(['{', '[', '"']) {
        return ("unexpected EOF".to_owned(), None);
    }
    let first = text.chars().next().unwrap_or_default();
    let message = format!("invalid character '{first}' looking for beginning of value");
    (message, Some(skipped + 1))
}

/// A number in a body: any JSON number, as in Go.
pub(crate) fn id(map: &Map<String, Value>, key: &str) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what PD does with it, too"
    )]
    let id = map.get(key)?.as_f64().map(|number| number as u64);
    id
}

pub(crate) fn number(map: &Map<String, Value>, key: &str) -> Option<f64> {
    map.get(key)?.as_f64()
}

pub(crate) fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_what_came_several_times() {
        let query = Query::parse("state=down&state=Up&timestamp&start_key=&x=a%20b+c");
        assert_eq!(query.all("state"), ["down", "Up"]);
        assert!(query.has("timestamp") && query.has("start_key"));
        assert_eq!(query.first("start_key"), None);
        assert_eq!(query.first("x"), Some("a b c"));
    }

    #[test]
    fn invalid_json_is_rejected_as_by_go() {
        let cases = [
            (
                "foo",
                "invalid character 'o' in literal false (expecting 'a')",
                Some(2),
            ),
            (
                "x",
                "invalid character 'x' looking for beginning of value",
                Some(1),
            ),
            ("", "EOF", None),
            ("{", "unexpected EOF", None),
        ];
        for (body, message, offset) in cases {
            assert_eq!(syntax_error(body), (message.to_owned(), offset));
        }
    }
}
