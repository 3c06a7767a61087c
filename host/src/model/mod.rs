//! The nouns of the operator, without any I/O.

mod retention;
mod ticket;
mod time;

pub use retention::Retention;
pub use ticket::{
    EventKind, Mark, OPERATOR, Ticket, TicketChange, TicketEvent, TicketId, TicketKey, TicketState,
};
pub use time::{Timestamp, millis};
