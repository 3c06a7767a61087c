//! The output of a worker, logged by the operator.

use std::{
    io::PipeReader,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use operator_model::{Secrets, visible};
use tokio::{io::AsyncReadExt, net::unix::pipe, task::JoinHandle, time::timeout};

/// Follows the message of every panic. It is not taken for the last line.
const BACKTRACE_NOTE: &str = "note: run with `RUST_BACKTRACE";

/// The longest line that is logged; the rest of it is dropped. Bytes.
const MAX_LINE: usize = 2 << 10;
/// The longest line that is read. More than is logged, so that a secret that crosses that limit is still found and masked.
const MAX_READ: usize = 4 * MAX_LINE;
/// Lines that are logged in each second; the rest are counted.
const LINES_PER_SECOND: u32 = 100;
/// The limit for reading the rest of a dead worker's output: its children can keep the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// The limit of the output that is kept for a conformance case. Bytes.
const MAX_KEPT: usize = 1 << 20;

/// The output of a worker, not masked.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Its beginning.
    pub(crate) kept: Vec<u8>,
    /// The size of all of it. Bytes.
    pub(crate) total: u64,
}

/// Reads a worker's output until its end.
pub(crate) struct PluginLog {
    last: Arc<Mutex<Option<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl PluginLog {
    pub(crate) fn follow(
        pipe: PipeReader,
        subject: String,
        secrets: Arc<Secrets>,
    ) -> std::io::Result<Self> {
        Self::start(pipe, subject, secrets, None)
    }

    /// Also keeps the output.
    #[cfg(feature = "probe")]
    pub(crate) fn keep(pipe: PipeReader, output: Arc<Mutex<Output>>) -> std::io::Result<Self> {
        Self::start(pipe, String::new(), Arc::default(), Some(output))
    }

    fn start(
        pipe: PipeReader,
        subject: String,
        secrets: Arc<Secrets>,
        output: Option<Arc<Mutex<Output>>>,
    ) -> std::io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?;
        let last = Arc::default();
        let sink = Sink {
            subject,
            secrets,
            last: Arc::clone(&last),
            window: Instant::now(),
            logged: 0,
            dropped: 0,
            output,
        };
        Ok(Self {
            last,
            reader: Some(tokio::spawn(read(pipe, sink))),
        })
    }

    /// The last line of the output, once all of it has been read.
    pub(crate) async fn last_line(&mut self) -> Option<String> {
        if let Some(reader) = &mut self.reader
            && timeout(DRAIN_TIMEOUT, reader).await.is_ok()
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
                sink.log(&line);
                line.clear();
            }
        }
    }
    sink.log(&line);
    sink.report_dropped();
}

/// Logs the lines of one subject's plugin.
struct Sink {
    subject: String,
    secrets: Arc<Secrets>,
    last: Arc<Mutex<Option<String>>>,
    window: Instant,
    logged: u32,
    dropped: u64,
    output: Option<Arc<Mutex<Output>>>,
}

impl Sink {
    fn keep(&self, bytes: &[u8]) {
        if let Some(output) = &self.output
            && let Ok(mut output) = output.lock()
        {
            let room = MAX_KEPT.saturating_sub(output.kept.len());
            output
                .kept
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
            output.total += bytes.len() as u64;
        }
    }

    fn log(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(line);
        let mut line = visible(&self.secrets.mask(line.trim_end()));
        line.truncate(line.floor_char_boundary(MAX_LINE));
        if self.is_below_limit() {
            tracing::info!(target: "plugin", subject = %self.subject, "{line}");
        }
        if !line.starts_with(BACKTRACE_NOTE)
            && let Ok(mut last) = self.last.lock()
        {
            *last = Some(line);
        }
    }

    fn is_below_limit(&mut self) -> bool {
        if self.window.elapsed() >= Duration::from_secs(1) {
            self.report_dropped();
            self.window = Instant::now();
            self.logged = 0;
        }
        self.logged += 1;
        let is_below = self.logged <= LINES_PER_SECOND;
        self.dropped += u64::from(!is_below);
        is_below
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            let lines = std::mem::take(&mut self.dropped);
            tracing::warn!(target: "plugin", subject = %self.subject, "{lines} more lines of output were dropped: more than {LINES_PER_SECOND} in a second");
        }
    }
}
