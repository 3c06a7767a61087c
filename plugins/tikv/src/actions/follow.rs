//! Following what PD has accepted to its end, and reading the outcome where it shows.

use std::{thread, time::Duration};

use operator_plugin_api::Outcome;
use serde_json::{Map, Value};

use super::{
    before::{Before, is_moved, same, siblings},
    carry_out::Asker,
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

/// What came of it.
pub(super) struct End {
    pub(super) outcome: Outcome,
    /// Continues `PD accepted it, and ...`.
    pub(super) words: String,
    pub(super) details: Map<String, Value>,
}

fn end(outcome: Outcome, words: impl Into<String>) -> End {
    End {
        outcome,
        words: words.into(),
        details: Map::new(),
    }
}

/// Waits for the end of what PD accepted.
pub(super) fn to_the_end(asker: &Asker<'_>, action: &Action, before: &Before) -> End {
    match action {
        Action::TransferLeader(to) => {
            of_operator(asker, to.region_id, "its leader is there", || {
                let region = asker.region(to.region_id)?;
                Ok(region.is_some_and(|region| region.leader_store() == Some(to.to_store_id)))
            })
        }
        Action::TransferPeer(to) => of_operator(asker, to.region_id, "its peer is there", || {
            Ok(asker
                .region(to.region_id)?
                .is_some_and(|region| is_moved(&region, to)))
        }),
        Action::SplitRegion(split) => split_end(asker, split.region_id, before),
        Action::MergeRegion(merge) => of_operator(
            asker,
            merge.target_region_id,
            "its neighbour has taken it in",
            || Ok(asker.region(merge.source_region_id)?.is_none()),
        ),
        Action::ScatterRegion(of) => scatter_end(asker, of.region_id),
        Action::CancelOperator(of) => cancel_end(asker, of.region_id),
        Action::DrainStore(store) => drain_end(asker, store.store_id),
        Action::UndrainStore(store) => shown(asker, "it may have leaders again", || {
            Ok(!asker.evicted()?.contains(&store.store_id))
        }),
        Action::SetStoreLimit(to) => shown(asker, "PD shows it", || {
            Ok(asker
                .store_limit(to)?
                .is_some_and(|rate| same(rate, to.rate)))
        }),
        Action::PauseScheduler(of) => shown(asker, "PD shows it as paused", || {
            Ok(asker.paused()?.iter().any(|paused| paused.name == of.name))
        }),
        Action::ResumeScheduler(of) => shown(asker, "PD shows it as not paused", || {
            Ok(!asker.paused()?.iter().any(|paused| paused.name == of.name))
        }),
        // PD has no way to show a temporary value in every version, so its word is all there is.
        Action::SetScheduleLimit(_, to) if to.ttl_seconds.is_some() => end(
            Outcome::Done,
            "goes back by itself after the time that was given",
        ),
        Action::SetScheduleLimit(schedule, to) => shown(asker, "PD shows it", || {
            Ok(asker.schedule_limit(*schedule)? == Some(to.limit))
        }),
        Action::SetLowSpaceThreshold(to) => shown(asker, "PD shows it", || {
            let ratio = asker.schedule()?.low_space_ratio;
            Ok(ratio.is_some_and(|ratio| same(ratio * 100.0, to.used_percent)))
        }),
        Action::ResignPdLeader => {
            let previous = before
                .details
                .get("previous_leader")
                .and_then(Value::as_str);
            new_leader(asker, |leader| {
                previous.is_some_and(|previous| leader != previous)
            })
        }
        Action::TransferPdLeader(to) => new_leader(asker, |leader| leader == to.name),
    }
}

/// How an operator was last seen.
enum Seen {
    Ended(OperatorState),
    Running(String),
    /// PD does not know it, or not any more.
    Gone,
    /// PD could not be asked.
    Lost(PdError),
}

fn follow(asker: &Asker<'_>, region_id: u64) -> Seen {
    loop {
        match asker.get::<String>(&format!("/operators/{region_id}")) {
            Ok(text) => match operator::state(&text) {
                Some(OperatorState::Running) if asker.has_time() => thread::sleep(PAUSE),
                Some(OperatorState::Running) => return Seen::Running(text),
                Some(state) => return Seen::Ended(state),
                None => return Seen::Gone,
            },
            Err(error) if error.is("ErrOperatorNotFound") => return Seen::Gone,
            Err(error) if asker.has_time() && error.another_may_do() => thread::sleep(PAUSE),
            Err(error) => return Seen::Lost(error),
        }
    }
}

/// The regions have the last word: an operator that PD calls ended may have got there or not.
fn of_operator(
    asker: &Asker<'_>,
    region_id: u64,
    goal: &str,
    reached: impl Fn() -> Result<bool, PdError>,
) -> End {
    let seen = follow(asker, region_id);
    let waits = matches!(seen, Seen::Ended(OperatorState::Success) | Seen::Gone);
    let there = if waits {
        wait(asker, SHOWS_WITHIN, &reached)
    } else {
        reached()
    };
    match (there, seen) {
        (Ok(true), _) => end(Outcome::Done, goal),
        (Ok(false), Seen::Ended(state)) if state != OperatorState::Success => {
            let words = format!("ended it with {} before the goal was reached", state.word());
            end(Outcome::Failed, words)
        }
        (Ok(false), Seen::Ended(_)) => {
            end(Outcome::Unknown, "calls it a success, which does not show")
        }
        (_, Seen::Running(text)) => end(Outcome::Unknown, format!("is still at it: {text}")),
        (_, Seen::Gone) => end(
            Outcome::Unknown,
            "has forgotten it, and the goal does not show",
        ),
        (Err(error), _) | (_, Seen::Lost(error)) => end(
            Outcome::Unknown,
            format!("cannot be asked what came of it: {error}"),
        ),
    }
}

fn split_end(asker: &Asker<'_>, region_id: u64, before: &Before) -> End {
    let mut split = of_operator(asker, region_id, "there are two", || {
        let region = asker.region(region_id)?;
        let version = region
            .and_then(|region| region.epoch)
            .map(|epoch| epoch.version);
        Ok(version
            .zip(before.version)
            .is_some_and(|(now, before)| now > before))
    });
    if split.outcome == Outcome::Done {
        let now = siblings(asker, region_id);
        let mut new = now.into_iter().filter(|id| !before.siblings.contains(id));
        if let Some(id) = new.next() {
            split.details.insert("new_region_id".into(), id.into());
        }
    }
    split
}

fn scatter_end(asker: &Asker<'_>, region_id: u64) -> End {
    match follow(asker, region_id) {
        Seen::Ended(OperatorState::Success) => end(Outcome::Done, "it is spread"),
        Seen::Gone => end(Outcome::Done, "found nothing to do"),
        Seen::Ended(state) => end(Outcome::Failed, format!("ended it with {}", state.word())),
        Seen::Running(text) => end(Outcome::Unknown, format!("is still at it: {text}")),
        Seen::Lost(error) => end(
            Outcome::Unknown,
            format!("cannot be asked what came of it: {error}"),
        ),
    }
}

fn cancel_end(asker: &Asker<'_>, region_id: u64) -> End {
    match asker.get::<String>(&format!("/operators/{region_id}")) {
        Ok(text) if operator::state(&text) == Some(OperatorState::Running) => {
            end(Outcome::Done, format!("another one runs by now: {text}"))
        }
        Ok(_) => end(Outcome::Done, "none runs"),
        Err(error) if error.is("ErrOperatorNotFound") => end(Outcome::Done, "none runs"),
        Err(error) => end(
            Outcome::Unknown,
            format!("cannot be asked what came of it: {error}"),
        ),
    }
}

/// The scheduler is there once PD shows it; how far it got is told, whether or not the deadline lets it finish.
fn drain_end(asker: &Asker<'_>, store_id: u64) -> End {
    let mut held = shown(asker, "", || Ok(asker.evicted()?.contains(&store_id)));
    if held.outcome != Outcome::Done {
        return held;
    }
    loop {
        let left = asker.leaders_on(store_id);
        if matches!(left, Ok(Some(1..))) && asker.has_time() {
            thread::sleep(PAUSE);
            continue;
        }
        let left = left.ok().flatten();
        held.words = match left {
            Some(0) => "no leader is left on it".into(),
            Some(left) => format!("goes on with it: {left} leaders are left on it so far"),
            None => "goes on with it; how many leaders are left is not known".into(),
        };
        held.details.insert("leaders_left".into(), left.into());
        return held;
    }
}

fn new_leader(asker: &Asker<'_>, is_new: impl Fn(&str) -> bool) -> End {
    let mut named = None;
    let reached = wait(asker, Duration::MAX, &mut || {
        // While there is none, PD says so; that is what is waited for.
        named = asker.leader().ok().flatten();
        Ok(named.as_deref().is_some_and(&is_new))
    });
    match (reached, named) {
        (Ok(true), Some(leader)) => {
            let mut done = end(Outcome::Done, format!("{leader} leads"));
            done.details.insert("leader".into(), leader.into());
            done
        }
        (_, Some(leader)) => end(Outcome::Unknown, format!("{leader} still leads")),
        (_, None) => end(Outcome::Unknown, "no member is known to lead"),
    }
}

/// Waits for PD to show it.
fn shown(asker: &Asker<'_>, words: &str, shows: impl Fn() -> Result<bool, PdError>) -> End {
    match wait(asker, SHOWS_WITHIN, shows) {
        Ok(true) => end(Outcome::Done, words),
        Ok(false) => end(Outcome::Unknown, "does not show it"),
        Err(error) => end(
            Outcome::Unknown,
            format!("cannot be asked what came of it: {error}"),
        ),
    }
}

/// Polls until it is so, for at most so long, and within the deadline.
fn wait(
    asker: &Asker<'_>,
    most: Duration,
    mut is_so: impl FnMut() -> Result<bool, PdError>,
) -> Result<bool, PdError> {
    let since = std::time::Instant::now();
    loop {
        let so = is_so();
        if matches!(so, Ok(true)) || since.elapsed() > most || !asker.has_time() {
            return so;
        }
        thread::sleep(PAUSE);
    }
}
