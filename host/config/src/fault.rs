//! Mistakes in a configuration, and the origin of its values.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use super::KeyPath;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is built in, or the plugin's own default.
    Default,
    /// In the configuration file. Line and column count from 1.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In this environment variable.
    Variable(String),
    /// By this flag.
    Flag(String),
    /// By the plugin of this name.
    Plugin(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Plugin(name) => write!(f, "plugin {name}"),
        }
    }
}

/// Where each setting that is not a default was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<KeyPath, Origin>);

impl Origins {
    /// Records where a setting was set; a later layer replaces an earlier one.
    pub fn note(&mut self, key: KeyPath, origin: Origin) {
        self.0.insert(key, origin);
    }

    /// Where exactly this setting was set.
    pub fn of(&self, key: &KeyPath) -> Option<&Origin> {
        self.0.get(key)
    }

    /// Where this setting, or the nearest table around it, was set.
    pub fn around(&self, key: &KeyPath) -> Origin {
        let mut at = Some(key.clone());
        while let Some(key) = at {
            if let Some(origin) = self.of(&key) {
                return origin.clone();
            }
            at = key.parent();
        }
        Origin::Default
    }
}

/// One thing that is wrong, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it was set.
    pub origin: Origin,
    /// The setting; absent when the fault is not about one.
    pub key: Option<KeyPath>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Fault {
    /// On one line: place, setting, what is wrong, fix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.what)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// Every fault that was found; never empty where it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// A single fault.
    pub fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// `value`, unless something is wrong.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    /// One line per fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}
