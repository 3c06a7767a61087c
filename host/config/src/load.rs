//! All layers, in their order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Config, Environment, Fault, Faults, Flags, KeyPath, Origin, Origins, file,
    overlay::{self, Draft},
    section::Reading,
    settings,
};

/// A configuration without faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What the daemon runs by.
    pub config: Config,
    /// Where each setting that is not a default was set.
    pub origins: Origins,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// Possible mistakes, one line each.
    pub warnings: Vec<String>,
}

/// Reads the file, if there is one, and lays the environment and the flags over it. Creates nothing.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, Faults> {
    match find(flags, environment) {
        Ok(Some((path, text))) => layer(flags, environment, Some((&path, &text))),
        Ok(None) => layer(flags, environment, None),
        Err(unreadable) => {
            // The other layers are checked all the same.
            let others = layer(flags, environment, None).err().unwrap_or_default();
            Err(Faults([vec![unreadable], others.0].concat()))
        }
    }
}

/// As much of the configuration as can be read, and what is wrong with it: for what must work whatever is wrong.
pub fn load_leniently(flags: &Flags, environment: &Environment) -> (Loaded, Faults) {
    let (file, mut faults) = match find(flags, environment) {
        Ok(file) => (file, Vec::new()),
        Err(unreadable) => (None, vec![unreadable]),
    };
    let file = file
        .as_ref()
        .map(|(path, text)| (path.as_path(), text.as_str()));
    let (loaded, found) = drawn(flags, environment, file);
    faults.extend(found.0);
    (loaded, Faults(faults))
}

/// The file and its text.
fn find(flags: &Flags, environment: &Environment) -> Result<Option<(PathBuf, String)>, Fault> {
    let Some((path, asked_for)) = file::find(flags.config.as_deref(), environment) else {
        return Ok(None);
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && asked_for.is_none() => Ok(None),
        Err(error) => Err(Fault {
            origin: asked_for.unwrap_or(Origin::Default),
            key: None,
            what: format!("cannot read {}: {error}", path.display()),
            fix: "`operator config default` prints a file to start from".to_owned(),
        }),
    }
}

/// Pure: the file has been read.
fn layer(
    flags: &Flags,
    environment: &Environment,
    file: Option<(&Path, &str)>,
) -> Result<Loaded, Faults> {
    let (loaded, faults) = drawn(flags, environment, file);
    faults.or(loaded)
}

/// All layers, and everything that is wrong with them.
fn drawn(
    flags: &Flags,
    environment: &Environment,
    file: Option<(&Path, &str)>,
) -> (Loaded, Faults) {
    let mut draft = Draft {
        config: Config::built_in(environment),
        origins: Origins::default(),
        faults: Vec::new(),
    };
    let mut not_toml = None;
    if let Some((path, text)) = file {
        not_toml = draft.apply_file(path, text, environment).err();
    }
    if let Some(plugin) = &flags.plugin {
        draft.choose_plugin(plugin);
    }
    draft.apply_environment(environment);
    draft.apply_flags(flags);
    draft.choose_subjects(&flags.subjects);
    draft.assign(&flags.set);
    if draft.origins.of(&KeyPath::new(["database"])).is_none() {
        draft.config.database = settings::database_in(&draft.config.state_dir);
    }
    // Faults that follow from a text that is not TOML would be noise.
    let faults = not_toml.unwrap_or(Faults(draft.faults));
    let loaded = Loaded {
        config: draft.config,
        origins: draft.origins,
        file: file.map(|(path, _)| path.to_path_buf()),
        warnings: overlay::misspelt(environment),
    };
    (loaded, faults)
}

impl Draft {
    /// Fails only if the text is not TOML: every other fault would be noise then.
    fn apply_file(
        &mut self,
        path: &Path,
        text: &str,
        environment: &Environment,
    ) -> Result<(), Faults> {
        let mut reading = Reading::new(path, text);
        file::apply(&mut self.config, environment, &mut reading).map_err(Faults::one)?;
        self.origins = reading.origins;
        self.faults = reading.faults;
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests/load.rs"]
mod tests;
