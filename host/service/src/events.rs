//! What happens while the daemon runs, for everyone who wants to follow it.

use operator_model::AuditEntry;
use operator_monitor::{Event, Hub, Status};
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError, error::TryRecvError};

use super::Service;

/// How many audit entries may wait for a slow subscriber before it misses some.
const BACKLOG: usize = 4096;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Update {
    /// A ticket changed, or the operator itself is in trouble.
    Event(Event),
    /// Something was proposed, decided or done, by any process that shares the store.
    Action(Box<AuditEntry>),
    /// The subscriber was too slow: this many updates were dropped.
    Missed(u64),
}

/// Every update from the moment of subscribing.
#[derive(Debug)]
pub struct Subscription {
    events: Receiver<Event>,
    actions: Receiver<AuditEntry>,
}

/// Where the daemon's loops publish what happens.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    hub: Hub,
    actions: Sender<AuditEntry>,
}

impl Default for Publisher {
    fn default() -> Self {
        Self {
            hub: Hub::default(),
            actions: broadcast::channel(BACKLOG).0,
        }
    }
}

impl Publisher {
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Every entry from now on.
    pub(crate) fn actions(&self) -> Receiver<AuditEntry> {
        self.actions.subscribe()
    }

    /// Without a subscriber it is dropped: the audit has it already.
    pub(crate) fn action(&self, entry: AuditEntry) {
        let _ = self.actions.send(entry);
    }
}

impl Service {
    /// Every update from now on. Only the process that runs the daemon has any.
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            events: self.publisher.hub.listen(),
            actions: self.publisher.actions(),
        }
    }

    /// The latest status of every subject that has had a cycle in this process, by the subject's name.
    pub fn statuses(&self) -> Vec<Status> {
        self.publisher.hub.statuses().into_values().collect()
    }
}

impl Subscription {
    /// The next update; none once nothing can follow.
    pub async fn next(&mut self) -> Option<Update> {
        tokio::select! {
            event = self.events.recv() => update(event, Update::Event),
            entry = self.actions.recv() => update(entry, |entry| Update::Action(Box::new(entry))),
        }
    }

    /// An update that has happened already; none when there is no more for now.
    pub fn try_next(&mut self) -> Option<Update> {
        waiting(&mut self.events, Update::Event)
            .or_else(|| waiting(&mut self.actions, |entry| Update::Action(Box::new(entry))))
    }
}

fn update<T>(received: Result<T, RecvError>, of: impl FnOnce(T) -> Update) -> Option<Update> {
    match received {
        Ok(value) => Some(of(value)),
        Err(RecvError::Lagged(missed)) => Some(Update::Missed(missed)),
        Err(RecvError::Closed) => None,
    }
}

fn waiting<T: Clone>(receiver: &mut Receiver<T>, of: impl FnOnce(T) -> Update) -> Option<Update> {
    match receiver.try_recv() {
        Ok(value) => Some(of(value)),
        Err(TryRecvError::Lagged(missed)) => Some(Update::Missed(missed)),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}
