//! `operator config`

use clap::Subcommand;
use operator_config::{COMMENTED_DEFAULTS, Faults, KeyPath, Shown, SubjectConfig, shown};
use operator_service::{Service, ServiceError};
use serde_json::{Value, json};

use super::{Exit, Failure, Json, Output, table::Table};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report every mistake; asks the plugins for their settings, but contacts no subject
    Check,
    /// Show every setting in effect and where it comes from, without secrets
    Show(Json),
    /// Print every setting with its default, commented: a file to start from
    Default,
}

/// `config default`, which needs no configuration.
pub(super) fn default(out: &Output) -> Result<Exit, Failure> {
    out.text(COMMENTED_DEFAULTS)?;
    Ok(Exit::Fine)
}

impl ConfigCommand {
    pub(super) async fn run(self, service: &Service, out: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Check => check(service, out).await,
            Self::Show(json) => show(json, service, out).await,
            Self::Default => default(out),
        }
    }
}

async fn check(service: &Service, out: &Output) -> Result<Exit, Failure> {
    let subjects = &service.loaded().config.subjects;
    let mut faults = Vec::new();
    let mut failed = Exit::Fine;
    for subject in subjects {
        match plugin_settings(subject, service).await {
            Ok(_) => {}
            Err(ServiceError::Config(found) | ServiceError::NotGranted(found)) => {
                faults.extend(found.0);
            }
            Err(error) => {
                let failure = Failure::from(error);
                failed = Exit::worst([failed, failure.exit()]);
                out.failure(&failure);
            }
        }
    }
    Faults(faults).or(())?;
    if failed == Exit::Fine {
        let file = match &service.loaded().file {
            Some(file) => file.display().to_string(),
            None => "no file".to_owned(),
        };
        out.text(&format!("{file}: good; subjects: {}\n", subjects.len()))?;
    }
    Ok(failed)
}

async fn show(json: Json, service: &Service, out: &Output) -> Result<Exit, Failure> {
    let loaded = service.loaded();
    let mut settings = shown(&loaded.config, &loaded.origins);
    for subject in &loaded.config.subjects {
        match plugin_settings(subject, service).await {
            Ok(of_plugin) => settings.extend(of_plugin),
            Err(error) => {
                for message in Failure::from(error).messages() {
                    out.warn(&message);
                }
                settings.extend(masked(subject, service));
            }
        }
    }
    if json.json {
        out.json(&document(&settings))?;
    } else {
        out.table(&table(&settings))?;
    }
    Ok(Exit::Fine)
}

/// Only the plugin knows its settings and its secrets.
async fn plugin_settings(
    subject: &SubjectConfig,
    service: &Service,
) -> Result<Vec<Shown>, ServiceError> {
    Ok(service.prove(subject).await?.shown)
}

/// The settings of a plugin that cannot be asked which of them are secret.
fn masked(subject: &SubjectConfig, service: &Service) -> Vec<Shown> {
    let masked = subject.config.keys().map(|name| {
        let key = KeyPath::new(["subjects", &subject.name, "config", name]);
        Shown {
            value: Value::from("***"),
            origin: service.loaded().origins.around(&key),
            key,
        }
    });
    masked.collect()
}

fn document(settings: &[Shown]) -> Value {
    let settings = settings.iter().map(|setting| {
        json!({
            "key": setting.key.to_string(),
            "value": setting.value,
            "origin": setting.origin.to_string(),
        })
    });
    settings.collect()
}

fn table(settings: &[Shown]) -> Table<3> {
    let mut table = Table::new(["KEY", "ORIGIN", "VALUE"]);
    for setting in settings {
        table.row([
            setting.key.to_string().into(),
            setting.origin.to_string().into(),
            setting.value.to_string().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use operator_config::Origin;

    #[test]
    fn settings_are_listed_with_their_origin() {
        let settings = [Shown {
            key: KeyPath::new(["log", "level"]),
            value: json!("debug"),
            origin: Origin::Variable("OPERATOR_LOG_LEVEL".to_owned()),
        }];
        let text = anstream::adapter::strip_str(&table(&settings).render(None)).to_string();
        assert_eq!(
            text,
            "KEY        ORIGIN              VALUE\n\
             log.level  OPERATOR_LOG_LEVEL  \"debug\"\n"
        );
        assert_eq!(document(&settings)[0]["value"], "debug");
    }
}
