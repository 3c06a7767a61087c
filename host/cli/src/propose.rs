//! `operator actions propose` and `operator workflows propose`

use std::time::Duration;

use clap::Args;
use jiff::{Timestamp as Moment, civil::DateTime, tz::TimeZone};
use operator_model::{Mark, ProposalId, TicketId, Timestamp};
use operator_service::{NewProposal, Service, Wanted};

use super::{Exit, Failure, Json, Output, proposals};

#[derive(Debug, Args)]
pub(super) struct Propose {
    /// The action or tool, as `operator actions` lists it
    action: String,
    /// Its parameters
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// For what, why and when.
#[derive(Debug, Args)]
pub(super) struct How {
    /// The ticket that it is meant to fix: 12 or #12
    #[arg(long, value_name = "TICKET", value_parser = super::ticket::ticket_id)]
    ticket: Option<TicketId>,
    /// Why, for those who decide and those who read it later
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    /// Not before this moment: 2026-11-22T03:00:00Z, or "2026-11-22 03:00" in this machine's time zone
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "delay")]
    at: Option<Timestamp>,
    /// Not before so much time has passed, such as 10m
    #[arg(long = "in", value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// Only after this other proposal is done: 7 or @7
    #[arg(long, value_name = "PROPOSAL", value_parser = proposals::proposal_id)]
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

impl Propose {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let wanted = Wanted::Call(&self.action, &self.arguments);
        self.how.propose(&wanted, service, person, out).await
    }
}

impl How {
    pub(super) async fn propose(
        &self,
        wanted: &Wanted<'_>,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        let subject = match self.ticket {
            Some(id) => {
                let story = service.ticket(id).await?;
                service.subject(Some(&story.ticket.subject))?
            }
            None => service.subject(None)?,
        };
        let in_a_while = self.delay.map(|delay| Timestamp::now().plus(delay));
        let wish = |plan| NewProposal {
            plan,
            mark: Mark::now(person, &self.why),
            ticket: self.ticket,
            not_before: self.at.or(in_a_while),
            follows: self.follows,
            undoes: None,
        };
        let proposal = service.propose(subject, wanted, wish, person).await?;
        proposals::report(&proposal, self.json, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
