//! The environment, as a value.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
};

/// Environment variables, taken once, so that everything that depends on them can be tested.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Names of variables whose values are not Unicode.
    unreadable: BTreeSet<String>,
}

impl Environment {
    /// The variables of this process.
    pub fn of_this_process() -> Self {
        Self::of(std::env::vars_os())
    }

    /// These variables. One whose value is not Unicode has none, and is known as unreadable.
    fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut all = Self::default();
        for (name, value) in variables {
            // None of the names that are read is one of these.
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => {
                    all.variables.insert(name, value);
                }
                Err(_) => {
                    all.unreadable.insert(name);
                }
            }
        }
        all
    }

    /// Whether a variable is set to something that is not Unicode.
    pub(super) fn is_unreadable(&self, name: &str) -> bool {
        self.unreadable.contains(name)
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// A directory of the XDG base directory specification: the variable if it is absolute, else below the home.
    pub(super) fn base_directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let path = self.get(variable).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
            .or_else(|| Some(PathBuf::from(self.get("HOME")?).join(below_home)))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self {
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            unreadable: BTreeSet::new(),
        }
    }
}

impl std::fmt::Debug for Environment {
    /// Names alone: the values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
