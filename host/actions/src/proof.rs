//! Whether what was done has helped: judged by later cycles of the subject. Pure.

use operator_model::{Assessment, Proof, Ticket, TicketKey, TicketState, Timestamp};

/// What is known after a cycle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    /// Not enough yet; this is what is known.
    Open(Proof),
    /// All of it held for as long as it must.
    Verified(Proof),
    /// It has not helped; the proof contains the reason.
    Refuted(Proof),
}

/// Takes one more cycle into account. `live` are the subject's tickets after it.
pub(super) fn judge(
    proof: &Proof,
    begun_at: Timestamp,
    assessment: &Assessment,
    live: &[Ticket],
) -> Progress {
    let mut next = proof.clone();
    let broke = newly_open(proof, begun_at, live);
    if !broke.is_empty() {
        next.holding_since = None;
        next.missing = format!("{} opened after it began", named(&broke));
        next.broke = broke;
        return Progress::Refuted(next);
    }
    if let Some(why) = missing(proof, assessment) {
        next.holding_since = None;
        next.missing = why;
    } else {
        let since = *next.holding_since.get_or_insert(assessment.at);
        next.missing.clear();
        if since.0.saturating_add(proof.window_ms) <= assessment.at.0 {
            return Progress::Verified(next);
        }
        next.missing
            .push_str("everything holds, but not for long enough yet");
    }
    let could_still = next
        .holding_since
        .is_some_and(|since| since.0.saturating_add(proof.window_ms) <= proof.until.0);
    if assessment.at > proof.until && !could_still {
        return Progress::Refuted(next);
    }
    Progress::Open(next)
}

/// Why a cycle does not count.
fn missing(proof: &Proof, assessment: &Assessment) -> Option<String> {
    if let Some(why) = &assessment.blind {
        return Some(format!("the subject is not known: {why}"));
    }
    if let Some(target) = proof
        .targets
        .iter()
        .find(|target| assessment.broken.contains(target))
    {
        return Some(format!("{target} is still broken"));
    }
    if let Some(target) = proof
        .targets
        .iter()
        .find(|target| !assessment.holds(target))
    {
        return Some(format!("{target} is not known"));
    }
    let fresh: Vec<_> = assessment
        .broken
        .iter()
        .filter(|key| !proof.baseline.contains(key))
        .cloned()
        .collect();
    // Its grace period decides whether that is the action's doing or a moment's.
    (!fresh.is_empty()).then(|| format!("{} is broken, and was not before", named(&fresh)))
}

/// What was not broken before the action and is past its grace period now, by whatever cause. That the operator cannot see is another matter.
fn newly_open(proof: &Proof, begun_at: Timestamp, live: &[Ticket]) -> Vec<TicketKey> {
    live.iter()
        .filter(|ticket| {
            ticket.state == TicketState::Open && !ticket.key.invariant.starts_with("operator.")
        })
        .filter(|ticket| ticket.violated_since >= begun_at && !proof.baseline.contains(&ticket.key))
        .map(|ticket| ticket.key.clone())
        .collect()
}

fn named(keys: &[TicketKey]) -> String {
    let names: Vec<_> = keys.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
#[path = "tests/proof.rs"]
mod tests;
