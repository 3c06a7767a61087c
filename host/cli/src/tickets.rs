//! `operator tickets`

use std::time::Duration;

use clap::{Args, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};
use operator_model::{Ticket, TicketEvent, TicketState, Timestamp};
use operator_service::{Service, TicketFilter};

use super::{
    Exit, Failure, Json, Output,
    mute::warn_of_mute_daemons,
    printable::printable,
    style,
    table::Table,
    ticket::{self, Decide},
};

#[derive(Debug, Subcommand)]
pub(super) enum Tickets {
    /// List open and recovering tickets, the latest first
    List(List),
    /// Show one ticket and its history
    Show(ticket::Show),
    /// Acknowledge a ticket: you are working on it
    Ack(Decide),
    /// Keep a ticket from resolving on its own
    Hold(Decide),
    /// Let a ticket resolve on its own again
    Unhold(Decide),
    /// Resolve a ticket; a fault that is still there reopens it
    Resolve(Decide),
    /// Print ticket events as they happen, until interrupted
    Watch(Json),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only tickets in this state; may be repeated
    #[arg(long = "state", value_name = "STATE", value_parser = states())]
    states: Vec<TicketState>,
    /// Tickets in every state, resolved ones too
    #[arg(long, conflicts_with = "states")]
    all: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    #[command(flatten)]
    json: Json,
}

const STATES: [TicketState; 4] = [
    TicketState::Pending,
    TicketState::Open,
    TicketState::Recovering,
    TicketState::Resolved,
];

fn states() -> impl TypedValueParser<Value = TicketState> {
    PossibleValuesParser::new(STATES.map(TicketState::as_str)).try_map(|word| {
        let state = STATES.into_iter().find(|state| state.as_str() == word);
        state.ok_or("there is no such state")
    })
}

impl Tickets {
    /// `subjects`: only their tickets; all when empty.
    pub(super) async fn run(
        self,
        service: &Service,
        subjects: &[String],
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let (decide, ticket) = match self {
            Self::List(list) => return list.run(service, subjects, out).await,
            Self::Show(show) => return show.run(service, out).await,
            Self::Watch(json) => return watch(json, service, subjects, out).await,
            Self::Ack(it) => {
                let ticket = service.acknowledge(it.id, person, &it.note).await?;
                (it, ticket)
            }
            Self::Hold(it) => {
                let ticket = service.hold(it.id, person, &it.note).await?;
                (it, ticket)
            }
            Self::Unhold(it) => {
                let ticket = service.unhold(it.id, person, &it.note).await?;
                (it, ticket)
            }
            Self::Resolve(it) => {
                let ticket = service.resolve(it.id, person, &it.note).await?;
                (it, ticket)
            }
        };
        decide.report(&ticket, out)
    }
}

impl List {
    async fn run(
        self,
        service: &Service,
        subjects: &[String],
        out: &Output,
    ) -> Result<Exit, Failure> {
        let filter = TicketFilter {
            subjects: subjects.to_vec(),
            states: if self.all {
                STATES.to_vec()
            } else {
                self.states
            },
            limit: self.limit,
        };
        let tickets = service.tickets(&filter).await?;
        warn_of_mute_daemons(service, out).await?;
        if self.json.json {
            out.json(&tickets)?;
        } else if tickets.is_empty() {
            out.text("no tickets\n")?;
        } else {
            out.table(&table(&tickets, Timestamp::now()))?;
        }
        Ok(Exit::Fine)
    }
}

pub(super) fn table(tickets: &[Ticket], now: Timestamp) -> Table<10> {
    let mut table = Table::new([
        "ID",
        "SEVERITY",
        "STATE",
        "SUBJECT",
        "INVARIANT",
        "RESOURCE",
        "SINCE",
        "TIMES",
        "MARKS",
        "MESSAGE",
    ]);
    for ticket in tickets {
        table.row([
            ticket.id.to_string().into(),
            style::severity(ticket.severity),
            style::state(ticket.state),
            ticket.subject.as_str().into(),
            ticket.key.invariant.as_str().into(),
            ticket.key.resource.as_deref().unwrap_or_default().into(),
            style::age(ticket.violated_since, now).into(),
            ticket.occurrences.to_string().into(),
            style::marks(ticket).into(),
            ticket.message.as_str().into(),
        ]);
    }
    table
}

/// How often the store, which other processes write, is read.
const POLL: Duration = Duration::from_secs(1);

async fn watch(
    json: Json,
    service: &Service,
    subjects: &[String],
    out: &Output,
) -> Result<Exit, Failure> {
    let mut last = service.last_event().await?;
    warn_of_mute_daemons(service, out).await?;
    loop {
        for (n, event, ticket) in service.events_after(last).await? {
            last = n;
            if !subjects.is_empty() && !subjects.contains(&ticket.subject) {
                continue;
            }
            if json.json {
                let document = serde_json::json!({"event": event, "ticket": ticket});
                out.text(&format!("{document}\n"))?;
            } else {
                out.text(&line(&event, &ticket))?;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
    }
}

/// One event, for following.
fn line(event: &TicketEvent, ticket: &Ticket) -> String {
    format!(
        "{}  {} {} {} {}: {} by {}: {}\n",
        event.at,
        ticket.id,
        style::severity(ticket.severity).painted(),
        printable(&ticket.subject),
        printable(&ticket.key.to_string()),
        event.kind.as_str(),
        printable(&event.actor),
        printable(&event.note),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::tests::ticket;
    use operator_model::EventKind;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn tickets_are_listed_with_their_marks() {
        assert_eq!(
            plain(&table(&[ticket()], Timestamp(125_000)).render(None)),
            "ID   SEVERITY  STATE  SUBJECT  INVARIANT   RESOURCE  SINCE  TIMES  MARKS     MESSAGE\n\
             #12  critical  open   orders   replicated  table-7   2m     2      ack,held  1 of 3 copies\n"
        );
    }

    #[test]
    fn what_people_and_plugins_say_stays_on_its_line() {
        let event = TicketEvent {
            at: Timestamp(0),
            kind: EventKind::Opened,
            actor: "a\u{1b}[2Jda".to_owned(),
            note: "one\ntwo\u{202e}".to_owned(),
        };
        let shown = plain(&line(&event, &ticket()));
        assert!(
            shown.ends_with("by a\\u{1b}[2Jda: one two\\u{202e}\n"),
            "{shown:?}"
        );
    }

    #[test]
    fn an_event_is_one_line() {
        let event = TicketEvent {
            at: Timestamp(0),
            kind: EventKind::Opened,
            actor: "operator".to_owned(),
            note: "1 of 3 copies".to_owned(),
        };
        assert_eq!(
            plain(&line(&event, &ticket())),
            "1970-01-01T00:00:00.000Z  #12 critical orders replicated table-7: opened by operator: 1 of 3 copies\n"
        );
    }
}
