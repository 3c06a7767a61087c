//! Text that comes from outside.

/// At most so many characters, and none that no database takes: what comes from a subject's users can be of any length, and hold
/// anything.
pub fn bounded(text: &str, longest: usize) -> String {
    let clean = |c| {
        if c == '\0' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let mut bounded: String = text.chars().take(longest).map(clean).collect();
    if text.chars().nth(longest).is_some() {
        bounded.push('…');
    }
    bounded
}
