//! Aligned columns.

use owo_colors::{OwoColorize, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::printable::printable;

/// One cell: text on one line, and its style where there is colour.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        // A line break or an escape sequence in a plugin's text must not break the table or the terminal.
        let text = printable(&text.into());
        let text = if text.is_empty() {
            "-".to_owned()
        } else {
            text
        };
        Self { text, style }
    }

    /// With its colour, for use outside a table.
    pub(super) fn painted(&self) -> String {
        self.text.style(self.style).to_string()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// Rows under a header. The last column takes what is left of the width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

const GAP: &str = "  ";
/// A last column narrower than this is useless: the terminal wraps it instead.
const LEAST: usize = 20;

impl<const N: usize> Table<N> {
    pub(super) fn new(header: [&'static str; N]) -> Self {
        Self {
            header,
            rows: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// Keeps only the first rows. How many were removed.
    pub(super) fn shorten(&mut self, most: usize) -> usize {
        let removed = self.rows.len().saturating_sub(most);
        self.rows.truncate(most);
        removed
    }

    /// The lines, with colours in them. With a width, the last column is cut to fit it.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths();
        let before: usize = widths[..N - 1].iter().map(|width| width + GAP.len()).sum();
        let last = width.map(|width| width.saturating_sub(before).max(LEAST));
        let header = self
            .header
            .map(|title| Cell::styled(title, Style::new().bold()));
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            for (column, cell) in row.iter().enumerate() {
                let is_last = column + 1 == N;
                let shown = match last {
                    Some(last) if is_last => cut(&cell.text, last),
                    _ => cell.text.clone(),
                };
                text += &shown.style(cell.style).to_string();
                if !is_last {
                    text += &" ".repeat(widths[column] - cell.text.width());
                    text += GAP;
                }
            }
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = self.header.map(UnicodeWidthStr::width);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        widths
    }
}

/// Text that is at most this wide; what is cut off is shown as `…`.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let mut kept: String = text
        .chars()
        .take_while(|c| {
            let fits = c.width().unwrap_or(0) <= room;
            room = room.saturating_sub(c.width().unwrap_or(0));
            fits
        })
        .collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<2> {
        let mut table = Table::new(["NAME", "MESSAGE"]);
        table.row([
            "日本".into(),
            "wide characters take two columns each".into(),
        ]);
        table.row(["orders".into(), Cell::from("two\nlines")]);
        table.row(["x".into(), "".into()]);
        table
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            plain(&table().render(None)),
            "NAME    MESSAGE\n\
             日本    wide characters take two columns each\n\
             orders  two lines\n\
             x       -\n"
        );
    }

    #[test]
    fn the_last_column_is_cut_to_the_width() {
        let text = plain(&table().render(Some(30)));
        assert_eq!(text.lines().nth(1), Some("日本    wide characters take …"));
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
    }
}
