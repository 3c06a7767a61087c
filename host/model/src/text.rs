//! Text that comes from outside: from a plugin, from a person, and so from anyone who can name something in a subject.

use std::fmt::Write;

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

/// Characters that show nothing or only a gap, and those that change the order of others. Two texts that differ in nothing else
/// look alike.
///
/// From the Unicode Character Database 17.0: `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt), which includes all of
/// `Bidi_Control`; the format characters U+FFF9 to U+FFFB and line and paragraph separators (general categories Cf, Zl, Zp); the
/// spaces (Zs) that look like U+0020; and the blank Braille pattern.
const INVISIBLE: [(char, char); 20] = [
    ('\u{a0}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

fn is_invisible(c: char) -> bool {
    // Nearly all text.
    c > '\u{9f}'
        && INVISIBLE
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
}

/// The text on one line, as a person can see it: line breaks and tabs become spaces; every other character that would drive a
/// terminal, show nothing, or change the order of others becomes its number, such as `\u{200b}`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let after = rest.trim_start_matches('\\');
            let backslashes = &rest[..rest.len() - after.len()];
            shown.push_str(backslashes);
            // What only looks like a number must not be taken for one.
            if after.starts_with(|next| next == 'u' || is_numbered(next)) {
                shown.push_str(backslashes);
            }
            rest = after;
            continue;
        }
        match c {
            '\n' | '\r' | '\t' => shown.push(' '),
            c if is_numbered(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    shown
}

fn is_numbered(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t') || is_invisible(c)
}

/// The same for text with its line breaks, tabs and the control sequences of a formatter, such as a log's.
pub fn without_invisible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// JSON text in which such characters are written as escapes: the same document, and a person can see them.
pub fn visible_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of its texts, JSON has none of them.
        if is_invisible(c) || ('\u{7f}'..='\u{9f}').contains(&c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a text cannot fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_drives_the_terminal_and_nothing_is_invisible() {
        for (text, shown) in [
            ("plain, ünï, 日本 \u{3000}", "plain, ünï, 日本 \u{3000}"),
            ("two\nlines\r\tand a tab", "two lines  and a tab"),
            (
                "\u{1b}[2J\u{1b}]0;title\u{7}",
                "\\u{1b}[2J\\u{1b}]0;title\\u{7}",
            ),
            ("\u{9b}31m", "\\u{9b}31m"),
            (
                "\u{202e}txt.exe\u{2066}\u{2069}",
                "\\u{202e}txt.exe\\u{2066}\\u{2069}",
            ),
            ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
            ("node\u{200b}-1\u{2060}", "node\\u{200b}-1\\u{2060}"),
            (
                "\u{3164}\u{115f}\u{ad}\u{feff}",
                "\\u{3164}\\u{115f}\\u{ad}\\u{feff}",
            ),
            ("\u{e0041}", "\\u{e0041}"),
            (r"C:\users \u{200b}", r"C:\\users \\u{200b}"),
            (r"C:\data", r"C:\data"),
            ("\\\u{200b}", r"\\\u{200b}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn a_line_of_a_log_keeps_its_form() {
        let line = "\u{1b}[2mINFO\u{1b}[0m node\u{200b}-1\tis up\n";
        let shown = "\u{1b}[2mINFO\u{1b}[0m node\\u{200b}-1\tis up\n";
        assert_eq!(without_invisible(line), shown);
    }

    proptest! {
        #[test]
        fn texts_that_differ_look_different(
            one in r"[\\u{}20b\x{200b}\x{1b}\n]{0,12}",
            other in r"[\\u{}20b\x{200b}\x{1b}\n]{0,12}",
        ) {
            // Line breaks and tabs are meant to look like spaces.
            let flat = |text: &str| text.replace(['\n', '\r', '\t'], " ");
            prop_assert_eq!(flat(&one) == flat(&other), visible(&one) == visible(&other));
        }

        #[test]
        fn one_character_makes_a_difference(c in any::<char>()) {
            let (with, without) = (visible(&format!("node{c}-1")), visible("node-1"));
            prop_assert_ne!(&with, &without);
            prop_assert!(!with.chars().any(|c| c.is_control() || is_invisible(c)));
        }

        #[test]
        fn visible_json_is_the_same_document(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let shown = visible_json(&json);
            prop_assert!(!shown.chars().any(is_invisible));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
