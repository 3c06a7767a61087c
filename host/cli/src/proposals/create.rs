//! `operator proposals create`

use std::time::Duration;

use clap::Args;
use jiff::{Timestamp as Moment, civil::DateTime, tz::TimeZone};
use operator_model::{Mode, Proposal, ProposalId, ProposalState, TicketId, Timestamp};
use operator_service::{ActionRequest, ProposalRequest, Service};

use super::card;
use crate::{Exit, Failure, Json, Output, ids};

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The action or tool, as `operator actions list` shows it
    #[arg(required_unless_present = "workflow")]
    action: Option<String>,
    /// Its parameters
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// Propose this workflow instead: its steps are approved as one
    #[arg(long, value_name = "NAME", conflicts_with = "action")]
    workflow: Option<String>,
    /// The ticket that it is meant to fix: 12 or #12
    #[arg(long, value_name = "TICKET", value_parser = ids::ticket_id)]
    ticket: Option<TicketId>,
    /// The reason, for approvers and later readers
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    /// Not before this moment: 2026-11-22T03:00:00Z, or "2026-11-22 03:00" in this machine's time zone
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "delay")]
    at: Option<Timestamp>,
    /// Not before this time has passed, such as 10m
    #[arg(long = "in", value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// Only after this other proposal is done: 7 or @7
    #[arg(long, value_name = "PROPOSAL", value_parser = ids::proposal_id)]
    follows: Option<ProposalId>,
    #[command(flatten)]
    json: Json,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let zoned = || {
        let local = text.parse::<DateTime>().ok()?;
        Some(local.to_zoned(TimeZone::system()).ok()?.timestamp())
    };
    let parsed = text.parse::<Moment>().ok().or_else(zoned);
    let moment = parsed.ok_or_else(|| {
        "a moment is written like 2026-11-22T03:00:00Z or \"2026-11-22 03:00\"".to_owned()
    })?;
    let moment = Timestamp(moment.as_millisecond());
    if moment < Timestamp::now() {
        return Err("that moment has passed".to_owned());
    }
    Ok(moment)
}

impl Create {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let json = self.json;
        let proposal = service.create_proposal(self.request(person)).await?;
        card::report(&proposal, json, out)?;
        if !json.json {
            let modes = service.modes().await?;
            let mut of_subject = modes.iter().filter(|of| of.subject == proposal.subject);
            let mode = of_subject.next().map_or(Mode::Observe, |of| of.mode);
            if let Some(next) = next_step(&proposal, mode) {
                out.text(&format!("  {:<14}{next}\n", "next"))?;
            }
        }
        Ok(Exit::Fine)
    }

    fn request(self, person: &str) -> ProposalRequest {
        let action = match self.workflow {
            Some(name) => ActionRequest::Workflow(name),
            None => ActionRequest::Call {
                action: self.action.unwrap_or_default(),
                arguments: self.arguments,
            },
        };
        let in_a_while = self.delay.map(|delay| Timestamp::now().plus(delay));
        ProposalRequest {
            action,
            ticket: self.ticket,
            not_before: self.at.or(in_a_while),
            follows: self.follows,
            by: person.to_owned(),
            why: self.why,
        }
    }
}

/// What a new proposal waits for.
fn next_step(proposal: &Proposal, mode: Mode) -> Option<String> {
    let id = proposal.id.0;
    match (proposal.state, mode) {
        (ProposalState::Validated, Mode::Execute) => {
            Some(format!("`operator proposals approve {id}`"))
        }
        (ProposalState::Validated, Mode::Observe) => Some(format!(
            "nothing runs in mode observe: `operator mode execute`, then `operator proposals approve {id}`"
        )),
        (ProposalState::Approved, _) => Some(format!(
            "the daemon runs it as soon as the rules allow; `operator proposals show {id}` shows the result"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use operator_model::{Mark, OnFailure, Plan, ProposalParts};
    use operator_plugin_api::Risk;

    use super::*;

    #[test]
    fn a_new_proposal_names_the_next_step() {
        let plan = Plan {
            name: "restart".to_owned(),
            steps: Vec::new(),
            on_failure: OnFailure::Stop,
            has_secrets: false,
        };
        let next = |state, mode| {
            let mark = Mark::now("ada", "");
            let proposal = ProposalParts {
                id: ProposalId(7),
                state,
                ..ProposalParts::new("db", plan.clone(), Risk::Low, mark)
            };
            next_step(&proposal.into(), mode).unwrap_or_default()
        };
        let approve = "`operator proposals approve 7`";
        assert_eq!(next(ProposalState::Validated, Mode::Execute), approve);
        let observing = next(ProposalState::Validated, Mode::Observe);
        assert!(observing.contains("`operator mode execute`"), "{observing}");
        assert!(observing.ends_with(approve), "{observing}");
        assert!(next(ProposalState::Approved, Mode::Execute).contains("the daemon runs it"));
        assert_eq!(next(ProposalState::Rejected, Mode::Execute), "");
    }

    #[test]
    fn a_moment_lies_ahead() {
        assert!(moment("2199-01-01T00:00:00Z").is_ok());
        assert!(moment("2199-01-01 03:00").is_ok());
        assert_eq!(
            moment("2001-01-01T00:00:00Z"),
            Err("that moment has passed".to_owned())
        );
        assert!(moment("soon").is_err());
    }
}
