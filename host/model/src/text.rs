//! Text that comes from outside.

/// At most this many characters, without those that a database refuses: text from a subject's users can be of any length and
/// content.
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
