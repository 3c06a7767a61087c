//! Follows what PD has accepted to its end, and reads the outcome where it shows.

use std::{thread, time::Duration};

use operator_plugin_api::Outcome;
use serde_json::{Map, Value};

use super::{
    before::{Before, is_moved, same, siblings},
    execute::Client,
    request::Action,
};
use crate::pd::{
    error::PdError,
    operator::{self, OperatorState},
};

/// PD pushes operators to its stores twice a second.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the effect of something that has ended may take to show.
const SHOWS_WITHIN: Duration = Duration::from_secs(3);

/// How an action ended.
pub(super) struct End {
    pub(super) outcome: Outcome,
    /// Completes "PD accepted it: ...".
    pub(super) message: String,
    pub(super) details: Map<String, Value>,
}

fn end(outcome: Outcome, message: impl Into<String>) -> End {
    End {
        outcome,
        message: message.into(),
        details: Map::new(),
    }
}

/// Waits for the end of what PD accepted.
pub(super) fn to_the_end(client: &Client<'_>, action: &Action, before: &Before) -> End {
    match action {
        Action::TransferLeader(to) => {
            of_operator(client, to.region_id, "the leader is on the store", || {
                let region = client.region(to.region_id)?;
                Ok(region.is_some_and(|region| region.leader_store() == Some(to.to_store_id)))
            })
        }
        Action::TransferPeer(to) => {
            of_operator(client, to.region_id, "the peer is on the store", || {
                Ok(client
                    .region(to.region_id)?
                    .is_some_and(|region| is_moved(&region, to)))
            })
        }
        Action::SplitRegion(split) => split_end(client, split.region_id, before),
        Action::MergeRegion(merge) => of_operator(
            client,
            merge.target_region_id,
            "the regions are merged",
            || Ok(client.region(merge.source_region_id)?.is_none()),
        ),
        Action::ScatterRegion(of) => scatter_end(client, of.region_id),
        Action::CancelOperator(of) => cancel_end(client, of.region_id),
        Action::DrainStore(store) => drain_end(client, store.store_id),
        Action::UndrainStore(store) => shown(client, "the store may have leaders again", || {
            Ok(!client.evicted()?.contains(&store.store_id))
        }),
        Action::SetStoreLimit(to) => shown(client, "PD shows the new value", || {
            Ok(client
                .store_limit(to)?
                .is_some_and(|rate| same(rate, to.rate)))
        }),
        Action::PauseScheduler(of) => shown(client, "PD shows it as paused", || {
            Ok(client.paused()?.iter().any(|paused| paused.name == of.name))
        }),
        Action::ResumeScheduler(of) => shown(client, "PD shows it as not paused", || {
            Ok(!client.paused()?.iter().any(|paused| paused.name == of.name))
        }),
        // Not every version of PD can show a temporary value, so its answer has to be enough.
        Action::SetScheduleLimit(_, to) if to.ttl_seconds.is_some() => {
            end(Outcome::Done, "the limit reverts after `ttl_seconds`")
        }
        Action::SetScheduleLimit(schedule, to) => shown(client, "PD shows the new value", || {
            Ok(client.schedule_limit(*schedule)? == Some(to.limit))
        }),
        Action::SetLowSpaceThreshold(to) => shown(client, "PD shows the new value", || {
            let ratio = client.schedule()?.low_space_ratio;
            Ok(ratio.is_some_and(|ratio| same(ratio * 100.0, to.used_percent)))
        }),
        Action::ResignPdLeader => {
            let previous = before
                .details
                .get("previous_leader")
                .and_then(Value::as_str);
            new_leader(client, |leader| {
                previous.is_some_and(|previous| leader != previous)
            })
        }
        Action::TransferPdLeader(to) => new_leader(client, |leader| leader == to.name),
    }
}

/// The last known state of an operator.
enum Progress {
    Ended(OperatorState),
    Running(String),
    /// PD does not know it, or not any more.
    Gone,
    /// PD could not be asked.
    Lost(PdError),
}

fn follow(client: &Client<'_>, region_id: u64) -> Progress {
    loop {
        match client.get::<String>(&format!("/operators/{region_id}")) {
            Ok(text) => match operator::state(&text) {
                Some(OperatorState::Running) if client.has_time() => thread::sleep(PAUSE),
                Some(OperatorState::Running) => return Progress::Running(text),
                Some(state) => return Progress::Ended(state),
                None => return Progress::Gone,
            },
            Err(error) if error.is("ErrOperatorNotFound") => return Progress::Gone,
            Err(error) if client.has_time() && error.another_may_do() => thread::sleep(PAUSE),
            Err(error) => return Progress::Lost(error),
        }
    }
}

/// The region decides: an operator that has ended may have reached its goal or not.
fn of_operator(
    client: &Client<'_>,
    region_id: u64,
    goal: &str,
    reached: impl Fn() -> Result<bool, PdError>,
) -> End {
    let seen = follow(client, region_id);
    let waits = matches!(
        seen,
        Progress::Ended(OperatorState::Success) | Progress::Gone
    );
    let there = if waits {
        wait(client, SHOWS_WITHIN, &reached)
    } else {
        reached()
    };
    match (there, seen) {
        (Ok(true), _) => end(Outcome::Done, goal),
        (Ok(false), Progress::Ended(state)) if state != OperatorState::Success => {
            let message = format!(
                "the operator ended with {} before its goal was reached",
                state.name()
            );
            end(Outcome::Failed, message)
        }
        (Ok(false), Progress::Ended(_)) => end(
            Outcome::Unknown,
            "PD reports success, but the region does not show it",
        ),
        (_, Progress::Running(text)) => end(
            Outcome::Unknown,
            format!("the operator is still running: {text}"),
        ),
        (_, Progress::Gone) => end(
            Outcome::Unknown,
            "PD no longer knows the operator, and the region does not show its goal",
        ),
        (Err(error), _) | (_, Progress::Lost(error)) => end(
            Outcome::Unknown,
            format!("the outcome cannot be read: {error}"),
        ),
    }
}

fn split_end(client: &Client<'_>, region_id: u64, before: &Before) -> End {
    let mut split = of_operator(client, region_id, "the region is split", || {
        let region = client.region(region_id)?;
        let version = region
            .and_then(|region| region.epoch)
            .map(|epoch| epoch.version);
        Ok(version
            .zip(before.version)
            .is_some_and(|(now, before)| now > before))
    });
    if split.outcome == Outcome::Done {
        let now = siblings(client, region_id);
        let mut new = now.into_iter().filter(|id| !before.siblings.contains(id));
        if let Some(id) = new.next() {
            split.details.insert("new_region_id".into(), id.into());
        }
    }
    split
}

fn scatter_end(client: &Client<'_>, region_id: u64) -> End {
    match follow(client, region_id) {
        Progress::Ended(OperatorState::Success) => end(Outcome::Done, "the region is scattered"),
        Progress::Gone => end(Outcome::Done, "PD found nothing to do"),
        Progress::Ended(state) => end(
            Outcome::Failed,
            format!("the operator ended with {}", state.name()),
        ),
        Progress::Running(text) => end(
            Outcome::Unknown,
            format!("the operator is still running: {text}"),
        ),
        Progress::Lost(error) => end(
            Outcome::Unknown,
            format!("the outcome cannot be read: {error}"),
        ),
    }
}

fn cancel_end(client: &Client<'_>, region_id: u64) -> End {
    match client.get::<String>(&format!("/operators/{region_id}")) {
        Ok(text) if operator::state(&text) == Some(OperatorState::Running) => end(
            Outcome::Done,
            format!("another operator is running by now: {text}"),
        ),
        Ok(_) => end(Outcome::Done, "no operator is running"),
        Err(error) if error.is("ErrOperatorNotFound") => {
            end(Outcome::Done, "no operator is running")
        }
        Err(error) => end(
            Outcome::Unknown,
            format!("the outcome cannot be read: {error}"),
        ),
    }
}

/// The scheduler exists once PD shows it. The number of leaders left is reported, whether or not the deadline lets it finish.
fn drain_end(client: &Client<'_>, store_id: u64) -> End {
    let mut held = shown(client, "", || Ok(client.evicted()?.contains(&store_id)));
    if held.outcome != Outcome::Done {
        return held;
    }
    loop {
        let left = client.leaders_on(store_id);
        if matches!(left, Ok(Some(1..))) && client.has_time() {
            thread::sleep(PAUSE);
            continue;
        }
        let left = left.ok().flatten();
        held.message = match left {
            Some(0) => "no leader is left on the store".into(),
            Some(left) => format!("PD continues, {left} leaders are left on the store"),
            None => "PD continues, an unknown number of leaders is left on the store".into(),
        };
        held.details.insert("leaders_left".into(), left.into());
        return held;
    }
}

fn new_leader(client: &Client<'_>, is_new: impl Fn(&str) -> bool) -> End {
    let mut named = None;
    let reached = wait(client, Duration::MAX, &mut || {
        // While there is none, PD reports that, and this waits for the new one.
        named = client.leader().ok().flatten();
        Ok(named.as_deref().is_some_and(&is_new))
    });
    match (reached, named) {
        (Ok(true), Some(leader)) => {
            let mut done = end(Outcome::Done, format!("{leader} is the leader"));
            done.details.insert("leader".into(), leader.into());
            done
        }
        (_, Some(leader)) => end(Outcome::Unknown, format!("{leader} is still the leader")),
        (_, None) => end(Outcome::Unknown, "no leader is known"),
    }
}

/// Waits for PD to show it.
fn shown(client: &Client<'_>, message: &str, shows: impl Fn() -> Result<bool, PdError>) -> End {
    match wait(client, SHOWS_WITHIN, shows) {
        Ok(true) => end(Outcome::Done, message),
        Ok(false) => end(Outcome::Unknown, "PD does not show it"),
        Err(error) => end(
            Outcome::Unknown,
            format!("the outcome cannot be read: {error}"),
        ),
    }
}

/// Polls until it is true, for at most this long and within the deadline.
fn wait(
    client: &Client<'_>,
    most: Duration,
    mut is_so: impl FnMut() -> Result<bool, PdError>,
) -> Result<bool, PdError> {
    let since = std::time::Instant::now();
    loop {
        let so = is_so();
        if matches!(so, Ok(true)) || since.elapsed() > most || !client.has_time() {
            return so;
        }
        thread::sleep(PAUSE);
    }
}
