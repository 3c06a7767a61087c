//! Reading a log as it grows: what is new since the last cycle, and never more than a bounded part of it.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{EventKind, LogEvent, LogEvidence, entry::Entry, event};
use crate::config::LogSource;

/// The most that is read of one file in one cycle: some 40,000 lines, more than TiKV writes in a second when all is well.
const MAX_BYTES: u64 = 4 << 20;
/// A longer line is cut in two, so that rubbish without line ends takes no memory.
const MAX_LINE_BYTES: usize = 64 << 10;
/// The newest files of a directory; the older ones do not grow any more.
const MAX_FILES: usize = 16;
/// Events that are kept.
const MAX_EVENTS: usize = 100;
/// Of a cycle, this much may go into a log.
const MAX_TIME: Duration = Duration::from_millis(150);

/// How far a log has been read, and what was found in it.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    /// By path: which file it was, and the byte after the last whole line.
    read: BTreeMap<PathBuf, (u64, u64)>,
    /// The beginning of a line of standard input whose end has not come.
    pending: Vec<u8>,
    ended: bool,
    events: VecDeque<LogEvent>,
    counts: BTreeMap<EventKind, u64>,
    lines: u64,
    unreadable: u64,
    skipped: u64,
}

impl LogTail {
    /// Reads what is new. The error names what cannot be read.
    pub(crate) fn read(&mut self, source: &LogSource) -> Result<LogEvidence, String> {
        let files = match source {
            LogSource::Stdin => self.read_stdin()?,
            LogSource::Path(path) => self.read_path(path)?,
        };
        Ok(LogEvidence {
            files,
            lines: self.lines,
            unreadable_lines: self.unreadable,
            skipped_bytes: self.skipped,
            counts: self.counts.clone(),
            events: self.events.iter().cloned().collect(),
        })
    }

    fn read_path(&mut self, path: &Path) -> Result<u64, String> {
        let named = |error: &io::Error| format!("{}: {}", path.display(), error.kind());
        let metadata = path.metadata().map_err(|error| named(&error))?;
        if !metadata.is_dir() && !metadata.is_file() {
            // Opening a pipe would wait for its other end.
            return Err(format!(
                "{}: neither a file nor a directory",
                path.display()
            ));
        }
        if metadata.is_file() {
            self.read_file(path).map_err(|error| named(&error))?;
            return Ok(1);
        }
        let files = newest(path).map_err(|error| named(&error))?;
        self.read.retain(|path, _| files.contains(path));
        let end = Instant::now() + MAX_TIME;
        for file in &files {
            if Instant::now() > end {
                break;
            }
            match self.read_file(file) {
                // It was rotated in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|error| named(&error))?,
            }
        }
        Ok(files.len() as u64)
    }

    fn read_file(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let before = self
            .read
            .get(path)
            .filter(|(inode, at)| *inode == metadata.ino() && *at <= metadata.len());
        let known = before.map_or(0, |(_, at)| *at);
        let start = known.max(metadata.len().saturating_sub(MAX_BYTES));
        self.skipped = self.skipped.saturating_add(start - known);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let whole = self.take_lines(&bytes, start > known);
        self.read
            .insert(path.to_owned(), (metadata.ino(), start + whole as u64));
        Ok(())
    }

    /// Never waits: reads only as long as something is there.
    fn read_stdin(&mut self) -> Result<u64, String> {
        let end = Instant::now() + MAX_TIME;
        let mut chunk = vec![0; MAX_LINE_BYTES];
        let mut left = MAX_BYTES;
        while !self.ended && left > 0 && Instant::now() < end && is_ready() {
            let stdin = rustix::stdio::stdin();
            let count = rustix::io::read(stdin, &mut chunk)
                .map_err(|error| format!("standard input: {error}"))?;
            self.ended = count == 0;
            left = left.saturating_sub(count as u64);
            self.take_chunk(&chunk[..count]);
        }
        if self.ended && self.lines == 0 {
            return Err("standard input has ended without a line".into());
        }
        Ok(1)
    }

    fn take_chunk(&mut self, chunk: &[u8]) {
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(chunk);
        let whole = self.take_lines(&bytes, false);
        self.pending = bytes.split_off(whole);
    }

    /// Takes the whole lines and gives their length. `cut` is whether the first one has lost its beginning.
    fn take_lines(&mut self, bytes: &[u8], cut: bool) -> usize {
        let mut at = 0;
        let mut first = cut;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let end = rest
                .iter()
                .take(MAX_LINE_BYTES)
                .position(|byte| *byte == b'\n');
            let length = match end {
                Some(end) => end + 1,
                None if rest.len() >= MAX_LINE_BYTES => MAX_LINE_BYTES,
                None => break,
            };
            if !std::mem::take(&mut first) {
                self.take_line(&rest[..length]);
            }
            at += length;
        }
        at
    }

    fn take_line(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.lines += 1;
        let Some(entry) = Entry::parse(&String::from_utf8_lossy(line)) else {
            self.unreadable += 1;
            return;
        };
        if let Some(event) = event::of(&entry) {
            *self.counts.entry(event.kind).or_default() += 1;
            self.keep(event);
        }
    }

    /// In order of time; several files come one after the other.
    fn keep(&mut self, event: LogEvent) {
        let later = self
            .events
            .iter()
            .rev()
            .take_while(|kept| kept.time_ms > event.time_ms);
        let at = self.events.len() - later.count();
        self.events.insert(at, event);
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }
}

fn is_ready() -> bool {
    let stdin = rustix::stdio::stdin();
    let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut waiting, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// The newest `*.log` files, oldest first.
fn newest(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        // A broken link, or a file that is gone by now, is not a log.
        let Some(metadata) = path
            .metadata()
            .ok()
            .filter(|metadata| is_log && metadata.is_file())
        else {
            continue;
        };
        files.push((metadata.modified()?, path));
    }
    files.sort();
    let older = files.len().saturating_sub(MAX_FILES);
    Ok(files
        .split_off(older)
        .into_iter()
        .map(|(_, path)| path)
        .collect())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn line(second: u32, term: u32) -> String {
        format!(
            "[2026/08/20 09:31:{second:02}.000 +00:00] [INFO] [raft.rs:1] [\"became leader at term {term}\"] [region_id=1]\n"
        )
    }

    fn append(path: &Path, text: &str) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn terms(evidence: &LogEvidence) -> Vec<String> {
        let messages = evidence.events.iter().map(|event| event.message.clone());
        messages
            .map(|message| message.replace("became leader at term ", ""))
            .collect()
    }

    #[test]
    fn a_file_is_read_once_as_it_grows_and_again_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tikv.log");
        let source = LogSource::Path(path.clone());
        let mut tail = LogTail::default();
        append(&path, &(line(1, 1) + "no entry\n" + &line(2, 2)[..30]));
        let seen = tail.read(&source).unwrap();
        assert_eq!(
            (terms(&seen), seen.lines, seen.unreadable_lines),
            (vec!["1".to_owned()], 2, 1)
        );
        append(&path, &line(2, 2)[30..]);
        assert_eq!(terms(&tail.read(&source).unwrap()), ["1", "2"]);
        assert_eq!(tail.read(&source).unwrap().lines, 3);
        fs::rename(&path, folder.path().join("old")).unwrap();
        append(&path, &line(3, 3));
        assert_eq!(terms(&tail.read(&source).unwrap()), ["1", "2", "3"]);
    }

    #[test]
    fn of_a_big_file_only_the_end_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tikv.log");
        let many = usize::try_from(MAX_BYTES).unwrap() / line(1, 1).len() + 1_000;
        append(&path, &line(1, 1).repeat(many));
        append(&path, &line(2, 2));
        let seen = LogTail::default().read(&LogSource::Path(path)).unwrap();
        assert!(seen.skipped_bytes > 0 && seen.lines < many as u64);
        assert_eq!((seen.unreadable_lines, seen.events.len()), (0, MAX_EVENTS));
        assert_eq!(terms(&seen).last().unwrap(), "2");
    }

    #[test]
    fn a_directory_is_its_logs_in_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        append(&folder.path().join("b.log"), &line(1, 1));
        append(&folder.path().join("a.log"), &line(2, 2));
        append(&folder.path().join("a.txt"), &line(3, 3));
        let source = LogSource::Path(folder.path().to_owned());
        let mut tail = LogTail::default();
        let seen = tail.read(&source).unwrap();
        assert_eq!(
            (terms(&seen), seen.files),
            (vec!["1".to_owned(), "2".to_owned()], 2)
        );
        append(&folder.path().join("b.log"), &line(4, 4));
        assert_eq!(terms(&tail.read(&source).unwrap()), ["1", "2", "4"]);
    }

    #[test]
    fn rubbish_without_line_ends_takes_no_memory_and_a_missing_file_is_named() {
        let mut tail = LogTail::default();
        for _ in 0..8 {
            tail.take_chunk(&vec![b'x'; MAX_LINE_BYTES]);
        }
        assert!(tail.pending.len() < MAX_LINE_BYTES && tail.unreadable == 8);
        tail.take_chunk(b"\n");
        tail.take_chunk(line(1, 1).as_bytes());
        assert_eq!(tail.events.len(), 1);
        let error = tail
            .read(&LogSource::Path("/nowhere/tikv.log".into()))
            .unwrap_err();
        assert!(error.starts_with("/nowhere/tikv.log: "), "{error}");
    }
}
