//! The state of a process, as `/proc` shows it. Without `/proc`, the cases that need it are skipped.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::verdict::Stop;

/// A process, by its id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(pub(super) i32);

/// What a plugin must not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) cwd: PathBuf,
    /// As the kernel writes it.
    pub(super) umask: String,
    /// Which signals are caught, ignored and blocked.
    pub(super) signals: BTreeMap<String, String>,
}

impl Process {
    fn read(self, file: &str) -> Result<String, Stop> {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).map_err(unavailable)
    }

    /// A line of `status`.
    fn status(self, name: &str) -> Result<String, Stop> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| Stop::skip(format!("this system does not show {name} of a process")))
    }

    pub(super) fn threads(self) -> Result<usize, Stop> {
        Ok(self.status("Threads")?.parse().unwrap_or(0))
    }

    /// Resident memory. Bytes.
    pub(super) fn memory(self) -> Result<u64, Stop> {
        let text = self.status("VmRSS")?;
        let kib = text
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok());
        Ok(kib.unwrap_or(0_u64) * 1024)
    }

    /// Whether its first thread runs or is ready to run.
    pub(super) fn is_computing(self) -> Result<bool, Stop> {
        let stat = self.read("stat")?;
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        Ok(fields.starts_with('R'))
    }

    /// How many reads and writes it has made.
    pub(super) fn transfers(self) -> Result<u64, Stop> {
        let io = self.read("io")?;
        let count = |name: &str| {
            let line = io.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|count| count.trim().parse::<u64>().ok())
        };
        Ok(count("syscr:").unwrap_or(0) + count("syscw:").unwrap_or(0))
    }

    /// The target of each open descriptor, by its number.
    pub(super) fn descriptors(self) -> Result<BTreeMap<u32, String>, Stop> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.0)).map_err(unavailable)?;
        let each = entries.flatten().filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        });
        Ok(each.collect())
    }

    pub(super) fn sockets(self) -> Result<usize, Stop> {
        let open = self.descriptors()?;
        Ok(open.values().filter(|is| is.starts_with("socket:")).count())
    }

    pub(super) fn state(self) -> Result<State, Stop> {
        let signal = |name: &str| Ok((name.to_owned(), without_libc(&self.status(name)?)));
        Ok(State {
            cwd: fs::read_link(format!("/proc/{}/cwd", self.0)).map_err(unavailable)?,
            umask: self.status("Umask")?,
            signals: ["SigCgt", "SigIgn", "SigBlk"]
                .into_iter()
                .map(signal)
                .collect::<Result<_, Stop>>()?,
        })
    }

    /// Whether a file is mapped into it.
    pub(super) fn maps(self, file: &str) -> Result<bool, Stop> {
        Ok(self.read("maps")?.contains(file))
    }
}

/// A set of signals without those that C libraries use among themselves (32 to 34), from the first thread on.
fn without_libc(mask: &str) -> String {
    const OF_LIBC: u64 = 0b111 << 31;
    match u64::from_str_radix(mask, 16) {
        Ok(signals) => format!("{:016x}", signals & !OF_LIBC),
        Err(_) => mask.to_owned(),
    }
}

fn unavailable(error: std::io::Error) -> Stop {
    Stop::skip(format!(
        "this system does not show processes in /proc ({error})"
    ))
}

/// The children of every process, by its id.
fn children() -> BTreeMap<i32, Vec<i32>> {
    let mut found = BTreeMap::<i32, Vec<i32>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            found.entry(parent).or_default().push(pid);
        }
    }
    found
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(") ").next()?.split(' ');
    // A zombie has ended.
    let state = fields.next()?;
    (state != "Z")
        .then(|| fields.next()?.parse().ok())
        .flatten()
}

/// The direct children of a process that have not ended.
pub(super) fn children_of(parent: i32) -> Vec<i32> {
    children().remove(&parent).unwrap_or_default()
}

/// Every process that descends from this one, without itself.
pub(super) fn descendants(of: i32) -> Vec<i32> {
    let children = children();
    let mut found = Vec::new();
    let mut left = vec![of];
    while let Some(parent) = left.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            found.push(*child);
            left.push(*child);
        }
    }
    found
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let me = Process(std::process::id().cast_signed());
        assert!(me.threads().unwrap() >= 1);
        assert!(me.memory().unwrap() > 1 << 20);
        assert!(me.is_computing().is_ok());
        assert!(me.descriptors().unwrap().contains_key(&1));
        assert_eq!(me.state().unwrap().signals.len(), 3);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        assert!(descendants(me.0).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(me.0).contains(&pid));
    }
}
