//! PD's errors, which have five shapes:
//!
//! - a JSON string, mostly `"[CODE]message"`;
//! - an object with `code` and `msg`, for input that cannot be read;
//! - plain text with a code, from the redirector;
//! - plain text of the router (404), or nothing (405);
//! - `Too Many Requests` (429).

use operator_plugin_kit::Fault;
use serde_json::Value;

/// How much of another program's own message is repeated.
const MAX_MESSAGE_CHARS: usize = 300;
/// A scheduler's handler passes its own answer on as a string within a string.
const MAX_NESTING: usize = 3;

/// What kind of refusal or failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PdErrorKind {
    /// No connection came about, so PD saw nothing of the request.
    NotSent,
    /// The request may have been seen, but no whole answer came.
    NoAnswer,
    /// The PD that was asked knows no leader. It did nothing.
    NoLeader,
    /// The PD that was asked passed it on to one that is not the leader, which did nothing.
    NotLeader,
    /// The PD that was asked passed it on to a leader that does not answer: it may have been seen there.
    LeaderSilent,
    /// The PD that was asked has not started or is closing.
    NotStarted,
    /// No store was ever registered, or this PD has just lost the leadership.
    NotBootstrapped,
    /// PD's own rate limit.
    RateLimited,
    /// There is no such path or method in this version.
    NoSuchPath,
    /// PD could not read the input.
    Input,
    /// PD refused it.
    Refused,
    /// PD began, and its own store did not answer it in time.
    Undecided,
    /// The answer is not one of PD's.
    Foreign,
}

/// Why PD did not give what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PdError {
    pub(crate) kind: PdErrorKind,
    /// None where no answer came.
    pub(crate) status: Option<u16>,
    /// `PD:core:ErrStoreNotFound` and such, where there is one.
    pub(crate) code: Option<String>,
    /// PD's own message, or one of ours where it has none.
    pub(crate) message: String,
}

impl PdError {
    pub(crate) fn of_answer(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::String(text)) => {
                Self::of_text(status, &innermost(text), PdErrorKind::Refused)
            }
            Ok(Value::Object(fields)) if fields.contains_key("msg") => {
                let message = fields["msg"].as_str().unwrap_or_default();
                Self::new(PdErrorKind::Input, Some(status), None, message)
            }
            // PD answers `null` or `{}` where an error lost its message.
            Ok(Value::Null) => Self::without_message(status),
            Ok(Value::Object(fields)) if fields.is_empty() => Self::without_message(status),
            Ok(_) => Self::foreign(
                status,
                &format!("answered {status}, but not in a form that PD uses"),
            ),
            Err(_) => Self::of_text(status, &String::from_utf8_lossy(body), PdErrorKind::Foreign),
        }
    }

    pub(crate) fn foreign(status: u16, message: &str) -> Self {
        Self::new(PdErrorKind::Foreign, Some(status), None, message)
    }

    fn without_message(status: u16) -> Self {
        let message = format!("answered {status} without a message");
        Self::new(PdErrorKind::Refused, Some(status), None, &message)
    }

    /// `otherwise` is the kind of a text that names none by itself.
    fn of_text(status: u16, text: &str, otherwise: PdErrorKind) -> Self {
        let text = text.trim();
        let code = text
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map(|(code, _)| code)
            .filter(|code| code.starts_with("PD:"));
        let kind = match (code, status, text) {
            (Some(code), ..) => kind_of_code(code),
            (None, 503, "no leader") => PdErrorKind::NoLeader,
            (None, 404, "404 page not found") | (None, 405, "") => PdErrorKind::NoSuchPath,
            (None, 429, _) => PdErrorKind::RateLimited,
            (None, 500.., text) if ran_out_of_time(text) => PdErrorKind::Undecided,
            // The list of what is well and what is not, of the readiness checks.
            (None, 503, text) if text.starts_with("[+]") || text.starts_with("[-]") => {
                PdErrorKind::Refused
            }
            _ => otherwise,
        };
        if kind == PdErrorKind::Foreign {
            return Self::foreign(
                status,
                &format!("answered {status}, but not in a form that PD uses"),
            );
        }
        let text = match text {
            "" => format!("answered {status} without a message"),
            text => text.to_owned(),
        };
        Self::new(kind, Some(status), code.map(str::to_owned), &text)
    }

    fn new(kind: PdErrorKind, status: Option<u16>, code: Option<String>, message: &str) -> Self {
        let printable = message
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c });
        Self {
            kind,
            status,
            code,
            message: printable.take(MAX_MESSAGE_CHARS).collect(),
        }
    }

    /// Whether it is certain that nothing was changed.
    pub(crate) fn nothing_done(&self) -> bool {
        use PdErrorKind as Kind;
        match self.kind {
            Kind::NotSent
            | Kind::NoLeader
            | Kind::NotLeader
            | Kind::NotStarted
            | Kind::NotBootstrapped
            | Kind::RateLimited
            | Kind::NoSuchPath
            | Kind::Input
            | Kind::Refused => true,
            Kind::NoAnswer | Kind::LeaderSilent | Kind::Undecided | Kind::Foreign => false,
        }
    }

    /// Whether another PD may know better. Only asked where nothing was done.
    pub(crate) fn another_may_do(&self) -> bool {
        use PdErrorKind as Kind;
        matches!(
            self.kind,
            Kind::NotSent | Kind::NoLeader | Kind::NotLeader | Kind::NotStarted
        )
    }

    /// Whether the last part of the code is this one.
    pub(crate) fn is(&self, name: &str) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        code.rsplit(':').next() == Some(name)
    }

    /// Whether PD itself answered.
    pub(crate) fn is_from_pd(&self) -> bool {
        use PdErrorKind as Kind;
        !matches!(self.kind, Kind::NotSent | Kind::NoAnswer | Kind::Foreign)
    }
}

fn kind_of_code(code: &str) -> PdErrorKind {
    match code.rsplit(':').next().unwrap_or_default() {
        "ErrRedirectNoLeader" => PdErrorKind::NoLeader,
        "ErrRedirectToNotLeader" => PdErrorKind::NotLeader,
        "ErrRedirect" => PdErrorKind::LeaderSilent,
        "ErrServerNotStarted" => PdErrorKind::NotStarted,
        "ErrNotBootstrapped" => PdErrorKind::NotBootstrapped,
        _ if code.starts_with("PD:etcd:") => PdErrorKind::Undecided,
        _ => PdErrorKind::Refused,
    }
}

fn ran_out_of_time(message: &str) -> bool {
    message.contains("context deadline exceeded") || message.contains("request timed out")
}

/// The text within the text, where an answer was passed on as a string.
fn innermost(mut text: String) -> String {
    for _ in 0..MAX_NESTING {
        match serde_json::from_str::<Value>(&text) {
            Ok(Value::String(inner)) => text = inner,
            _ => break,
        }
    }
    text
}

impl From<Fault> for PdError {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::NotSent(_) => PdErrorKind::NotSent,
            Fault::NoAnswer(_) | Fault::TimedOut(_) => PdErrorKind::NoAnswer,
            Fault::Garbage(_) | Fault::Partial(_) | Fault::Status(..) => PdErrorKind::Foreign,
        };
        Self::new(kind, None, None, &fault.to_string())
    }
}

impl std::fmt::Display for PdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> PdErrorKind {
        PdError::of_answer(status, body.as_bytes()).kind
    }

    #[test]
    fn every_shape_is_distinguished() {
        use PdErrorKind as Kind;
        for (status, body, expected) in [
            (
                404,
                "\"[PD:core:ErrStoreNotFound]store 99 not found\"\n",
                Kind::Refused,
            ),
            (500, "\"region has no voter in store 6\"\n", Kind::Refused),
            (
                400,
                r#"{"code":"input","msg":"bad","data":{}}"#,
                Kind::Input,
            ),
            (
                503,
                "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n",
                Kind::NoLeader,
            ),
            (503, "no leader\n", Kind::NoLeader),
            (
                500,
                "[PD:apiutil:ErrRedirectToNotLeader]redirect to not leader\n",
                Kind::NotLeader,
            ),
            (
                500,
                "[PD:apiutil:ErrRedirect]redirect failed\n",
                Kind::LeaderSilent,
            ),
            (
                500,
                "[PD:server:ErrServerNotStarted]server not started\n",
                Kind::NotStarted,
            ),
            (
                500,
                "\"[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped\"\n",
                Kind::NotBootstrapped,
            ),
            (404, "404 page not found\n", Kind::NoSuchPath),
            (405, "", Kind::NoSuchPath),
            (429, "Too Many Requests\n", Kind::RateLimited),
            (404, "null\n", Kind::Refused),
            (400, "{}", Kind::Refused),
            (
                500,
                "\"[PD:etcd:ErrEtcdTxnInternal]internal etcd transaction error occurred\"",
                Kind::Undecided,
            ),
            (500, "\"etcdserver: request timed out\"", Kind::Undecided),
            (502, "<html>Bad Gateway</html>", Kind::Foreign),
            (500, "[1]", Kind::Foreign),
            (200, "", Kind::Foreign),
        ] {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_message_is_pds_own_with_its_code() {
        let error =
            PdError::of_answer(500, br#""[PD:core:ErrStoreUnhealthy]store 5 is unhealthy""#);
        assert!(error.is("ErrStoreUnhealthy") && !error.is("ErrStore"));
        assert_eq!(
            error.to_string(),
            "[PD:core:ErrStoreUnhealthy]store 5 is unhealthy"
        );
        let nested = r#""\"[PD:core:ErrStoreNotFound]store 99 not found\"\n""#;
        let error = PdError::of_answer(500, nested.as_bytes());
        assert_eq!(
            error.to_string(),
            "[PD:core:ErrStoreNotFound]store 99 not found"
        );
        let long = format!("\"{}\"", "x".repeat(10_000));
        assert_eq!(
            PdError::of_answer(500, long.as_bytes()).message.len(),
            MAX_MESSAGE_CHARS
        );
    }

    #[test]
    fn only_what_certainly_did_nothing_counts_as_done_nothing() {
        for (status, body, nothing) in [
            (500, "\"no operator step is built\"", true),
            (503, "no leader", true),
            (500, "[PD:apiutil:ErrRedirect]redirect failed", false),
            (500, "\"context deadline exceeded\"", false),
            (504, "upstream timed out", false),
        ] {
            let error = PdError::of_answer(status, body.as_bytes());
            assert_eq!(error.nothing_done(), nothing, "{body}");
            assert!(nothing || !error.another_may_do(), "{body}");
        }
        assert!(!PdError::from(Fault::NoAnswer(String::new())).nothing_done());
        assert!(PdError::from(Fault::NotSent(String::new())).nothing_done());
    }
}
