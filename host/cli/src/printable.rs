//! What comes from a plugin or a person, made safe for a terminal and a log.

use std::io;

use operator_model::{visible, visible_json, without_invisible};

/// The text on one line, without what would drive a terminal, hide, or show the text in another order than it has: it may
/// come from a plugin, and so from anyone who can name something in the subject.
pub(super) fn printable(text: &str) -> String {
    visible(text)
}

/// Standard error for diagnostics, which can repeat what comes from a plugin.
#[derive(Debug)]
pub(super) struct VisibleStderr {
    /// Whether each line is a JSON document.
    pub(super) is_json: bool,
}

impl io::Write for VisibleStderr {
    /// Whole lines only, as `tracing_subscriber` writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let shown = if self.is_json {
            visible_json(&text)
        } else {
            without_invisible(&text)
        };
        io::stderr().write_all(shown.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
