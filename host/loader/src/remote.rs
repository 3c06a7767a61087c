//! A plugin in a worker process, seen from the operator.

use std::{
    env,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use operator_model::Secrets;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
    time::timeout,
};

use super::{
    call::{Call, MAX_DESCRIPTORS, Outcome, Reply, Request, body_length, frame},
    error::CallError,
    file::private_dir,
    log::PluginLog,
    process::{Process, how_it_ended},
    worker,
};

/// What a worker keeps of the operator's environment: without these, times and certificates come out wrong. Nothing else is
/// needed, and anything else may hold a secret (proxies, tokens) or steer the dynamic linker.
const KEPT_ENVIRONMENT: [&str; 3] = ["TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// Where the operator's own executable is found, even after its file has been replaced by another version's.
const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// How long a worker that has closed its socket may take to end by itself, and a killed one to be gone.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Workers run this program instead of the current executable; it must call [`super::worker_main`]. For processes that
/// are not the `operator` binary, such as tests. The first call wins.
pub fn set_worker_program(program: impl Into<PathBuf>) {
    let _ = PROGRAM.set(program.into());
}

/// A worker process and the socket to it.
pub(super) struct Worker {
    socket: UnixStream,
    process: Process,
    log: PluginLog,
    last_id: u64,
    /// Whether every request so far has had its answer.
    is_usable: bool,
    /// What came with the answer to [`Call::Confine`]: with later ones, a plugin could send something.
    descriptors: Vec<OwnedFd>,
}

/// Why an exchange with a worker ended without an answer.
enum Broken {
    /// The request was not sent: the worker was gone already.
    Unsent,
    /// The worker closed its socket.
    Closed,
    /// What came is not what a worker sends.
    Nonsense(String),
}

impl Worker {
    pub(super) async fn start(
        subject: &str,
        work_dir: &Path,
        secrets: Arc<Secrets>,
    ) -> io::Result<Self> {
        let subject = subject.to_owned();
        Self::spawn(work_dir, |pipe| PluginLog::follow(pipe, subject, secrets)).await
    }

    /// Starts the process; `log` reads what it prints.
    pub(super) async fn spawn(
        work_dir: &Path,
        log: impl FnOnce(io::PipeReader) -> io::Result<PluginLog>,
    ) -> io::Result<Self> {
        private_dir(work_dir)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (printed, output) = io::pipe()?;
        let mut command = Command::new(program()?);
        command
            .arg0("operator")
            .arg(worker::ARGUMENT)
            .arg(std::process::id().to_string())
            .env_clear()
            .envs(
                KEPT_ENVIRONMENT
                    .iter()
                    .filter_map(|name| Some((name, env::var_os(name)?))),
            )
            // The one place where it may write.
            .env("TMPDIR", work_dir)
            .current_dir(work_dir)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(output.try_clone()?)
            .stderr(output);
        let process = Process::spawn(command).await?;
        tracing::debug!(?work_dir, "started a worker");
        Ok(Self {
            process,
            socket: UnixStream::from_std(ours)?,
            log: log(printed)?,
            last_id: 0,
            is_usable: true,
            descriptors: Vec::new(),
        })
    }

    #[cfg(feature = "probe")]
    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// The descriptors that the worker sent when it was confined.
    #[cfg(feature = "probe")]
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// One call. After any error the worker is of no more use.
    pub(super) async fn call(
        &mut self,
        call: Call,
        body: &RawValue,
        deadline: Duration,
    ) -> Result<Outcome, CallError> {
        self.is_usable = false;
        match timeout(deadline, self.exchange(call, body)).await {
            Ok(Ok(outcome)) => {
                self.is_usable = true;
                Ok(outcome)
            }
            Ok(Err(Broken::Unsent)) => Err(self.obituary("between calls").await),
            Ok(Err(Broken::Closed)) => Err(self.obituary(call.as_str()).await),
            Ok(Err(Broken::Nonsense(why))) => {
                self.end().await;
                Err(CallError::BadAnswer {
                    call: call.as_str(),
                    why: format!("the worker sent no answer that can be read: {why}"),
                })
            }
            Err(_) => {
                self.end().await;
                Err(CallError::Deadline {
                    call: call.as_str(),
                    deadline,
                })
            }
        }
    }

    async fn exchange(&mut self, call: Call, body: &RawValue) -> Result<Outcome, Broken> {
        if self.process.has_ended() {
            return Err(Broken::Unsent);
        }
        self.last_id += 1;
        let id = self.last_id;
        let bytes = frame(&Request { id, call, body }).map_err(nonsense)?;
        self.socket
            .write_all(&bytes)
            .await
            .map_err(|_| Broken::Unsent)?;
        let head = match call {
            Call::Confine => self.read_head_with_descriptors().await,
            _ => self.read_head().await,
        };
        let head = head.map_err(|_| Broken::Closed)?;
        let reply: Reply =
            serde_json::from_slice(&self.read_body(head).await?).map_err(nonsense)?;
        if reply.id != id {
            return Err(Broken::Nonsense(format!(
                "reply {} to request {id}",
                reply.id
            )));
        }
        Ok(reply.outcome)
    }

    async fn read_head(&mut self) -> io::Result<[u8; 4]> {
        let mut head = [0; 4];
        self.socket.read_exact(&mut head).await?;
        Ok(head)
    }

    async fn read_head_with_descriptors(&mut self) -> io::Result<[u8; 4]> {
        let mut head = [0; 4];
        let mut filled = 0;
        while filled < head.len() {
            let receive = || receive(&self.socket, &mut head[filled..], &mut self.descriptors);
            match self.socket.async_io(Interest::READABLE, receive).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                received => filled += received,
            }
        }
        Ok(head)
    }

    async fn read_body(&mut self, head: [u8; 4]) -> Result<Vec<u8>, Broken> {
        let mut body = vec![0; body_length(head).map_err(nonsense)?];
        let read = self.socket.read_exact(&mut body).await;
        read.map_err(|_| Broken::Closed)?;
        Ok(body)
    }

    /// Of what a worker that has closed its socket has died.
    async fn obituary(&mut self, call: &'static str) -> CallError {
        let how = match timeout(LAST_MOMENTS, self.process.ended()).await {
            Ok(Some(status)) => how_it_ended(status),
            Ok(None) => "was lost".into(),
            Err(_) => {
                self.end().await;
                "closed its connection to the operator, and was killed".into()
            }
        };
        CallError::Died {
            call,
            how,
            log: self.log.last_words().await,
        }
    }

    async fn end(&mut self) {
        self.process.kill();
        let _ = timeout(LAST_MOMENTS, self.process.ended()).await;
    }

    /// Closes the socket, so that the worker ends by itself; kills it if it does not.
    pub(super) async fn close(mut self, grace: Duration) {
        let _ = self.socket.shutdown().await;
        if timeout(grace, self.process.ended()).await.is_err() {
            self.end().await;
        }
        // Reads what is left, so that its last lines are in the log.
        self.log.last_words().await;
    }
}

/// Reads without waiting; gives how many bytes.
fn receive(
    socket: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(buffer)];
    let received = recvmsg(socket, buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            descriptors.extend(sent);
        }
    }
    Ok(received.bytes)
}

fn nonsense(error: impl std::fmt::Display) -> Broken {
    Broken::Nonsense(error.to_string())
}

fn program() -> io::Result<PathBuf> {
    if let Some(program) = PROGRAM.get() {
        return Ok(program.clone());
    }
    let own = Path::new(OWN_EXECUTABLE);
    if own.exists() {
        Ok(own.to_owned())
    } else {
        env::current_exe()
    }
}
