//! Sending an action, and reporting what is known of its effect.

use std::time::Duration;

use operator_plugin_api::{ActionResult, Call, Deadline, Error, ErrorKind, Outcome, now_ms};
use operator_plugin_kit::{Answer, Change, Endpoint, Fault, Http, RequestOptions};
use serde_json::{Map, Value, json};

use super::request::Action;
use crate::{
    keys::matches,
    observation::{ApiForm, Block, Limits},
    wire::{BlockList, LimitsV1},
};

/// The timeout of reading one node's limits or blocks.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// What `invoke` needs of the subject.
pub(crate) struct Invoker<'a> {
    pub(crate) http: &'a Http,
    pub(crate) token: Option<&'a str>,
    /// Nodes to try, best first.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A node that answers management requests.
struct Available {
    form: ApiForm,
    /// None in the older form, which does not list the overrides.
    limits: Option<Limits>,
}

impl Invoker<'_> {
    /// A dry run asks what the call would ask, and ends before the change is sent.
    pub(crate) fn invoke(&self, call: &Call) -> Result<ActionResult, Error> {
        let action = Action::parse(call)?;
        let mut last = Fault::NotSent("no node is known".into());
        for endpoint in &self.endpoints {
            if call.deadline.remaining().is_zero() {
                last = Fault::NotSent(format!("the deadline has passed; before that: {last}"));
                break;
            }
            let available = match self.read_limits(endpoint, call.deadline) {
                Ok(available) => available,
                Err(fault) => {
                    last = fault;
                    continue;
                }
            };
            let change = supported(call, action.request(available.form))?;
            let stays = stays_behind(&action, available.form);
            if call.dry_run {
                return Ok(told(change.dry_run(Some(endpoint)), "would leave", stays));
            }
            let before = self.before(&action, &available, endpoint, call.deadline);
            match self.send(endpoint, &change, call.deadline) {
                // Nothing was sent, so another node may be asked.
                Err(Fault::NotSent(why)) => last = Fault::NotSent(why),
                answer => {
                    let result = result(call, endpoint, answer, before);
                    return Ok(match result.outcome {
                        Outcome::Failed => result,
                        Outcome::Done => told(result, "leaves", stays),
                        Outcome::Unknown => told(result, "may have left", stays),
                    });
                }
            }
        }
        let verb = if call.dry_run {
            "could not be"
        } else {
            "was not"
        };
        let message = format!(
            "`{}` {verb} sent: no node is available ({last})",
            call.action
        );
        let code = Fault::NotSent(String::new()).code();
        Ok(ActionResult::failed(message).details(json!({"fault": code})))
    }

    /// Reads the limits: they show the form, and what `update_limit` replaces.
    fn read_limits(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<Available, Fault> {
        // A third, so that one hung node leaves time for another.
        let timeout = (deadline.remaining() / 3).min(READ_TIMEOUT);
        match self
            .http
            .get(endpoint, "/api/v1/limits", timeout)?
            .ok::<LimitsV1>()
        {
            Ok(limits) => Ok(Available {
                form: ApiForm::V1,
                limits: Some(limits.into()),
            }),
            Err(Fault::Status(404, _)) => Ok(Available {
                form: ApiForm::Older,
                limits: None,
            }),
            Err(fault) => Err(fault),
        }
    }

    /// What the inverse will need.
    fn before(
        &self,
        action: &Action,
        available: &Available,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Map<String, Value> {
        let mut before = Map::new();
        match action {
            Action::UpdateLimit(to) => {
                let limits = available.limits.as_ref();
                before = limits
                    .and_then(|limits| previous(limits, &to.key))
                    .unwrap_or_default();
            }
            Action::UnblockKey(of) => {
                let timeout = (deadline.remaining() / 3).min(READ_TIMEOUT);
                let blocks = self
                    .http
                    .get(endpoint, "/api/v1/blocks", timeout)
                    .and_then(|answer| answer.ok::<BlockList>());
                let blocks: Vec<Block> = blocks.map(Into::into).unwrap_or_default();
                let block = blocks.iter().find(|block| block.key == of.key);
                let left_ms = block
                    .and_then(|block| block.until_ms)
                    .map(|until| until - now_ms());
                if let Some(left_ms) = left_ms.filter(|left| *left > 0) {
                    before.insert("remaining_seconds".into(), json!((left_ms + 999) / 1_000));
                }
            }
            _ => {}
        }
        before
    }

    fn send(
        &self,
        endpoint: &Endpoint,
        change: &Change,
        deadline: Deadline,
    ) -> Result<Answer, Fault> {
        // A twentieth is left for reporting the outcome.
        let options = RequestOptions::new(deadline.remaining() * 19 / 20);
        let options = options.bearer_token(self.token);
        self.http.send(endpoint, change, options)
    }
}

/// What a change leaves behind that no action can take back: the name in Redis of an override of the older form.
fn stays_behind(action: &Action, form: ApiForm) -> Option<String> {
    let key = match (form, action) {
        (ApiForm::Older, Action::UpdateLimit(to)) => &to.key,
        (ApiForm::Older, Action::RestoreLimit(to)) => &to.key,
        _ => return None,
    };
    Some(format!("ratelimit:limit:{key}"))
}

/// Says what stays behind, since whoever undoes the action must know it.
fn told(mut result: ActionResult, verb: &str, stays: Option<String>) -> ActionResult {
    let Some(name) = stays else {
        return result;
    };
    result.message = format!(
        "{}. It {verb} the hash `{name}` in Redis: services of the older form store a limit without enforcing it, answer \
         /api/blocks with 500 while there is one, and cannot delete it; to take it back, delete that hash in Redis",
        result.message
    );
    if let Value::Object(details) = &mut result.details {
        details.insert("left_in_redis".into(), name.into());
        details.insert("can_be_taken_back".into(), false.into());
    }
    result
}

fn supported(call: &Call, change: Option<Change>) -> Result<Change, Error> {
    change.ok_or_else(|| {
        let message = format!("`{}` with these parameters is not offered by the older management API; nothing was done", call.action);
        Error::new(ErrorKind::Unsupported, message)
    })
}

/// The limit that the key or prefix has now.
fn previous(limits: &Limits, key: &str) -> Option<Map<String, Value>> {
    let rules = limits.overrides.as_ref()?;
    let own = rules.iter().find(|rule| rule.key_pattern == key);
    let in_force = rules
        .iter()
        .filter(|rule| matches(&rule.key_pattern, key))
        .max_by_key(|rule| rule.key_pattern.len());
    let (limit, window_ms) = match own.or(in_force) {
        Some(rule) => (rule.max_requests, rule.window_ms),
        None => (limits.default_limit?, limits.default_window_ms?),
    };
    let previous = json!({"had_override": own.is_some(), "previous_limit": limit, "previous_window_ms": window_ms});
    previous.as_object().cloned()
}

fn result(
    call: &Call,
    endpoint: &Endpoint,
    answer: Result<Answer, Fault>,
    before: Map<String, Value>,
) -> ActionResult {
    let mut details = before;
    let action = &call.action;
    let (outcome, message) = match answer.and_then(|answer| answer.ok::<Value>()) {
        Ok(answer) => {
            details.insert("answer".into(), answer);
            (Outcome::Done, format!("{endpoint} accepted `{action}`"))
        }
        Err(fault) => {
            let (outcome, verb) = match fault {
                // The service understood the request and refused it.
                Fault::Status(400..500, _) => (Outcome::Failed, "refused"),
                // A 3xx is not an answer of the service: another server is behind this address.
                Fault::Status(300..400, _) | Fault::NotSent(_) => {
                    (Outcome::Failed, "did not accept")
                }
                // The service may have begun.
                Fault::Status(..)
                | Fault::TimedOut(_)
                | Fault::NoAnswer(_)
                | Fault::Garbage(_)
                | Fault::Partial(_) => (Outcome::Unknown, "may or may not have done"),
            };
            details.insert("fault".into(), fault.code().into());
            (outcome, format!("{endpoint} {verb} `{action}`: {fault}"))
        }
    };
    ActionResult::new(outcome, message).details(details)
}
