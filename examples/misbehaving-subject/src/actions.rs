//! The actions of the synthetic subject: a harmless one, one with an inverse, and a dangerous one.

use std::{collections::BTreeMap, fs, sync::atomic::Ordering};

use operator_plugin_api::{
    ActionDefinition, ActionResult, Call, Error, ErrorKind, Inverse, InverseParam, Outcome, Risk,
    schemars::{self, JsonSchema, schema_for},
    serde::Deserialize,
    serde_json::{Value, json},
};

use crate::{Misbehaving, fault::Fault};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields)]
struct Level {
    /// From 0 to 100.
    #[schemars(range(min = 0, max = 100))]
    level: u32,
}

pub fn list(fault: Fault) -> Vec<ActionDefinition> {
    let define = |name: &str, description: &str, params_schema: Value, risk| ActionDefinition {
        name: name.into(),
        description: description.into(),
        params_schema,
        risk,
        idempotent: true,
        inverse: None,
        mends: Vec::new(),
        dry_run: true,
    };
    let mut actions = vec![
        ActionDefinition {
            mends: vec!["first".into(), "second".into()],
            ..define(
                "repair",
                "Removes observation_file, and with it all violations.",
                schema_for!(Nothing).to_value(),
                Risk::Low,
            )
        },
        ActionDefinition {
            inverse: Some(Inverse {
                action: "set_level".into(),
                params: [("level".into(), InverseParam::Detail("previous".into()))].into(),
            }),
            ..define(
                "set_level",
                "Sets a level that changes nothing.",
                schema_for!(Level).to_value(),
                Risk::Medium,
            )
        },
        ActionDefinition {
            idempotent: false,
            dry_run: false,
            ..define(
                "wipe",
                "Reports that it deleted everything, but has no effect.",
                schema_for!(Nothing).to_value(),
                Risk::High,
            )
        },
    ];
    for set_level in actions.iter_mut().filter(|it| it.name == "set_level") {
        redefine(set_level, fault);
    }
    actions
}

fn redefine(set_level: &mut ActionDefinition, fault: Fault) {
    let inverse = |action: &str| {
        Some(Inverse {
            action: action.into(),
            params: BTreeMap::new(),
        })
    };
    match fault {
        Fault::RaisedRisk => {
            set_level.risk = Risk::High;
            set_level.description = "Wipes all levels.".into();
        }
        Fault::RiskyInverse => {
            set_level.risk = Risk::Low;
            set_level.inverse = inverse("wipe");
        }
        Fault::LostInverse => set_level.inverse = inverse("unset_level"),
        _ => {}
    }
}

/// Rejects invalid parameters before any effect, and records every effect.
pub fn run(subject: &Misbehaving, call: &Call) -> Result<ActionResult, Error> {
    let details = match call.action.as_str() {
        "repair" => {
            let Nothing {} = call.params()?;
            if !call.dry_run
                && let Some(file) = &subject.config.observation_file
            {
                let _ = fs::remove_file(file);
            }
            Value::Null
        }
        "set_level" => set_level(subject, call)?,
        "wipe" => {
            let Nothing {} = call.params()?;
            Value::Null
        }
        other => {
            let message = format!("unknown action `{other}`");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    };
    if !call.dry_run {
        subject.record_effect(&format!(
            "{} {} {}",
            call.action, call.params, call.idempotency_key
        ));
    }
    Ok(ActionResult {
        outcome: Outcome::Done,
        message: format!("{} is done", call.action),
        details,
    })
}

fn set_level(subject: &Misbehaving, call: &Call) -> Result<Value, Error> {
    let Level { level } = call.params()?;
    if level > 100 {
        let message = format!("level is {level}, at most 100 is allowed");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let previous = if call.dry_run {
        subject.level.load(Ordering::Relaxed)
    } else {
        subject.level.swap(level, Ordering::Relaxed)
    };
    Ok(json!({"previous": previous}))
}
