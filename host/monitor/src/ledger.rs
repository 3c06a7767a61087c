//! A subject's tickets as this process knows them, and what of them the store does not have yet. Pure.
//!
//! While the store cannot be written, cycles go on with what is here. What they change is told at once and waits to be written;
//! once it is, nothing of it is told again. What others wrote meanwhile takes precedence over what they changed, and only there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use operator_model::{
    EventKind, Mark, Proposal, Ticket, TicketChange, TicketEvent, TicketId, TicketState, Timestamp,
};
use operator_store::SubjectState;

/// What is known of a subject's tickets. A ticket that has never been in the store has a number below zero, for here alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ledger {
    /// The store's revision that this goes back to; none before the store has been read.
    revision: Option<i64>,
    tickets: Vec<Ticket>,
    unsettled: Vec<Proposal>,
    unwritten: Unwritten,
    /// What was to be written by the one attempt since the store was last read. Whether it was is not known.
    attempted: Option<Unwritten>,
    /// How many new tickets there were.
    new: i64,
    /// Whether the store that it goes back to is lost, and no other has been read since.
    is_orphan: bool,
}

/// Changes that the store does not have.
#[derive(Debug, Clone, Default, PartialEq)]
struct Unwritten {
    puts: BTreeMap<TicketId, Put>,
    /// As the store has them.
    drops: BTreeMap<TicketId, Ticket>,
}

#[derive(Debug, Clone, PartialEq)]
struct Put {
    /// As the store has it; none where it does not.
    before: Option<Ticket>,
    ticket: Ticket,
    events: Vec<TicketEvent>,
}

/// A ledger with a cycle's changes, before it is known whether they could be written.
#[derive(Debug)]
pub(crate) struct Next {
    ledger: Ledger,
    /// What happened in this cycle, by the ledger's number of its ticket.
    told: Vec<(TicketId, Vec<TicketEvent>)>,
}

/// What happened to one ticket.
pub(crate) type Told = (Ticket, Vec<TicketEvent>);

impl Ledger {
    /// The store is lost: all that is known is to be written to the one that takes its place. Without numbers: there they may
    /// belong to others.
    fn lose(&mut self) {
        let mut events: BTreeMap<TicketId, Vec<TicketEvent>> = BTreeMap::new();
        for (id, put) in std::mem::take(&mut self.unwritten).puts {
            events.insert(id, put.events);
        }
        for ticket in std::mem::take(&mut self.tickets) {
            let events = events.remove(&ticket.id).unwrap_or_default();
            self.put_again(None, ticket, events);
        }
        self.revision = None;
        self.attempted = None;
        self.is_orphan = true;
    }

    /// Whether it goes back to this revision of the store.
    pub(crate) fn is_of(&self, revision: i64) -> bool {
        self.revision == Some(revision)
    }

    /// Every live ticket, and those that were resolved lately.
    pub(crate) fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    /// What is resolved and older than this is of no use any more; none if there is no such ticket.
    pub(crate) fn without_old(&self, since: Timestamp) -> Option<Self> {
        let is_old =
            |ticket: &Ticket| !ticket.is_live() && ticket.resolved_at.is_none_or(|at| at < since);
        self.tickets.iter().any(is_old).then(|| {
            let mut ledger = self.clone();
            ledger.tickets.retain(|ticket| !is_old(ticket));
            ledger
        })
    }

    /// The same, after time in which nothing was observed: it does not count as time in which an invariant held.
    pub(crate) fn after_a_pause(&self) -> Self {
        let mut ledger = self.clone();
        stop_clocks(&mut ledger.tickets);
        ledger
    }

    /// Proposals that a person must inspect.
    pub(crate) fn unsettled(&self) -> &[Proposal] {
        &self.unsettled
    }

    /// Whether the store has everything, as far as is known.
    pub(crate) fn is_written(&self) -> bool {
        self.unwritten == Unwritten::default()
    }

    /// Whether it is open what became of an attempt to write.
    pub(crate) fn is_unsure(&self) -> bool {
        self.attempted.is_some()
    }

    /// The store was read and is as this ledger knows it: an attempt to write had no effect.
    pub(crate) fn confirm(&mut self) {
        self.attempted = None;
        self.unwritten.drops.retain(|id, _| !is_new(*id));
    }

    /// The ledger after these changes.
    pub(crate) fn with(&self, changes: &[TicketChange]) -> Next {
        let mut ledger = self.clone();
        let told = changes.iter().filter_map(|change| match change {
            TicketChange::Put { ticket, events } => {
                Some((ledger.put(ticket, events), events.clone()))
            }
            TicketChange::Drop(id) => {
                ledger.drop_pending(*id);
                None
            }
        });
        let told = told.collect();
        Next { ledger, told }
    }

    fn put(&mut self, ticket: &Ticket, events: &[TicketEvent]) -> TicketId {
        let mut ticket = ticket.clone();
        if ticket.id == TicketId(0) {
            self.new += 1;
            ticket.id = TicketId(-self.new);
        }
        let id = ticket.id;
        let before = self.take(id);
        self.tickets.push(ticket.clone());
        let put = self.unwritten.puts.entry(id).or_insert_with(|| Put {
            before,
            ticket: ticket.clone(),
            events: Vec::new(),
        });
        put.ticket = ticket;
        put.events.extend_from_slice(events);
        id
    }

    fn drop_pending(&mut self, id: TicketId) {
        let known = self.take(id);
        let tried = self
            .attempted
            .as_ref()
            .and_then(|tried| tried.puts.get(&id));
        let before = match self.unwritten.puts.remove(&id) {
            // It may have arrived all the same.
            Some(put) => put.before.or(tried.map(|tried| tried.ticket.clone())),
            None => known,
        };
        if let Some(before) = before {
            self.unwritten.drops.insert(id, before);
        }
    }

    fn take(&mut self, id: TicketId) -> Option<Ticket> {
        let at = self.tickets.iter().position(|ticket| ticket.id == id)?;
        Some(self.tickets.remove(at))
    }

    /// Goes on from what the store has now, which others have changed: where they did not change a ticket, what this process
    /// knows of it stays to be written; where they did, theirs counts.
    pub(crate) fn adopt(&mut self, state: SubjectState) {
        let unwritten = std::mem::take(&mut self.unwritten);
        let attempted = self.attempted.take().unwrap_or_default();
        let is_orphan = std::mem::take(&mut self.is_orphan);
        self.revision = Some(state.revision);
        self.tickets = state.tickets;
        self.unsettled = state.unsettled;
        for before in unwritten.drops.into_values() {
            let theirs = self.counterpart(&before);
            if let Some(theirs) = theirs.filter(|theirs| is_same_progress(theirs, &before)) {
                self.take(theirs.id);
                self.unwritten.drops.insert(theirs.id, theirs);
            }
        }
        // New ones last: what became of the old ones decides whether there is room for them.
        let (new, old): (Vec<_>, Vec<_>) =
            unwritten.puts.into_iter().partition(|(id, _)| is_new(*id));
        for (id, put) in old.into_iter().chain(new) {
            let tried = attempted.puts.get(&id);
            self.merge(put, tried, is_orphan);
        }
    }

    fn merge(&mut self, put: Put, tried: Option<&Put>, is_orphan: bool) {
        let Some(theirs) = self.counterpart(&put.ticket) else {
            // It was removed, or never arrived. What is over stays away.
            if is_new(put.ticket.id) || put.ticket.is_live() {
                self.put_again(None, put.ticket, put.events);
            }
            return;
        };
        let arrived = tried.filter(|tried| is_same_progress(&tried.ticket, &theirs));
        let is_untouched = put
            .before
            .as_ref()
            .is_some_and(|before| is_same_progress(before, &theirs));
        // Others resolved an occurrence before ours began.
        let is_later = put.ticket.is_live()
            && !theirs.is_live()
            && theirs.resolved_at <= Some(put.ticket.violated_since);
        // An older copy of the store was put in the place of the lost one.
        let is_older_copy = is_orphan
            && theirs.first_seen == put.ticket.first_seen
            && theirs.last_seen <= put.ticket.last_seen;
        if arrived.is_none() && !is_untouched && !is_later && !is_older_copy {
            return;
        }
        let written = arrived.map_or(0, |tried| tried.events.len());
        let base = arrived.map(|tried| &tried.ticket).or(put.before.as_ref());
        let marks = |of: fn(&Ticket) -> &Option<Mark>| match base {
            Some(base) if of(base) == of(&theirs) => of(&put.ticket).clone(),
            _ => of(&theirs).clone(),
        };
        let held = marks(|ticket| &ticket.held);
        let ticket = Ticket {
            id: theirs.id,
            acknowledged: marks(|ticket| &ticket.acknowledged),
            held: held.filter(|_| put.ticket.is_live()),
            ..put.ticket
        };
        let events = put.events.into_iter().skip(written).collect();
        self.take(theirs.id);
        self.put_again(Some(theirs), ticket, events);
    }

    /// What the store has of a ticket, under its number or, where it is new, under its key.
    fn counterpart(&self, ours: &Ticket) -> Option<Ticket> {
        let mut known = self.tickets.iter();
        let found = if is_new(ours.id) {
            let of_key = |ticket: &&Ticket| ticket.key == ours.key && !is_new(ticket.id);
            let mut same = self.tickets.iter().filter(of_key);
            let arrived = same.find(|ticket| ticket.first_seen == ours.first_seen);
            arrived.or_else(|| known.filter(of_key).find(|ticket| ticket.is_live()))
        } else {
            known.find(|ticket| ticket.id == ours.id)
        };
        found.cloned()
    }

    fn put_again(&mut self, before: Option<Ticket>, mut ticket: Ticket, events: Vec<TicketEvent>) {
        if before.is_none() && !is_new(ticket.id) {
            self.new += 1;
            ticket.id = TicketId(-self.new);
        }
        self.tickets.push(ticket.clone());
        if before.as_ref() != Some(&ticket) || !events.is_empty() {
            let put = Put {
                before,
                ticket: ticket.clone(),
                events,
            };
            self.unwritten.puts.insert(ticket.id, put);
        }
    }
}

impl Next {
    /// What to write the changes against; none before the store has been read.
    pub(crate) fn revision(&self) -> Option<i64> {
        self.ledger.revision
    }

    /// Everything that the store does not have: what makes room comes first.
    pub(crate) fn changes(&self) -> Vec<TicketChange> {
        let unwritten = &self.ledger.unwritten;
        let drops = unwritten.drops.keys().map(|id| TicketChange::Drop(*id));
        let puts = self.in_order().map(|put| TicketChange::Put {
            ticket: Box::new(as_stored(&put.ticket)),
            events: put.events.clone(),
        });
        drops.chain(puts).collect()
    }

    fn in_order(&self) -> impl Iterator<Item = &Put> {
        let puts = || self.ledger.unwritten.puts.values();
        let over = puts().filter(|put| !put.ticket.is_live());
        over.chain(puts().filter(|put| put.ticket.is_live()))
    }

    /// All was written, as these tickets in the order of the changes. The ledger, what happened in this cycle, and the tickets of
    /// which something was told earlier, and is kept only now.
    pub(crate) fn written(
        self,
        revision: i64,
        written: &[Ticket],
    ) -> (Ledger, Vec<Told>, Vec<Ticket>) {
        let puts: Vec<&Put> = self.in_order().collect();
        let ids = puts.iter().map(|put| put.ticket.id);
        let numbered: BTreeMap<TicketId, &Ticket> = ids.zip(written).collect();
        let as_written = |id: &TicketId| numbered.get(id).map(|ticket| Ticket::clone(ticket));
        let fresh: BTreeMap<TicketId, usize> = self
            .told
            .iter()
            .map(|(id, events)| (*id, events.len()))
            .collect();
        let was_told = |put: &&&Put| {
            let fresh = fresh.get(&put.ticket.id).copied().unwrap_or_default();
            let mut earlier = put.events.iter().rev().skip(fresh);
            earlier.any(|event| event.kind != EventKind::Seen)
        };
        let caught_up = puts.iter().filter(was_told);
        let caught_up = caught_up.filter_map(|put| as_written(&put.ticket.id));
        let caught_up = caught_up.collect();
        let told = self.told.iter();
        let told = told.filter_map(|(id, events)| Some((as_written(id)?, events.clone())));
        let told = told.collect();
        let tickets = self.ledger.tickets.iter();
        let tickets = tickets.map(|known| as_written(&known.id).unwrap_or_else(|| known.clone()));
        let ledger = Ledger {
            revision: Some(revision),
            tickets: tickets.collect(),
            unsettled: self.ledger.unsettled.clone(),
            new: self.ledger.new,
            ..Ledger::default()
        };
        (ledger, told, caught_up)
    }

    /// Nothing was written, as far as is known. The ledger, and what happened in this cycle.
    pub(crate) fn kept_back(self, was_attempted: bool) -> (Ledger, Vec<Told>) {
        let mut ledger = self.ledger;
        if was_attempted {
            ledger.attempted = Some(ledger.unwritten.clone());
        }
        let puts = &ledger.unwritten.puts;
        let told = self.told.into_iter().filter_map(|(id, events)| {
            let put = puts.get(&id)?;
            Some((as_stored(&put.ticket), events))
        });
        let told = told.collect();
        (ledger, told)
    }
}

/// The ledger of one subject, which outlives the restarts of the loop that keeps it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SharedLedger(Arc<Mutex<Arc<Ledger>>>);

impl SharedLedger {
    /// As it was last left.
    pub(crate) fn get(&self) -> Arc<Ledger> {
        let ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&ledger)
    }

    /// The store is lost: what is known here is written to the next one.
    pub fn lose(&self) {
        let mut ledger = Ledger::clone(&self.get());
        ledger.lose();
        self.set(ledger);
    }

    /// Proposals that a person must inspect.
    pub fn unsettled(&self) -> Vec<Proposal> {
        self.get().unsettled.clone()
    }

    /// The highest number of a ticket.
    pub fn last_ticket(&self) -> i64 {
        let ledger = self.get();
        let ids = ledger.tickets.iter().map(|ticket| ticket.id.0);
        ids.max().unwrap_or_default().max(0)
    }

    pub(crate) fn set(&self, ledger: Ledger) -> Arc<Ledger> {
        let ledger = Arc::new(ledger);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ledger);
        ledger
    }
}

/// Nothing was observed while the operator was away: that time does not count as time in which an invariant held.
pub(crate) fn stop_clocks(tickets: &mut [Ticket]) {
    for ticket in tickets {
        if ticket.state == TicketState::Recovering {
            ticket.holding_since = None;
        }
    }
}

fn is_new(id: TicketId) -> bool {
    id.0 < 0
}

fn as_stored(ticket: &Ticket) -> Ticket {
    Ticket {
        id: TicketId(ticket.id.0.max(0)),
        ..ticket.clone()
    }
}

/// Whether two versions are equal but for what people mark, and for the latest numbers.
fn is_same_progress(one: &Ticket, other: &Ticket) -> bool {
    let progress = |ticket: &Ticket| Ticket {
        id: TicketId(0),
        message: String::new(),
        evidence: serde_json::Value::Null,
        last_seen: Timestamp(0),
        // A loop that begins anew stops this clock.
        holding_since: None,
        acknowledged: None,
        held: None,
        ..ticket.clone()
    };
    progress(one) == progress(other)
}

#[cfg(test)]
#[path = "tests/ledger.rs"]
mod tests;
