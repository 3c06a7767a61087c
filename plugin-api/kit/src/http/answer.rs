//! The answer of an HTTP server.

use std::io::Read;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::{
    Body,
    http::{Response, header},
};

use super::fault::Fault;

/// How much of the server's own message is repeated.
const MAX_MESSAGE_CHARS: usize = 200;

/// An answer of any status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The server's clock, by its `Date` header. Milliseconds since the Unix epoch, in whole seconds.
    pub date_ms: Option<i64>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// Whether the server's body is longer.
    pub truncated: bool,
}

impl Answer {
    pub(super) fn read(mut response: Response<Body>, max_bytes: u64) -> Result<Self, Fault> {
        let date = response.headers().get(header::DATE);
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
        let mut body = Vec::new();
        let mut reader = response.body_mut().as_reader().take(max_bytes + 1);
        let read = reader.read_to_end(&mut body);
        read.map_err(|error| Fault::of_body(&error))?;
        let truncated = body.len() as u64 > max_bytes;
        body.truncate(usize::try_from(max_bytes).unwrap_or(usize::MAX));
        Ok(Self {
            status: response.status().as_u16(),
            date_ms: date.map(|date| date.timestamp().as_millisecond()),
            body,
            truncated,
        })
    }

    /// The JSON body of an answer of 2xx; any other status is a fault.
    pub fn ok<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        self.success()?;
        self.json()
    }

    /// The JSON body, whatever the status.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        self.whole()?;
        serde_json::from_slice(&self.body).map_err(|error| {
            let status = self.status;
            Fault::Garbage(format!("answered {status} with unexpected JSON: {error}"))
        })
    }

    /// The text of an answer of 2xx; any other status is a fault.
    pub fn text(&self) -> Result<&str, Fault> {
        self.success()?;
        self.whole()?;
        let text = std::str::from_utf8(&self.body);
        text.map_err(|_| Fault::Garbage("answered with bytes that are not text".into()))
    }

    fn success(&self) -> Result<(), Fault> {
        match self.status {
            200..300 => Ok(()),
            status => Err(Fault::Status(status, self.message())),
        }
    }

    fn whole(&self) -> Result<(), Fault> {
        if self.truncated {
            return Err(Fault::Garbage("the answer is too large".into()));
        }
        Ok(())
    }

    /// The server's own message, from a JSON body of a usual shape: `{"error": {"message"}}`, `{"error"}` or `{"detail"}`.
    fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let message = body
            .pointer("/error/message")
            .or(body.get("error"))
            .or(body.get("detail"));
        let message = message.and_then(Value::as_str).unwrap_or_default();
        let printable = message.chars().filter(|c| !c.is_control());
        printable.take(MAX_MESSAGE_CHARS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.into(),
            ..Answer::default()
        }
    }

    #[test]
    fn a_refusal_is_a_fault_with_the_servers_own_message() {
        for (body, shown) in [
            (
                r#"{"error":{"message":"no\nnode"}}"#,
                "answered 404: nonode",
            ),
            (r#"{"error":"bad query"}"#, "answered 404: bad query"),
            (r#"{"detail":"Not Found"}"#, "answered 404: Not Found"),
            ("<html>", "answered 404"),
        ] {
            let fault = answer(404, body).ok::<Value>().unwrap_err();
            assert_eq!(fault.to_string(), shown);
        }
    }

    #[test]
    fn a_body_of_another_shape_is_garbage() {
        assert_eq!(answer(200, "[1]").ok::<Vec<u8>>(), Ok(vec![1]));
        assert_eq!(
            answer(200, "7").ok::<String>().unwrap_err().code(),
            "garbage"
        );
        assert_eq!(answer(200, "7").text(), Ok("7"));
    }
}
