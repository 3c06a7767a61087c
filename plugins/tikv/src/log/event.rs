//! The kind of event that an entry reports. The message decides, never a field's value.

use super::{EventKind, LogEvent, entry::Entry};

/// How much of a message is kept.
const MAX_MESSAGE_CHARS: usize = 200;

/// Phrases of raft-rs and of raftstore, in lower case.
const ELECTION: [&str; 3] = [
    "became leader at term",
    "became candidate at term",
    "starting a new election",
];
const TRANSFER: [&str; 4] = [
    "transfer leader",
    "transferring leader",
    "msgtimeoutnow",
    "step down in force leader state",
];
const SNAPSHOT: [&str; 1] = ["snapshot"];
const SLOW: [&str; 2] = ["slow-query", "slow query"];

/// None where the entry is of no interest.
pub(super) fn of(entry: &Entry) -> Option<LogEvent> {
    let kind = kind(entry)?;
    let took = entry
        .field("takes")
        .and_then(|takes| takes.parse::<f64>().ok());
    Some(LogEvent {
        time_ms: entry.time_ms,
        kind,
        level: entry.level.clone(),
        message: entry.message.chars().take(MAX_MESSAGE_CHARS).collect(),
        region_id: entry.field("region_id").and_then(|id| id.parse().ok()),
        took_ms: took.filter(|ms| ms.is_finite()),
    })
}

fn kind(entry: &Entry) -> Option<EventKind> {
    let message = entry.message.to_lowercase();
    let contains = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    if contains(&ELECTION) {
        Some(EventKind::LeaderElection)
    } else if contains(&TRANSFER) || message.contains("transfer leadership") {
        Some(EventKind::LeadershipTransfer)
    } else if entry.field("takes").is_some() || contains(&SLOW) {
        // Whatever TiKV finds slow, it logs with what it `takes`.
        Some(EventKind::SlowOperation)
    } else {
        contains(&SNAPSHOT).then_some(EventKind::Snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(rest: &str) -> Option<EventKind> {
        let line = format!("[2022/03/01 19:09:54.620 +08:00] [INFO] [a.rs:1] {rest}");
        of(&Entry::parse(&line).unwrap()).map(|event| event.kind)
    }

    #[test]
    fn the_message_decides() {
        use EventKind as Kind;
        for (rest, kind) in [
            (
                r#"["became leader at term 8"] [term=8] [region_id=14]"#,
                Some(Kind::LeaderElection),
            ),
            (r#"["starting a new election"]"#, Some(Kind::LeaderElection)),
            (
                r#"["transfer leader"] [peer="id: 3"]"#,
                Some(Kind::LeadershipTransfer),
            ),
            (
                r#"["[term 7] received MsgTimeoutNow from 3 and starts an election to get leadership."]"#,
                Some(Kind::LeadershipTransfer),
            ),
            (
                r#"["[term 6] starts to transfer leadership to 3"]"#,
                Some(Kind::LeadershipTransfer),
            ),
            (r#"["receiving snapshot file"]"#, Some(Kind::Snapshot)),
            (
                r#"["apply snapshot with state ok"] [takes=812]"#,
                Some(Kind::SlowOperation),
            ),
            (r"[slow-query]", Some(Kind::SlowOperation)),
            (
                r#"["require updating max ts"] [reason="transfer leader"]"#,
                None,
            ),
        ] {
            assert_eq!(kind_of(rest), kind, "{rest}");
        }
    }

    #[test]
    fn what_the_line_tells_is_kept() {
        let line = r#"[2022/03/01 19:09:54.620 +08:00] [WARN] [a.rs:1] ["handle ready"] [region_id=14] [takes=1500]"#;
        let event = of(&Entry::parse(line).unwrap()).unwrap();
        assert_eq!(
            (event.region_id, event.took_ms, event.level.as_str()),
            (Some(14), Some(1_500.0), "WARN")
        );
    }
}
