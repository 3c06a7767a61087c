//! Sending an action, and reporting what is known of its effect.

use std::{cell::Cell, time::Duration};

use operator_plugin_api::{ActionResult, Call, Deadline, Error, ErrorKind, Outcome};
use operator_plugin_kit::{Change, Endpoint, Http};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{
    before::{self, known_region},
    follow,
    params::{LimitKind, StoreLimit},
    request::{Action, Schedule},
};
use crate::{
    collect::{Got, evict_leader},
    pd::{
        Pd,
        error::{PdError, PdErrorKind},
        wire,
    },
};

/// The timeout of a read: a follower searches for a leader for 3 s.
const READ_TIMEOUT: Duration = Duration::from_millis(3_600);
/// Of a deadline, what is left for the answer.
const MARGIN: Duration = Duration::from_millis(250);

/// Carries out an action through the first PD that takes it.
pub(crate) fn invoke(
    http: &Http,
    configured: &[Endpoint],
    members: &[Endpoint],
    call: &Call,
) -> Result<ActionResult, Error> {
    let action = Action::parse(call)?;
    let mut endpoints = configured.to_vec();
    let known = |one: &Endpoint| {
        configured
            .iter()
            .any(|other| other.authority() == one.authority())
    };
    endpoints.extend(members.iter().filter(|member| !known(member)).cloned());
    if call.dry_run {
        return Ok(action.request().dry_run(endpoints.first()));
    }
    let client = Client {
        http,
        endpoints,
        deadline: call.deadline,
        best: Cell::new(0),
    };
    let before = before::read(&client, &action)?;
    if let Some(why) = &before.already {
        let message = format!("`{}` has nothing to do: {why}", call.action);
        return Ok(result(
            Outcome::Done,
            message,
            before.details,
            json!({"already": true}),
        ));
    }
    let sent = client.send_clearing(&action, call)?;
    let (endpoint, answer) = match sent {
        Ok(accepted) => accepted,
        Err(fault) => return Ok(refused(call, &fault, before.details)),
    };
    let end = follow::to_the_end(&client, &action, &before);
    let message = format!(
        "PD at {endpoint} accepted `{}`: {}",
        call.action, end.message
    );
    let mut details = before.details;
    details.extend(end.details);
    Ok(result(
        end.outcome,
        message,
        details,
        json!({"answer": answer}),
    ))
}

fn result(
    outcome: Outcome,
    message: String,
    mut details: Map<String, Value>,
    more: Value,
) -> ActionResult {
    if let Value::Object(more) = more {
        details.extend(more);
    }
    ActionResult::new(outcome, message).details(details)
}

/// With PD's own message.
fn refused(
    call: &Call,
    (endpoint, error): &(Endpoint, PdError),
    details: Map<String, Value>,
) -> ActionResult {
    let (outcome, verb) = match error.kind {
        PdErrorKind::NotSent => (Outcome::Failed, "was not reached with"),
        _ if error.nothing_done() => (Outcome::Failed, "refused"),
        _ => (Outcome::Unknown, "may or may not have done"),
    };
    let message = format!("PD at {endpoint} {verb} `{}`: {error}", call.action);
    result(
        outcome,
        message,
        details,
        json!({"status": error.status, "code": error.code}),
    )
}

/// Uses any PD that answers, and remembers which one did.
pub(super) struct Client<'a> {
    http: &'a Http,
    /// To try, best first.
    endpoints: Vec<Endpoint>,
    deadline: Deadline,
    /// Index of the one that answered last.
    best: Cell<usize>,
}

/// The PD that accepted a change and its answer, or the PD that did not and its error.
type Sent = Result<(Endpoint, Value), (Endpoint, PdError)>;

impl Client<'_> {
    pub(super) fn has_time(&self) -> bool {
        self.deadline.remaining() > MARGIN + Duration::from_millis(200)
    }

    fn left(&self) -> Duration {
        self.deadline.remaining().saturating_sub(MARGIN)
    }

    /// The one that answered last, and then the others.
    fn in_order(&self) -> impl Iterator<Item = (usize, Pd<'_>)> {
        let count = self.endpoints.len();
        let from = self.best.get();
        (0..count)
            .map(move |step| (from + step) % count)
            .map(|index| {
                let pd = Pd {
                    http: self.http,
                    endpoint: &self.endpoints[index],
                };
                (index, pd)
            })
    }

    /// Reads from the first PD that answers itself. Reads may be repeated.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Got<T> {
        self.ask(|pd, timeout| pd.get(path, timeout))
    }

    fn ask<T>(&self, ask: impl Fn(Pd<'_>, Duration) -> Got<T>) -> Got<T> {
        let mut last = None;
        for (index, pd) in self.in_order() {
            // A third, so that one that hangs leaves time for another.
            match ask(pd, (self.left() / 3).min(READ_TIMEOUT)) {
                Err(error) if error.another_may_do() || !error.is_from_pd() => last = Some(error),
                got => {
                    self.best.set(index);
                    return got;
                }
            }
        }
        Err(last.unwrap_or_else(|| PdError::foreign(0, "no PD is known")))
    }

    /// Sends it once; where a temporary value is in its way, ends that first.
    fn send_clearing(&self, action: &Action, call: &Call) -> Result<Sent, Error> {
        let sent = self.send(&action.request(), call)?;
        let in_the_way = |error: &PdError| error.message.contains("clean up TTL");
        let clear = match &sent {
            Err((_, error)) if in_the_way(error) => action.request_to_clear(),
            _ => None,
        };
        let Some(clear) = clear else {
            return Ok(sent);
        };
        let cleared = self.send(&clear, call)?;
        if cleared.is_err() {
            return Ok(cleared);
        }
        let mut sent = self.send(&action.request(), call)?;
        if let Err((_, error)) = &mut sent {
            // What was done is reported even where the rest was refused.
            error
                .message
                .push_str("; the temporary value that blocked it has been removed");
        }
        Ok(sent)
    }

    /// Another PD is tried only where it is certain that nothing was done.
    fn send(&self, change: &Change, call: &Call) -> Result<Sent, Error> {
        let mut last = None;
        for (index, pd) in self.in_order() {
            if self.left().is_zero() {
                let message = format!(
                    "`{}`: the deadline has passed; nothing was sent",
                    call.action
                );
                return Err(Error::retryable(ErrorKind::Deadline, message));
            }
            match pd.send(change, self.left()) {
                Ok(answer) => {
                    self.best.set(index);
                    let answer = serde_json::from_slice(&answer.body).unwrap_or_default();
                    return Ok(Ok((pd.endpoint.clone(), answer)));
                }
                Err(error) if error.nothing_done() && error.another_may_do() => {
                    last = Some((pd.endpoint.clone(), error));
                }
                Err(error) => return Ok(Err((pd.endpoint.clone(), error))),
            }
        }
        let none = || Error::new(ErrorKind::Internal, "no PD is configured");
        Ok(Err(last.ok_or_else(none)?))
    }

    /// None where PD does not know the region.
    pub(super) fn region(&self, id: u64) -> Got<Option<wire::Region>> {
        known_region(self.get(&format!("/region/id/{id}")))
    }

    pub(super) fn evicted(&self) -> Got<Vec<u64>> {
        self.ask(evict_leader)
    }

    pub(super) fn paused(&self) -> Got<Vec<wire::PausedScheduler>> {
        self.get("/schedulers?status=paused&timestamp")
    }

    pub(super) fn schedule(&self) -> Got<wire::ScheduleConfig> {
        self.get("/config/schedule")
    }

    pub(super) fn schedule_limit(&self, schedule: Schedule) -> Got<Option<u64>> {
        let config = self.schedule()?;
        Ok(match schedule {
            Schedule::Leader => config.leader_schedule_limit,
            Schedule::Region => config.region_schedule_limit,
            Schedule::Replica => config.replica_schedule_limit,
        })
    }

    pub(super) fn store_limit(&self, of: &StoreLimit) -> Got<Option<f64>> {
        let limits = self.get::<wire::StoreLimits>("/stores/limit")?;
        Ok(limits
            .get(&of.store_id.to_string())
            .and_then(|limit| match of.kind {
                LimitKind::AddPeer => limit.add_peer,
                LimitKind::RemovePeer => limit.remove_peer,
            }))
    }

    pub(super) fn leaders_on(&self, store_id: u64) -> Got<Option<u64>> {
        let store = self.get::<wire::StoreInfo>(&format!("/store/{store_id}"))?;
        Ok(store.status.and_then(|status| status.leader_count))
    }

    /// The name of PD's leader.
    pub(super) fn leader(&self) -> Got<Option<String>> {
        let members = self.get::<wire::Members>("/members")?;
        Ok(members.leader.and_then(|leader| leader.name))
    }
}
