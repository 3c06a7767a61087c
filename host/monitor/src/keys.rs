//! Looking up what is known of one invariant.

use std::collections::BTreeMap;

use operator_model::TicketKey;

/// The entries of one invariant, without looking at the others.
pub(super) fn of_invariant<'a, T>(
    entries: &'a BTreeMap<TicketKey, T>,
    invariant: &'a str,
) -> impl Iterator<Item = (&'a TicketKey, &'a T)> {
    // A key without a resource is the first of its invariant.
    entries
        .range(TicketKey::new(invariant, None)..)
        .take_while(move |(key, _)| key.invariant == invariant)
}
