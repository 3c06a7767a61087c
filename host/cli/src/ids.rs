//! How people name tickets and proposals on the command line, and how a decision of theirs is shown.

use operator_model::{Mark, ProposalId, TicketId};

/// `12` or `#12`.
pub(super) fn ticket_id(text: &str) -> Result<TicketId, String> {
    let id = positive(text.strip_prefix('#').unwrap_or(text)).map(TicketId);
    id.ok_or_else(|| "a ticket is a number, such as 12 or #12".to_owned())
}

/// `7` or `@7`.
pub(super) fn proposal_id(text: &str) -> Result<ProposalId, String> {
    let id = positive(text.strip_prefix('@').unwrap_or(text)).map(ProposalId);
    id.ok_or_else(|| "a proposal is a number, such as 7 or @7".to_owned())
}

fn positive(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number| *number > 0)
}

/// Who decided it, when and why.
pub(super) fn signed(mark: &Mark) -> String {
    if mark.note.is_empty() {
        format!("by {} at {}", mark.by, mark.at)
    } else {
        format!("by {} at {}: {}", mark.by, mark.at, mark.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_named_with_or_without_its_sign() {
        assert_eq!(ticket_id("12"), Ok(TicketId(12)));
        assert_eq!(ticket_id("#12"), Ok(TicketId(12)));
        for wrong in ["", "#", "0", "-1", "@12", "twelve"] {
            assert!(ticket_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_proposal_is_named_with_or_without_its_sign() {
        assert_eq!(proposal_id("7"), Ok(ProposalId(7)));
        assert_eq!(proposal_id("@7"), Ok(ProposalId(7)));
        for wrong in ["", "@", "0", "-1", "#7", "seven"] {
            assert!(proposal_id(wrong).is_err(), "{wrong}");
        }
    }
}
