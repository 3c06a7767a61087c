//! Numbers and names as people read them.

/// The digits of a whole number, with its thousands separated by commas: `1,004`.
pub fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with this many decimals, and never a zero with a sign: `-0.04` is `0.0` with one decimal, not `-0.0`.
pub fn decimal(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(zero) if zero.chars().all(|c| matches!(c, '0' | '.')) => zero.to_owned(),
        _ => text,
    }
}

/// The share of those that are true, in percent; `None` of none.
#[expect(
    clippy::cast_precision_loss,
    reason = "a slice has far fewer than 2^52 elements"
)]
pub fn share_percent(of: &[bool]) -> Option<f64> {
    let count = of.iter().filter(|is| **is).count();
    (!of.is_empty()).then(|| 100.0 * count as f64 / of.len() as f64)
}

/// The suggestion for an unknown word: the nearest known one, or all of them.
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    // A third of the letters may differ: enough for typing errors, too little to suggest another word.
    let most = (word.chars().count() / 3).max(1);
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min();
    match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => format!("known are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (digits, text) in [
            ("0", "0"),
            ("999", "999"),
            ("1004", "1,004"),
            ("1234567", "1,234,567"),
        ] {
            assert_eq!(grouped(digits), text);
        }
    }

    #[test]
    fn a_zero_has_no_sign() {
        let one = |value| decimal(value, 1);
        assert_eq!([-0.0, -0.04, -0.06].map(one), ["0.0", "0.0", "-0.1"]);
        assert_eq!(
            (decimal(-0.4, 0), decimal(12.34, 1)),
            ("0".into(), "12.3".into())
        );
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!(share_percent(&[]), None);
        assert_eq!(share_percent(&[true, false, true, true]), Some(75.0));
    }

    #[test]
    fn a_typing_error_is_corrected_and_another_word_is_not() {
        let known = ["pd_urls", "prometheus_url"];
        assert_eq!(did_you_mean("pd_url", &known), "did you mean `pd_urls`?");
        let all = "known are: pd_urls, prometheus_url";
        assert_eq!(did_you_mean("redis", &known), all);
    }
}
