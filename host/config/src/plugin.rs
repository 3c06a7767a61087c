//! What a subject's plugin is given: `--set`, the file, the variables that the plugin names, in this order.

use std::path::Path;

use operator_model::{Property, Sandbox, masked, suggestion};
use operator_plugin_api::{Descriptor, manifest::Manifest};
use serde_json::{Map, Value};

use super::{
    Environment, Fault, Faults, KeyPath, Origin, Origins, Shown, SubjectConfig,
    schema::{insert, typed},
};

mod fit;

/// What one subject's plugin is given, known to fit what the plugin declares.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// For `create`. May hold secrets. The plugin's defaults are left to the plugin.
    pub values: Map<String, Value>,
    /// The grants: those in the configuration, and the paths given to settings marked `x-path`.
    pub sandbox: Sandbox,
    /// Every setting with its origin, secrets masked, for showing.
    pub shown: Vec<Shown>,
}

impl PluginConfig {
    /// Resolves it, or returns all faults of it and of the subject's invariants.
    ///
    /// What a person wrote wins over a variable that may be set for other reasons; a flag wins over the file.
    pub fn resolve(
        subject: &SubjectConfig,
        descriptor: &Descriptor,
        origins: &Origins,
        environment: &Environment,
    ) -> Result<Self, Faults> {
        let mut resolving = Resolving {
            base: KeyPath::new(["subjects", &subject.name, "config"]),
            root: Property::root(&descriptor.config_schema),
            values: subject.config.clone(),
            origins: origins.clone(),
            faults: Vec::new(),
        };
        resolving.assign(subject);
        // Not those of variables and defaults: the plugin's author chose them.
        let mut sandbox = subject.sandbox.clone();
        grant(resolving.root, &resolving.values, &mut sandbox);
        resolving.take_variables(resolving.root, &KeyPath::default(), environment);
        resolving.check_fit(descriptor);
        resolving.check_invariants(subject, descriptor);
        let shown = resolving.shown();
        Faults(resolving.faults).or(Self {
            values: resolving.values,
            sandbox,
            shown,
        })
    }
}

/// Whether the subject's configuration grants what the plugin asks for; wherever the subject is watched, since its actions
/// always run in a worker.
pub fn check_needs(
    subject: &SubjectConfig,
    manifest: &Manifest,
    origins: &Origins,
) -> Result<(), Faults> {
    let lacks = subject.sandbox.lacks(&manifest.needs).into_iter();
    let faults = lacks.map(|lack| {
        let key = KeyPath::new(["subjects", &subject.name, "sandbox", lack.setting]);
        Fault {
            origin: origins.around(&key),
            what: format!("plugin {} asks {}", manifest.name, lack.asks),
            fix: format!(
                "to trust it with that, write sandbox.{} = {} into [subjects.{}] of a configuration file (--config)",
                lack.setting, lack.value, subject.name
            ),
            key: Some(key),
        }
    });
    Faults(faults.collect()).or(())
}

/// What the settings grant the plugin: absolute paths, where the schema has `"x-path"`.
pub fn granted(schema: &Value, values: &Map<String, Value>) -> Sandbox {
    let mut sandbox = Sandbox::default();
    grant(Property::root(schema), values, &mut sandbox);
    sandbox
}

struct Resolving<'a> {
    /// Where the plugin's settings are in the whole configuration.
    base: KeyPath,
    root: Property<'a>,
    values: Map<String, Value>,
    origins: Origins,
    faults: Vec<Fault>,
}

impl<'a> Resolving<'a> {
    fn assign(&mut self, subject: &SubjectConfig) {
        for assignment in &subject.set {
            let origin = Origin::Flag(format!("--set {}", assignment.key));
            self.read(
                &assignment.key,
                self.root.at(assignment.key.parts()),
                &assignment.text,
                origin,
            );
        }
    }

    /// Variables are used where nothing else was set.
    fn take_variables(&mut self, table: Property<'a>, at: &KeyPath, environment: &Environment) {
        /// Deeper than any honest schema goes; ends those that contain themselves.
        const DEEPEST: usize = 8;
        if at.parts().len() >= DEEPEST {
            return;
        }
        for (name, property) in table.properties() {
            let key = at.join(name);
            let variable = property.keyword("x-env").and_then(Value::as_str);
            let text = variable.and_then(|variable| Some((variable, environment.get(variable)?)));
            match text {
                Some((variable, text)) if self.value(&key).is_none() => {
                    let origin = Origin::Variable(variable.to_owned());
                    self.read(&key, Some(property), text, origin);
                }
                _ => self.take_variables(property, &key, environment),
            }
        }
    }

    fn read(&mut self, key: &KeyPath, property: Option<Property<'_>>, text: &str, origin: Origin) {
        match typed(property, text) {
            Ok(value) => {
                insert(&mut self.values, key.parts(), value);
                self.origins.note(self.base.concat(key), origin);
            }
            Err(wrong) => self.faults.push(Fault {
                origin,
                key: Some(self.base.concat(key)),
                what: wrong.what,
                fix: wrong.fix,
            }),
        }
    }

    fn value(&self, key: &KeyPath) -> Option<&Value> {
        let (first, rest) = key.parts().split_first()?;
        rest.iter()
            .try_fold(self.values.get(first)?, |at, part| at.get(part))
    }

    fn check_invariants(&mut self, subject: &SubjectConfig, descriptor: &Descriptor) {
        let declared = || {
            descriptor
                .invariants
                .iter()
                .map(|invariant| invariant.name.as_str())
        };
        for name in subject.invariants.keys() {
            if !declared().any(|declared| declared == name) {
                let key = KeyPath::new(["subjects", &subject.name, "invariants", name]);
                self.faults.push(Fault {
                    origin: self.origins.around(&key),
                    what: format!("plugin {} has no such invariant", descriptor.subject),
                    fix: suggestion(name, declared()),
                    key: Some(key),
                });
            }
        }
    }

    /// Everything that is given, and the defaults of what is not.
    fn shown(&self) -> Vec<Shown> {
        let declared: Vec<_> = self.root.properties().collect();
        let defaults = declared.iter().filter_map(|(name, property)| {
            let absent = !self.values.contains_key(*name);
            let shows = absent && !property.is_secret();
            let default = property.keyword("default").filter(|_| shows)?;
            Some((*name, default))
        });
        let given = self
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        let mut shown: Vec<_> = given
            .chain(defaults)
            .map(|(name, value)| {
                let key = KeyPath::new([name]);
                let path = self.base.concat(&key);
                Shown {
                    origin: match self.origins.of(&path) {
                        Some(origin) => origin.clone(),
                        None => Origin::Default,
                    },
                    value: masked(value, self.root.at(key.parts())),
                    key: path,
                }
            })
            .collect();
        shown.sort_by(|a, b| a.key.cmp(&b.key));
        shown
    }
}

/// Grants the absolute paths among the values, where the schema has `"x-path": "read"` or `"write"`.
fn grant(table: Property<'_>, values: &Map<String, Value>, sandbox: &mut Sandbox) {
    for (name, value) in values {
        if let Some(property) = table.child(name) {
            grant_value(property, value, None, sandbox);
        }
    }
}

fn grant_value(property: Property<'_>, value: &Value, around: Option<&str>, sandbox: &mut Sandbox) {
    let usage = property
        .keyword("x-path")
        .and_then(Value::as_str)
        .or(around);
    match value {
        Value::String(text) if Path::new(text).is_absolute() => match usage {
            Some("read") => sandbox.read.push(text.into()),
            Some("write") => sandbox.write.push(text.into()),
            _ => {}
        },
        Value::Array(items) => {
            for item in items {
                let below = property.child("0").unwrap_or(property);
                grant_value(below, item, usage, sandbox);
            }
        }
        Value::Object(table) => grant(property, table, sandbox),
        _ => {}
    }
}

#[cfg(test)]
#[path = "tests/plugin.rs"]
mod tests;
