//! `operator proposals approve`

use clap::Args;
use operator_model::ProposalId;
use operator_service::Service;

use super::card;
use crate::{Exit, Failure, Json, Output, ids, output::can_ask};

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The proposal: 7 or @7
    #[arg(value_name = "PROPOSAL", value_parser = ids::proposal_id)]
    id: ProposalId,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Approve only if the digest is this one, as `operator proposals show` prints it
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
    /// The reason, for later readers
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    json: Json,
}

impl Approve {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let story = service.proposal(self.id).await?;
        if !self.yes && self.digest.is_none() {
            if !can_ask() {
                return Err(Failure::bad_input(
                    "there is no terminal to ask on; give --yes, or --digest with what `operator proposals show` prints",
                ));
            }
            let shown = card::card(&story.proposal, None) + &card::pending(&story);
            if !out.confirm(&format!("{shown}Approve it?"))? {
                out.warn("nothing was approved");
                return Ok(Exit::Fine);
            }
        }
        // What was shown is what is approved: the gate compares it with what is recorded.
        let seen = self.digest.or(story.digest).unwrap_or_default();
        let approved = service.approve(self.id, &seen, person, &self.note).await?;
        card::report(&approved, self.json, out)
    }
}
