//! What the author of a plugin wrote about an invariant.

use operator_service::Guidance;

use super::printable::printable;

/// A line for each thing that is known; the lines of a runbook stay lines.
pub(super) fn shown(guidance: &Guidance) -> String {
    let mut text = labelled("means", [guidance.description.as_str()]);
    text += &labelled("runbook", guidance.runbook.lines());
    let actions = guidance.suggested_actions.join(", ");
    text + &labelled("try", [actions.as_str()])
}

/// Empty if no line has text.
fn labelled<'a>(name: &str, lines: impl IntoIterator<Item = &'a str>) -> String {
    let lines = lines.into_iter().map(printable);
    let lines = lines.filter(|line| !line.trim().is_empty());
    let named = lines.enumerate().map(|(place, line)| {
        let name = if place == 0 { name } else { "" };
        format!("  {name:<14}{}\n", line.trim_end())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_keeps_its_lines_and_drives_no_terminal() {
        let guidance = Guidance {
            description: "Every table has 3 copies.".to_owned(),
            runbook: "1. Check the disk.\n\n2. Add\u{1b}[2J one.\n".to_owned(),
            suggested_actions: vec!["add_copy".to_owned(), "rebalance".to_owned()],
        };
        assert_eq!(
            shown(&guidance),
            "  means         Every table has 3 copies.\n  \
               runbook       1. Check the disk.\n                \
                             2. Add\\u{1b}[2J one.\n  \
               try           add_copy, rebalance\n"
        );
    }

    #[test]
    fn what_the_author_left_out_takes_no_line() {
        let guidance = Guidance {
            description: "It is fresh.".to_owned(),
            runbook: String::new(),
            suggested_actions: Vec::new(),
        };
        assert_eq!(shown(&guidance), "  means         It is fresh.\n");
    }
}
