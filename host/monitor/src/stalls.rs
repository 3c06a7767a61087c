//! The tickets of stalled loops. Each daemon judges its own loops, and nothing else does.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use operator_config::SubjectConfig;
use operator_model::{DaemonStatus, LoopStatus, OPERATOR, Ticket, TicketKey, Timestamp};
use operator_plugin_api::Severity;
use operator_store::{Applied, Store, StoreError};
use serde_json::json;

use super::{Finding, Hub, LOOP_STALLED, Reason, Rules, Verdicts, policies, reconcile};

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
            swept: None,
        }
    }

    /// Opens the tickets of loops that are stalled, and resolves those of loops that turn again and of daemons that are gone.
    /// Reads nothing while there is nothing to do, but for one sweep in a while.
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
        for (subject, of_it) in work {
            self.settle(subject, &of_it).await?;
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
    ) -> Result<(), StoreError> {
        let policies = policies(None, subject);
        let rules = Rules {
            subject: &subject.name,
            policies: &policies,
            reopen_within: subject.reopen_within,
        };
        for _ in 0..ATTEMPTS {
            let now = Timestamp::now();
            let since = now.minus(subject.reopen_within);
            let mut state = self.store.subject_state(&subject.name, since).await?;
            state
                .tickets
                .retain(|ticket| ticket.key.invariant == LOOP_STALLED);
            let known = self.known_daemons(&state.tickets).await?;
            let severity = policies[LOOP_STALLED].severity;
            let verdicts = verdicts(&self.daemon, loops, severity, &state.tickets, &known);
            let is_open = !verdicts.findings.is_empty() || has_own(&state.tickets, &verdicts);
            let changes = reconcile(&state.tickets, &verdicts, rules, now);
            if !changes.is_empty() {
                let applied = self
                    .store
                    .apply(&subject.name, state.revision, &changes, None)
                    .await?;
                let Applied::Done { tickets, .. } = applied else {
                    continue;
                };
                self.hub.publish_changes(&changes, &tickets);
            }
            if is_open {
                self.open.insert(subject.name.clone());
            } else {
                self.open.remove(&subject.name);
            }
            return Ok(());
        }
        Ok(())
    }

    /// Labels of the daemons that run as far as is known; read only where a ticket is of another one.
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

/// Verdicts on a daemon's own loops. Those of another daemon are unknown for as long as that one is known. Pure.
fn verdicts(
    daemon: &str,
    loops: &[&LoopStatus],
    severity: Severity,
    tickets: &[Ticket],
    known: &BTreeSet<String>,
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
        } else if daemon_of(&ticket.key).is_some_and(|of| known.contains(of)) {
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
