//! The formats of PD's replies.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::go_format;

const JSON: &str = "application/json; charset=UTF-8";
const PLAIN: &str = "text/plain; charset=utf-8";
/// Content type of region lists, which PD writes as raw bytes.
const BYTES: &str = "application/octet-stream";

/// One reply, also used as an error.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: String,
    extra: Option<(&'static str, &'static str)>,
}

/// The result of a handler: a reply, or the reply that explains the failure.
pub(crate) type HandlerResult = Result<Reply, Reply>;

impl Reply {
    fn new(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            body,
            extra: None,
        }
    }

    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self::new(StatusCode::OK, JSON, go_format::pretty(value))
    }

    /// The same reply with another status.
    pub(crate) fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// A JSON string: PD's format for success and error messages.
    pub(crate) fn text(status: u16, text: impl AsRef<str>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::json(&text.as_ref()).with(status)
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a handler ends with")]
    pub(crate) fn done(text: &str) -> HandlerResult {
        Ok(Self::text(200, text))
    }

    pub(crate) fn regions(body: String) -> Self {
        Self::new(StatusCode::OK, BYTES, body)
    }

    /// A line of plain text with `nosniff`, as Go's `http.Error` writes it.
    pub(crate) fn plain(status: StatusCode, text: &str) -> Self {
        let mut reply = Self::new(status, PLAIN, format!("{text}\n"));
        reply.extra = Some(("x-content-type-options", "nosniff"));
        reply
    }

    /// Plain text as the gin framework writes it, without `nosniff`.
    pub(crate) fn gin(status: StatusCode, content_type: &'static str, text: &str) -> Self {
        Self::new(status, content_type, text.to_owned())
    }

    /// A body or a number that PD could not parse.
    pub(crate) fn input(message: &str, data: Value) -> Self {
        #[derive(Serialize)]
        struct Input<'a> {
            code: &'static str,
            msg: &'a str,
            data: Value,
        }
        let input = Input {
            code: "input",
            msg: message,
            data,
        };
        let mut reply = Self::json(&input).with(StatusCode::BAD_REQUEST);
        reply.extra = Some(("tidb-error-code", "input"));
        reply
    }

    /// An invalid number in a path, in the format of the store handlers.
    pub(crate) fn not_a_number(text: &str) -> Self {
        Self::input(&parse_error(text), json!({}))
    }

    pub(crate) fn not_bootstrapped() -> Self {
        Self::text(
            500,
            "[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped, please start TiKV first",
        )
    }
}

/// Go's message for a text that is not a number.
pub(crate) fn parse_error(text: &str) -> String {
    format!("strconv.ParseUint: parsing {text:?}: invalid syntax")
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        if let Some((name, value)) = self.extra {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
