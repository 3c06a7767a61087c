//! `operator check`

use operator_service::{Checked, Service, SubjectHealth, no_subject};
use owo_colors::Style;
use serde_json::{Value, json};

use super::{
    Exit, Failure, Json, Output,
    each::each,
    printable::printable,
    style,
    table::{Cell, Table},
};

pub(super) async fn run(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let subjects = &service.loaded().config.subjects;
    if subjects.is_empty() {
        return Err(no_subject().into());
    }
    let mut documents = Vec::new();
    let mut exits = Vec::new();
    let looks = each(service, |service, subject| async move {
        service.check(&subject).await
    });
    for (subject, looked) in looks.await {
        match looked {
            Ok(checked) => {
                exits.push(Exit::from(checked.health));
                if json.json {
                    documents.push(checked.to_json());
                } else {
                    draw(&checked, out)?;
                }
            }
            Err(error) => {
                let failure = error.about(&subject);
                out.failure(&failure);
                exits.push(failure.exit());
                documents.push(failed(&subject, &failure));
            }
        }
    }
    if json.json {
        out.json(&documents)?;
    }
    Ok(Exit::worst(exits))
}

/// A subject of which nothing is known is not left out.
fn failed(subject: &str, failure: &Failure) -> Value {
    json!({
        "subject": subject,
        "health": SubjectHealth::Unknown,
        "error": failure.messages().join("; "),
    })
}

fn draw(checked: &Checked, out: &Output) -> Result<(), Failure> {
    out.text(&headline(checked))?;
    let findings = findings(checked);
    if !findings.is_empty() {
        out.table(&findings)?;
    }
    Ok(())
}

/// The verdict in one line.
fn headline(checked: &Checked) -> String {
    let tally = &checked.tally;
    let told = match (&checked.unobservable, &checked.observed) {
        (Some(why), _) => why.as_str(),
        (None, Some(observed)) => observed.summary.as_str(),
        (None, None) => "",
    };
    let verdict = style::health(checked.health);
    format!(
        "{}: {verdict}: {} hold, {} violated, {} unknown. {}\n",
        printable(&checked.subject),
        tally.holding,
        tally.violated,
        tally.unknown,
        printable(told),
    )
}

fn findings(checked: &Checked) -> Table<4> {
    let mut table = Table::new(["SEVERITY", "INVARIANT", "RESOURCE", "MESSAGE"]);
    for violation in &checked.report.violations {
        table.row([
            violation
                .severity
                .map_or_else(|| Cell::from(""), style::severity),
            violation.invariant.as_str().into(),
            violation.resource.as_deref().unwrap_or_default().into(),
            violation.message.as_str().into(),
        ]);
    }
    for unknown in &checked.report.unknown {
        table.row([
            Cell::styled("unknown", Style::new().magenta()),
            unknown.invariant.as_str().into(),
            unknown.resource.as_deref().unwrap_or_default().into(),
            unknown.reason.as_str().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::{CheckReport, Severity, Unknown, Violation};

    use super::*;
    use operator_service::Tally;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn checked() -> Checked {
        Checked {
            subject: "orders".to_owned(),
            observed: None,
            report: CheckReport {
                violations: vec![Violation {
                    invariant: "replicated".to_owned(),
                    resource: Some("table-7".to_owned()),
                    severity: Some(Severity::Critical),
                    message: "1 of 3 copies".to_owned(),
                    evidence: Value::Null,
                }],
                unknown: vec![Unknown {
                    invariant: "fresh".to_owned(),
                    resource: None,
                    reason: "node-2 did not answer".to_owned(),
                }],
            },
            unobservable: None,
            tally: Tally {
                holding: 4,
                violated: 1,
                unknown: 1,
            },
            health: SubjectHealth::Violated,
        }
    }

    #[test]
    fn why_it_could_not_be_observed_is_one_line() {
        let hostile = Checked {
            unobservable: Some("no\n\u{1b}[2Janswer\u{2028}".to_owned()),
            ..checked()
        };
        let line = plain(&headline(&hostile));
        assert!(line.ends_with("unknown. no  [2Janswer \n"), "{line:?}");
    }

    #[test]
    fn a_subject_that_failed_is_listed_as_unknown() {
        let failure = Failure::bad_input("no plugin").about("orders");
        assert_eq!(
            failed("orders", &failure),
            json!({"subject": "orders", "health": "unknown", "error": "orders: no plugin"})
        );
    }

    #[test]
    fn violations_come_before_what_is_unknown() {
        assert_eq!(
            plain(&headline(&checked())),
            "orders: violated: 4 hold, 1 violated, 1 unknown. \n"
        );
        assert_eq!(
            plain(&findings(&checked()).render(None)),
            "SEVERITY  INVARIANT   RESOURCE  MESSAGE\n\
             critical  replicated  table-7   1 of 3 copies\n\
             unknown   fresh       -         node-2 did not answer\n"
        );
    }
}
