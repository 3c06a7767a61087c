//! `operator check`

use operator_plugin_api::{Objective, Slo};
use operator_service::{Checked, Service, SloResult, SubjectHealth, no_subject};
use owo_colors::Style;
use serde_json::{Value, json};

use super::{
    Exit, Failure, Json, Output,
    each::each,
    guidance,
    printable::printable,
    style,
    table::{Cell, Table},
};

/// Of so many violated invariants the runbook is printed.
const MOST_RUNBOOKS: usize = 20;

pub(super) async fn run(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let subjects = &service.loaded().config.subjects;
    if subjects.is_empty() {
        return Err(no_subject().into());
    }
    let mut documents = Vec::new();
    let mut exits = Vec::new();
    let checks = each(service, |service, subject| async move {
        service.check(&subject).await
    });
    for (subject, checked) in checks.await {
        match checked {
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

/// A subject that could not be checked is listed all the same.
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
        out.short_table(findings, "check")?;
    }
    for (invariant, guidance) in checked.guidance.iter().take(MOST_RUNBOOKS) {
        let invariant = printable(invariant);
        out.text(&format!("\n{invariant}\n{}", guidance::shown(guidance)))?;
    }
    if !checked.slos.is_empty() {
        out.text("\n")?;
        out.table(&slos(&checked.slos))?;
    }
    Ok(())
}

fn slos(results: &[SloResult]) -> Table<5> {
    let mut table = Table::new(["SLO", "TARGET", "VALUE", "MET", "DESCRIPTION"]);
    for result in results {
        let slo = &result.slo;
        let met = match result.met {
            Some(true) => Cell::styled("yes", Style::new().green()),
            Some(false) => Cell::styled("no", Style::new().red()),
            None => Cell::styled("unknown", Style::new().magenta()),
        };
        let value = result.value.map(|value| format!("{value} {}", slo.unit));
        table.row([
            slo.name.as_str().into(),
            target(slo).into(),
            value.unwrap_or_default().into(),
            met,
            slo.description.as_str().into(),
        ]);
    }
    table
}

/// `at most 20 ms`.
pub(super) fn target(slo: &Slo) -> String {
    let side = match slo.objective {
        Objective::AtMost => "at most",
        Objective::AtLeast => "at least",
    };
    format!("{side} {} {}", slo.target, slo.unit)
}

/// The verdict in one line.
fn headline(checked: &Checked) -> String {
    let tally = &checked.tally;
    let text = match (&checked.unobservable, &checked.observed) {
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
        printable(text),
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
                unknown: vec![Unknown::new("fresh", "node-2 did not answer")],
            },
            unobservable: None,
            tally: Tally {
                holding: 4,
                violated: 1,
                unknown: 1,
            },
            health: SubjectHealth::Violated,
            guidance: std::collections::BTreeMap::new(),
            slos: Vec::new(),
        }
    }

    #[test]
    fn an_objective_is_met_missed_or_unknown() {
        let result = |name: &str, value, met| SloResult {
            slo: Slo {
                name: name.to_owned(),
                description: "It is fast.".to_owned(),
                sli: name.to_owned(),
                objective: Objective::AtMost,
                target: 20.0,
                unit: "ms".to_owned(),
            },
            value,
            met,
        };
        let results = [
            result("a", Some(7.5), Some(true)),
            result("b", Some(21.0), Some(false)),
            result("c", None, None),
        ];
        assert_eq!(
            plain(&slos(&results).render(None)),
            "SLO  TARGET         VALUE   MET      DESCRIPTION\n\
             a    at most 20 ms  7.5 ms  yes      It is fast.\n\
             b    at most 20 ms  21 ms   no       It is fast.\n\
             c    at most 20 ms  -       unknown  It is fast.\n"
        );
    }

    #[test]
    fn why_it_could_not_be_observed_is_one_line() {
        let hostile = Checked {
            unobservable: Some("no\n\u{1b}[2Janswer\u{2028}".to_owned()),
            ..checked()
        };
        let line = plain(&headline(&hostile));
        assert!(
            line.ends_with("unknown. no \\u{1b}[2Janswer\\u{2028}\n"),
            "{line:?}"
        );
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
