//! Numbers, sizes, times and JSON documents formatted like Go's libraries do: PD is written in Go.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer};

use crate::world::Nanos;

const SECOND: i64 = 1_000_000_000;

/// A float as Go's JSON encoder writes it: `1`, not `1.0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Float(pub(crate) f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
            return to.serialize_i64(self.0 as i64);
        }
        to.serialize_f64(self.0)
    }
}

/// JSON indented by two spaces, with `& < >` escaped, and a final newline, as PD's handlers write it.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value)
        .expect("only maps with text keys and plain values are written");
    let mut escaped = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("\\u0026"),
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            other => escaped.push(other),
        }
    }
    escaped.push('\n');
    escaped
}

/// A number of bytes as PD formats sizes: four significant digits and a binary unit, such as `71.29GiB`.
pub(crate) fn size(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let whole_digits = if value >= 1000.0 {
        4
    } else if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let mut text = format!("{value:.*}", 4 - whole_digits);
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

/// The fraction digits without trailing zeros, with a leading point if any are left.
fn fraction(nanos: i64) -> String {
    let text = format!(".{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration as Go's `String` writes it, such as `48h12m57.5s` or `10ms`.
pub(crate) fn duration(nanos: Nanos) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (unit, name) in [(1_000, "ns"), (1_000_000, "µs"), (SECOND, "ms")] {
        if nanos < unit {
            let scale = unit / 1_000;
            let rest = fraction(nanos % scale * (SECOND / scale));
            return format!("{sign}{}{rest}{name}", nanos / scale);
        }
    }
    let seconds = nanos / SECOND;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let rest = format!("{}{}s", seconds % 60, fraction(nanos % SECOND));
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}"),
        (0, _) => format!("{sign}{minutes}m{rest}"),
        _ => format!("{sign}{hours}h{minutes}m{rest}"),
    }
}

/// Parses a duration in Go's format; `None` if it is invalid.
pub(crate) fn parse_duration(text: &str) -> Option<Nanos> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|at: char| !at.is_ascii_digit() && at != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|at: char| at.is_ascii_digit())
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3_600e9,
                "m" => 60e9,
                "s" => 1e9,
                "ms" => 1e6,
                "us" | "µs" => 1e3,
                "ns" => 1.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, which is far enough"
    )]
    let nanos = total as Nanos;
    (!text.is_empty()).then_some(nanos)
}

fn civil(at: Nanos) -> jiff::civil::DateTime {
    let at = Timestamp::from_nanosecond(at.into()).unwrap_or_default();
    TimeZone::UTC.to_datetime(at)
}

/// RFC 3339 with as many fraction digits as needed.
pub(crate) fn rfc3339(at: Nanos) -> String {
    let shown = civil(at).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    format!("{shown}{}Z", fraction(at.rem_euclid(SECOND)))
}

/// RFC 3339 without a fraction.
pub(crate) fn rfc3339_seconds(at: Nanos) -> String {
    rfc3339(at - at.rem_euclid(SECOND))
}

/// Go's `Time.String` in a process that started at `origin`.
pub(crate) fn time_with_monotonic(at: Nanos, origin: Nanos) -> String {
    let shown = civil(at).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let since = at - origin;
    let sign = if since < 0 { '-' } else { '+' };
    let since = since.abs();
    format!(
        "{shown}{} +0000 UTC m={sign}{}.{:09}",
        fraction(at.rem_euclid(SECOND)),
        since / SECOND,
        since % SECOND
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_significant_digits() {
        let gib = 1024.0 * 1024.0 * 1024.0;
        let cases = [
            (0.0, "0B"),
            (512.0, "512B"),
            (100.0 * gib, "100GiB"),
            (71.2900 * gib, "71.29GiB"),
            (1.636 * 1024.0 * gib, "1.636TiB"),
            (79.3 * gib, "79.3GiB"),
            (1023.9 * gib, "1024GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_are_written_as_in_go() {
        let cases = [
            (0, "0s"),
            (10_000_000, "10ms"),
            (1_500, "1.5µs"),
            (60 * SECOND, "1m0s"),
            (1_800 * SECOND, "30m0s"),
            (173_577_512_345_678, "48h12m57.512345678s"),
            (1_098_822_544, "1.098822544s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(nanos), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn written_durations_are_parsed(seconds in 0_i64..1_000_000) {
            let nanos = seconds * SECOND;
            assert_eq!(parse_duration(&duration(nanos)), Some(nanos));
        }
    }

    #[test]
    fn invalid_durations_are_rejected() {
        for wrong in ["", "5", "m", "5 m", "1x"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn documents_are_indented_and_escaped() {
        assert_eq!(pretty(&"a<b & c>d"), "\"a\\u003cb \\u0026 c\\u003ed\"\n");
        assert_eq!(pretty(&[Float(1.0), Float(0.5)]), "[\n  1,\n  0.5\n]\n");
    }

    #[test]
    fn times_lose_zeros_at_their_end() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(500_000_000), "1970-01-01T00:00:00.5Z");
        assert_eq!(rfc3339_seconds(500_000_000), "1970-01-01T00:00:00Z");
        let at = time_with_monotonic(1_787_218_264_512_345_678, 1_787_212_443_307_928_287);
        assert_eq!(
            at,
            "2026-08-20 09:31:04.512345678 +0000 UTC m=+5821.204417391"
        );
    }
}
