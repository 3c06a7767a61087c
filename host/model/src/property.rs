//! Reading JSON Schemas of plugins: the properties and their keywords.

use serde_json::Value;

/// One place in a schema.
#[derive(Debug, Clone, Copy)]
pub struct Property<'a> {
    root: &'a Value,
    here: &'a Value,
}

impl<'a> Property<'a> {
    /// The top of a schema.
    pub fn root(schema: &'a Value) -> Self {
        Self {
            root: schema,
            here: schema,
        }
    }

    /// The schema of the value at a path, if it is declared. Items of arrays are named by their position.
    pub fn at<S: AsRef<str>>(self, path: impl IntoIterator<Item = S>) -> Option<Self> {
        path.into_iter()
            .try_fold(self, |at, part| at.child(part.as_ref()))
    }

    /// The schema of a key or of an item.
    pub fn child(self, part: &str) -> Option<Self> {
        let declared = self.properties().find(|(name, _)| *name == part);
        declared
            .map(|(_, property)| property)
            .or_else(|| part.parse::<usize>().ok().and(self.items()))
            .or_else(|| self.below("additionalProperties"))
    }

    /// The declared keys of an object.
    pub fn properties(self) -> impl Iterator<Item = (&'a str, Self)> {
        self.alternatives()
            .into_iter()
            .filter_map(|schema| schema.get("properties")?.as_object())
            .flatten()
            .map(move |(name, here)| {
                let root = self.root;
                (name.as_str(), Self { root, here })
            })
    }

    /// The first value that this schema, or one that it stands for, gives to a keyword.
    pub fn keyword(self, keyword: &str) -> Option<&'a Value> {
        self.alternatives()
            .into_iter()
            .find_map(|schema| schema.get(keyword))
    }

    /// Whether its value is secret (`x-secret: true`).
    pub fn is_secret(self) -> bool {
        self.keyword("x-secret") == Some(&Value::Bool(true))
    }

    /// The declared types, in the order in which text is read as one of them.
    pub fn kinds(self) -> impl Iterator<Item = &'static str> {
        const KINDS: [&str; 6] = ["integer", "number", "boolean", "array", "object", "string"];
        KINDS.into_iter().filter(move |kind| self.allows(kind))
    }

    /// The schema of an array's items.
    pub fn items(self) -> Option<Self> {
        self.below("items")
    }

    fn allows(self, kind: &str) -> bool {
        self.alternatives()
            .into_iter()
            .any(|schema| match schema.get("type") {
                Some(Value::String(only)) => only == kind,
                Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
                _ => false,
            })
    }

    fn below(self, keyword: &str) -> Option<Self> {
        let here = self.keyword(keyword).filter(|schema| schema.is_object())?;
        Some(Self { here, ..self })
    }

    /// This schema and all that it refers to or is made of: `Option<T>` and nested types come as such.
    fn alternatives(self) -> Vec<&'a Value> {
        /// Deeper than any honest schema goes; ends those that refer to themselves.
        const MOST: usize = 32;
        let mut found = vec![self.here];
        let mut next = 0;
        while let Some(schema) = found.get(next).copied()
            && next < MOST
        {
            let target = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?));
            found.extend(target);
            for keyword in ["allOf", "anyOf", "oneOf"] {
                found.extend(
                    schema
                        .get(keyword)
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten(),
                );
            }
            next += 1;
        }
        found
    }
}
