//! `operator actions run` and `operator workflows run`

use std::time::Duration;

use clap::Args;
use operator_model::{Proposal, ProposalId, ProposalState, TicketId};
use operator_service::{
    ActionRequest, DryRun, Interrupt, Performed, Plan, RunRequest, Service, ServiceError,
};

use crate::{
    Exit, Failure, Json, Output,
    definition::{described, rulings},
    ids,
    output::can_ask,
    printable::printable,
    signals::Signals,
};

/// How often `--wait` reads the proposal again.
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The action or tool, as `operator actions list` shows it, or an approved proposal: @7
    action: String,
    /// Its parameters
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    how: HowToRun,
}

#[derive(Debug, Args)]
pub(crate) struct HowToRun {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show the calls, their resources, the answer of every rule and the plugin's preview, without running anything
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait until a running daemon has verified the effect, or could not verify it
    #[arg(long)]
    wait: bool,
    /// The ticket that it is meant to fix: 12 or #12
    #[arg(long, value_name = "TICKET", value_parser = ids::ticket_id)]
    ticket: Option<TicketId>,
    /// The reason, for later readers
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    #[command(flatten)]
    json: Json,
}

impl Run {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        if self.action.starts_with('@') {
            let id = ids::proposal_id(&self.action).map_err(Failure::bad_input)?;
            if !self.arguments.is_empty() || self.how.dry_run || self.how.ticket.is_some() {
                return Err(Failure::bad_input(
                    "a proposal has its parameters and its ticket; `operator proposals show` shows them",
                ));
            }
            return self.how.perform(What::Proposal(id), service, out).await;
        }
        let request = ActionRequest::Call {
            action: self.action,
            arguments: self.arguments,
        };
        self.how.run(&request, service, person, out).await
    }
}

/// What is carried out.
enum What {
    Proposal(ProposalId),
    New(RunRequest),
}

impl What {
    async fn perform(
        self,
        service: &Service,
        interrupt: &Interrupt,
    ) -> Result<Performed, ServiceError> {
        match self {
            Self::Proposal(id) => service.run_proposal(id, interrupt).await,
            Self::New(request) => Box::pin(service.run(request, interrupt)).await,
        }
    }
}

impl HowToRun {
    pub(crate) async fn run(
        &self,
        request: &ActionRequest,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let subject = service.subject(None)?;
        if self.dry_run {
            let dry_run = service.dry_run(subject, request, self.ticket).await?;
            if self.json.json {
                out.json(&dry_run)?;
            } else {
                out.text(&preview(&dry_run))?;
            }
            return Ok(Exit::Fine);
        }
        let plan = service.plan(subject, request).await?;
        if !self.yes && !consent(&plan, out)? {
            out.warn("nothing was done");
            return Ok(Exit::Fine);
        }
        let request = RunRequest {
            plan,
            ticket: self.ticket,
            by: person.to_owned(),
            why: self.why.clone(),
        };
        self.perform(What::New(request), service, out).await
    }

    async fn perform(&self, what: What, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let mut signals = Signals::new()?;
        let interrupt = Interrupt::default();
        let mut performing = Box::pin(what.perform(service, &interrupt));
        let (performed, interrupted) = tokio::select! {
            performed = &mut performing => (performed, false),
            signal = signals.next() => {
                interrupt.now(signal);
                (performing.await, true)
            }
        };
        let Performed {
            proposal,
            undone_by,
        } = performed?;
        self.report(&proposal, out)?;
        if let Some(undoing) = undone_by {
            let how = ending(&undoing);
            out.warn(&format!("undone by {}: {how}", undoing.id));
        }
        if interrupted {
            // Nothing is waited for, not even what the runtime would wait for.
            std::process::exit(Exit::Interrupted.code().into());
        }
        if self.wait && proposal.state == ProposalState::Completed {
            return self.wait_for_proof(proposal.id, service, out).await;
        }
        Ok(exit(&proposal))
    }

    fn report(&self, proposal: &Proposal, out: &Output) -> Result<(), Failure> {
        if self.json.json {
            out.json(proposal)?;
        } else {
            out.text(&format!("{}\n", ending(proposal)))?;
        }
        Ok(())
    }

    async fn wait_for_proof(
        &self,
        id: ProposalId,
        service: &Service,
        out: &Output,
    ) -> Result<Exit, Failure> {
        if !self.json.json {
            out.warn("waits for the running daemon to prove that it helped; without a daemon it waits for ever");
        }
        loop {
            let proposal = service.proposal(id).await?.proposal;
            if proposal.state != ProposalState::Completed || proposal.proof.is_none() {
                self.report(&proposal, out)?;
                return Ok(exit(&proposal));
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
            }
        }
    }
}

/// What would happen, for people.
fn preview(dry_run: &DryRun) -> String {
    let mut text = String::new();
    for (call, preview) in dry_run.calls.iter().zip(&dry_run.previews) {
        text += &described(call);
        text += &match preview {
            Some(preview) => format!("  the plugin's preview: {}\n", printable(preview)),
            None if call.is_tool => String::new(),
            None => "  the plugin has no preview of it\n".to_owned(),
        };
    }
    let touches = dry_run.resources.join(", ");
    text += &format!(
        "touches: {}\nrules, as if it were approved now:\n",
        printable(&touches)
    );
    text + &rulings(&dry_run.rules)
}

/// Shows the calls, and asks a person. Without one, nothing is done.
fn consent(plan: &Plan, out: &Output) -> Result<bool, Failure> {
    if !can_ask() {
        return Err(Failure::bad_input(
            "there is no terminal to ask on; give --yes to run it, or --dry-run to see what it would do",
        ));
    }
    let calls: String = plan.calls().iter().map(described).collect();
    Ok(out.confirm(&format!("{calls}Run it?"))?)
}

fn ending(proposal: &Proposal) -> String {
    let word = match proposal.state {
        ProposalState::Completed => "done",
        ProposalState::OutcomeUnknown => "outcome unknown",
        ProposalState::NotVerified => "done, but it did not help",
        ProposalState::Approved => "to be tried again",
        state => state.as_str(),
    };
    format!("{word}: {}", printable(&proposal.note))
}

/// Only what is known and recorded to be done is a success.
fn exit(proposal: &Proposal) -> Exit {
    match proposal.state {
        ProposalState::Completed | ProposalState::Verified => Exit::Fine,
        _ => Exit::Failed,
    }
}
