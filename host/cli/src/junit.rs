//! A conformance report in the format of `JUnit`, as CI systems read it.

use operator_conformance::{CaseReport, Report, Status};

/// The whole file.
pub(super) fn document(report: &Report) -> String {
    let name = report
        .manifest
        .as_ref()
        .map_or("plugin", |manifest| &manifest.name);
    let faults = report.cases.iter().filter(|case| case.status.is_fault());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\">\n",
        escaped(name),
        report.cases.len(),
        faults.count(),
        report.count(Status::Error),
        report.count(Status::Skip),
        seconds(report.took_ms),
    );
    report.cases.iter().for_each(|case| text += &element(case));
    text + "</testsuite>\n</testsuites>\n"
}

fn element(case: &CaseReport) -> String {
    let name = case.id.split_once('.').map_or(&*case.id, |(_, name)| name);
    let head = format!(
        "<testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        escaped(&case.group),
        escaped(name),
        seconds(case.took_ms),
    );
    let happened = escaped(&case.happened);
    let body = match case.status {
        Status::Pass => return head + "/>\n",
        Status::Skip => format!("<skipped message=\"{happened}\"/>"),
        Status::Error => format!("<error message=\"{happened}\"/>"),
        Status::Fail | Status::Crash | Status::Hang => format!(
            "<failure type=\"{}\" message=\"{happened}\">expected: {}\nto fix: {}</failure>",
            case.status.as_str(),
            escaped(&case.expected),
            escaped(&case.fix),
        ),
    };
    format!("{head}>{body}</testcase>\n")
}

#[allow(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(ms: u128) -> String {
    format!("{:.3}", ms as f64 / 1000.0)
}

/// As text or attribute; what XML cannot hold at all becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_cannot_break_the_document() {
        let case = CaseReport {
            id: "check.fuzz".into(),
            group: "check".into(),
            status: Status::Crash,
            expected: "a & b".into(),
            happened: "\"/><evil>\u{1b}\u{ffff}".into(),
            fix: "fix".into(),
            took_ms: 1500,
        };
        assert_eq!(
            element(&case),
            "<testcase classname=\"check\" name=\"fuzz\" time=\"1.500\"><failure type=\"crash\" \
             message=\"&quot;/&gt;&lt;evil&gt;\u{fffd}\u{fffd}\">expected: a &amp; b\nto fix: fix</failure></testcase>\n"
        );
    }
}
