//! A mistyped key is refused with the one that was probably meant.

/// What to tell whoever wrote `word` where only `known` words have a meaning.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    // A third of the letters may be wrong: enough for slips, too little to turn one word into another.
    let most = (word.chars().count() / 3).max(1);
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min();
    match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_mended_and_another_word_is_not() {
        let known = ["pd_urls", "prometheus_url"];
        assert_eq!(suggestion("pd_url", &known), "did you mean `pd_urls`?");
        assert_eq!(
            suggestion("redis", &known),
            "known here: pd_urls, prometheus_url"
        );
    }
}
