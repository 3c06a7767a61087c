//! One line of the unified log format:
//! `[2026/08/20 09:31:04.512 +08:00] [INFO] [raft.rs:1196] ["became leader at term 8"] [term=8] [region_id=14]`
//!
//! A part is bare where it has no space, bracket, `=` or quote, and a JSON string otherwise. So `]` and `[` may be within quotes,
//! and only there.

use jiff::{civil, tz::Offset};

/// A line, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Milliseconds since the Unix epoch.
    pub(super) time_ms: i64,
    pub(super) level: String,
    /// `file.rs:line`, or `<unknown>`.
    pub(super) source: String,
    pub(super) message: String,
    pub(super) fields: Vec<(String, String)>,
}

impl Entry {
    /// None where the line is of another format.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut rest = line.trim_end_matches(['\r', '\n']);
        let time_ms = time(plain(&mut rest)?)?;
        let level = plain(&mut rest)?;
        let source = plain(&mut rest)?;
        let known = ["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
        if !known.contains(&level) {
            return None;
        }
        open(&mut rest)?;
        let message = value(&mut rest)?;
        close(&mut rest)?;
        let mut fields = Vec::new();
        while !rest.is_empty() {
            fields.push(field(&mut rest)?);
        }
        Some(Self {
            time_ms,
            level: level.to_owned(),
            source: source.to_owned(),
            message,
            fields,
        })
    }

    /// The first field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }
}

/// `2026/08/20 09:31:04.512 +08:00`
fn time(text: &str) -> Option<i64> {
    let (local, zone) = text.rsplit_once(' ')?;
    let local = civil::DateTime::strptime("%Y/%m/%d %H:%M:%S%.f", local).ok()?;
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("+", zone) => (1, zone),
        ("-", zone) => (-1, zone),
        _ => return None,
    };
    let (hours, minutes) = zone.split_once(':')?;
    let seconds = hours.parse::<u8>().ok().map(i32::from)? * 3_600
        + minutes.parse::<u8>().ok().map(i32::from)? * 60;
    let offset = Offset::from_seconds(sign * seconds).ok()?;
    Some(offset.to_timestamp(local).ok()?.as_millisecond())
}

/// The content of the next brackets, which contain no quotes.
fn plain<'a>(rest: &mut &'a str) -> Option<&'a str> {
    open(rest)?;
    let end = rest.find(']')?;
    let (text, after) = rest.split_at(end);
    *rest = after;
    close(rest)?;
    Some(text)
}

/// `[name=value]`
fn field(rest: &mut &str) -> Option<(String, String)> {
    open(rest)?;
    let name = text(rest, |c| c == '=' || c == ']')?;
    *rest = rest.strip_prefix('=')?;
    let value = value(rest)?;
    close(rest)?;
    Some((name, value))
}

/// A message or a field's value: quoted, or bare up to the bracket.
fn value(rest: &mut &str) -> Option<String> {
    text(rest, |c| c == ']')
}

/// A quoted text, or what there is up to the end.
fn text(rest: &mut &str, is_end: fn(char) -> bool) -> Option<String> {
    if rest.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let text = strings.next()?.ok()?;
        let end = strings.byte_offset();
        *rest = rest.get(end..)?;
        return Some(text);
    }
    let (text, after) = rest.split_at(rest.find(is_end)?);
    *rest = after;
    Some(text.to_owned())
}

fn open(rest: &mut &str) -> Option<()> {
    *rest = rest.strip_prefix('[')?;
    Some(())
}

/// A bracket, and the space before the next one.
fn close(rest: &mut &str) -> Option<()> {
    let after = rest.strip_prefix(']')?;
    *rest = match after.strip_prefix(' ') {
        Some(next) => next,
        None if after.is_empty() => after,
        None => return None,
    };
    Some(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quoted_parts_may_hold_anything() {
        let line = r#"[2022/03/01 19:09:54.620 +08:00] [INFO] [raft.rs:1267] ["a \"vote\" [request] = é\n"] [to="[32833, 32834]"] ["odd key"=x] [type=MsgRequestVote] [empty=]"#;
        let entry = Entry::parse(line).unwrap();
        assert_eq!(
            entry.time_ms,
            "2022-03-01T11:09:54.620Z"
                .parse::<Timestamp>()
                .unwrap()
                .as_millisecond()
        );
        assert_eq!(entry.message, "a \"vote\" [request] = é\n");
        assert_eq!(entry.field("to"), Some("[32833, 32834]"));
        assert_eq!(entry.field("odd key"), Some("x"));
        assert_eq!(entry.field("empty"), Some(""));
        assert_eq!(entry.field("from"), None);
    }

    #[test]
    fn a_bare_message_and_another_zone_are_read_too() {
        let entry =
            Entry::parse("[2022/03/01 19:09:54 -03:30] [WARN] [<unknown>] [slow-query]\r\n")
                .unwrap();
        assert_eq!(
            (entry.message.as_str(), entry.source.as_str()),
            ("slow-query", "<unknown>")
        );
        assert_eq!(
            entry.time_ms,
            "2022-03-01T22:39:54Z"
                .parse::<Timestamp>()
                .unwrap()
                .as_millisecond()
        );
    }

    #[test]
    fn what_is_not_an_entry_is_refused() {
        let head = "[2022/03/01 19:09:54.620 +08:00] [INFO] [a.rs:1]";
        for tail in [
            "",
            " [",
            " [\"open]",
            " [m] [k]",
            " [m] [k=v",
            " [m][k=v]",
            " [m] trailing",
            " [\"m\"x]",
        ] {
            assert_eq!(Entry::parse(&format!("{head}{tail}")), None, "{tail}");
        }
        for line in [
            "",
            "panicked at",
            "[2022/13/01 19:09:54.620 +08:00] [INFO] [a] [m]",
            "[2022/03/01 19:09:54.620] [INFO] [a] [m]",
            "[2022/03/01 19:09:54.620 +99:00] [INFO] [a] [m]",
            "[2022/03/01 19:09:54.620 +08:00] [LOUD] [a] [m]",
            "[x é] [INFO] [a] [m]",
        ] {
            assert_eq!(Entry::parse(line), None, "{line}");
        }
    }

    /// As the store writes it.
    fn quoted(text: &str) -> String {
        let bare = text
            .chars()
            .all(|c| c > ' ' && !"\"[]=".contains(c) && c != '\u{fffd}' && !c.is_control());
        if bare {
            text.to_owned()
        } else {
            serde_json::to_string(text).unwrap()
        }
    }

    fn write(entry: &Entry, zone_minutes: i32) -> String {
        let offset = Offset::from_seconds(zone_minutes * 60).unwrap();
        let time = offset.to_datetime(Timestamp::from_millisecond(entry.time_ms).unwrap());
        let sign = if zone_minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (zone_minutes.abs() / 60, zone_minutes.abs() % 60);
        let mut line = format!(
            "[{} {sign}{hours:02}:{minutes:02}] [{}] [{}] [{}]",
            time.strftime("%Y/%m/%d %H:%M:%S%.3f"),
            entry.level,
            entry.source,
            quoted(&entry.message)
        );
        for (name, value) in &entry.fields {
            line.push_str(&format!(" [{}={}]", quoted(name), quoted(value)));
        }
        line
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            time_ms in 0_i64..4_000_000_000_000,
            zone in -720_i32..840,
            level in prop::sample::select(vec!["INFO", "WARN", "ERROR"]),
            source in "[a-z_]{1,8}\\.rs:[0-9]{1,4}",
            message in "\\PC{1,30}",
            fields in prop::collection::vec(("[a-z_ \\[\\]\"=é]{1,8}", "[ -~é\\n]{0,12}"), 0..4),
        ) {
            let entry = Entry { time_ms, level: level.into(), source, message, fields };
            let line = write(&entry, zone);
            prop_assert_eq!(Entry::parse(&line), Some(entry));
        }

        #[test]
        fn nothing_panics(line in "[\\[\\]\"= \\\\a-z0-9/:.+é-]{0,80}") {
            let _ = Entry::parse(&line);
            let _ = Entry::parse(&format!("[2022/03/01 19:09:54.620 +08:00] [INFO] [a] {line}"));
        }
    }
}
