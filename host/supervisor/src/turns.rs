//! The handle by which a loop reports its turns.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{board::Entry, fault::fault_point};

/// A loop's handle to its own status.
#[derive(Clone)]
pub struct Turns(pub(crate) Arc<Entry>);

impl Turns {
    /// Runs one turn, and records how it went. The turn's error, unless the turn before failed with the same one: then it has
    /// been reported.
    pub async fn turn(&self, work: impl Future<Output = Result<(), String>>) -> Option<String> {
        self.0.begin_turn();
        let started = Instant::now();
        fault_point(&self.0.spec.id()).await;
        let error = work.await.err();
        let is_new = self.0.end_turn(started.elapsed(), error.as_deref());
        error.filter(|_| is_new)
    }

    /// As [`Turns::turn`]; a new error goes into the log.
    pub async fn logged_turn(&self, work: impl Future<Output = Result<(), String>>) {
        if let Some(error) = self.turn(work).await {
            tracing::warn!("{}: {error}", self.0.spec.id());
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turns({})", self.0.spec.id())
    }
}
