//! The worker process: it holds a plugin and a socket to the operator.

use std::{
    env, fs,
    io::{self, IoSlice, Read, Write},
    mem::{ManuallyDrop, MaybeUninit},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
};

use rustix::{
    fs::Mode,
    io::{fcntl_dupfd_cloexec, fcntl_getfd},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Signal, getppid, set_parent_process_death_signal, umask},
    stdio::dup2_stdin,
};

use serde_json::value::to_raw_value;

#[cfg(target_os = "linux")]
use crate::worker::{keeper, program::KEEPER};
use crate::{
    file::error::LoadErrorKind,
    sandbox::confine::{Confined, confine},
    worker::{
        program::{LOWEST_FD, WORKER},
        protocol::{
            Call, ConfineRequest, MAX_DESCRIPTORS, Reply, ReplyFrame, RequestFrame, body_length,
            frame,
        },
        session::Session,
    },
};

/// Far above the numbers of a plugin's own files: if a plugin closes our descriptor by mistake, none of its files gets this
/// number.
const SOCKET_FD: RawFd = 900;

/// Runs the worker, or its keeper, if the arguments ask for it; `None` if they do not. `main` must call this first, before it
/// starts a runtime or a thread, or installs a signal handler.
pub fn worker_main(mut arguments: env::ArgsOs) -> Option<ExitCode> {
    let ended = match arguments.nth(1)?.to_str()? {
        WORKER => {
            let parent = arguments.next().and_then(|pid| pid.to_str()?.parse().ok());
            run(parent).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(target_os = "linux")]
        KEEPER => keeper::keep(),
        _ => return None,
    };
    Some(match ended {
        Ok(code) => code,
        Err(error) => {
            // The operator reads standard error and logs it.
            let _ = writeln!(io::stderr(), "worker: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run(parent: Option<i32>) -> io::Result<()> {
    die_with_parent(parent)?;
    umask(Mode::from_raw_mode(0o077));
    // Never closed: if a plugin has closed the descriptor already, closing it again would abort the process.
    let mut socket = ManuallyDrop::new(UnixStream::from(take_stdin()?));
    close_inherited(&socket)?;
    serve(&mut socket)
}

/// Has the kernel kill this process when its parent ends. An error if the parent, of which this is the process id, has ended
/// already. On systems without such a signal a worker ends when it next reads its socket, which is after its current call.
pub fn die_with_parent(parent: Option<i32>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It can have ended before that took effect.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != parent {
        return Err(io::Error::other(
            "the operator that started this worker has ended",
        ));
    }
    Ok(())
}

/// Moves an inherited socket from standard input to another descriptor, and replaces standard input with `/dev/null`.
pub fn take_stdin() -> io::Result<OwnedFd> {
    // With a limit of open files below that number, any number does.
    let socket = fcntl_dupfd_cloexec(io::stdin(), SOCKET_FD)
        .or_else(|_| fcntl_dupfd_cloexec(io::stdin(), LOWEST_FD))?;
    dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(socket)
}

/// Closes the descriptors that the operator has opened without the close-on-exec flag.
fn close_inherited(keep: &UnixStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let entries = fs::read_dir("/dev/fd")?;
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= LOWEST_FD && *fd != keep.as_raw_fd())
        .collect();
    for fd in open {
        #[allow(unsafe_code, reason = "no type owns an inherited descriptor")]
        // SAFETY: nothing in this process owns these descriptors: it has just started, has one thread, and inherited them. The
        // descriptor of `read_dir` above is closed by now, which `fcntl_getfd` finds.
        unsafe {
            if fcntl_getfd(BorrowedFd::borrow_raw(fd)).is_ok() {
                rustix::io::close(fd);
            }
        }
    }
    Ok(())
}

/// Replies to requests, one after the other, until the operator closes the socket.
fn serve(socket: &mut UnixStream) -> io::Result<()> {
    let mut session = Session::default();
    while let Some(bytes) = read_frame(socket)? {
        let request: RequestFrame = serde_json::from_slice(&bytes)?;
        let body = request.body.get();
        let (reply, descriptors) = match request.call {
            Call::Confine => confine_process(body),
            call => (session.handle(call, body), Vec::new()),
        };
        let id = request.id;
        send(socket, &frame(&ReplyFrame { id, reply })?, &descriptors)?;
    }
    Ok(())
}

/// Sends a frame. The descriptors arrive with its first byte.
fn send(socket: &mut UnixStream, frame: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    if descriptors.is_empty() {
        return socket.write_all(frame);
    }
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many descriptors for one frame"));
    }
    let sent = sendmsg(
        &*socket,
        &[IoSlice::new(frame)],
        &mut control,
        SendFlags::empty(),
    )?;
    socket.write_all(&frame[sent..])
}

fn confine_process(body: &str) -> (Reply, Vec<OwnedFd>) {
    let request: Result<ConfineRequest, _> = serde_json::from_str(body);
    let confined = request.map_err(io::Error::from).and_then(|request| {
        let Confined {
            confinement,
            descriptors,
        } = confine(&request)?;
        Ok((Reply::Document(to_raw_value(&confinement)?), descriptors))
    });
    confined.unwrap_or_else(|error| {
        let why = format!("cannot be confined: {error}");
        (Reply::LoadFailed(LoadErrorKind::Other, why), Vec::new())
    })
}

fn read_frame(socket: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    match socket.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut body = vec![0; body_length(head)?];
    socket.read_exact(&mut body)?;
    Ok(Some(body))
}
