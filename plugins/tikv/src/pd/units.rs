//! Sizes, durations and times as PD writes them.

use jiff::Timestamp;

/// Bytes of `71.29GiB`, `0B`, `1.636 TiB`: base 1024, any case, four significant digits.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor = match unit.trim_start() {
        "" | "b" => 1.0,
        unit => {
            let power = "kmgtp".find(unit.chars().next()?)? + 1;
            if !matches!(&unit[1..], "" | "b" | "ib") {
                return None;
            }
            1024_f64.powi(i32::try_from(power).ok()?)
        }
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    whole(bytes)
}

/// Milliseconds of a Go duration: `30m0s`, `48h12m57.5s`, `10ms`. Negative ones are refused.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut ms = 0.0;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(split);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        ms += number.parse::<f64>().ok()? * unit_ms(unit)?;
        rest = after;
    }
    (!text.trim().is_empty()).then(|| whole(ms)).flatten()
}

fn unit_ms(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3_600_000.0,
        "m" => 60_000.0,
        "s" => 1_000.0,
        "ms" => 1.0,
        "us" | "µs" | "μs" => 1e-3,
        "ns" => 1e-6,
        _ => return None,
    })
}

/// Milliseconds since the Unix epoch of an RFC 3339 time in any zone.
pub(crate) fn time_ms(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    Some(time.as_millisecond())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "it is proven to be within the range of the integer"
)]
fn whole(number: f64) -> Option<u64> {
    (0.0..u64::MAX as f64)
        .contains(&number)
        .then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_pd_writes_them_and_has_written_them() {
        assert_eq!(bytes("0B"), Some(0));
        assert_eq!(bytes("100GiB"), Some(100 << 30));
        assert_eq!(bytes("1.5 KiB"), Some(1_536));
        assert_eq!(bytes("2mb"), Some(2 << 20));
        assert_eq!(bytes("7"), Some(7));
        assert_eq!(bytes("1PiB"), Some(1 << 50));
        for text in [
            "",
            "GiB",
            "-1GiB",
            "1XiB",
            "1.2.3MiB",
            "1GiBB",
            "1e3MiB",
            "99999999999PiB",
            "1é",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration_ms("30m0s"), Some(1_800_000));
        assert_eq!(duration_ms("48h12m57.512345678s"), Some(173_577_512));
        assert_eq!(duration_ms("10ms"), Some(10));
        assert_eq!(duration_ms("1µs"), Some(0));
        assert_eq!(duration_ms("0s"), Some(0));
        for text in ["", "5", "-1s", "1x", "s", "1.2.3s", "99999999999999999h"] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn times_of_any_zone_are_the_same_moment() {
        assert_eq!(time_ms("1970-01-01T08:00:01+08:00"), Some(1_000));
        assert_eq!(
            time_ms("2026-08-20T09:31:01.512345678Z"),
            Some(1_787_218_261_512)
        );
        assert_eq!(time_ms("yesterday"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,20}") {
            let _ = (bytes(&text), duration_ms(&text), time_ms(&text));
        }
    }
}
