//! Listings say what they may lack.

use operator_model::{DaemonStatus, Timestamp};
use operator_service::Service;

use super::{Failure, Output, printable::printable, style};

/// Warns of daemons that run and cannot write: what they found since is told by them alone.
pub(super) async fn warn_of_mute_daemons(service: &Service, out: &Output) -> Result<(), Failure> {
    for daemon in service.mute_daemons().await? {
        out.warn(&warning(&daemon, Timestamp::now()));
    }
    Ok(())
}

fn warning(daemon: &DaemonStatus, now: Timestamp) -> String {
    format!(
        "the daemon {} runs and has written nothing for {}: what it found since is missing here; its own output has it, and why",
        printable(&daemon.label()),
        style::age(daemon.seen_at, now),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_names_the_daemon_and_the_time() {
        let daemon = DaemonStatus {
            host: "web-1".into(),
            pid: 7,
            version: "0.1.0".into(),
            started_at: Timestamp(0),
            seen_at: Timestamp(0),
            loops: Vec::new(),
            left_out: 0,
        };
        let warning = warning(&daemon, Timestamp(125_000));
        assert!(
            warning.starts_with("the daemon web-1:7 runs and has written nothing for 2m: "),
            "{warning}"
        );
    }
}
