//! Whether what is given fits the schema that the plugin declares.

use jsonschema::{ValidationError, error::ValidationErrorKind};
use operator_model::{Property, check_schema_with, masked, schema_validator, suggestion};
use operator_plugin_api::Descriptor;
use serde_json::{Map, Value, json};

use super::Resolving;
use crate::{Fault, KeyPath, Origin};

impl Resolving<'_> {
    pub(super) fn check_fit(&mut self, descriptor: &Descriptor) {
        let schema = closed(&descriptor.config_schema);
        let given = Value::Object(self.values.clone());
        let validator = schema_validator(&schema)
            .and_then(|validator| check_schema_with(&schema, &given).map(|()| validator));
        match validator {
            Ok(validator) => {
                for error in validator.iter_errors(&given) {
                    self.misfit(&error);
                }
            }
            Err(why) => self.faults.push(Fault {
                origin: Origin::Plugin(descriptor.subject.clone()),
                key: None,
                what: format!("the schema of its configuration cannot be used: {why}"),
                fix: "tell the author of the plugin".to_owned(),
            }),
        }
    }

    fn misfit(&mut self, error: &ValidationError<'_>) {
        let at = KeyPath::new(
            error
                .instance_path()
                .segments()
                .map(|part| part.to_string()),
        );
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    self.unknown(&at, name);
                }
            }
            ValidationErrorKind::Required { property } => {
                self.missing(&at, property.as_str().unwrap_or_default());
            }
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => match meant(error, context) {
                Some(errors) => errors.iter().for_each(|error| self.misfit(error)),
                None => self.misfit_as_a_whole(&at, error),
            },
            _ => self.misfit_as_a_whole(&at, error),
        }
    }

    fn misfit_as_a_whole(&mut self, at: &KeyPath, error: &ValidationError<'_>) {
        let what = self.described(at, error);
        self.fault(at, what, String::new());
    }

    fn unknown(&mut self, table: &KeyPath, name: &str) {
        let known = self
            .root
            .at(table.parts())
            .into_iter()
            .flat_map(Property::properties);
        let fix = suggestion(name, known.map(|(name, _)| name));
        self.fault(
            &table.join(name),
            "the plugin has no such setting".to_owned(),
            fix,
        );
    }

    fn missing(&mut self, table: &KeyPath, name: &str) {
        let key = table.join(name);
        let path = self.base.concat(&key);
        // A variable or a flag that could not be read has been complained of already.
        if self
            .faults
            .iter()
            .any(|fault| fault.key.as_ref() == Some(&path))
        {
            return;
        }
        let variable = self
            .root
            .at(key.parts())
            .and_then(|property| property.keyword("x-env"));
        let or_variable = variable
            .and_then(Value::as_str)
            .map(|variable| format!(", in the variable {variable}"))
            .unwrap_or_default();
        let fix = format!(
            "set it in [{}]{or_variable} or with --set {key}=...",
            self.base
        );
        self.fault(&key, "the plugin needs it".to_owned(), fix);
    }

    fn fault(&mut self, key: &KeyPath, what: String, fix: String) {
        let key = self.base.concat(key);
        self.faults.push(Fault {
            origin: self.origins.around(&key),
            key: Some(key),
            what,
            fix,
        });
    }

    /// The validator's words; without the value if it is secret or could contain what is, and without passwords of URLs.
    fn described(&self, at: &KeyPath, error: &ValidationError<'_>) -> String {
        let instance = error.instance();
        let whole = instance.is_object() || instance.is_array();
        if whole || self.is_secret(at) {
            error.masked_with("it").to_string()
        } else {
            error
                .masked_with(masked(instance, None).to_string())
                .to_string()
        }
    }

    /// Whether it, or something around it, is secret.
    fn is_secret(&self, key: &KeyPath) -> bool {
        let mut at = Some(key.clone());
        while let Some(key) = at {
            if self.root.at(key.parts()).is_some_and(Property::is_secret) {
                return true;
            }
            at = key.parent();
        }
        false
    }
}

/// Of several alternatives, what is wrong with the only one that is of the right type: `Option<T>` is declared as `T`
/// or null, and what does not fit is then about `T`.
fn meant<'e>(
    error: &ValidationError<'_>,
    alternatives: &'e [Vec<ValidationError<'static>>],
) -> Option<&'e [ValidationError<'static>]> {
    let is_of_type = |errors: &&Vec<ValidationError<'static>>| {
        !errors.iter().any(|inner| {
            matches!(inner.kind(), ValidationErrorKind::Type { .. })
                && inner.instance_path() == error.instance_path()
        })
    };
    let mut of_type = alternatives.iter().filter(is_of_type);
    let only = of_type.next()?;
    of_type.next().is_none().then_some(only)
}

/// The schema, with every plain table closed: a table that lists its keys and does not mention others allows only these.
fn closed(schema: &Value) -> Value {
    const OPEN: [&str; 9] = [
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "propertyNames",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "$ref",
    ];
    let mut schema = schema.clone();
    let Some(keywords) = schema.as_object_mut() else {
        return schema;
    };
    let is_plain = OPEN.iter().all(|keyword| !keywords.contains_key(*keyword));
    if let Some(Value::Object(properties)) = keywords.get_mut("properties") {
        let inner: Map<_, _> = properties
            .iter()
            .map(|(name, property)| (name.clone(), closed(property)))
            .collect();
        *properties = inner;
        if is_plain {
            keywords.insert("additionalProperties".to_owned(), json!(false));
        }
    }
    schema
}
