//! `operator proposals`

mod approve;
mod card;
mod create;

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use operator_model::{Proposal, ProposalId, ProposalState, TicketId, Timestamp};
use operator_service::{ProposalFilter, Service};

use super::{Exit, Failure, Json, Output, ids, mute::warn_of_mute_daemons, style, table::Table};
use approve::Approve;
use create::Create;

#[derive(Debug, Subcommand)]
pub(super) enum Proposals {
    /// List proposals that are not over, the latest first
    List(List),
    /// Show one proposal and its history
    Show(Show),
    /// Propose an action or a workflow; it runs once it is approved and the rules allow it
    Create(Create),
    /// Approve a proposal, after asking
    Approve(Approve),
    /// Reject a proposal for good
    Reject(Decide),
    /// Withdraw a proposal before it has begun
    Cancel(Decide),
    /// Confirm that you have inspected what an action left behind
    Settle(Decide),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only proposals in this state; may be repeated
    #[arg(long = "state", value_name = "STATE", value_parser = states())]
    states: Vec<ProposalState>,
    /// Proposals in every state, also those that are over
    #[arg(long, conflicts_with = "states")]
    all: bool,
    /// Only for this ticket: 12 or #12
    #[arg(long, value_name = "TICKET", value_parser = ids::ticket_id)]
    ticket: Option<TicketId>,
    /// At most this many, the latest
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: u32,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The proposal: 7 or @7
    #[arg(value_name = "PROPOSAL", value_parser = ids::proposal_id)]
    id: ProposalId,
    #[command(flatten)]
    json: Json,
}

/// A decision about a proposal.
#[derive(Debug, Args)]
pub(super) struct Decide {
    /// The proposal: 7 or @7
    #[arg(value_name = "PROPOSAL", value_parser = ids::proposal_id)]
    id: ProposalId,
    /// The reason, for later readers
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
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

impl Proposals {
    /// `subjects`: only their proposals; all when empty.
    pub(super) async fn run(
        self,
        service: &Service,
        subjects: &[String],
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let (json, decided) = match self {
            Self::List(list) => return list.run(service, subjects, out).await,
            Self::Show(show) => return show.run(service, out).await,
            Self::Create(create) => return create.run(service, person, out).await,
            Self::Approve(approve) => return approve.run(service, person, out).await,
            Self::Reject(it) => (it.json, service.reject(it.id, person, &it.note).await?),
            Self::Cancel(it) => (it.json, service.cancel(it.id, person, &it.note).await?),
            Self::Settle(it) => (it.json, service.settle(it.id, person, &it.note).await?),
        };
        card::report(&decided, json, out)
    }
}

impl List {
    async fn run(
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
        warn_of_mute_daemons(service, out).await?;
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
    async fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let story = service.proposal(self.id).await?;
        warn_of_mute_daemons(service, out).await?;
        if self.json.json {
            out.json(&story)?;
        } else {
            out.text(&card::card(&story.proposal, story.digest.as_deref()))?;
            out.text(&card::pending(&story))?;
            out.text("\n")?;
            out.table(&card::events(&story))?;
        }
        Ok(Exit::Fine)
    }
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
