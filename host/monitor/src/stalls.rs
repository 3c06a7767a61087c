//! The tickets of stalled loops. Each daemon judges its own loops, and nothing else does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use operator_config::SubjectConfig;
use operator_model::{DaemonStatus, LoopStatus, OPERATOR, Ticket, TicketKey, Timestamp};
use operator_plugin_api::Severity;
use operator_store::{Store, StoreError};
use serde_json::json;

use super::{
    Finding, Hub, LOOP_STALLED, Reason, Rules, Verdicts,
    ledger::Ledger,
    policies, reconcile,
    settle::{Settle, Settled},
};

/// Between two checks for tickets of daemons that are gone.
const SWEEP: Duration = Duration::from_secs(30);
/// How often changes are computed again when another process changed the tickets meanwhile.
const ATTEMPTS: usize = 5;
const GONE: &str = "its daemon has ended";

/// Keeps the tickets of some of a daemon's loops.
pub struct StallTickets {
    store: Store,
    hub: Hub,
    /// Label of the daemon: `host:pid`.
    daemon: String,
    /// The configured subjects, and `operator`, which stands for all of them.
    subjects: Arc<[SubjectConfig]>,
    /// Names of the loops that it judges.
    judged: Vec<&'static str>,
    /// Subjects that have a ticket of this daemon.
    open: BTreeSet<String>,
    /// The tickets of stalled loops as they are known here, by subject.
    ledgers: BTreeMap<String, Ledger>,
    swept: Option<Instant>,
}

impl StallTickets {
    /// For the loops of these names.
    pub fn new(
        store: Store,
        hub: Hub,
        daemon: String,
        subjects: &[SubjectConfig],
        judged: &[&'static str],
    ) -> Self {
        let all = SubjectConfig::new(OPERATOR, "");
        Self {
            store,
            hub,
            daemon,
            subjects: subjects.iter().cloned().chain([all]).collect(),
            judged: judged.to_vec(),
            open: BTreeSet::new(),
            ledgers: BTreeMap::new(),
            swept: None,
        }
    }

    /// Opens the tickets of loops that are stalled, and resolves those of loops that turn again and of daemons that are gone.
    /// Reads nothing while there is nothing to do, but for one sweep in a while. What the store fails to keep is told all the same.
    pub async fn update(&mut self, loops: &[LoopStatus]) -> Result<(), StoreError> {
        let is_due = self.swept.is_none_or(|at| at.elapsed() >= SWEEP);
        let judged = || {
            loops
                .iter()
                .filter(|one| self.judged.contains(&one.name.as_str()))
        };
        let stalled = judged().filter(|one| one.stalled_for_ms.is_some());
        let mut to_settle: BTreeSet<_> = stalled.map(subject_of).collect();
        to_settle.extend(self.open.iter().map(String::as_str));
        let all = self.subjects.clone();
        let subjects = all
            .iter()
            .filter(|one| is_due || to_settle.contains(one.name.as_str()));
        let work: Vec<(_, Vec<_>)> = subjects
            .map(|subject| {
                let of_it = judged().filter(|one| subject_of(one) == subject.name);
                (subject, of_it.collect())
            })
            .collect();
        let mut failure = None;
        for (subject, of_it) in work {
            // A store that has just failed is not asked again for each subject.
            let is_readable = failure.is_none();
            let settled = self.settle(subject, &of_it, is_readable).await;
            failure = failure.or(settled.err());
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if is_due {
            self.swept = Some(Instant::now());
        }
        Ok(())
    }

    async fn settle(
        &mut self,
        subject: &SubjectConfig,
        loops: &[&LoopStatus],
        is_readable: bool,
    ) -> Result<(), StoreError> {
        let policies = policies(None, subject);
        let rules = Rules {
            subject: &subject.name,
            policies: &policies,
            reopen_within: subject.reopen_within,
        };
        let mut ledger = self.ledgers.remove(&subject.name).unwrap_or_default();
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            let now = Timestamp::now();
            let known = if is_readable && failure.is_none() {
                self.read(subject, &mut ledger, now).await.map(Some)
            } else {
                Ok(None)
            };
            let known = known.unwrap_or_else(|error| {
                failure = Some(error);
                None
            });
            let severity = policies[LOOP_STALLED].severity;
            let tickets = ledger.tickets();
            let verdicts = verdicts(&self.daemon, loops, severity, tickets, known.as_ref());
            let is_open = !verdicts.findings.is_empty() || has_own(tickets, &verdicts);
            let changes = reconcile(tickets, &verdicts, rules, now);
            if !changes.is_empty() || known.is_some() && !ledger.is_written() {
                let settle = Settle {
                    store: &self.store,
                    hub: &self.hub,
                    subject: &subject.name,
                    is_readable: known.is_some(),
                };
                match settle.settle(ledger.with(&changes), None).await {
                    Settled::Told(next, error) => {
                        ledger = *next;
                        failure = failure.or(error);
                    }
                    Settled::Conflict => continue,
                }
            }
            if is_open {
                self.open.insert(subject.name.clone());
            } else {
                self.open.remove(&subject.name);
            }
            break;
        }
        // Where nothing is open or waits to be written, it is read again when there is something to do.
        if self.open.contains(&subject.name) || !ledger.is_written() {
            self.ledgers.insert(subject.name.clone(), ledger);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Reads a subject's tickets, and the labels of the daemons that run as far as is known.
    async fn read(
        &self,
        subject: &SubjectConfig,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, StoreError> {
        let since = now.minus(subject.reopen_within);
        let mut state = self.store.subject_state(&subject.name, since).await?;
        state
            .tickets
            .retain(|ticket| ticket.key.invariant == LOOP_STALLED);
        if ledger.is_of(state.revision) {
            ledger.confirm();
        } else {
            ledger.adopt(state);
        }
        self.known_daemons(ledger.tickets()).await
    }

    /// Read only where a ticket is of another one.
    async fn known_daemons(&self, tickets: &[Ticket]) -> Result<BTreeSet<String>, StoreError> {
        let mut live = tickets.iter().filter(|ticket| ticket.is_live());
        if live.all(|ticket| daemon_of(&ticket.key) == Some(&self.daemon)) {
            return Ok(BTreeSet::new());
        }
        let daemons = self.store.daemons().await?;
        Ok(daemons.iter().map(DaemonStatus::label).collect())
    }
}

/// The subject that has the ticket of a loop.
fn subject_of(one: &LoopStatus) -> &str {
    one.subject.as_deref().unwrap_or(OPERATOR)
}

fn has_own(tickets: &[Ticket], verdicts: &Verdicts) -> bool {
    let mut live = tickets.iter().filter(|ticket| ticket.is_live());
    live.any(|ticket| {
        !verdicts.unknown.contains_key(&ticket.key) && !verdicts.retired.contains_key(&ticket.key)
    })
}

/// Verdicts on a daemon's own loops. Those of another daemon are unknown for as long as that one is known, or it is not known
/// which are. Pure.
fn verdicts(
    daemon: &str,
    loops: &[&LoopStatus],
    severity: Severity,
    tickets: &[Ticket],
    known: Option<&BTreeSet<String>>,
) -> Verdicts {
    let mut verdicts = Verdicts::default();
    verdicts.judged.insert(LOOP_STALLED.to_owned());
    let judged: BTreeSet<_> = loops.iter().map(|one| key_of(one, daemon)).collect();
    for ticket in tickets {
        if daemon_of(&ticket.key).is_some_and(|of| of == daemon) {
            if !judged.contains(&ticket.key) {
                let why = Reason::missing("another loop of the same daemon judges it");
                verdicts.unknown.insert(ticket.key.clone(), why);
            }
        } else if known.is_none()
            || daemon_of(&ticket.key)
                .is_some_and(|of| known.is_some_and(|known| known.contains(of)))
        {
            let why = Reason::missing("its own daemon judges it");
            verdicts.unknown.insert(ticket.key.clone(), why);
        } else {
            verdicts.retired.insert(ticket.key.clone(), GONE.to_owned());
        }
    }
    for one in loops {
        if let Some(stalled) = one.stalled_for_ms {
            let finding = finding(one, stalled, daemon, severity);
            verdicts.findings.insert(key_of(one, daemon), finding);
        }
    }
    verdicts
}

fn key_of(one: &LoopStatus, daemon: &str) -> TicketKey {
    TicketKey::new(LOOP_STALLED, Some(&format!("{}@{daemon}", one.name)))
}

fn daemon_of(key: &TicketKey) -> Option<&str> {
    let (_, daemon) = key.resource.as_deref()?.split_once('@')?;
    Some(daemon)
}

fn finding(one: &LoopStatus, stalled_ms: i64, daemon: &str, severity: Severity) -> Finding {
    let error = one
        .last_error
        .as_ref()
        .map(|error| format!("; last error: {}", error.message))
        .unwrap_or_default();
    Finding {
        severity,
        message: format!(
            "the loop `{}` of the daemon {daemon} has not finished a turn for {} (it is due every {}){error}; \
             `operator status` shows it, and a restart of the daemon starts it again",
            one.id(),
            duration(stalled_ms),
            duration(one.period_ms),
        ),
        evidence: json!(one),
    }
}

fn duration(ms: i64) -> String {
    let duration = Duration::from_millis(ms.unsigned_abs());
    if duration < Duration::from_secs(10) {
        format!("{duration:?}")
    } else {
        format!("{} s", duration.as_secs())
    }
}

#[cfg(test)]
#[path = "tests/stalls.rs"]
mod tests;
