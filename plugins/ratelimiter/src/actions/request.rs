//! The request of an action, in either form of the API.

use operator_plugin_api::{Call, Error};
use operator_plugin_kit::{
    Change, Method,
    endpoint::segment,
    params::{parse, unknown_action},
};
use serde_json::{Value, json};

use super::{names, params};
use crate::observation::ApiForm;

/// An action with valid parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    ResetCounter(params::Key),
    UpdateLimit(params::NewLimit),
    RestoreLimit(params::PreviousLimit),
    BlockKey(params::Block),
    UnblockKey(params::Key),
    DrainNode(params::Node),
    UndrainNode(params::Node),
}

impl Action {
    pub(super) fn parse(call: &Call) -> Result<Self, Error> {
        match call.action.as_str() {
            names::RESET_COUNTER => parse(call).map(Self::ResetCounter),
            names::UPDATE_LIMIT => parse(call).map(Self::UpdateLimit),
            names::RESTORE_LIMIT => parse(call).map(Self::RestoreLimit),
            names::BLOCK_KEY => parse(call).map(Self::BlockKey),
            names::UNBLOCK_KEY => parse(call).map(Self::UnblockKey),
            names::DRAIN_NODE => parse(call).map(Self::DrainNode),
            names::UNDRAIN_NODE => parse(call).map(Self::UndrainNode),
            other => Err(unknown_action(other, names::ALL)),
        }
    }

    /// None where this form of the API has no such request.
    pub(super) fn request(&self, form: ApiForm) -> Option<Change> {
        match form {
            ApiForm::V1 => Some(self.request_v1()),
            ApiForm::Older => self.request_older(),
        }
    }

    fn request_v1(&self) -> Change {
        match self {
            Self::ResetCounter(of) => Change::new(Method::DELETE, path_v1("counters", &of.key)),
            Self::UpdateLimit(to) => set_v1(&to.key, to.limit, to.window_ms),
            Self::RestoreLimit(to) if to.had_override => set_v1(&to.key, to.limit, to.window_ms),
            Self::RestoreLimit(to) => Change::new(Method::DELETE, path_v1("limits", &to.key)),
            Self::BlockKey(block) => Change::new(Method::POST, path_v1("blocks", &block.key))
                .body(json!({"duration_seconds": block.duration_seconds})),
            Self::UnblockKey(of) => Change::new(Method::DELETE, path_v1("blocks", &of.key)),
            Self::DrainNode(node) => Change::new(Method::POST, drain_path(node)),
            Self::UndrainNode(node) => Change::new(Method::DELETE, drain_path(node)),
        }
    }

    fn request_older(&self) -> Option<Change> {
        let set = |key: &str, limit: u64, window_ms: u64| {
            Change::new(Method::PUT, format!("/api/limits/{}", segment(key)))
                .body(json!({"limit": limit, "window_ms": window_ms}))
        };
        match self {
            Self::ResetCounter(of) => Some(Change::new(
                Method::POST,
                format!("/api/counters/{}/reset", segment(&of.key)),
            )),
            // There a limit is of one key, and a `*` is a letter of it.
            Self::UpdateLimit(to) if !to.key.ends_with('*') => {
                Some(set(&to.key, to.limit, to.window_ms))
            }
            Self::RestoreLimit(to) if to.had_override => Some(set(&to.key, to.limit, to.window_ms)),
            _ => None,
        }
    }
}

fn path_v1(what: &str, key: &str) -> String {
    format!("/api/v1/{what}/{}", segment(key))
}

fn drain_path(node: &params::Node) -> String {
    format!("/api/v1/nodes/{}/drain", segment(&node.node_id))
}

fn set_v1(key: &str, limit: u64, window_ms: u64) -> Change {
    let body =
        json!({"key_pattern": key, "max_requests": limit, "window_seconds": seconds(window_ms)});
    Change::new(Method::POST, "/api/v1/limits").body(body)
}

/// Whole seconds stay whole.
fn seconds(ms: u64) -> Value {
    if ms.is_multiple_of(1_000) {
        json!(ms / 1_000)
    } else {
        json!(std::time::Duration::from_millis(ms).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use operator_plugin_api::{Deadline, ErrorKind};

    use super::*;

    fn call(action: &str, params: Value) -> Call {
        Call::new(action, params, Deadline::after(Duration::from_secs(1)))
    }

    fn line(form: ApiForm, action: &str, params: Value) -> String {
        let action = Action::parse(&call(action, params)).unwrap();
        let change = action.request(form);
        change.map_or("unsupported".into(), |change| change.to_string())
    }

    #[test]
    fn each_action_is_the_request_of_its_form() {
        let limit = json!({"key": "a/b", "limit": 5, "window_ms": 1_500});
        let with = json!({"key": "k", "had_override": true, "limit": 5, "window_ms": 1_000});
        let without = json!({"key": "k", "had_override": false, "limit": 5, "window_ms": 1_000});
        let block = json!({"key": "k", "duration_seconds": 9});
        let node = json!({"node_id": "node-1"});
        let key = json!({"key": "a/b"});
        let cases = [
            (
                "reset_counter",
                &key,
                "DELETE /api/v1/counters/a%2Fb",
                "POST /api/counters/a%2Fb/reset",
            ),
            (
                "update_limit",
                &limit,
                r#"POST /api/v1/limits {"key_pattern":"a/b","max_requests":5,"window_seconds":1.5}"#,
                r#"PUT /api/limits/a%2Fb {"limit":5,"window_ms":1500}"#,
            ),
            (
                "restore_limit",
                &with,
                r#"POST /api/v1/limits {"key_pattern":"k","max_requests":5,"window_seconds":1}"#,
                r#"PUT /api/limits/k {"limit":5,"window_ms":1000}"#,
            ),
            (
                "restore_limit",
                &without,
                "DELETE /api/v1/limits/k",
                "unsupported",
            ),
            (
                "block_key",
                &block,
                r#"POST /api/v1/blocks/k {"duration_seconds":9}"#,
                "unsupported",
            ),
            (
                "unblock_key",
                &key,
                "DELETE /api/v1/blocks/a%2Fb",
                "unsupported",
            ),
            (
                "drain_node",
                &node,
                "POST /api/v1/nodes/node-1/drain",
                "unsupported",
            ),
            (
                "undrain_node",
                &node,
                "DELETE /api/v1/nodes/node-1/drain",
                "unsupported",
            ),
        ];
        for (action, params, v1, older) in cases {
            assert_eq!(line(ApiForm::V1, action, params.clone()), v1);
            assert_eq!(line(ApiForm::Older, action, params.clone()), older);
        }
        let prefix = json!({"key": "user:*", "limit": 5, "window_ms": 1});
        assert_eq!(line(ApiForm::Older, "update_limit", prefix), "unsupported");
    }

    #[test]
    fn invalid_parameters_are_rejected_with_every_fault() {
        let refuse = |action: &str, params| Action::parse(&call(action, params)).unwrap_err();
        let error = refuse(
            "update_limit",
            json!({"key": "", "limit": 1_000_000_001, "window_ms": 0}),
        );
        assert_eq!(error.kind, ErrorKind::Invalid);
        for name in ["`key`", "`limit`", "`window_ms`"] {
            assert!(error.message.contains(name), "{error}");
        }
        for (action, params) in [
            ("nothing", json!({})),
            ("reset_counter", json!({})),
            ("reset_counter", json!({"key": 1})),
            ("reset_counter", json!({"key": "k", "more": 1})),
            ("reset_counter", json!({"key": "k".repeat(513)})),
            ("block_key", json!({"key": "k", "duration_seconds": 0})),
            ("block_key", json!({"key": "k", "duration_seconds": -1})),
            ("drain_node", json!({"node_id": ""})),
        ] {
            assert_eq!(
                refuse(action, params.clone()).kind,
                ErrorKind::Invalid,
                "{action} {params}"
            );
        }
    }
}
