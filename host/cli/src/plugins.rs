//! `operator plugins`

use clap::{Args, Subcommand};
use operator_config::{Declared, declared};
use operator_model::Sandbox;
use operator_plugin_api::{Invariant, Slo};
use operator_service::{Guidance, Inspected, Listed, Service};
use serde_json::{Value, json};

use super::{
    Exit, Failure, Json, Output, check, definition, guidance,
    plugin_new::New,
    printable::printable,
    quarantine::Quarantine,
    style,
    table::{Cell, Table},
};

#[derive(Debug, Subcommand)]
pub(super) enum Plugins {
    /// List the configured plugins and those in the plugin directories, without running their code
    List(Json),
    /// Show what a subject's plugin declares: settings, invariants, objectives, actions
    Inspect(Inspect),
    /// Create the folder of a new plugin, ready to build
    New(New),
    /// Prevent bad plugin files from being started
    #[command(subcommand)]
    Quarantine(Quarantine),
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The subject of the plugin; optional when there is only one, as with --plugin
    name: Option<String>,
    #[command(flatten)]
    json: Json,
}

impl Plugins {
    pub(super) async fn run(
        self,
        service: &Service,
        person: &str,
        out: &Output,
    ) -> Result<Exit, Failure> {
        match self {
            Self::List(json) => list(json, service, out).await,
            Self::New(new) => new.run(out),
            Self::Inspect(inspect) => inspect.run(service, out).await,
            Self::Quarantine(quarantine) => quarantine.run(service, person, out).await,
        }
    }
}

async fn list(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let plugins = service.plugins().await?;
    if json.json {
        out.json(&plugins)?;
    } else if plugins.is_empty() {
        out.text("no plugins\n")?;
    } else {
        out.table(&table(&plugins))?;
    }
    Ok(Exit::Fine)
}

fn table(plugins: &[Listed]) -> Table<6> {
    let mut table = Table::new(["NAME", "VERSION", "SHA256", "SUBJECTS", "FILE", "STATE"]);
    for plugin in plugins {
        let manifest = plugin.manifest.as_ref();
        let hash = plugin.sha256.as_deref().unwrap_or_default();
        table.row([
            manifest.map_or("", |manifest| &manifest.name).into(),
            manifest.map_or("", |manifest| &manifest.version).into(),
            hash.get(..12).unwrap_or(hash).into(),
            plugin.subjects.join(",").into(),
            plugin.path.display().to_string().into(),
            state(plugin),
        ]);
    }
    table
}

fn state(plugin: &Listed) -> Cell {
    let red = owo_colors::Style::new().red();
    match (&plugin.refused, &plugin.quarantined) {
        (Some(why), _) => Cell::styled(format!("refused: {why}"), red),
        (None, Some(why)) => Cell::styled(format!("in quarantine: {why}"), red),
        (None, None) => Cell::styled("good", owo_colors::Style::new().green()),
    }
}

impl Inspect {
    async fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        let subject = service.subject(self.name.as_deref())?;
        let inspected = service.inspect(subject).await?;
        if self.json.json {
            out.json(&document(&inspected))?;
        } else {
            draw(&inspected, out)?;
        }
        Ok(Exit::Fine)
    }
}

fn document(inspected: &Inspected) -> Value {
    json!({
        "path": inspected.path,
        "sha256": inspected.sha256,
        "manifest": inspected.manifest,
        "sandbox": {"missing": inspected.unprotected},
        "descriptor": inspected.descriptor,
        "actions": inspected.actions.as_ref().map(|list| &list.actions),
    })
}

fn draw(inspected: &Inspected, out: &Output) -> Result<(), Failure> {
    let (manifest, descriptor) = (&inspected.manifest, &inspected.descriptor);
    out.text(&format!(
        "{} {}: {}\n{}\nsha256 {}; ABI {}; {}\n",
        printable(&manifest.name),
        printable(&manifest.version),
        printable(&descriptor.description),
        printable(&inspected.path.display().to_string()),
        inspected.sha256,
        manifest.abi,
        printable(&manifest.rustc),
    ))?;
    out.text(&sandbox(&inspected.unprotected))?;
    for lack in Sandbox::default().lacks(&manifest.needs) {
        let is_lacking = inspected.lacks.contains(&lack);
        let granted = if is_lacking { "not granted" } else { "granted" };
        let (asks, setting, value) = (printable(&lack.asks), lack.setting, lack.value);
        out.text(&format!(
            "asks {asks} (sandbox.{setting} = {value}): {granted}\n"
        ))?;
    }
    out.text("\n")?;
    out.table(&settings(&declared(&descriptor.config_schema)))?;
    out.text("\n")?;
    out.table(&invariants(inspected))?;
    out.text(&runbooks(&descriptor.invariants))?;
    if !descriptor.slos.is_empty() {
        out.text("\n")?;
        out.table(&slos(&descriptor.slos))?;
    }
    if let Some(list) = &inspected.actions
        && !list.actions.is_empty()
    {
        out.text("\n")?;
        out.table(&definition::table(&[(&descriptor.subject, list.clone())]))?;
    }
    Ok(())
}

fn sandbox(unprotected: &[String]) -> String {
    if unprotected.is_empty() {
        return "sandbox: it reads and writes only what it is granted, and starts a program only if that is granted\n".to_owned();
    }
    format!("sandbox: {}\n", unprotected.join("\nsandbox: "))
}

fn settings(declared: &[Declared]) -> Table<5> {
    let mut table = Table::new(["SETTING", "TYPE", "DEFAULT", "VARIABLE", "DESCRIPTION"]);
    for setting in declared {
        let default = match &setting.default {
            _ if setting.required => "required".to_owned(),
            Some(default) => default.to_string(),
            None => String::new(),
        };
        table.row([
            setting.key.as_str().into(),
            setting.kind.as_str().into(),
            default.into(),
            setting.variable.as_deref().unwrap_or_default().into(),
            setting.description.as_str().into(),
        ]);
    }
    table
}

fn invariants(inspected: &Inspected) -> Table<4> {
    let mut table = Table::new(["INVARIANT", "SEVERITY", "GRACE", "KEEP FIRING"]);
    let time = |ms| {
        let time = std::time::Duration::from_millis(ms);
        humantime::format_duration(time).to_string()
    };
    for invariant in &inspected.descriptor.invariants {
        table.row([
            invariant.name.as_str().into(),
            style::severity(invariant.severity),
            time(invariant.grace_period_ms).into(),
            time(invariant.keep_firing_for_ms).into(),
        ]);
    }
    table
}

/// What the author wrote about each invariant, for the person who deals with a violation.
fn runbooks(invariants: &[Invariant]) -> String {
    let written = invariants.iter().map(|invariant| {
        let guidance = Guidance {
            description: invariant.description.clone(),
            runbook: invariant.runbook.clone(),
            suggested_actions: invariant.suggested_actions.clone(),
        };
        let name = printable(&invariant.name);
        format!("\n{name}\n{}", guidance::shown(&guidance))
    });
    written.collect()
}

fn slos(slos: &[Slo]) -> Table<4> {
    let mut table = Table::new(["SLO", "TARGET", "INDICATOR", "DESCRIPTION"]);
    for slo in slos {
        table.row([
            slo.name.as_str().into(),
            check::target(slo).into(),
            slo.sli.as_str().into(),
            slo.description.as_str().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_plugin_is_listed_with_the_reason() {
        let listed = Listed {
            path: "/p/libhello.so".into(),
            sha256: None,
            manifest: None,
            refused: Some("it is not a plugin".to_owned()),
            quarantined: None,
            subjects: vec!["a".to_owned()],
        };
        assert_eq!(
            anstream::adapter::strip_str(&table(&[listed]).render(None)).to_string(),
            "NAME  VERSION  SHA256  SUBJECTS  FILE            STATE\n\
             -     -        -       a         /p/libhello.so  refused: it is not a plugin\n"
        );
    }

    #[test]
    fn settings_are_listed_with_what_serves_in_their_place() {
        let schema = json!({
            "required": ["url"],
            "properties": {
                "max_age_s": {"type": "integer", "default": 60, "description": "How old it may be"},
                "url": {"type": "string", "x-env": "HELLO_URL"},
            }
        });
        assert_eq!(
            anstream::adapter::strip_str(&settings(&declared(&schema)).render(None)).to_string(),
            "SETTING    TYPE     DEFAULT   VARIABLE   DESCRIPTION\n\
             max_age_s  integer  60        -          How old it may be\n\
             url        string   required  HELLO_URL  -\n"
        );
    }
}
