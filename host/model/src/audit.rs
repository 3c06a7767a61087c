//! The audit: what was done and by whom, as a hash chain in which no change goes unnoticed.

mod event;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ProposalId, TicketId, Timestamp};

pub use event::{
    AnsweredLate, Approved, AuditEvent, Begun, Called, End, Engaged, Judged, ModeChosen, Nothing,
    Proposed, Refused, Why,
};

/// An event to be recorded, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Who did it.
    pub actor: String,
    /// What happened.
    pub event: AuditEvent,
    /// Name of the subject; `*` for all.
    pub subject: String,
    /// The proposal that it is about.
    pub proposal: Option<ProposalId>,
    /// The ticket that it is about.
    pub ticket: Option<TicketId>,
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub n: i64,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// Name of the [`AuditEvent`].
    pub event: String,
    /// Name of the subject; `*` for all.
    pub subject: String,
    /// The proposal that it is about.
    pub proposal: Option<ProposalId>,
    /// The ticket that it is about.
    pub ticket: Option<TicketId>,
    /// The event's body: JSON text, as it was hashed.
    pub body: String,
    /// The hash of the entry before; empty for the first.
    pub previous: String,
    /// SHA-256 of all of the above, in hexadecimal.
    pub hash: String,
}

/// The end of the chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// How many entries there are.
    pub n: i64,
    /// The hash of the last; empty when there is none.
    pub hash: String,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("entry {n}: {what}")]
pub struct AuditBreak {
    /// The number of the entry that is not what it should be.
    pub n: i64,
    /// What is wrong with it.
    pub what: String,
}

impl AuditEntry {
    /// The next link after `head`.
    pub fn following(head: &AuditHead, at: Timestamp, record: &Record) -> Self {
        let (event, body) = record.event.kept();
        let mut entry = Self {
            n: head.n + 1,
            at,
            actor: record.actor.clone(),
            event,
            subject: record.subject.clone(),
            proposal: record.proposal,
            ticket: record.ticket,
            body,
            previous: head.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.own_hash();
        entry
    }

    /// Over a JSON array: there every value has one place and one spelling.
    fn own_hash(&self) -> String {
        let hashed = serde_json::json!([
            self.n,
            self.at,
            self.actor,
            self.event,
            self.subject,
            self.proposal,
            self.ticket,
            self.body,
            self.previous,
        ]);
        hex(&Sha256::digest(hashed.to_string()))
    }

    /// What happened; none if only a newer version knows it.
    pub fn read(&self) -> Option<AuditEvent> {
        AuditEvent::read(&self.event, &self.body)
    }

    /// In one line, for listings: the body itself, if only a newer version knows what it means.
    pub fn summary(&self) -> String {
        self.read()
            .map_or_else(|| self.body.clone(), |event| event.summary())
    }

    /// The end of a chain whose last entry this is.
    pub fn head(&self) -> AuditHead {
        AuditHead {
            n: self.n,
            hash: self.hash.clone(),
        }
    }
}

/// Follows a chain entry by entry.
#[derive(Debug, Clone, Default)]
pub struct ChainCheck {
    head: AuditHead,
}

impl ChainCheck {
    /// Takes the next entry, in the order in which they are kept.
    pub fn take(&mut self, entry: &AuditEntry) -> Result<(), AuditBreak> {
        let expected = self.head.n + 1;
        let broken = |what: &str| AuditBreak {
            n: expected,
            what: what.to_owned(),
        };
        if entry.n > expected {
            return Err(broken("it is missing"));
        }
        if entry.n < expected {
            return Err(broken(&format!("entry {} is in its place", entry.n)));
        }
        if entry.own_hash() != entry.hash {
            return Err(broken("its hash does not match: it was changed"));
        }
        if entry.previous != self.head.hash {
            return Err(broken(
                "it does not follow the entry before it: one of them was replaced",
            ));
        }
        self.head = entry.head();
        Ok(())
    }

    /// Whether the chain ends at the recorded head. Answers that head.
    pub fn finish(self, head: &AuditHead) -> Result<AuditHead, AuditBreak> {
        if self.head == *head {
            return Ok(self.head);
        }
        let what = if head.n > self.head.n {
            "it is missing: the end of the audit was cut off".to_owned()
        } else {
            format!(
                "the audit should end with entry {} and another hash",
                head.n
            )
        };
        Err(AuditBreak {
            n: self.head.n + 1,
            what,
        })
    }
}

/// Hexadecimal digits of a hash.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(length: usize) -> Vec<AuditEntry> {
        let mut head = AuditHead::default();
        (0..length)
            .map(|place| {
                let record = Record {
                    actor: "ada".to_owned(),
                    event: AuditEvent::Settled(Why {
                        why: format!("entry {place}"),
                    }),
                    subject: "db".to_owned(),
                    proposal: Some(ProposalId(7)),
                    ticket: None,
                };
                let entry = AuditEntry::following(&head, Timestamp(1), &record);
                head = entry.head();
                entry
            })
            .collect()
    }

    fn verify(entries: &[AuditEntry], head: &AuditHead) -> Result<AuditHead, AuditBreak> {
        let mut check = ChainCheck::default();
        for entry in entries {
            check.take(entry)?;
        }
        check.finish(head)
    }

    #[test]
    fn an_untouched_chain_holds() {
        let entries = chain(5);
        let head = entries[4].head();
        assert_eq!(verify(&entries, &head), Ok(head));
        assert_eq!(verify(&[], &AuditHead::default()), Ok(AuditHead::default()));
    }

    #[test]
    fn what_only_a_newer_version_knows_is_listed_and_verified() {
        let mut entries = chain(3);
        let last = entries.last_mut().unwrap();
        last.event = "diagnosed".to_owned();
        last.body = r#"{"because":"of the moon"}"#.to_owned();
        last.hash = last.own_hash();
        assert_eq!(last.read(), None);
        assert_eq!(last.summary(), last.body);
        let head = last.head();
        assert_eq!(verify(&entries, &head), Ok(head));
    }

    proptest! {
        #[test]
        fn what_was_removed_or_swapped_is_named(length in 2_usize..20, a in 0_usize..20, b in 0_usize..20) {
            let whole = chain(length);
            let head = whole[length - 1].head();
            let (a, b) = (a % length, b % length);
            let mut removed = whole.clone();
            removed.remove(a);
            let found = verify(&removed, &head).unwrap_err();
            prop_assert_eq!(found.n, whole[a].n);
            let mut swapped = whole.clone();
            swapped.swap(a, b);
            let found = verify(&swapped, &head);
            if a == b {
                prop_assert_eq!(found, Ok(head));
            } else {
                prop_assert_eq!(found.unwrap_err().n, whole[a.min(b)].n);
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_named() {
        let whole = chain(3);
        let head = whole[2].head();
        let mut readable = 0;
        for at in 0..whole.len() {
            let text = serde_json::to_string(&whole[at]).unwrap().into_bytes();
            for flipped in 0..text.len() * 8 {
                let mut text = text.clone();
                text[flipped / 8] ^= 1 << (flipped % 8);
                // Text that is not an entry is never verified.
                let Ok(changed) = serde_json::from_slice::<AuditEntry>(&text) else {
                    continue;
                };
                if changed == whole[at] {
                    continue;
                }
                readable += 1;
                let mut entries = whole.clone();
                entries[at] = changed;
                let found = verify(&entries, &head).unwrap_err();
                assert_eq!(found.n, whole[at].n, "bit {flipped}");
            }
        }
        assert!(readable > 1000, "only {readable} entries could be read");
    }
}
