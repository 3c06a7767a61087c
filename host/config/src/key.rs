//! Names of settings.

use std::fmt;

/// The way from the top of the configuration to one setting: `subjects.orders.interval`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// From its parts.
    pub fn new<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Self {
        Self(parts.into_iter().map(Into::into).collect())
    }

    /// One level deeper.
    #[must_use]
    pub fn join(&self, key: impl Into<String>) -> Self {
        let mut parts = self.0.clone();
        parts.push(key.into());
        Self(parts)
    }

    /// All the way down another path.
    #[must_use]
    pub fn concat(&self, below: &Self) -> Self {
        Self(self.0.iter().chain(&below.0).cloned().collect())
    }

    /// One level up; none at the top.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Its parts, outermost first.
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    /// As it is written in the file: parts that are not bare keys are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, part) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            if is_bare(part) {
                f.write_str(part)?;
            } else {
                write!(f, "{part:?}")?;
            }
        }
        Ok(())
    }
}

fn is_bare(part: &str) -> bool {
    !part.is_empty()
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// `KEY=VALUE`, as it was typed. The key may be dotted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The setting, from the top of what the plugin is given.
    pub key: KeyPath,
    /// The value; what it means depends on the setting's type.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_a_bare_key_is_quoted() {
        let key = KeyPath::new(["subjects", "a.b", "interval"]);
        assert_eq!(key.to_string(), r#"subjects."a.b".interval"#);
    }
}
