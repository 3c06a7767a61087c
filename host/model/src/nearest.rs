//! "Did you mean ...?"

/// The candidate that a person who typed `word` most probably meant, if any is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong: enough for slips, too little to turn one word into another.
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The fix for a word that is none of the candidates.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let mut candidates: Vec<_> = candidates.into_iter().collect();
    candidates.sort_unstable();
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if candidates.is_empty() => "nothing is known here; remove it".to_owned(),
        None => format!("known here: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["interval", "isolation", "plugin"];
        assert_eq!(nearest("intervall", known), Some("interval"));
        assert_eq!(nearest("pulgin", known), Some("plugin"));
        assert_eq!(nearest("database", known), None);
    }
}
