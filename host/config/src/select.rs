//! Which subjects run: `--plugin`, `--subject`, and to whom `--set` applies.

use std::path::Path;

use operator_model::suggestion;

use super::{Fault, KeyPath, Origin, SubjectConfig, overlay::Draft, schema::assignment, value};

impl Draft {
    /// `--plugin`: the subjects of the file that have a plugin of this name, watched with this one; if there is none,
    /// a single subject named after the plugin.
    pub(super) fn choose_plugin(&mut self, plugin: &str) {
        let name = plugin_name(plugin);
        let origin = Origin::Flag("--plugin".to_owned());
        let subjects = &mut self.config.subjects;
        subjects.retain(|subject| plugin_name(&subject.plugin) == name);
        if subjects.is_empty() {
            if let Err(wrong) = value::subject_name(name) {
                self.faults.push(Fault {
                    origin: origin.clone(),
                    key: None,
                    what: format!("the subject takes the file's name, and {}", wrong.what),
                    fix: wrong.fix,
                });
            }
            subjects.push(SubjectConfig {
                actions: self.config.actions.clone(),
                ..SubjectConfig::new(name, plugin)
            });
            let key = KeyPath::new(["subjects", name]);
            self.origins.note(key, origin.clone());
        }
        for subject in subjects {
            plugin.clone_into(&mut subject.plugin);
            let key = KeyPath::new(["subjects", &subject.name, "plugin"]);
            self.origins.note(key, origin.clone());
        }
    }

    /// `--subject`: only the named ones.
    pub(super) fn choose_subjects(&mut self, chosen: &[String]) {
        let subjects = &mut self.config.subjects;
        for name in chosen {
            if !subjects.iter().any(|subject| subject.name == *name) {
                self.faults.push(Fault {
                    origin: Origin::Flag("--subject".to_owned()),
                    key: None,
                    what: format!("there is no subject {name:?}"),
                    fix: suggestion(name, subjects.iter().map(|subject| subject.name.as_str())),
                });
            }
        }
        if !chosen.is_empty() {
            subjects.retain(|subject| chosen.contains(&subject.name));
        }
    }

    /// `--set`: for the one subject that is left.
    pub(super) fn assign(&mut self, assignments: &[String]) {
        let mut parsed = Vec::new();
        for text in assignments {
            match assignment(text) {
                Ok(assignment) => parsed.push(assignment),
                Err(wrong) => self.fault_of_set(wrong.what, wrong.fix),
            }
        }
        match self.config.subjects.as_mut_slice() {
            _ if assignments.is_empty() => {}
            [subject] => subject.set = parsed,
            [] => self.fault_of_set(
                "there is no subject to set it for".to_owned(),
                "name a plugin with --plugin".to_owned(),
            ),
            several => {
                let what = format!("it cannot be for {} subjects at once", several.len());
                self.fault_of_set(what, "choose one with --subject".to_owned());
            }
        }
    }

    fn fault_of_set(&mut self, what: String, fix: String) {
        self.faults.push(Fault {
            origin: Origin::Flag("--set".to_owned()),
            key: None,
            what,
            fix,
        });
    }
}

/// `hello`, of `hello`, `libhello.so` and `/somewhere/libhello.so`.
fn plugin_name(plugin: &str) -> &str {
    let file = Path::new(plugin).file_name().and_then(|name| name.to_str());
    let file = file.unwrap_or(plugin);
    let stem = [".so", ".dylib"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending))
        .unwrap_or(file);
    stem.strip_prefix("lib").unwrap_or(stem)
}
