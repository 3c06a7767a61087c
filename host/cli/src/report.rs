//! The lines of the running daemon: one per event, for people or for programs. Pure.

use jiff::{Timestamp as Moment, tz::TimeZone};
use operator_config::LogFormat;
use operator_model::{
    AuditEntry, AuditEvent, EventKind, OPERATOR, Ticket, TicketEvent, TicketId, Timestamp, millis,
    visible_json,
};
use operator_plugin_api::Severity;
use operator_service::{Event, Status};
use owo_colors::Style;
use serde_json::{Value, json};

use super::{audit, printable::printable};

/// A status that is older than two intervals and than this is printed with its age. Milliseconds.
const OVERDUE: i64 = 2_000;
/// At most this many tickets are named in one line.
const MOST_NAMED: usize = 5;

/// Turns events into lines.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    format: LogFormat,
    zone: TimeZone,
    /// Of the longest subject's name, for aligned columns.
    subject_width: usize,
}

/// One line for people, before it is laid out.
struct Line<'a> {
    at: Timestamp,
    word: &'a str,
    style: Style,
    subject: &'a str,
    text: String,
}

impl Reporter {
    /// A reporter that shows times in this zone and aligns the names of these subjects.
    pub(super) fn new<'a>(
        format: LogFormat,
        zone: TimeZone,
        subjects: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let widths = subjects.into_iter().map(|name| name.chars().count());
        Self {
            format,
            zone,
            subject_width: widths.max().unwrap_or(0),
        }
    }

    /// The lines of an event; none for one that only programs need.
    pub(super) fn event(&self, event: &Event, now: Timestamp) -> Vec<String> {
        match event {
            Event::Ticket {
                ticket,
                events,
                kept,
            } => events
                .iter()
                .filter(|event| event.kind != EventKind::Seen)
                .map(|event| self.ticket(ticket, event, *kept))
                .collect(),
            Event::Started { done, all } => vec![self.started(*done, *all, now)],
            Event::Kept { subject, tickets } => vec![self.kept(subject, tickets, now)],
            Event::Trouble { subject, message } => {
                vec![self.trouble(subject, message, now)]
            }
        }
    }

    /// How watching a subject is going.
    pub(super) fn heartbeat(&self, status: &Status, now: Timestamp) -> String {
        if self.format == LogFormat::Json {
            return json_line("heartbeat", status.at, json!(status));
        }
        // A status that is no longer current must be recognizable as such.
        let age = status.at.until(now);
        let age = if millis(age) > status.interval_ms.saturating_mul(2).max(OVERDUE) {
            format!(", {} s ago", age.as_secs())
        } else {
            String::new()
        };
        let tally = status.tally;
        let (word, style) = match (status.observed, tally.violated, tally.is_healthy()) {
            (false, ..) => ("blind", Style::new().red().bold()),
            (true, 0, true) => ("healthy", Style::new().green()),
            (true, 0, false) => ("unknown", Style::new().yellow()),
            (true, ..) => ("violated", Style::new().red()),
        };
        let late = match status.late {
            0 => String::new(),
            late => format!(", {late} late cycles"),
        };
        self.line(&Line {
            at: status.at,
            word,
            style,
            subject: &status.subject,
            text: format!("{tally}{late}{age} | {}", status.summary),
        })
    }

    /// About the daemon itself: that it starts, stops, or found something left over.
    pub(super) fn note(&self, word: &str, subject: &str, text: &str, now: Timestamp) -> String {
        if self.format == LogFormat::Json {
            return json_line(word, now, json!({"subject": subject, "message": text}));
        }
        self.line(&Line {
            at: now,
            word,
            style: Style::new().dimmed(),
            subject,
            text: text.to_owned(),
        })
    }

    /// Something that was proposed, decided or done.
    pub(super) fn act(&self, entry: &AuditEntry) -> String {
        if self.format == LogFormat::Json {
            let mut body = audit::document(entry);
            body["kind"] = json!(entry.event);
            if let Some(body) = body.as_object_mut() {
                body.remove("event");
            }
            return json_line("action", entry.at, body);
        }
        let style = match entry.read() {
            Some(
                AuditEvent::OutcomeUnknown(_)
                | AuditEvent::NotVerified(_)
                | AuditEvent::NotUndone(_)
                | AuditEvent::KillSwitchEngaged(_),
            ) => Style::new().red().bold(),
            Some(AuditEvent::Failed(_) | AuditEvent::HeldBack(_) | AuditEvent::Lapsed(_)) => {
                Style::new().yellow()
            }
            Some(AuditEvent::Verified(_)) => Style::new().green(),
            _ => Style::new().cyan(),
        };
        let about = entry
            .proposal
            .map(|id| format!("{id} "))
            .unwrap_or_default();
        let by = match entry.actor.as_str() {
            OPERATOR => String::new(),
            person => format!(" by {person}"),
        };
        let summary = match entry.summary() {
            nothing if nothing.is_empty() => nothing,
            summary => format!(": {summary}"),
        };
        self.line(&Line {
            at: entry.at,
            word: "action",
            style,
            subject: &entry.subject,
            text: format!("{about}{}{by}{summary}", entry.event),
        })
    }

    fn trouble(&self, subject: &str, message: &str, now: Timestamp) -> String {
        if self.format == LogFormat::Json {
            let body = json!({"subject": subject, "message": message});
            return json_line("trouble", now, body);
        }
        self.line(&Line {
            at: now,
            word: "TROUBLE",
            style: Style::new().red().bold(),
            subject,
            text: message.to_owned(),
        })
    }

    /// How far the start has come, where there are many subjects.
    fn started(&self, done: usize, all: usize, now: Timestamp) -> String {
        if self.format == LogFormat::Json {
            return json_line("started", now, json!({"done": done, "all": all}));
        }
        let text = format!("{done} of {all} subjects");
        self.note("started", "", &text, now)
    }

    /// What was told as not kept is in the store now, under these numbers.
    fn kept(&self, subject: &str, tickets: &[Ticket], now: Timestamp) -> String {
        let named = tickets.iter().take(MOST_NAMED);
        if self.format == LogFormat::Json {
            let named = named.map(|ticket| json!({"id": ticket.id, "key": ticket.key.to_string()}));
            let named: Vec<_> = named.collect();
            let body = json!({"subject": subject, "count": tickets.len(), "tickets": named});
            return json_line("kept", now, body);
        }
        let named: Vec<_> = named
            .map(|ticket| format!("{} {}", ticket.id, ticket.key))
            .collect();
        let rest = match tickets.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            rest => format!(" and {rest} more"),
        };
        let text = format!(
            "the store works again, and has what was told meanwhile: {}{rest}",
            named.join(", ")
        );
        self.line(&Line {
            at: now,
            word: "kept",
            style: Style::new().green(),
            subject,
            text,
        })
    }

    fn ticket(&self, ticket: &Ticket, event: &TicketEvent, kept: bool) -> String {
        if self.format == LogFormat::Json {
            let body = json!({
                "subject": ticket.subject,
                "kind": event.kind,
                "actor": event.actor,
                "note": event.note,
                "kept": kept,
                "ticket": ticket,
            });
            return json_line("ticket", event.at, body);
        }
        let (word, style) = word(event.kind, ticket.severity);
        let number = match (kept, ticket.id) {
            (true, id) => id.to_string(),
            (false, TicketId(0)) => "(not kept)".to_owned(),
            (false, id) => format!("{id} (not kept)"),
        };
        self.line(&Line {
            at: event.at,
            word,
            style,
            subject: &ticket.subject,
            text: format!(
                "{:<8} {number} {}: {}",
                ticket.severity.as_str(),
                ticket.key,
                event.note
            ),
        })
    }

    fn line(&self, line: &Line<'_>) -> String {
        let width = self.subject_width;
        format!(
            "{}  {}  {:<width$}  {}",
            self.clock(line.at),
            line.style.style(format!("{:<10}", line.word)),
            printable(line.subject),
            printable(&line.text),
        )
        .trim_end()
        .to_owned()
    }

    fn clock(&self, at: Timestamp) -> String {
        let moment = Moment::from_millisecond(at.0).unwrap_or(Moment::UNIX_EPOCH);
        moment
            .to_zoned(self.zone.clone())
            .strftime("%H:%M:%S")
            .to_string()
    }
}

fn word(kind: EventKind, severity: Severity) -> (&'static str, Style) {
    let alarm = match severity {
        Severity::Critical => Style::new().red().bold(),
        Severity::Warning => Style::new().yellow().bold(),
        Severity::Info => Style::new().cyan(),
    };
    match kind {
        EventKind::Seen => ("seen", Style::new().dimmed()),
        EventKind::Opened => ("OPENED", alarm),
        EventKind::Reopened => ("REOPENED", alarm),
        EventKind::Relapsed => ("relapsed", alarm),
        EventKind::Recovering => ("recovering", Style::new().yellow()),
        EventKind::Resolved => ("resolved", Style::new().green()),
        EventKind::SeverityChanged => ("severity", alarm),
        EventKind::FlappingStarted => ("flapping", Style::new().yellow()),
        EventKind::FlappingStopped => ("calm", Style::new().green()),
        EventKind::Acknowledged => ("acked", Style::new().cyan()),
        EventKind::Held => ("held", Style::new().cyan()),
        EventKind::Unheld => ("unheld", Style::new().cyan()),
        EventKind::Escalated => ("ESCALATED", alarm),
    }
}

fn json_line(event: &str, at: Timestamp, body: Value) -> String {
    let mut line = json!({"at": at.to_string(), "event": event});
    if let (Some(line), Value::Object(body)) = (line.as_object_mut(), body) {
        line.extend(body.into_iter().filter(|(key, _)| key != "at"));
    }
    visible_json(&line.to_string())
}

#[cfg(test)]
mod tests {
    use operator_model::{TicketKey, TicketState};
    use operator_service::Tally;

    use super::*;

    fn reporter(format: LogFormat) -> Reporter {
        Reporter::new(format, TimeZone::UTC, ["db", "cache"])
    }

    fn status() -> Status {
        Status {
            subject: "db".into(),
            cycles: 3,
            late: 0,
            at: Timestamp(1_000),
            interval_ms: 1_000,
            took_ms: 1.5,
            tally: Tally {
                holding: 7,
                ..Tally::default()
            },
            summary: "3 of 3 nodes".into(),
            observed: true,
        }
    }

    fn opened() -> Event {
        let ticket = Ticket {
            id: TicketId(12),
            subject: "db".into(),
            key: TicketKey::new("node_down", Some("b")),
            severity: Severity::Critical,
            state: TicketState::Open,
            message: "b does not answer".into(),
            evidence: Value::Null,
            first_seen: Timestamp(0),
            violated_since: Timestamp(0),
            last_seen: Timestamp(0),
            opened_at: Some(Timestamp(0)),
            holding_since: None,
            resolved_at: None,
            occurrences: 1,
            acknowledged: None,
            held: None,
            flapping: false,
            transitions: vec![],
        };
        let event = |kind| TicketEvent {
            at: Timestamp(61_000),
            kind,
            actor: OPERATOR.into(),
            note: "b does not\nanswer".into(),
        };
        Event::Ticket {
            ticket: Box::new(ticket),
            events: vec![event(EventKind::Seen), event(EventKind::Opened)],
            kept: true,
        }
    }

    #[test]
    fn what_is_not_kept_is_told_as_such() {
        let Event::Ticket {
            mut ticket, events, ..
        } = opened()
        else {
            panic!("a ticket");
        };
        let told = |ticket: &Ticket, format| {
            let event = Event::Ticket {
                ticket: Box::new(ticket.clone()),
                events: events.clone(),
                kept: false,
            };
            plain(&reporter(format).event(&event, Timestamp(0))[0])
        };
        let known = told(&ticket, LogFormat::Text);
        assert!(
            known.contains("critical #12 (not kept) node_down b: b"),
            "{known}"
        );
        ticket.id = TicketId(0);
        let new = told(&ticket, LogFormat::Text);
        assert!(new.contains("critical (not kept) node_down b: b"), "{new}");
        let line: Value = serde_json::from_str(&told(&ticket, LogFormat::Json)).unwrap();
        assert_eq!(line["kept"], false);
    }

    #[test]
    fn what_is_kept_after_all_is_named() {
        let Event::Ticket { ticket, .. } = opened() else {
            panic!("a ticket");
        };
        let event = Event::Kept {
            subject: "db".into(),
            tickets: vec![*ticket; 7],
        };
        let line = plain(&reporter(LogFormat::Text).event(&event, Timestamp(0))[0]);
        let names = ["#12 node_down b"; 5].join(", ");
        assert!(
            line.ends_with(&format!("meanwhile: {names} and 2 more")),
            "{line}"
        );
        let line = &reporter(LogFormat::Json).event(&event, Timestamp(0))[0];
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["event"], &line["count"]),
            (&json!("kept"), &json!(7))
        );
        assert_eq!(line["tickets"][0], json!({"id": 12, "key": "node_down b"}));
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_heartbeat_counts_what_holds() {
        assert_eq!(
            plain(&reporter(LogFormat::Text).heartbeat(&status(), Timestamp(1_500))),
            "00:00:01  healthy     db     7 hold, 0 violated, 0 unknown | 3 of 3 nodes"
        );
        let late = plain(&reporter(LogFormat::Text).heartbeat(&status(), Timestamp(9_000)));
        assert!(late.contains("0 unknown, 8 s ago | "), "{late}");
    }

    #[test]
    fn an_opened_ticket_is_one_line_and_pending_ones_are_not_printed() {
        let lines = reporter(LogFormat::Text).event(&opened(), Timestamp(0));
        assert_eq!(lines.len(), 1);
        assert_eq!(
            plain(&lines[0]),
            "00:01:01  OPENED      db     critical #12 node_down b: b does not answer"
        );
    }

    #[test]
    fn a_summary_cannot_drive_the_terminal() {
        let hostile = Status {
            summary: "fine\u{1b}[1A\u{202e}\u{2028}".into(),
            ..status()
        };
        let line = reporter(LogFormat::Text).heartbeat(&hostile, Timestamp(0));
        assert!(
            line.ends_with(r"| fine\u{1b}[1A\u{202e}\u{2028}"),
            "{line:?}"
        );
    }

    #[test]
    fn a_line_for_programs_is_one_json_object() {
        let lines = reporter(LogFormat::Json).event(&opened(), Timestamp(0));
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["event"], "ticket");
        assert_eq!(line["kind"], "opened");
        assert_eq!(line["ticket"]["invariant"], "node_down");
        assert_eq!(line["at"], "1970-01-01T00:01:01.000Z");
    }

    #[test]
    fn a_heartbeat_for_programs_has_the_counts() {
        let line: Value =
            serde_json::from_str(&reporter(LogFormat::Json).heartbeat(&status(), Timestamp(0)))
                .unwrap();
        assert_eq!(line["holding"], 7);
        assert_eq!(line["at"], "1970-01-01T00:00:01.000Z");
    }
}
