//! What a plugin prints, as events of the operator's own log.

use std::{
    io::PipeReader,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use operator_model::Secrets;
use tokio::{io::AsyncReadExt, net::unix::pipe, task::JoinHandle, time::timeout};

/// Follows the message of every panic, and is nobody's last word.
const BACKTRACE_NOTE: &str = "note: run with `RUST_BACKTRACE";

/// The longest line that is passed on, in bytes; the rest of it is dropped.
const MAX_LINE: usize = 2 << 10;
/// What is read of a line: more than is passed on, so that a secret across that limit is seen as a whole, and masked.
const MAX_READ: usize = 4 * MAX_LINE;
/// Lines that are passed on in each second; the rest are counted.
const LINES_PER_SECOND: u32 = 100;
/// How long the last words of a dead worker are waited for: its children may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What is kept of the output that a conformance case looks into. Bytes.
const MAX_KEPT: usize = 1 << 20;

/// What was printed, as it was.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// The first part of it.
    pub(super) kept: Vec<u8>,
    /// How much it was. Bytes.
    pub(super) total: u64,
}

/// Reads a worker's output until its end.
pub(super) struct PluginLog {
    last: Arc<Mutex<Option<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl PluginLog {
    pub(super) fn follow(
        pipe: PipeReader,
        subject: String,
        secrets: Arc<Secrets>,
    ) -> std::io::Result<Self> {
        Self::start(pipe, subject, secrets, None)
    }

    /// Keeps what is printed, and masks nothing.
    #[cfg(feature = "probe")]
    pub(super) fn keep(pipe: PipeReader, printed: Arc<Mutex<Printed>>) -> std::io::Result<Self> {
        Self::start(pipe, String::new(), Arc::default(), Some(printed))
    }

    fn start(
        pipe: PipeReader,
        subject: String,
        secrets: Arc<Secrets>,
        printed: Option<Arc<Mutex<Printed>>>,
    ) -> std::io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?;
        let last = Arc::default();
        let sink = Sink {
            subject,
            secrets,
            last: Arc::clone(&last),
            window: Instant::now(),
            passed: 0,
            dropped: 0,
            printed,
        };
        Ok(Self {
            last,
            reader: Some(tokio::spawn(read(pipe, sink))),
        })
    }

    /// The last line that was printed, once all of it has been read.
    pub(super) async fn last_words(&mut self) -> Option<String> {
        if let Some(reader) = &mut self.reader
            && timeout(LAST_WORDS, reader).await.is_ok()
        {
            self.reader = None;
        }
        self.last.lock().ok()?.clone()
    }
}

impl Drop for PluginLog {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

async fn read(mut pipe: pipe::Receiver, mut sink: Sink) {
    let mut chunk = vec![0; 16 << 10];
    let mut line = Vec::new();
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        sink.keep(&chunk[..length]);
        for piece in chunk[..length].split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = MAX_READ.saturating_sub(line.len());
            line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                sink.pass(&line);
                line.clear();
            }
        }
    }
    sink.pass(&line);
    sink.report_dropped();
}

/// Where lines go.
struct Sink {
    subject: String,
    secrets: Arc<Secrets>,
    last: Arc<Mutex<Option<String>>>,
    window: Instant,
    passed: u32,
    dropped: u64,
    printed: Option<Arc<Mutex<Printed>>>,
}

impl Sink {
    fn keep(&self, bytes: &[u8]) {
        if let Some(printed) = &self.printed
            && let Ok(mut printed) = printed.lock()
        {
            let room = MAX_KEPT.saturating_sub(printed.kept.len());
            printed
                .kept
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
            printed.total += bytes.len() as u64;
        }
    }

    fn pass(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let mut line = self.secrets.mask(&printable(line));
        line.truncate(line.floor_char_boundary(MAX_LINE));
        if self.may_pass() {
            tracing::info!(target: "plugin", subject = %self.subject, "{line}");
        }
        if !line.starts_with(BACKTRACE_NOTE)
            && let Ok(mut last) = self.last.lock()
        {
            *last = Some(line);
        }
    }

    fn may_pass(&mut self) -> bool {
        if self.window.elapsed() >= Duration::from_secs(1) {
            self.report_dropped();
            self.window = Instant::now();
            self.passed = 0;
        }
        self.passed += 1;
        let may = self.passed <= LINES_PER_SECOND;
        self.dropped += u64::from(!may);
        may
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            let lines = std::mem::take(&mut self.dropped);
            tracing::warn!(target: "plugin", subject = %self.subject, "printed {lines} more lines than are passed on");
        }
    }
}

/// A line that cannot steer a terminal.
fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end()
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
