//! What the monitor tells whoever listens: events as they happen, and each subject's latest status.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use operator_model::{Assessment, Ticket, TicketEvent, Timestamp};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc};

use super::Tally;

/// So many events may wait for a slow listener before it misses some.
const BACKLOG: usize = 4096;

/// Something that people want to hear of.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A ticket changed.
    Ticket {
        /// As it is now.
        ticket: Box<Ticket>,
        /// What happened to it, in order; never empty.
        events: Vec<TicketEvent>,
    },
    /// Something is wrong with the operator itself, such as a full disk.
    Trouble {
        /// Whose cycle met it.
        subject: String,
        /// The whole chain, in one line.
        message: String,
    },
}

/// How watching one subject is going.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Name of the subject.
    pub subject: String,
    /// Cycles since the start.
    pub cycles: u64,
    /// Cycles that were skipped because an earlier one took too long.
    pub late: u64,
    /// When the last cycle ended.
    pub at: Timestamp,
    /// Between two cycles. Milliseconds.
    pub interval_ms: i64,
    /// How long it took. Milliseconds.
    pub took_ms: f64,
    /// What is known of the plugin's invariants.
    #[serde(flatten)]
    pub tally: Tally,
    /// The plugin's line for people, or why there is none.
    pub summary: String,
    /// False while the subject could not be observed and judged.
    pub observed: bool,
}

/// Where the monitor's loops report. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    events: broadcast::Sender<Event>,
    statuses: Arc<Mutex<BTreeMap<String, Status>>>,
    wants_looks: Arc<AtomicBool>,
    looks: Option<mpsc::Sender<Assessment>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            events: broadcast::channel(BACKLOG).0,
            statuses: Arc::default(),
            wants_looks: Arc::default(),
            looks: None,
        }
    }
}

impl Hub {
    /// Every event from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The latest status of every subject that has had a cycle, by name.
    pub fn statuses(&self) -> BTreeMap<String, Status> {
        self.statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same hub, which also hands out what every cycle said, as long as that is wanted.
    #[must_use]
    pub fn with_looks(mut self, looks: mpsc::Sender<Assessment>) -> Self {
        self.looks = Some(looks);
        self
    }

    /// Says whether looks are wanted.
    pub fn wants_looks(&self) -> &Arc<AtomicBool> {
        &self.wants_looks
    }

    /// Hands out a look if it is wanted. One that finds no room is missed; another one follows.
    pub(super) fn show(&self, look: impl FnOnce() -> Assessment) {
        if let Some(looks) = &self.looks
            && self.wants_looks.load(Ordering::Relaxed)
        {
            let _ = looks.try_send(look());
        }
    }

    /// Tells an event to whoever listens; nobody need to.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub(super) fn set_status(&self, status: Status) {
        self.statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(status.subject.clone(), status);
    }
}
