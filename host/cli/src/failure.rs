//! Why a command could not do what it was asked.

use std::io;

use operator_config::Faults;
use operator_service::{GateError, ServiceError};

use super::Exit;

/// A command's error, with the exit code that goes with it.
#[derive(Debug)]
pub enum Failure {
    /// The configuration or the command line is wrong.
    Faults(Faults),
    /// Something else that the person can fix by typing something else; a line for each fault.
    BadInput(Vec<String>),
    /// The operation failed.
    Failed(anyhow::Error),
    /// There is nothing that could answer.
    Unknown(String),
    /// A rule of the gate refused it.
    Refused(String),
    /// The reader of the output has closed it.
    ClosedPipe,
}

impl Failure {
    /// The operation failed.
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed(error.into())
    }

    /// The person can fix it by typing something else.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::BadInput(vec![message.into()])
    }

    /// The same, of this subject. Faults of the configuration name their place already.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        match self {
            Self::BadInput(messages) => {
                let named = messages
                    .iter()
                    .map(|message| format!("{subject}: {message}"));
                Self::BadInput(named.collect())
            }
            Self::Failed(error) => Self::Failed(error.context(subject.to_owned())),
            other => other,
        }
    }

    /// How the command ends. That `head` has seen enough is not an error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Faults(_) | Self::BadInput(_) => Exit::BadInput,
            Self::Failed(_) => Exit::Failed,
            Self::Unknown(_) => Exit::Unknown,
            Self::Refused(_) => Exit::Refused,
            Self::ClosedPipe => Exit::Fine,
        }
    }

    /// What is printed: a line for each fault; an error with its whole chain of causes, once.
    pub fn messages(&self) -> Vec<String> {
        match self {
            Self::Faults(faults) => faults.0.iter().map(ToString::to_string).collect(),
            Self::BadInput(messages) => messages.clone(),
            Self::Failed(error) => vec![format!("{error:#}")],
            Self::Refused(message) | Self::Unknown(message) => vec![message.clone()],
            Self::ClosedPipe => Vec::new(),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Config(faults) | ServiceError::NotGranted(faults) => Self::Faults(faults),
            ServiceError::Input(message) => Self::bad_input(message),
            ServiceError::NoDatabase(message) => Self::Unknown(message),
            ServiceError::Call(call) => Self::BadInput(call.faults),
            ServiceError::Load(refused) => Self::bad_input(refused.to_string()),
            // What the plugin was given fits its schema, but the plugin knows better.
            ServiceError::Plugin(error) if error.is_config() => Self::bad_input(error.to_string()),
            ServiceError::Refused(refused @ GateError::ByRule { .. }) => {
                Self::Refused(refused.to_string())
            }
            ServiceError::Refused(refused) => Self::bad_input(refused.to_string()),
            error => Self::failed(error),
        }
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing output; any other I/O error has its own context.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::Failed(anyhow::Error::new(error).context("cannot write the output"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_causes_is_printed_once() {
        let error = anyhow::anyhow!("no such host")
            .context("cannot reach db-1")
            .context("cannot open the store");
        assert_eq!(
            Failure::failed(error).messages(),
            ["cannot open the store: cannot reach db-1: no such host"]
        );
    }

    #[test]
    fn a_failure_names_its_subject() {
        let failed = Failure::failed(anyhow::anyhow!("no answer")).about("orders");
        assert_eq!(failed.messages(), ["orders: no answer"]);
        assert_eq!(failed.exit(), Exit::Failed);
        let refused = Failure::bad_input("no plugin").about("orders");
        assert_eq!(refused.messages(), ["orders: no plugin"]);
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), Exit::Fine);
        assert!(failure.messages().is_empty());
    }
}
