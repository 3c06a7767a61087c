//! Runs the `operator` binary isolated from the configuration of the machine.

use std::process::Command;

/// The command, in an empty environment.
pub(crate) fn operator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_operator"));
    command.env_clear().env("HOME", "/does/not/exist");
    command
}

/// Output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
