//! How every loop is doing: written by the loops, read by those that report on them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use operator_model::{LoopError, LoopState, LoopStatus, Timestamp, TurnResult, bounded, millis};
use tokio::{sync::Notify, time::Instant};

use super::spec::LoopSpec;

/// Longer errors are cut. Characters.
const LONGEST_ERROR: usize = 500;

/// The state of every loop of a daemon. Cheap to clone; a loop and a reader meet only for the copying of one loop's state.
#[derive(Debug, Clone, Default)]
pub struct Board {
    loops: Arc<Mutex<Vec<Arc<Entry>>>>,
    news: Arc<Notify>,
}

impl Board {
    /// Every loop, in the order in which they were started.
    pub fn statuses(&self) -> Vec<LoopStatus> {
        let entries = locked(&self.loops).clone();
        entries.iter().map(|entry| entry.status()).collect()
    }

    /// Waits until a loop fails, or succeeds after it has failed. One reader at a time.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    pub(crate) fn register(&self, spec: LoopSpec) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            state: Mutex::new(State::new()),
            news: self.news.clone(),
            spec,
        });
        locked(&self.loops).push(entry.clone());
        entry
    }
}

/// One loop.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) spec: LoopSpec,
    state: Mutex<State>,
    news: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    activity: LoopState,
    /// When it began to wait, to run, or to fail without a finished turn since.
    since: Instant,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    took: Option<Duration>,
    result: Option<TurnResult>,
    /// Whether it has panicked or ended since its last finished turn.
    is_broken: bool,
    iterations: u64,
    restarts: u64,
    last_error: Option<LoopError>,
}

impl State {
    fn new() -> Self {
        Self {
            activity: LoopState::Waiting,
            since: Instant::now(),
            started_at: None,
            finished_at: None,
            took: None,
            result: None,
            is_broken: false,
            iterations: 0,
            restarts: 0,
            last_error: None,
        }
    }

    /// What it is doing, to those that read of it.
    fn shown(&self) -> LoopState {
        let is_new = self.result.is_none() && self.activity != LoopState::Ended;
        if is_new {
            LoopState::Starting
        } else {
            self.activity
        }
    }

    fn error(&mut self, message: &str) {
        self.result = Some(TurnResult::Failed);
        self.last_error = Some(LoopError {
            at: Timestamp::now(),
            message: bounded(message, LONGEST_ERROR),
        });
    }
}

impl Entry {
    pub(crate) fn begin_turn(&self) {
        let mut state = locked(&self.state);
        state.started_at = Some(Timestamp::now());
        state.activity = LoopState::Running;
        // A loop that fails in every turn is stalled all the same.
        if !state.is_broken {
            state.since = Instant::now();
        }
    }

    /// Whether the error, if there is one, is not the one of the turn before.
    pub(crate) fn end_turn(&self, took: Duration, error: Option<&str>) -> bool {
        let mut state = locked(&self.state);
        let before = state.result;
        let known = state.last_error.clone();
        state.activity = LoopState::Waiting;
        state.since = Instant::now();
        state.finished_at = Some(Timestamp::now());
        state.took = Some(took);
        state.iterations += 1;
        state.is_broken = false;
        match error {
            Some(message) => state.error(message),
            None => state.result = Some(TurnResult::Ok),
        }
        if before.is_some() && before != state.result {
            self.news.notify_one();
        }
        let same = known.zip(state.last_error.as_ref());
        let is_known = same.is_some_and(|(known, now)| known.message == now.message);
        error.is_some() && !(is_known && before == Some(TurnResult::Failed))
    }

    /// It panicked, or ended before the shutdown.
    pub(crate) fn fail(&self, message: &str) {
        let mut state = locked(&self.state);
        if !state.is_broken {
            state.is_broken = true;
            state.since = Instant::now();
        }
        state.activity = LoopState::Restarting;
        state.error(message);
        self.news.notify_one();
    }

    pub(crate) fn restart(&self) {
        let mut state = locked(&self.state);
        state.activity = LoopState::Waiting;
        state.restarts += 1;
    }

    pub(crate) fn end(&self) {
        locked(&self.state).activity = LoopState::Ended;
    }

    /// Whether it has finished a turn since it last failed.
    pub(crate) fn has_recovered(&self) -> bool {
        !locked(&self.state).is_broken
    }

    fn status(&self) -> LoopStatus {
        let state = locked(&self.state);
        let quiet = state.since.elapsed();
        let limit = match state.activity {
            LoopState::Waiting if !state.is_broken => Some(self.spec.wait_limit()),
            LoopState::Starting
            | LoopState::Waiting
            | LoopState::Running
            | LoopState::Restarting => Some(self.spec.turn_limit()),
            LoopState::Ended => None,
        };
        LoopStatus {
            name: self.spec.name.to_owned(),
            subject: self.spec.subject.clone(),
            period_ms: millis(self.spec.period),
            state: state.shown(),
            stalled_for_ms: limit.filter(|limit| quiet > *limit).map(|_| millis(quiet)),
            started_at: state.started_at,
            finished_at: state.finished_at,
            took_ms: state.took.map(millis),
            result: state.result,
            iterations: state.iterations,
            restarts: state.restarts,
            last_error: state.last_error.clone(),
        }
    }
}

/// Nothing that is done under these locks leaves a state half changed.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
