//! Writes what a cycle changes on a subject's tickets, and tells it, whether or not it could be written.

use operator_store::{Applied, Evidence, Store, StoreError};

use super::{
    Event, Hub,
    ledger::{Ledger, Next},
};

/// Where a subject's tickets are written and told.
pub(crate) struct Settle<'a> {
    pub(crate) store: &'a Store,
    pub(crate) hub: &'a Hub,
    pub(crate) subject: &'a str,
    /// Whether the store could be read in this cycle; else nothing is written.
    pub(crate) is_readable: bool,
}

/// How settling ended.
pub(crate) enum Settled {
    /// Told, and written unless there is an error or the store could not be read.
    Told(Box<Ledger>, Option<StoreError>),
    /// Another process was faster: nothing was written or told.
    Conflict,
}

impl Settle<'_> {
    pub(crate) async fn settle(&self, next: Next, evidence: Option<Evidence<'_>>) -> Settled {
        let revision = next.revision().filter(|_| self.is_readable);
        let Some(revision) = revision else {
            return self.kept_back(next, None);
        };
        let changes = next.changes();
        let applied = self
            .store
            .apply(self.subject, revision, &changes, evidence)
            .await;
        match applied {
            Ok(Applied::Done { revision, tickets }) => {
                let (ledger, told, caught_up) = next.written(revision, &tickets);
                if !caught_up.is_empty() {
                    self.hub.publish(Event::Kept {
                        subject: self.subject.to_owned(),
                        tickets: caught_up,
                    });
                }
                self.hub.publish_told(told, true);
                Settled::Told(Box::new(ledger), None)
            }
            Ok(Applied::Conflict) => Settled::Conflict,
            Err(error) => self.kept_back(next, Some(error)),
        }
    }

    fn kept_back(&self, next: Next, error: Option<StoreError>) -> Settled {
        let (ledger, told) = next.kept_back(error.is_some());
        self.hub.publish_told(told, false);
        Settled::Told(Box::new(ledger), error)
    }
}
