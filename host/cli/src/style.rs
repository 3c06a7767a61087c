//! The colours and short forms of the operator's nouns.

use operator_model::{ProposalState, Ticket, TicketState, Timestamp};
use operator_plugin_api::{Risk, Severity};
use operator_service::SubjectHealth;
use owo_colors::Style;

use super::table::Cell;

pub(super) fn severity(severity: Severity) -> Cell {
    let style = match severity {
        Severity::Info => Style::new().cyan(),
        Severity::Warning => Style::new().yellow(),
        Severity::Critical => Style::new().red().bold(),
    };
    Cell::styled(severity.as_str(), style)
}

pub(super) fn state(state: TicketState) -> Cell {
    let style = match state {
        TicketState::Pending => Style::new().dimmed(),
        TicketState::Open => Style::new().red(),
        TicketState::Recovering => Style::new().yellow(),
        TicketState::Resolved => Style::new().green(),
    };
    Cell::styled(state.as_str(), style)
}

pub(super) fn proposal(state: ProposalState) -> Cell {
    let style = match state {
        ProposalState::Proposed | ProposalState::Cancelled | ProposalState::Rejected => {
            Style::new().dimmed()
        }
        ProposalState::Validated | ProposalState::Approved => Style::new().yellow(),
        ProposalState::Executing | ProposalState::Completed => Style::new().cyan(),
        ProposalState::Verified => Style::new().green(),
        ProposalState::Failed => Style::new().red(),
        ProposalState::OutcomeUnknown | ProposalState::NotVerified => Style::new().red().bold(),
    };
    Cell::styled(state.as_str(), style)
}

pub(super) fn risk(risk: Risk) -> Cell {
    let style = match risk {
        Risk::Low => Style::new().green(),
        Risk::Medium => Style::new().yellow(),
        Risk::High => Style::new().red().bold(),
    };
    Cell::styled(risk.as_str(), style)
}

/// The verdict over a subject, in its colour.
pub(super) fn health(health: SubjectHealth) -> String {
    let (word, style) = match health {
        SubjectHealth::Healthy => ("healthy", Style::new().green()),
        SubjectHealth::Violated => ("violated", Style::new().red().bold()),
        SubjectHealth::Unknown => ("unknown", Style::new().magenta()),
    };
    style.style(word).to_string()
}

/// People's decisions about a ticket, and whether it is flapping.
pub(super) fn marks(ticket: &Ticket) -> String {
    let marks = [
        (ticket.acknowledged.is_some(), "ack"),
        (ticket.held.is_some(), "held"),
        (ticket.flapping, "flapping"),
    ];
    let set: Vec<_> = marks
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, mark)| *mark)
        .collect();
    set.join(",")
}

/// How long ago, in its largest unit.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = then.until(now).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_in_its_largest_unit() {
        let now = Timestamp(10 * 86_400_000);
        for (ms, shown) in [
            (0, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (7_200_000, "2h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(age(Timestamp(now.0 - ms), now), shown);
        }
        assert_eq!(age(Timestamp(now.0 + 5000), now), "0s");
    }
}
