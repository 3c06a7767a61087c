//! The only place from which anything is printed.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use operator_model::{visible_json, without_invisible};
use serde::Serialize;

use super::{Failure, printable::printable, table::Table};

/// Standard output and standard error.
#[derive(Debug, Clone)]
pub struct Output {
    choice: ColorChoice,
    /// Whether a reader that goes away ends the command.
    needs_reader: bool,
}

impl Output {
    /// With colours where they are wanted. `auto`: on terminals, unless `NO_COLOR` is set.
    pub fn new(choice: ColorChoice) -> Self {
        Self {
            choice,
            needs_reader: true,
        }
    }

    /// The same for a command whose exit code is its answer: that counts also when nobody reads the rest of the text.
    #[must_use]
    pub(super) fn beside_a_verdict(&self) -> Self {
        Self {
            needs_reader: false,
            ..self.clone()
        }
    }

    /// Text with its line breaks. What is invisible in it is shown, wherever it comes from.
    pub fn text(&self, text: &str) -> io::Result<()> {
        let mut out = AutoStream::new(io::stdout(), self.choice).lock();
        let text = without_invisible(text);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !self.needs_reader => Ok(()),
            written => written,
        }
    }

    /// One line, on a terminal or into a log. A reader that has gone away ends nothing.
    pub(super) fn log_line(&self, line: &str) {
        let _ = self.text(&format!("{line}\n"));
    }

    /// Whether what goes to standard error may be coloured.
    pub(super) fn colors_stderr(&self) -> bool {
        AutoStream::new(io::stderr(), self.choice).current_choice() != ColorChoice::Never
    }

    /// A document for programs.
    pub fn json(&self, document: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(document)?;
        self.text(&(visible_json(&text) + "\n"))
    }

    /// A listing, cut to the width of the terminal if it goes to one.
    pub(super) fn table<const N: usize>(&self, table: &Table<N>) -> io::Result<()> {
        self.text(&table.render(width()))
    }

    /// A listing whose length a plugin decides: cut after so many rows that a person can read it.
    pub(super) fn short_table<const N: usize>(
        &self,
        mut table: Table<N>,
        command: &str,
    ) -> io::Result<()> {
        const MOST: usize = 100;
        let more = table.shorten(MOST);
        self.table(&table)?;
        if more > 0 {
            self.text(&format!(
                "and {more} more; `operator {command} --json` lists all of them\n"
            ))?;
        }
        Ok(())
    }

    /// What the person should know, but what stops nothing.
    pub fn warn(&self, message: &str) {
        self.complain("warning", owo_colors::Style::new().yellow().bold(), message);
    }

    /// What to type instead.
    pub(super) fn hint(&self, message: &str) {
        self.complain("hint", owo_colors::Style::new().green().bold(), message);
    }

    /// Why the command failed.
    pub fn failure(&self, failure: &Failure) {
        for message in failure.messages() {
            self.complain("error", owo_colors::Style::new().red().bold(), &message);
        }
    }

    /// Asks a question that only `y` and `yes` agree to.
    pub(super) fn confirm(&self, question: &str) -> io::Result<bool> {
        let mut err = AutoStream::new(io::stderr(), self.choice);
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(is_yes(&answer))
    }

    fn complain(&self, kind: &str, style: owo_colors::Style, message: &str) {
        let mut err = AutoStream::new(io::stderr(), self.choice);
        // There is nowhere left to report that standard error is closed.
        let _ = writeln!(err, "{}: {}", style.style(kind), printable(message));
    }
}

/// Whether there is a person to ask.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

fn width() -> Option<usize> {
    let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(width.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes("YES"));
        assert!(!is_yes("") && !is_yes("n") && !is_yes("yeah, no"));
    }
}
