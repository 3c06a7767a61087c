//! `operator actions approve`

use clap::Args;
use operator_model::ProposalId;
use operator_service::Service;

use super::{Exit, Failure, Json, Output, output::can_ask, proposals};

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The proposal: 7 or @7
    #[arg(value_name = "PROPOSAL", value_parser = proposals::proposal_id)]
    id: ProposalId,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Approve nothing but this, as `operator actions show` says it
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
    /// Why, for those who read it later
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
                    "there is no terminal to ask on; say --yes, or --digest with what `operator actions show` says",
                ));
            }
            let question = proposals::card(&story.proposal, None);
            if !super::run::is_yes(&out.ask(&format!("{question}Approve it? [y/N]"))?) {
                out.warn("nothing was approved");
                return Ok(Exit::Fine);
            }
        }
        // What was shown is what is approved: the gate compares it with what is recorded.
        let seen = self.digest.or(story.digest).unwrap_or_default();
        let approved = service.approve(self.id, &seen, person, &self.note).await?;
        proposals::report(&approved, self.json, out)
    }
}
