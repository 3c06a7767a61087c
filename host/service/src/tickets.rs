//! Tickets: listing them, showing one, and what people decide about one.

use operator_model::{
    AuditEntry, EventKind, Mark, Ticket, TicketEvent, TicketId, TicketState, Timestamp,
};
use operator_monitor::OWN;
use operator_plugin_api::Descriptor;
use operator_store::{AuditFilter, ObservationRow, TicketFilter};
use serde::Serialize;

use super::{Service, ServiceError};

/// All that is known of one ticket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TicketStory {
    /// As it is now.
    pub ticket: Ticket,
    /// What happened to it, in order.
    pub events: Vec<TicketEvent>,
    /// The audit entries about it, in order.
    pub actions: Vec<AuditEntry>,
    /// The observations kept for it, oldest first.
    pub observations: Vec<ObservationRow>,
    /// What is known of its invariant; absent until a daemon has started the subject's plugin.
    pub guidance: Option<Guidance>,
}

/// What the author of a plugin wrote about an invariant, for the person who deals with its violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guidance {
    /// What holds when all is well.
    pub description: String,
    /// What to inspect and do, as Markdown; may be empty.
    pub runbook: String,
    /// Names of actions that are meant to fix it, best first.
    pub suggested_actions: Vec<String>,
}

impl Guidance {
    /// About an invariant of the operator, or one of this plugin.
    pub(crate) fn of(invariant: &str, descriptor: Option<&Descriptor>) -> Option<Self> {
        if let Some((.., description)) = OWN.iter().find(|(name, ..)| *name == invariant) {
            return Some(Self {
                description: (*description).to_owned(),
                runbook: String::new(),
                suggested_actions: Vec::new(),
            });
        }
        let mut declared = descriptor?.invariants.iter();
        let invariant = declared.find(|declared| declared.name == invariant)?;
        Some(Self {
            description: invariant.description.clone(),
            runbook: invariant.runbook.clone(),
            suggested_actions: invariant.suggested_actions.clone(),
        })
    }
}

impl Service {
    /// Tickets for a listing, the latest first.
    pub async fn tickets(&self, filter: &TicketFilter) -> Result<Vec<Ticket>, ServiceError> {
        Ok(self.reading().await?.tickets(filter).await?)
    }

    /// All that is known of one ticket.
    pub async fn ticket(&self, id: TicketId) -> Result<TicketStory, ServiceError> {
        let store = self.reading().await?;
        let ticket = store.ticket(id).await?;
        let kept = store.descriptor(&ticket.subject).await?;
        let descriptor = kept.map(|kept| kept.descriptor);
        Ok(TicketStory {
            guidance: Guidance::of(&ticket.key.invariant, descriptor.as_ref()),
            ticket,
            events: store.ticket_events(id).await?,
            actions: store.audit(&of_ticket(id)).await?,
            observations: store.ticket_observations(id).await?,
        })
    }

    /// The number of the latest event, to follow what comes after it.
    pub async fn last_event(&self) -> Result<i64, ServiceError> {
        Ok(self.reading().await?.last_event().await?)
    }

    /// What happened to any ticket since the event of this number.
    pub async fn events_after(
        &self,
        n: i64,
    ) -> Result<Vec<(i64, TicketEvent, Ticket)>, ServiceError> {
        Ok(self.reading().await?.events_after(n).await?)
    }

    /// A person acknowledges the ticket.
    pub async fn acknowledge(
        &self,
        id: TicketId,
        by: &str,
        note: &str,
    ) -> Result<Ticket, ServiceError> {
        self.change(id, by, note, EventKind::Acknowledged, |ticket, mark| {
            live(ticket)?;
            ticket.acknowledged = Some(mark);
            Ok(())
        })
        .await
    }

    /// The ticket must not resolve on its own.
    pub async fn hold(&self, id: TicketId, by: &str, note: &str) -> Result<Ticket, ServiceError> {
        self.change(id, by, note, EventKind::Held, |ticket, mark| {
            live(ticket)?;
            ticket.held = Some(mark);
            Ok(())
        })
        .await
    }

    /// The ticket may resolve on its own again.
    pub async fn unhold(&self, id: TicketId, by: &str, note: &str) -> Result<Ticket, ServiceError> {
        self.change(id, by, note, EventKind::Unheld, |ticket, _| {
            match ticket.held.take() {
                Some(_) => Ok(()),
                None => Err(format!("ticket {id} is not held")),
            }
        })
        .await
    }

    /// A person resolves it. A fault that is still there reopens it.
    pub async fn resolve(
        &self,
        id: TicketId,
        by: &str,
        note: &str,
    ) -> Result<Ticket, ServiceError> {
        self.change(id, by, note, EventKind::Resolved, |ticket, mark| {
            live(ticket)?;
            ticket.state = TicketState::Resolved;
            ticket.resolved_at = Some(mark.at);
            ticket.held = None;
            ticket.flapping = false;
            Ok(())
        })
        .await
    }

    async fn change(
        &self,
        id: TicketId,
        by: &str,
        note: &str,
        kind: EventKind,
        apply: impl FnOnce(&mut Ticket, Mark) -> Result<(), String>,
    ) -> Result<Ticket, ServiceError> {
        let at = Timestamp::now();
        let changed = self.store().await?.change_ticket(id, |mut ticket| {
            let mark = Mark {
                by: by.to_owned(),
                at,
                note: note.to_owned(),
            };
            apply(&mut ticket, mark)?;
            let event = TicketEvent {
                at,
                kind,
                actor: by.to_owned(),
                note: note.to_owned(),
            };
            Ok(Some((ticket, event)))
        });
        changed.await?.map_err(ServiceError::Input)
    }
}

fn of_ticket(id: TicketId) -> AuditFilter {
    AuditFilter {
        ticket: Some(id),
        ..AuditFilter::default()
    }
}

/// People decide about tickets that have opened and are not over.
fn live(ticket: &Ticket) -> Result<(), String> {
    match ticket.state {
        TicketState::Open | TicketState::Recovering => Ok(()),
        TicketState::Resolved => Err(format!("ticket {} is resolved already", ticket.id)),
        TicketState::Pending => Err(format!(
            "ticket {} is pending: its grace period runs, and it has not opened yet",
            ticket.id
        )),
    }
}
