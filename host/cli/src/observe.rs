//! `operator observe`

use operator_model::Timestamp;
use operator_service::{Observed, Service, no_subject};
use serde_json::{Value, json};

use super::{Exit, Failure, Json, Output, each::each, printable::printable, table::Table};

pub(super) async fn run(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let subjects = &service.loaded().config.subjects;
    if subjects.is_empty() {
        return Err(no_subject().into());
    }
    let mut documents = Vec::new();
    let mut exits = Vec::new();
    let observations = each(service, |service, subject| async move {
        service.observe(&subject).await
    });
    for (subject, observed) in observations.await {
        match observed {
            Ok(observed) if json.json => documents.push(document(&subject, &observed)),
            Ok(observed) => draw(&subject, &observed, out)?,
            Err(error) => {
                let failure = error.about(&subject);
                out.failure(&failure);
                exits.push(failure.exit());
            }
        }
    }
    if json.json {
        out.json(&documents)?;
    }
    Ok(Exit::worst(exits))
}

fn document(subject: &str, observed: &Observed) -> Value {
    json!({"subject": subject, "observation": &*observed.document})
}

fn draw(subject: &str, observed: &Observed, out: &Output) -> Result<(), Failure> {
    let at = Timestamp(observed.observed_at_ms);
    let (subject, summary) = (printable(subject), printable(&observed.summary));
    out.text(&format!("{subject} at {at}: {summary}\n\n"))?;
    out.short_table(sources(observed), "observe")?;
    if !observed.slis.is_empty() {
        out.text("\n")?;
        out.short_table(slis(observed), "observe")?;
    }
    Ok(())
}

fn sources(observed: &Observed) -> Table<3> {
    let mut table = Table::new(["SOURCE", "TOOK", "RESULT"]);
    for source in &observed.sources {
        let result = source.error.as_deref().unwrap_or("answered");
        table.row([
            source.name.as_str().into(),
            format!("{:.1} ms", source.took_ms).into(),
            result.into(),
        ]);
    }
    table
}

fn slis(observed: &Observed) -> Table<2> {
    let mut table = Table::new(["INDICATOR", "VALUE"]);
    for (name, value) in &observed.slis {
        let value = value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
        table.row([name.as_str().into(), value.into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::Source;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn what_did_not_answer_and_what_is_unknown_is_listed() {
        let source = |name: &str, error: Option<&str>| Source {
            name: name.to_owned(),
            error: error.map(str::to_owned),
            took_ms: 1.25,
        };
        let observed = Observed {
            document: RawValue::from_string("{}".to_owned()).expect("JSON").into(),
            observed_at_ms: 0,
            summary: String::new(),
            slis: [("lag_s".to_owned(), None), ("rate".to_owned(), Some(2.5))].into(),
            sources: vec![source("node-1", None), source("node-2", Some("refused"))],
            resources: Vec::new(),
            memory: None,
        };
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            plain(sources(&observed).render(None)),
            "SOURCE  TOOK    RESULT\n\
             node-1  1.2 ms  answered\n\
             node-2  1.2 ms  refused\n"
        );
        assert_eq!(
            plain(slis(&observed).render(None)),
            "INDICATOR  VALUE\n\
             lag_s      unknown\n\
             rate       2.5\n"
        );
        assert_eq!(
            document("db", &observed).to_string(),
            r#"{"observation":{},"subject":"db"}"#
        );
    }
}
