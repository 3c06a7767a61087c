//! Listing and showing proposals, and what people say of them.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use operator_model::{Proposal, ProposalId, ProposalState, TicketId, Timestamp};
use operator_service::{ProposalFilter, ProposalStory, Service};

use super::{Exit, Failure, Json, Output, printable::printable, style, table::Table};

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only proposals in this state; may be repeated
    #[arg(long = "state", value_name = "STATE", value_parser = states())]
    states: Vec<ProposalState>,
    /// Proposals in every state, also those that are over
    #[arg(long, conflicts_with = "states")]
    all: bool,
    /// Only for this ticket: 12 or #12
    #[arg(long, value_name = "TICKET", value_parser = super::ticket::ticket_id)]
    ticket: Option<TicketId>,
    /// At most so many, the latest
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: u32,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The proposal: 7 or @7
    #[arg(value_name = "PROPOSAL", value_parser = proposal_id)]
    id: ProposalId,
    #[command(flatten)]
    json: Json,
}

/// Something that a person says of a proposal.
#[derive(Debug, Args)]
pub(super) struct Say {
    /// The proposal: 7 or @7
    #[arg(value_name = "PROPOSAL", value_parser = proposal_id)]
    pub(super) id: ProposalId,
    /// Why, for those who read it later
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) note: String,
    #[command(flatten)]
    json: Json,
}

fn states() -> impl TypedValueParser<Value = ProposalState> {
    PossibleValuesParser::new(ProposalState::ALL.map(ProposalState::as_str)).try_map(|word| {
        let mut all = ProposalState::ALL.into_iter();
        let state = all.find(|state| state.as_str() == word);
        state.ok_or("there is no such state")
    })
}

pub(super) fn proposal_id(text: &str) -> Result<ProposalId, String> {
    let number = text.strip_prefix('@').unwrap_or(text).parse();
    let id = number.ok().filter(|number| *number > 0).map(ProposalId);
    id.ok_or_else(|| "a proposal is a number, such as 7 or @7".to_owned())
}

impl List {
    pub(super) async fn run(
        self,
        service: &Service,
        subjects: &[String],
        out: &Output,
    ) -> Result<Exit, Failure> {
        let filter = ProposalFilter {
            subjects: subjects.to_vec(),
            current: !self.all && self.states.is_empty(),
            states: self.states,
            ticket: self.ticket,
            limit: Some(self.limit),
        };
        let proposals = service.proposals(&filter).await?;
        if self.json.json {
            out.json(&proposals)?;
        } else if proposals.is_empty() {
            out.text("no proposals\n")?;
        } else {
            out.table(&table(&proposals, Timestamp::now()))?;
        }
        Ok(Exit::Fine)
    }
}

impl Show {
    pub(super) async fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let story = service.proposal(self.id).await?;
        if self.json.json {
            out.json(&story)?;
        } else {
            out.text(&card(&story.proposal, story.digest.as_deref()))?;
            out.text("\n")?;
            out.table(&events(&story))?;
        }
        Ok(Exit::Fine)
    }
}

impl Say {
    pub(super) fn report(&self, proposal: &Proposal, out: &Output) -> Result<Exit, Failure> {
        report(proposal, self.json, out)
    }
}

/// A proposal as it is now.
pub(super) fn report(proposal: &Proposal, json: Json, out: &Output) -> Result<Exit, Failure> {
    if json.json {
        out.json(proposal)?;
    } else {
        out.text(&card(proposal, None))?;
    }
    Ok(Exit::Fine)
}

fn table(proposals: &[Proposal], now: Timestamp) -> Table<8> {
    let mut table = Table::new([
        "ID", "STATE", "RISK", "SUBJECT", "TICKET", "BY", "AGE", "CALLS",
    ]);
    for proposal in proposals {
        let ticket = proposal.ticket.map(|id| id.to_string());
        table.row([
            proposal.id.to_string().into(),
            style::proposal(proposal.state),
            style::risk(proposal.risk),
            proposal.subject.as_str().into(),
            ticket.unwrap_or_default().into(),
            proposal.proposed.by.as_str().into(),
            style::age(proposal.proposed.at, now).into(),
            proposal.calls().into(),
        ]);
    }
    table
}

/// One proposal, a line for each thing that is known.
pub(super) fn card(proposal: &Proposal, digest: Option<&str>) -> String {
    let mut text = format!(
        "{} {}: {} on {}\n",
        proposal.id,
        style::proposal(proposal.state).painted(),
        printable(&proposal.plan.name),
        printable(&proposal.subject),
    );
    for (place, step) in proposal.plan.steps.iter().enumerate() {
        text += &format!("  step {:<9} {}\n", place + 1, printable(&step.to_string()));
    }
    let approval = proposal.approval.as_ref();
    let lines = [
        ("risk", Some(proposal.risk.as_str().to_owned())),
        ("ticket", proposal.ticket.map(|id| id.to_string())),
        ("takes back", proposal.undoes.map(|id| id.to_string())),
        ("follows", proposal.follows.map(|id| id.to_string())),
        ("proposed", Some(super::ticket::said(&proposal.proposed))),
        ("not before", proposal.not_before.map(|at| at.to_string())),
        (
            "approved",
            approval.map(|approval| super::ticket::said(&approval.mark)),
        ),
        (
            "until",
            approval
                .filter(|_| proposal.state == ProposalState::Approved)
                .map(|approval| approval.expires_at.to_string()),
        ),
        (
            "held back by",
            proposal.held_back.as_ref().map(ToString::to_string),
        ),
        ("begun", proposal.begun_at.map(|at| at.to_string())),
        ("ended", proposal.ended_at.map(|at| at.to_string())),
        ("proof", proof(proposal)),
        (
            "settled",
            proposal.settled.as_ref().map(super::ticket::said),
        ),
        (
            "note",
            Some(proposal.note.clone()).filter(|note| !note.is_empty()),
        ),
        ("digest", digest.map(str::to_owned)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            text.extend(["  ", &format!("{name:<14}"), &printable(&value), "\n"]);
        }
    }
    text
}

/// What is missing to prove that it helped.
fn proof(proposal: &Proposal) -> Option<String> {
    let proof = proposal.proof.as_ref()?;
    if proposal.state != ProposalState::Completed {
        return None;
    }
    let missing = match proof.missing.as_str() {
        "" => "nobody has looked yet",
        missing => missing,
    };
    Some(format!("{missing}; must be proven by {}", proof.until))
}

fn events(story: &ProposalStory) -> Table<4> {
    let mut table = Table::new(["TIME", "EVENT", "BY", "NOTE"]);
    for entry in &story.audit {
        table.row([
            entry.at.to_string().into(),
            entry.event.as_str().into(),
            entry.actor.as_str().into(),
            entry.summary().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_named_with_or_without_its_sign() {
        assert_eq!(proposal_id("7"), Ok(ProposalId(7)));
        assert_eq!(proposal_id("@7"), Ok(ProposalId(7)));
        for wrong in ["", "@", "0", "-1", "#7", "seven"] {
            assert!(proposal_id(wrong).is_err(), "{wrong}");
        }
    }
}
