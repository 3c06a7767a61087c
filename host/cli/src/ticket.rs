//! One ticket: `operator tickets show`, and the decisions about it.

use clap::Args;
use operator_model::{Ticket, TicketId, Timestamp};
use operator_service::{Service, TicketStory};

use super::{
    Exit, Failure, Json, Output, guidance,
    ids::{signed, ticket_id},
    mute::warn_of_mute_daemons,
    printable::printable,
    style,
    table::Table,
};

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The ticket: 12 or #12
    #[arg(value_name = "TICKET", value_parser = ticket_id)]
    id: TicketId,
    #[command(flatten)]
    json: Json,
}

/// A decision about a ticket.
#[derive(Debug, Args)]
pub(super) struct Decide {
    /// The ticket: 12 or #12
    #[arg(value_name = "TICKET", value_parser = ticket_id)]
    pub(super) id: TicketId,
    /// Why, for those who read the ticket later
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) note: String,
    #[command(flatten)]
    json: Json,
}

impl Show {
    pub(super) async fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let story = service.ticket(self.id).await?;
        warn_of_mute_daemons(service, out).await?;
        if self.json.json {
            out.json(&story)?;
        } else {
            out.text(&card(&story.ticket))?;
            out.text(&match &story.guidance {
                Some(guidance) => guidance::shown(guidance),
                None => NOT_DESCRIBED.to_owned(),
            })?;
            out.text("\n")?;
            out.table(&events(&story))?;
        }
        Ok(Exit::Fine)
    }
}

impl Decide {
    pub(super) fn report(&self, ticket: &Ticket, out: &Output) -> Result<Exit, Failure> {
        if self.json.json {
            out.json(ticket)?;
        } else {
            out.text(&card(ticket))?;
        }
        Ok(Exit::Fine)
    }
}

/// Instead of a runbook.
const NOT_DESCRIBED: &str = "  runbook       not known: the plugin has not been started since its descriptor is kept, or does not declare this invariant\n";

/// One ticket, a line for each thing that is known.
fn card(ticket: &Ticket) -> String {
    let mut text = format!(
        "{} {} {}: {} {}\n",
        ticket.id,
        style::severity(ticket.severity).painted(),
        style::state(ticket.state).painted(),
        printable(&ticket.subject),
        printable(&ticket.key.to_string()),
    );
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let lines = [
        ("message", Some(ticket.message.clone())),
        ("first seen", time(Some(ticket.first_seen))),
        ("broken since", time(Some(ticket.violated_since))),
        ("opened", time(ticket.opened_at)),
        ("last seen", time(Some(ticket.last_seen))),
        ("holding since", time(ticket.holding_since)),
        ("resolved", time(ticket.resolved_at)),
        ("times opened", Some(ticket.occurrences.to_string())),
        ("acknowledged", ticket.acknowledged.as_ref().map(signed)),
        ("held", ticket.held.as_ref().map(signed)),
        ("flapping", ticket.flapping.then(|| "yes".to_owned())),
        (
            "evidence",
            (!ticket.evidence.is_null()).then(|| ticket.evidence.to_string()),
        ),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            text.extend(["  ", &format!("{name:<14}"), &printable(&value), "\n"]);
        }
    }
    text
}

/// The whole story, from the first observation to the proof: what happened to the ticket, and what was done about it.
fn events(story: &TicketStory) -> Table<4> {
    let of_ticket = story.events.iter().map(|event| {
        let word = event.kind.as_str().to_owned();
        (event.at, word, event.actor.clone(), event.note.clone())
    });
    let of_actions = story.actions.iter().map(|entry| {
        let word = match entry.proposal {
            Some(id) => format!("{} {id}", entry.event),
            None => entry.event.clone(),
        };
        (entry.at, word, entry.actor.clone(), entry.summary())
    });
    let mut lines: Vec<_> = of_ticket.chain(of_actions).collect();
    lines.sort_by_key(|(at, ..)| *at);
    let mut table = Table::new(["TIME", "EVENT", "BY", "NOTE"]);
    for (at, word, actor, note) in lines {
        table.row([
            at.to_string().into(),
            word.into(),
            actor.into(),
            note.into(),
        ]);
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use operator_plugin_api::Severity;
    use serde_json::json;

    use super::*;
    use operator_model::{Mark, TicketKey, TicketState};

    pub(crate) fn ticket() -> Ticket {
        let mark = |note: &str| Mark {
            by: "ada".to_owned(),
            at: Timestamp(3000),
            note: note.to_owned(),
        };
        Ticket {
            id: TicketId(12),
            subject: "orders".to_owned(),
            key: TicketKey::new("replicated", Some("table-7")),
            severity: Severity::Critical,
            state: TicketState::Open,
            message: "1 of 3 copies".to_owned(),
            evidence: json!({"copies": 1}),
            first_seen: Timestamp(1000),
            violated_since: Timestamp(1000),
            last_seen: Timestamp(4000),
            opened_at: Some(Timestamp(2000)),
            holding_since: None,
            resolved_at: None,
            occurrences: 2,
            acknowledged: Some(mark("")),
            held: Some(mark("until the disk is there")),
            flapping: false,
            transitions: Vec::new(),
        }
    }

    #[test]
    fn a_card_cannot_drive_the_terminal() {
        let mut hostile = ticket();
        hostile.subject = "or\u{1b}[2Jders".to_owned();
        hostile.key = TicketKey::new("replicated", Some("a\u{202e}b"));
        hostile.message = "line\n\u{1b}]0;title\u{7}\u{2028}".to_owned();
        hostile.held = Some(Mark {
            by: "a\rda".to_owned(),
            at: Timestamp(0),
            note: "\u{9b}31m".to_owned(),
        });
        // The colours of the severity and the state are the operator's own.
        let shown = card(&hostile)
            .replace("\u{1b}[0m", "")
            .replace("\u{1b}[31m", "");
        let shown = shown.replace("\u{1b}[31;1m", "");
        let driving = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2028}".contains(c);
        assert!(!shown.contains(driving), "{shown:?}");
        assert_eq!(shown.lines().count(), card(&ticket()).lines().count());
    }

    #[test]
    fn a_card_leaves_out_what_is_not_so() {
        assert_eq!(
            anstream::adapter::strip_str(&card(&ticket())).to_string(),
            "#12 critical open: orders replicated table-7\n  \
               message       1 of 3 copies\n  \
               first seen    1970-01-01T00:00:01.000Z\n  \
               broken since  1970-01-01T00:00:01.000Z\n  \
               opened        1970-01-01T00:00:02.000Z\n  \
               last seen     1970-01-01T00:00:04.000Z\n  \
               times opened  2\n  \
               acknowledged  by ada at 1970-01-01T00:00:03.000Z\n  \
               held          by ada at 1970-01-01T00:00:03.000Z: until the disk is there\n  \
               evidence      {\"copies\":1}\n"
        );
    }
}
