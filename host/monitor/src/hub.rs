//! Where the monitor's loops publish: events as they happen, and each subject's latest status.

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

use super::{Tally, ledger::Told};

/// At most this many events wait for a slow listener before it misses some.
const BACKLOG: usize = 4096;

/// An event that people are notified of.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A ticket changed.
    Ticket {
        /// As it is now.
        ticket: Box<Ticket>,
        /// What happened to it, in order; never empty.
        events: Vec<TicketEvent>,
        /// Whether the store has it. Else the ticket has no number if it is new, and is written once the store works again.
        kept: bool,
    },
    /// So many subjects have been started, of all that are to be watched.
    Started {
        /// How many.
        done: usize,
        /// Of how many.
        all: usize,
    },
    /// The store works again: what was told of these tickets while it did not is kept now.
    Kept {
        /// Name of the subject.
        subject: String,
        /// As they are now.
        tickets: Vec<Ticket>,
    },
    /// Something is wrong with the operator itself, such as a full disk.
    Trouble {
        /// Whose loop met it; `operator` where it serves all subjects.
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
    wants_assessments: Arc<AtomicBool>,
    assessments: Option<mpsc::Sender<Assessment>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            events: broadcast::channel(BACKLOG).0,
            statuses: Arc::default(),
            wants_assessments: Arc::default(),
            assessments: None,
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

    /// The same hub, which also sends the assessment of every cycle, as long as they are wanted.
    #[must_use]
    pub fn with_assessments(mut self, assessments: mpsc::Sender<Assessment>) -> Self {
        self.assessments = Some(assessments);
        self
    }

    /// Whether assessments are wanted.
    pub fn wants_assessments(&self) -> &Arc<AtomicBool> {
        &self.wants_assessments
    }

    /// Sends an assessment if it is wanted. One that finds no room is dropped; another one follows.
    pub(super) fn assess(&self, assessment: impl FnOnce() -> Assessment) {
        if let Some(assessments) = &self.assessments
            && self.wants_assessments.load(Ordering::Relaxed)
        {
            let _ = assessments.try_send(assessment());
        }
    }

    /// Publishes an event to every listener, if there is any.
    pub fn publish(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Publishes what happened to tickets.
    pub(super) fn publish_told(&self, told: Vec<Told>, kept: bool) {
        for (ticket, events) in told {
            if !events.is_empty() {
                self.publish(Event::Ticket {
                    ticket: Box::new(ticket),
                    events,
                    kept,
                });
            }
        }
    }

    pub(super) fn set_status(&self, status: Status) {
        self.statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(status.subject.clone(), status);
    }
}
