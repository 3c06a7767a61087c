//! What a worker uses that no limit of the kernel bounds for one process: the files of its directory together, and its threads.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use rustix::process::Pid;
use tokio::time::{Duration, Instant, sleep_until};

/// How often it is looked at, while a call is under way.
const PERIOD: Duration = Duration::from_secs(1);
/// The files of the directory together. Bytes.
const MOST_BYTES: u64 = 256 << 20;
/// The number of files and directories.
const MOST_FILES: usize = 10_000;
const MOST_THREADS: usize = 1024;

/// Looks at one worker from time to time.
#[derive(Clone)]
pub(crate) struct Watch {
    directory: Arc<Path>,
    next: Instant,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.into(),
            next: Instant::now(),
        }
    }

    /// Waits until the process uses too much, and returns what. `process` is its id, if it is known.
    pub(crate) async fn overuse(&mut self, process: Option<Pid>) -> String {
        loop {
            sleep_until(self.next).await;
            self.next = Instant::now() + PERIOD;
            let files = files(&self.directory);
            if let Some(what) = files.or_else(|| threads(process?)) {
                return what;
            }
        }
    }

    /// Empties the directory, so that the next worker does not find it full.
    pub(crate) fn clean(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        for entry in entries.flatten() {
            let path = entry.path();
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}

/// What the directory holds too much of.
fn files(directory: &Path) -> Option<String> {
    let mut left = vec![directory.to_owned()];
    let (mut bytes, mut count) = (0_u64, 0_usize);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            count += 1;
            // Of its content; a hole takes nothing.
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                left.push(entry.path());
            }
            if bytes > MOST_BYTES {
                let most = MOST_BYTES >> 20;
                return Some(format!("more than {most} MiB in its working directory"));
            }
            if count > MOST_FILES {
                return Some(format!(
                    "more than {MOST_FILES} files in its working directory"
                ));
            }
        }
    }
    None
}

fn threads(process: Pid) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    let count: usize = line.trim().parse().ok()?;
    (count > MOST_THREADS).then(|| format!("{count} threads, more than {MOST_THREADS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_directory_is_found_and_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        assert_eq!(files(directory.path()), None);
        let file = fs::File::create(inner.join("file")).unwrap();
        file.set_len(MOST_BYTES + 1).unwrap();
        assert_eq!(files(directory.path()), None, "a hole");
        fs::write(inner.join("file"), vec![1; 257 << 20]).unwrap();
        assert!(files(directory.path()).unwrap().contains("256 MiB"));
        Watch::new(directory.path()).clean();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
