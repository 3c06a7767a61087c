//! The operator's side of a worker process: its start, its socket and its end.

use std::{
    env,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use operator_model::{Sandbox, Secrets};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
    time::timeout,
};

use crate::{
    error::CallError,
    file::copy::private_dir,
    worker::{
        log::PluginLog,
        overuse::Watch,
        process::{Process, how_it_ended},
        program::{KEEPER, WORKER, program},
        protocol::{Call, MAX_DESCRIPTORS, Reply, ReplyFrame, RequestFrame, body_length, frame},
    },
};

/// The variables of the operator's environment that a worker inherits: times and certificates are wrong without them. Others
/// can hold secrets (proxies, tokens) or change how the dynamic linker works.
const INHERITED_ENVIRONMENT: [&str; 3] = ["TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// The limit for a worker to exit after it has closed its socket, or after it was killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Of a worker that did not end when it was killed: it waits in the kernel, for a file system that does not answer for example.
pub(crate) const STILL_RUNS: &str = "was sent SIGKILL and has not ended yet";

/// A worker process and the socket to it.
pub(crate) struct Worker {
    socket: UnixStream,
    process: Process,
    log: PluginLog,
    watch: Watch,
    last_id: u64,
    /// Whether every request so far has had its reply.
    is_usable: bool,
    /// Received with the reply to [`Call::Confine`] only: later, the plugin's code could have sent them.
    descriptors: Vec<OwnedFd>,
}

/// Why an exchange with a worker ended without a reply.
enum ExchangeError {
    /// The request was not sent: the worker had ended before.
    NotSent,
    /// The worker closed its socket.
    Closed,
    /// The worker sent something that is not a reply to the request.
    Invalid(String),
}

impl Worker {
    /// Starts the process. One that will be able to start programs is kept: they end with it.
    pub(crate) async fn start(
        subject: &str,
        work_dir: &Path,
        secrets: Arc<Secrets>,
        sandbox: &Sandbox,
    ) -> io::Result<Self> {
        let subject = subject.to_owned();
        let is_kept = cfg!(target_os = "linux") && (sandbox.exec || !sandbox.enabled);
        let log = |pipe| PluginLog::follow(pipe, subject, secrets);
        Self::spawn(work_dir, is_kept, log).await
    }

    /// Starts the process. `log` receives the pipe with the process's output.
    pub(crate) async fn spawn(
        work_dir: &Path,
        is_kept: bool,
        log: impl FnOnce(io::PipeReader) -> io::Result<PluginLog>,
    ) -> io::Result<Self> {
        private_dir(work_dir)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (printed, output) = io::pipe()?;
        let (argument, stdout, leash) = if is_kept {
            let (held, leash) = io::pipe()?;
            (KEEPER, Stdio::from(held), Some(leash))
        } else {
            (WORKER, Stdio::from(output.try_clone()?), None)
        };
        let mut command = Command::new(program()?);
        command
            .arg0("operator")
            .arg(argument)
            .arg(std::process::id().to_string())
            .env_clear()
            .envs(
                INHERITED_ENVIRONMENT
                    .iter()
                    .filter_map(|name| Some((name, env::var_os(name)?))),
            )
            // The one directory in which it may write.
            .env("TMPDIR", work_dir)
            .current_dir(work_dir)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout)
            .stderr(output);
        let process = Process::spawn(command, leash).await?;
        tracing::debug!(?work_dir, "started a worker");
        Ok(Self {
            process,
            socket: UnixStream::from_std(ours)?,
            log: log(printed)?,
            watch: Watch::new(work_dir),
            last_id: 0,
            is_usable: true,
            descriptors: Vec::new(),
        })
    }

    #[cfg(feature = "probe")]
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// The descriptors that the worker sent after it confined itself.
    #[cfg(feature = "probe")]
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Makes one call. After an error the worker cannot be used again.
    pub(crate) async fn call(
        &mut self,
        call: Call,
        body: &RawValue,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        self.is_usable = false;
        let mut watch = self.watch.clone();
        let process = self.process.pid();
        let exchanged = tokio::select! {
            exchanged = timeout(deadline, self.exchange(call, body)) => Ok(exchanged),
            what = watch.overuse(process) => Err(what),
        };
        self.watch = watch;
        let exchanged = match exchanged {
            Ok(exchanged) => exchanged,
            Err(what) => return Err(self.exceeded(call, &what).await),
        };
        match exchanged {
            Ok(Ok(reply)) => {
                self.is_usable = true;
                Ok(reply)
            }
            Ok(Err(ExchangeError::NotSent)) => Err(self.died("between calls").await),
            Ok(Err(ExchangeError::Closed)) => Err(self.died(call.as_str()).await),
            Ok(Err(ExchangeError::Invalid(why))) => {
                self.end().await;
                Err(CallError::BadAnswer {
                    call: call.as_str(),
                    why: format!("the worker's reply cannot be read: {why}"),
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

    /// Ends a worker that uses too much.
    async fn exceeded(&mut self, call: Call, what: &str) -> CallError {
        let how = if self.end().await {
            "was killed"
        } else {
            STILL_RUNS
        };
        self.watch.clean();
        CallError::BadAnswer {
            call: call.as_str(),
            why: format!("the plugin's process {how}, because it has {what}"),
        }
    }

    async fn exchange(&mut self, call: Call, body: &RawValue) -> Result<Reply, ExchangeError> {
        if self.process.has_ended() {
            return Err(ExchangeError::NotSent);
        }
        self.last_id += 1;
        let id = self.last_id;
        let bytes = frame(&RequestFrame { id, call, body }).map_err(invalid)?;
        self.socket
            .write_all(&bytes)
            .await
            .map_err(|_| ExchangeError::NotSent)?;
        let head = match call {
            Call::Confine => self.read_head_with_descriptors().await,
            _ => self.read_head().await,
        };
        let head = head.map_err(|_| ExchangeError::Closed)?;
        let frame: ReplyFrame =
            serde_json::from_slice(&self.read_body(head).await?).map_err(invalid)?;
        if frame.id != id {
            return Err(ExchangeError::Invalid(format!(
                "reply {} to request {id}",
                frame.id
            )));
        }
        Ok(frame.reply)
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

    async fn read_body(&mut self, head: [u8; 4]) -> Result<Vec<u8>, ExchangeError> {
        let mut body = vec![0; body_length(head).map_err(invalid)?];
        let read = self.socket.read_exact(&mut body).await;
        read.map_err(|_| ExchangeError::Closed)?;
        Ok(body)
    }

    /// The error for a worker that has closed its socket.
    async fn died(&mut self, call: &'static str) -> CallError {
        let how = match timeout(EXIT_TIMEOUT, self.process.ended()).await {
            Ok(Some(status)) => how_it_ended(status),
            Ok(None) => "ended in an unknown way".into(),
            Err(_) if self.end().await => {
                "closed its connection to the operator, and was killed".into()
            }
            Err(_) => format!("closed its connection to the operator, and {STILL_RUNS}"),
        };
        CallError::Died {
            call,
            how,
            log: self.log.last_line().await,
        }
    }

    /// Kills it. False if the kernel has not reported its end in time.
    pub(crate) async fn end(&mut self) -> bool {
        self.process.kill();
        let has_ended = timeout(EXIT_TIMEOUT, self.process.ended()).await.is_ok();
        if !has_ended {
            let process = self.process.pid();
            tracing::error!(?process, "a worker {STILL_RUNS}");
        }
        has_ended
    }

    /// Closes the socket, so that the worker exits. Kills it if it does not exit within this time.
    pub(crate) async fn close(mut self, grace: Duration) {
        let _ = self.socket.shutdown().await;
        if timeout(grace, self.process.ended()).await.is_err() {
            self.end().await;
        }
        // Waits until the rest of its output is in the log.
        self.log.last_line().await;
    }
}

/// Reads bytes and descriptors without blocking. Returns the number of bytes.
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

fn invalid(error: impl std::fmt::Display) -> ExchangeError {
    ExchangeError::Invalid(error.to_string())
}
