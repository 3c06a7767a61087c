//! The signals that a person or a service manager ends a process with.

use operator_service::ServiceError;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask for the end.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, ServiceError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| ServiceError::Input(format!("signals cannot be handled: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
