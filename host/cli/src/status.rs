//! `operator status`

use std::time::Duration;

use operator_model::{DaemonStatus, LoopStatus, Timestamp, TurnResult};
use operator_service::{DaemonHealth, KnownDaemon, Service};
use owo_colors::Style;

use super::{
    Exit, Failure, Json, Output,
    printable::printable,
    table::{Cell, Table},
};

/// For the end of `operator status --help`.
pub(super) const HELP: &str = "\
Exit codes:
  0    every known daemon reports, and all of its loops turn
  1    a loop is stalled, or its last turn failed
  3    no daemon is known to run, or one is gone or has not reported for 15 s
  130  interrupted before it was done";

pub(super) async fn run(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let daemons = service.daemons().await?;
    if json.json {
        out.json(&daemons)?;
    } else if daemons.is_empty() {
        out.text("no daemon is known to run\n")?;
    }
    if !json.json {
        let now = Timestamp::now();
        for daemon in &daemons {
            out.text(&header(daemon, now))?;
            out.table(&loops(&daemon.status, now))?;
        }
    }
    Ok(exit(&daemons))
}

fn exit(daemons: &[KnownDaemon]) -> Exit {
    match daemons.iter().map(|daemon| daemon.health).max() {
        None | Some(DaemonHealth::Stale) => Exit::Unknown,
        Some(DaemonHealth::Unhealthy) => Exit::Violated,
        Some(DaemonHealth::Healthy) => Exit::Fine,
    }
}

fn header(daemon: &KnownDaemon, now: Timestamp) -> String {
    let status = &daemon.status;
    let (word, style) = match daemon.health {
        DaemonHealth::Healthy => ("healthy", Style::new().green()),
        DaemonHealth::Stale => ("stale", Style::new().magenta()),
        DaemonHealth::Unhealthy => ("unhealthy", Style::new().red().bold()),
    };
    let left_out = match status.left_out {
        0 => String::new(),
        n => format!("; {n} more loops are not listed"),
    };
    format!(
        "{} {}: version {}, since {}, last seen {}{left_out}\n",
        printable(&status.label()),
        style.style(word),
        printable(&status.version),
        status.started_at,
        ago(status.seen_at, now),
    )
}

fn loops(status: &DaemonStatus, now: Timestamp) -> Table<8> {
    let mut table = Table::new([
        "LOOP",
        "STATE",
        "EVERY",
        "LAST TURN",
        "RESULT",
        "TURNS",
        "RESTARTS",
        "LAST ERROR",
    ]);
    for one in &status.loops {
        let error = one.last_error.as_ref();
        table.row([
            one.id().into(),
            state(one),
            written(one.period_ms).into(),
            one.finished_at
                .map(|at| ago(at, now))
                .unwrap_or_default()
                .into(),
            result(one.result),
            one.iterations.to_string().into(),
            one.restarts.to_string().into(),
            error
                .map(|error| format!("{}: {}", ago(error.at, now), error.message))
                .unwrap_or_default()
                .into(),
        ]);
    }
    table
}

fn state(one: &LoopStatus) -> Cell {
    match one.stalled_for_ms {
        Some(ms) => Cell::styled(
            format!("stalled for {}", written(ms)),
            Style::new().red().bold(),
        ),
        None => one.state.as_str().into(),
    }
}

fn result(result: Option<TurnResult>) -> Cell {
    match result {
        None => "".into(),
        Some(TurnResult::Ok) => Cell::styled("ok", Style::new().green()),
        Some(TurnResult::Failed) => Cell::styled("failed", Style::new().red()),
    }
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    let ms = at.until(now).as_millis();
    format!("{} ago", written(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// Rounded to whole seconds from ten seconds on.
fn written(ms: i64) -> String {
    let exact = Duration::from_millis(ms.unsigned_abs());
    let rounded = match exact.as_secs() {
        0..10 => exact,
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use operator_model::{LoopError, LoopState};

    use super::*;

    fn daemon(health: DaemonHealth) -> KnownDaemon {
        KnownDaemon {
            health,
            status: DaemonStatus {
                host: "web-1".into(),
                pid: 7,
                version: "0.1.0".into(),
                started_at: Timestamp(0),
                seen_at: Timestamp(60_000),
                loops: vec![LoopStatus {
                    name: "watch".into(),
                    subject: Some("db".into()),
                    period_ms: 1_500,
                    state: LoopState::Running,
                    stalled_for_ms: Some(61_234),
                    started_at: Some(Timestamp(1_000)),
                    finished_at: Some(Timestamp(1_000)),
                    took_ms: Some(2),
                    result: Some(TurnResult::Failed),
                    iterations: 4,
                    restarts: 1,
                    last_error: Some(LoopError {
                        at: Timestamp(60_000),
                        message: "panicked: at\nonce".into(),
                    }),
                }],
                left_out: 3,
            },
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_daemon_is_shown_with_its_loops() {
        let known = daemon(DaemonHealth::Unhealthy);
        let now = Timestamp(62_000);
        assert_eq!(
            plain(&header(&known, now)),
            "web-1:7 unhealthy: version 0.1.0, since 1970-01-01T00:00:00.000Z, last seen 2s ago; 3 more loops are not listed\n"
        );
        assert_eq!(
            plain(&loops(&known.status, now).render(None)),
            "LOOP      STATE              EVERY     LAST TURN  RESULT  TURNS  RESTARTS  LAST ERROR\n\
             watch:db  stalled for 1m 1s  1s 500ms  1m 1s ago  failed  4      1         2s ago: panicked: at once\n"
        );
    }

    #[test]
    fn unhealthy_counts_before_stale_and_no_daemon_is_unknown() {
        use DaemonHealth::{Healthy, Stale, Unhealthy};
        let of = |all: &[DaemonHealth]| exit(&all.iter().copied().map(daemon).collect::<Vec<_>>());
        assert_eq!(of(&[]), Exit::Unknown);
        assert_eq!(of(&[Healthy]), Exit::Fine);
        assert_eq!(of(&[Healthy, Stale]), Exit::Unknown);
        assert_eq!(of(&[Stale, Unhealthy, Healthy]), Exit::Violated);
    }
}
