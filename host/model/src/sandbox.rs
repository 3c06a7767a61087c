//! What a plugin in a worker may access besides the network.
//!
//! Without a grant it reads the system's programs, libraries and the few files of `/etc` that names, times and certificates
//! need, writes in its worker's private directory alone, and starts no program.

use std::{
    env,
    path::{Path, PathBuf},
};

use operator_plugin_api::manifest::Needs;
use serde::{Deserialize, Serialize};

/// Directories whose children, too, hold what belongs to many.
const SHARED: [&str; 5] = ["/etc", "/home", "/usr", "/var", "/Users"];

/// What a subject's plugin is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// False: the worker may do whatever the operator may.
    pub enabled: bool,
    /// Files and directories that it may read.
    pub read: Vec<PathBuf>,
    /// Files and directories that it may read, write and remove.
    pub write: Vec<PathBuf>,
    /// Whether it may start programs. They are confined as it is.
    pub exec: bool,
    /// Address space, also with the sandbox turned off. MiB.
    pub memory_mib: u32,
    /// Open files and connections, also with the sandbox turned off.
    pub open_files: u32,
}

/// Something that a plugin asks for and is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The setting of the sandbox that grants it.
    pub setting: &'static str,
    /// What is asked for.
    pub asks: String,
    /// What the setting must be, or at least.
    pub value: String,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            enabled: true,
            read: Vec::new(),
            write: Vec::new(),
            exec: false,
            memory_mib: 4096,
            open_files: 1024,
        }
    }
}

impl Sandbox {
    /// This sandbox, with everything granted that a manifest asks for.
    #[must_use]
    pub fn granting(self, needs: &Needs) -> Self {
        Self {
            exec: self.exec || needs.exec.is_some(),
            memory_mib: self.memory_mib.max(needs.memory_mib.unwrap_or_default()),
            open_files: self.open_files.max(needs.open_files.unwrap_or_default()),
            ..self
        }
    }

    /// What a manifest asks for and is not granted.
    pub fn lacks(&self, needs: &Needs) -> Vec<Lack> {
        let number = |setting, asked: Option<u32>, granted: u32, of: &str| {
            let asked = asked.filter(|asked| *asked > granted)?;
            Some(Lack {
                setting,
                asks: format!("for {asked} {of}"),
                value: asked.to_string(),
            })
        };
        let is_kept = self.enabled && !self.exec;
        let exec = needs.exec.as_ref().filter(|_| is_kept).map(|why| Lack {
            setting: "exec",
            asks: format!("to start programs: {:?}", cut(why)),
            value: "true".to_owned(),
        });
        let memory = number(
            "memory_mib",
            needs.memory_mib,
            self.memory_mib,
            "MiB of memory",
        );
        let files = number(
            "open_files",
            needs.open_files,
            self.open_files,
            "open files",
        );
        [exec, memory, files].into_iter().flatten().collect()
    }

    /// The same grants, as the kernel takes them: a file together with its directory.
    ///
    /// The kernel's rules are for what a path leads to now, and files are replaced and rotated. A directory that holds
    /// other people's things (`/`, those directly below it, homes) is not granted for the sake of one file in it: there,
    /// only the file that is there now is.
    #[must_use]
    pub fn widened(&self) -> Self {
        let home = env::home_dir();
        let widen = |paths: &[PathBuf]| {
            paths
                .iter()
                .map(|path| reach(path, home.as_deref()))
                .collect()
        };
        Self {
            read: widen(&self.read),
            write: widen(&self.write),
            ..self.clone()
        }
    }
}

/// What is shown of an author's words.
fn cut(words: &str) -> String {
    const LONGEST: usize = 100;
    words.chars().take(LONGEST).collect()
}

fn reach(path: &Path, home: Option<&Path>) -> PathBuf {
    let directory = path.parent().filter(|_| !path.is_dir());
    let directory = directory.and_then(|directory| directory.canonicalize().ok());
    match directory {
        Some(directory) if !is_shared(&directory, home) => directory,
        _ => path.to_owned(),
    }
}

fn is_shared(directory: &Path, home: Option<&Path>) -> bool {
    let depth = directory.components().count() - 1;
    let is_system = SHARED.iter().any(|shared| directory.starts_with(shared));
    depth <= usize::from(is_system) + 1 || home.is_some_and(|home| home.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_lacks_until_it_is_granted() {
        let needs = Needs {
            exec: Some("kubectl".to_owned()),
            memory_mib: Some(4096),
            open_files: Some(1025),
        };
        let lacks = |sandbox: &Sandbox| {
            let lacks = sandbox.lacks(&needs).into_iter();
            lacks.map(|lack| lack.setting).collect::<Vec<_>>()
        };
        let strict = Sandbox::default();
        assert_eq!(lacks(&strict), ["exec", "open_files"]);
        assert_eq!(strict.lacks(&Needs::default()), []);
        let off = Sandbox {
            enabled: false,
            ..strict.clone()
        };
        assert_eq!(lacks(&off), ["open_files"]);
        let granted = strict.granting(&needs);
        assert_eq!(lacks(&granted), [""; 0]);
        assert_eq!((granted.memory_mib, granted.open_files), (4096, 1025));
    }

    #[test]
    fn a_file_is_granted_with_its_directory_unless_that_is_shared() {
        let own = tempfile::tempdir().unwrap();
        let own = own.path().canonicalize().unwrap();
        let file = own.join("not-there-yet");
        assert_eq!(reach(&file, None), own);
        assert_eq!(reach(&own, None), own);
        assert_eq!(reach(&file, Some(&own)), file, "a home");
        for file in ["/hosts", "/etc/shadow", "/var/log/syslog", "/tmp/hello"] {
            assert_eq!(reach(Path::new(file), None), Path::new(file));
        }
    }
}
