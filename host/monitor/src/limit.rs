//! A bound on the tickets of one subject: a plugin that reports thousands of resources, or new ones in each cycle, must not
//! take the database from its neighbours. Pure.

use std::{borrow::Cow, collections::BTreeSet};

use operator_model::{Ticket, TicketKey};
use operator_plugin_api::Severity;
use serde_json::Value;

use super::{Finding, TOO_MANY_VIOLATIONS, Verdicts, is_own};

/// At most this many tickets of the plugin's invariants are live.
pub(super) const MOST_LIVE: usize = 500;
/// At most this many are live or were resolved within the reopen window.
pub(super) const MOST_KNOWN: usize = 2_000;

/// The verdicts, without violations for which there is no room: they get no ticket, and one ticket of the host's own says so.
/// Violations that have a live ticket keep it; of the others the worst are preferred.
pub(super) fn limited<'a>(verdicts: &'a Verdicts, known: &[Ticket]) -> Cow<'a, Verdicts> {
    let of_plugin = known.iter().filter(|ticket| !is_own(&ticket.key.invariant));
    let live: BTreeSet<&TicketKey> = of_plugin
        .clone()
        .filter(|ticket| ticket.is_live())
        .map(|ticket| &ticket.key)
        .collect();
    let room = MOST_LIVE
        .saturating_sub(live.len())
        .min(MOST_KNOWN.saturating_sub(of_plugin.count()));
    let mut fresh: Vec<(&TicketKey, Severity)> = verdicts
        .findings
        .iter()
        .filter(|(key, _)| !is_own(&key.invariant) && !live.contains(key))
        .map(|(key, finding)| (key, finding.severity))
        .collect();
    if fresh.len() <= room {
        return Cow::Borrowed(verdicts);
    }
    // Stable: those of one severity stay in their order.
    fresh.sort_by_key(|(_, severity)| std::cmp::Reverse(*severity));
    let without_ticket = fresh.split_off(room);
    let finding = too_many(&without_ticket);
    let mut limited = verdicts.clone();
    for (key, _) in without_ticket {
        limited.findings.remove(key);
    }
    let key = TicketKey::new(TOO_MANY_VIOLATIONS, None);
    limited.findings.insert(key, finding);
    Cow::Owned(limited)
}

fn too_many(without_ticket: &[(&TicketKey, Severity)]) -> Finding {
    let worst = without_ticket.first().map(|(key, _)| key.to_string());
    Finding {
        severity: Severity::Critical,
        message: format!(
            "{} violations have no ticket, such as {}: a subject has at most {MOST_LIVE} live tickets, and {MOST_KNOWN} with \
             those resolved lately; `operator check` shows all violations",
            without_ticket.len(),
            worst.unwrap_or_default()
        ),
        evidence: Value::Null,
    }
}

#[cfg(test)]
#[path = "tests/limit.rs"]
mod tests;
