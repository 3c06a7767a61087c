//! One proposal, as a person reads it.

use operator_model::{Proposal, ProposalState};
use operator_service::ProposalStory;

use crate::{
    Exit, Failure, Json, Output,
    definition::{described, rulings},
    ids::signed,
    printable::printable,
    style,
    table::Table,
};

/// A proposal as it is now.
pub(super) fn report(proposal: &Proposal, json: Json, out: &Output) -> Result<Exit, Failure> {
    if json.json {
        out.json(proposal)?;
    } else {
        out.text(&card(proposal, None))?;
    }
    Ok(Exit::Fine)
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
        ("undoes", proposal.undoes.map(|id| id.to_string())),
        ("follows", proposal.follows.map(|id| id.to_string())),
        ("proposed", Some(signed(&proposal.proposed))),
        ("not before", proposal.not_before.map(|at| at.to_string())),
        ("approved", approval.map(|approval| signed(&approval.mark))),
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
        ("settled", proposal.settled.as_ref().map(signed)),
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

/// What an approver must know of a proposal that waits: what its calls do and what undoes them, what has changed since an approval,
/// and what the rules say. Of one that is over, what has undone it.
pub(super) fn pending(story: &ProposalStory) -> String {
    let mut text = String::new();
    if let Some(undoing) = &story.undone_by {
        text += &format!(
            "  undone by      {} ({}): {}\n",
            undoing.id,
            undoing.state,
            printable(&undoing.note)
        );
    }
    for change in &story.changes {
        text += &format!("  changed        {}\n", printable(change));
    }
    for call in &story.calls {
        text += "\n";
        text += &described(call);
    }
    if !story.rules.is_empty() {
        text += "\nrules, as if it were approved now:\n";
        text += &rulings(&story.rules);
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
        "" => "not assessed yet",
        missing => missing,
    };
    Some(format!("{missing}; must be proven by {}", proof.until))
}

pub(super) fn events(story: &ProposalStory) -> Table<4> {
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
