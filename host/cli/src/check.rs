//! `operator check`

use std::collections::BTreeMap;

use operator_model::{Timestamp, bounded};
use operator_plugin_api::{Objective, Slo, Unknown, UnknownKind};
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
    tickets,
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
    if !checked.tickets.is_empty() {
        out.text(&format!("\n{}", about_tickets(checked)))?;
        out.table(&tickets::table(&checked.tickets, Timestamp::now()))?;
    }
    Ok(())
}

/// Where the tickets come from, and that the verdict does not count them.
fn about_tickets(checked: &Checked) -> String {
    let count = match checked.tickets.len() {
        1 => "1 ticket of this subject is".to_owned(),
        count => format!("{count} tickets of this subject are"),
    };
    let database = printable(&checked.database);
    format!("{count} not resolved in {database}; the verdict above is of this observation alone\n")
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
        "{}: {verdict}: {tally}. {}\n",
        printable(&checked.subject),
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
    let (missing, quiet): (Vec<_>, Vec<_>) = checked
        .report
        .unknown
        .iter()
        .partition(|unknown| unknown.kind.is_missing());
    for unknown in missing {
        table.row([
            Cell::styled("unknown", Style::new().magenta()),
            unknown.invariant.as_str().into(),
            unknown.resource.as_deref().unwrap_or_default().into(),
            unknown.reason.as_str().into(),
        ]);
    }
    for ((word, reason), of) in by_cause(quiet) {
        table.row([
            Cell::styled(word, Style::new().dimmed()),
            named(of.iter().map(|unknown| unknown.invariant.as_str())).into(),
            named(of.iter().filter_map(|unknown| unknown.resource.as_deref())).into(),
            reason.into(),
        ]);
    }
    table
}

/// What nobody is to find out is listed once for each cause.
fn by_cause(quiet: Vec<&Unknown>) -> BTreeMap<(&'static str, &str), Vec<&Unknown>> {
    let mut causes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for unknown in quiet {
        let word = match unknown.kind {
            UnknownKind::Missing => "unknown",
            UnknownKind::NotSupported => "not supported",
            UnknownKind::NotApplicable => "not applicable",
        };
        let cause = (word, unknown.reason.as_str());
        causes.entry(cause).or_default().push(unknown);
    }
    causes
}

/// Each name once.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const LONGEST: usize = 80;
    let mut distinct: Vec<_> = names.collect();
    distinct.sort_unstable();
    distinct.dedup();
    bounded(&distinct.join(", "), LONGEST)
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
                ..Tally::default()
            },
            health: SubjectHealth::Violated,
            guidance: std::collections::BTreeMap::new(),
            slos: Vec::new(),
            tickets: Vec::new(),
            database: "sqlite:/state/operator.db".to_owned(),
        }
    }

    #[test]
    fn what_can_never_be_told_is_listed_once_and_counted_apart() {
        let of = |invariant: &str| Unknown::new(invariant, "this version has no metrics");
        let mut checked = checked();
        checked.report = CheckReport {
            violations: Vec::new(),
            unknown: vec![
                of("slow").not_supported().resource("node-1"),
                of("slow").not_supported().resource("node-2"),
                of("drift").not_supported(),
                Unknown::new("idle", "nothing is checked").not_applicable(),
            ],
        };
        checked.tally = Tally {
            holding: 4,
            not_supported: 2,
            not_applicable: 1,
            ..Tally::default()
        };
        checked.health = SubjectHealth::Healthy;
        assert_eq!(
            plain(&headline(&checked)),
            "orders: healthy: 4 hold, 0 violated, 0 unknown, 2 not supported, 1 not applicable. \n"
        );
        assert_eq!(
            plain(&findings(&checked).render(None)),
            "SEVERITY        INVARIANT    RESOURCE        MESSAGE\n\
             not applicable  idle         -               nothing is checked\n\
             not supported   drift, slow  node-1, node-2  this version has no metrics\n"
        );
    }

    #[test]
    fn live_tickets_are_told_with_the_place_where_they_are() {
        let mut checked = checked();
        checked.tickets = vec![crate::ticket::tests::ticket()];
        assert_eq!(
            about_tickets(&checked),
            "1 ticket of this subject is not resolved in sqlite:/state/operator.db; the verdict above is of this \
             observation alone\n"
        );
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
