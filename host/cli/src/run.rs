//! `operator invoke`, `operator actions run` and `operator workflows run`: here and now, after asking.

use std::time::Duration;

use clap::Args;
use operator_config::SubjectConfig;
use operator_model::{Proposal, ProposalId, ProposalState, TicketId};
use operator_service::{Consequence, DryRun, Service, Shutdown, ValidCall, ValidPlan, Wanted};
use tokio::sync::watch;

use super::{
    Exit, Failure, Json, Output, actions::parameters, output::can_ask, printable::printable,
    proposals, signals::Signals, style,
};

/// Between two looks at whether the daemon has proven it.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The action or tool, as `operator actions` lists it, or an approved proposal: @7
    action: String,
    /// Its parameters
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    how: HowToRun,
}

#[derive(Debug, Args)]
pub(super) struct HowToRun {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show what would be called, what it touches, what every rule says and what the plugin says, and do nothing
    #[arg(long, conflicts_with_all = ["yes", "wait"])]
    dry_run: bool,
    /// Wait until a running daemon has proven that it helped, or has not
    #[arg(long)]
    wait: bool,
    /// The ticket that it is meant to fix: 12 or #12
    #[arg(long, value_name = "TICKET", value_parser = super::ticket::ticket_id)]
    ticket: Option<TicketId>,
    /// Why, for those who read it later
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
            let id = proposals::proposal_id(&self.action).map_err(Failure::bad_input)?;
            if !self.arguments.is_empty() || self.how.dry_run || self.how.ticket.is_some() {
                return Err(Failure::bad_input(
                    "a proposal has its parameters and its ticket; `operator actions show` shows them",
                ));
            }
            return self.how.perform(id, None, service, out).await;
        }
        let wanted = Wanted::Call(&self.action, &self.arguments);
        self.how.run(&wanted, service, person, out).await
    }
}

impl HowToRun {
    pub(super) async fn run(
        &self,
        wanted: &Wanted<'_>,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let subject = service.subject(None)?;
        let plan = service.plan(subject, wanted).await?.plan;
        if self.dry_run {
            return self.preview(&plan, subject, service, out).await;
        }
        if !self.yes && !consent(&plan, out)? {
            out.warn("nothing was done");
            return Ok(Exit::Fine);
        }
        let proposed =
            service.propose_and_approve(subject, plan.clone(), self.ticket, person, &self.why);
        let id = proposed.await?.id;
        match self.perform(id, Some(plan), service, out).await {
            // It was meant for here and now: it must not run when nobody waits for it any more.
            Err(Failure::Refused(why)) => {
                // One that the rule has ended already cannot be cancelled, and need not be.
                let why_not = "it was refused when it was to run";
                let _ = service.cancel(id, person, why_not).await;
                Err(Failure::Refused(why))
            }
            ended => ended,
        }
    }

    async fn perform(
        &self,
        id: ProposalId,
        plan: Option<ValidPlan>,
        service: &Service,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let mut signals = Signals::new()?;
        let (end, ending) = watch::channel(Shutdown::None);
        let mut performing = Box::pin(service.perform(id, plan, ending));
        let (performed, interrupted) = tokio::select! {
            performed = &mut performing => (performed, false),
            signal = signals.next() => {
                end.send_replace(Shutdown::Immediate(signal));
                (performing.await, true)
            }
        };
        let (proposal, undoing) = performed?;
        self.tell(&proposal, out)?;
        if let Some(undoing) = undoing {
            out.warn(&format!(
                "taken back by {}: {}",
                undoing.id,
                ended(&undoing)
            ));
        }
        if interrupted {
            // Nothing is waited for, not even what the runtime would wait for.
            std::process::exit(Exit::Interrupted.code().into());
        }
        if self.wait && proposal.state == ProposalState::Completed {
            return self.proven(proposal.id, service, out).await;
        }
        Ok(exit(&proposal))
    }

    fn tell(&self, proposal: &Proposal, out: &Output) -> Result<(), Failure> {
        if self.json.json {
            out.json(proposal)?;
        } else {
            out.text(&format!("{}\n", ended(proposal)))?;
        }
        Ok(())
    }

    /// Waits for the daemon's verdict.
    async fn proven(
        &self,
        id: ProposalId,
        service: &Service,
        out: &Output,
    ) -> Result<Exit, Failure> {
        if !self.json.json {
            out.warn("waits for the running daemon to prove that it helped; without one, it waits for ever");
        }
        loop {
            let proposal = service.proposal(id).await?.proposal;
            if proposal.state != ProposalState::Completed || proposal.proof.is_none() {
                self.tell(&proposal, out)?;
                return Ok(exit(&proposal));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
            }
        }
    }

    async fn preview(
        &self,
        plan: &ValidPlan,
        subject: &SubjectConfig,
        service: &Service,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let dry_run = service.dry_run(subject, plan, self.ticket).await?;
        if self.json.json {
            out.json(&dry_run)?;
        } else {
            out.text(&shown(plan, &dry_run))?;
        }
        Ok(Exit::Fine)
    }
}

/// What would happen, for people.
fn shown(plan: &ValidPlan, dry_run: &DryRun) -> String {
    let mut text = String::new();
    for (call, preview) in plan.calls().zip(&dry_run.previews) {
        text += &described(call);
        text += &match preview {
            Some(said) => format!("  the plugin says: {}\n", printable(said)),
            None if call.is_tool() => String::new(),
            None => "  the plugin cannot say more without doing it\n".to_owned(),
        };
    }
    let touches = dry_run.resources.join(", ");
    text += &format!(
        "touches: {}\nrules, as if it were approved now:\n",
        printable(&touches)
    );
    for ruling in &dry_run.rules {
        let word = match ruling.refuses {
            None => "allows",
            Some(Consequence::Defer) => "delays",
            Some(Consequence::Lapse | Consequence::Reject) => "refuses",
        };
        text += &format!(
            "  {word:<8} {:<24} {}\n",
            ruling.rule,
            printable(&ruling.reason)
        );
    }
    text
}

/// Shows the calls, and asks a person. Without one, nothing is done.
fn consent(plan: &ValidPlan, out: &Output) -> Result<bool, Failure> {
    if !can_ask() {
        return Err(Failure::bad_input(
            "there is no terminal to ask on; say --yes to run it, or --dry-run to see what it would do",
        ));
    }
    let calls: String = plan.calls().map(described).collect();
    let answer = out.ask(&format!("{calls}Run it? [y/N]"))?;
    Ok(is_yes(&answer))
}

pub(super) fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.to_lowercase().as_str())
}

/// What would be called on what, and what that may cost.
fn described(call: &ValidCall) -> String {
    let definition = call.definition();
    let params: Vec<_> = call
        .shown_params()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let params = match params.as_slice() {
        [] => "no parameters".to_owned(),
        some => some.join(" "),
    };
    let undo = match &definition.inverse {
        _ if call.is_tool() => "it touches nothing".to_owned(),
        Some(inverse) => format!("{} takes it back", printable(&inverse.action)),
        None => "nothing takes it back".to_owned(),
    };
    format!(
        "{} on {} with {}\n  {}\n  risk: {}; {undo}\n  takes: {}\n",
        printable(&definition.name),
        printable(call.subject()),
        printable(&params),
        printable(&definition.description),
        style::risk(definition.risk).painted(),
        printable(&parameters(definition)),
    )
}

fn ended(proposal: &Proposal) -> String {
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

#[cfg(test)]
mod tests {
    use operator_plugin_api::{ActionDefinition, ActionList, Risk};
    use serde_json::json;

    use super::*;
    use operator_policy::Registry;

    fn call(description: &str) -> ValidCall {
        let list = ActionList {
            actions: vec![ActionDefinition {
                name: "restart".to_owned(),
                description: description.to_owned(),
                params_schema: json!({"properties": {"node": {"type": "string"}}}),
                risk: Risk::High,
                idempotent: false,
                inverse: None,
                mends: Vec::new(),
                dry_run: false,
            }],
        };
        let params = json!({"node": "a"})
            .as_object()
            .cloned()
            .expect("an object");
        let registry = Registry::new("orders", list);
        registry.resolve("restart", params).expect("it fits")
    }

    #[test]
    fn a_person_sees_the_whole_call() {
        assert_eq!(
            anstream::adapter::strip_str(&described(&call("Restarts a node."))).to_string(),
            "restart on orders with node=\"a\"\n  Restarts a node.\n  risk: high; nothing takes it back\n  \
             takes: [node=<string>]\n"
        );
    }

    #[test]
    fn a_plugin_cannot_forge_the_question() {
        let shown = described(&call("Harmless.\u{1b}[1A\n  risk: low\u{202e}"));
        assert!(
            shown.contains("\n  Harmless. [1A   risk: low\u{fffd}\n"),
            "{shown:?}"
        );
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y") && is_yes("YES"));
        assert!(!is_yes("") && !is_yes("n") && !is_yes("yeah, no"));
    }
}
