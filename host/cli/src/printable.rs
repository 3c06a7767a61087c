//! What comes from a plugin or a person, made safe for a terminal and a log.

/// The text on one line, without what would drive a terminal or show the text in another order than it has: it may
/// come from a plugin, and so from anyone who can name something in the subject.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{2028}' | '\u{2029}' => ' ',
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        for (text, shown) in [
            ("plain, ünï, 日本", "plain, ünï, 日本"),
            ("two\nlines\r\tand a tab", "two lines  and a tab"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", " [2J ]0;title "),
            ("\u{9b}31m", " 31m"),
            (
                "\u{202e}txt.exe\u{2066}\u{2069}",
                "\u{fffd}txt.exe\u{fffd}\u{fffd}",
            ),
            ("a\u{2028}b\u{2029}c", "a b c"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
