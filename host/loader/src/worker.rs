//! The worker process: a plugin, a socket to the operator, and as little else as possible.

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

use super::{
    LoadErrorKind,
    call::{Call, ConfineRequest, MAX_DESCRIPTORS, Outcome, Reply, Request, body_length, frame},
    confine::{Confined, confine},
    session::Session,
};

/// The hidden first argument by which the operator starts itself as a worker.
pub(super) const ARGUMENT: &str = "__worker";
/// Far above what a plugin gets by opening files, so that one which closes a descriptor of ours by mistake does not get our
/// number back for a file of its own.
const SOCKET_FD: RawFd = 900;
/// The first one after the standard streams, where the limit of open files leaves no such room.
const LOWEST_FD: RawFd = 3;

/// Runs the worker if the arguments ask for it. `main` calls this before anything else: before a runtime, a thread or a
/// signal handler exists.
pub fn worker_main(mut arguments: env::ArgsOs) -> Option<ExitCode> {
    if arguments.nth(1)?.to_str()? != ARGUMENT {
        return None;
    }
    let parent = arguments.next().and_then(|pid| pid.to_str()?.parse().ok());
    Some(match run(parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the log of this subject in the operator.
            let _ = writeln!(io::stderr(), "worker: {error}");
            ExitCode::FAILURE
        }
    })
}

fn run(parent: Option<i32>) -> io::Result<()> {
    die_with_parent(parent)?;
    umask(Mode::from_raw_mode(0o077));
    // Never closed here: when a plugin has done that already, a second time would abort.
    let mut socket = ManuallyDrop::new(UnixStream::from(take_stdin()?));
    close_inherited(&socket)?;
    serve(&mut socket)
}

/// If the operator is killed, so are we. Where the kernel has no such signal, a worker ends when it next reads its socket,
/// which is at the end of the call that it is in.
pub fn die_with_parent(parent: Option<i32>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that took effect.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != parent {
        return Err(io::Error::other(
            "the operator that started this worker is gone",
        ));
    }
    Ok(())
}

/// Moves the socket away from standard input, where it was inherited, and leaves nothing there to read.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let socket = fcntl_dupfd_cloexec(io::stdin(), SOCKET_FD)
        .or_else(|_| fcntl_dupfd_cloexec(io::stdin(), LOWEST_FD))?;
    dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(socket)
}

/// Closes what the operator may have left open without the close-on-exec flag.
fn close_inherited(keep: &UnixStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let entries = fs::read_dir("/dev/fd")?;
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= LOWEST_FD && *fd != keep.as_raw_fd())
        .collect();
    for fd in open {
        #[allow(unsafe_code, reason = "descriptors that nothing in this process owns")]
        // SAFETY: this process has just begun and has one thread, so that nothing in it owns these descriptors: they are
        // inherited. The one of the listing above is closed already, and is not closed twice.
        unsafe {
            if fcntl_getfd(BorrowedFd::borrow_raw(fd)).is_ok() {
                rustix::io::close(fd);
            }
        }
    }
    Ok(())
}

/// Answers one request after the other until the operator closes the socket.
fn serve(socket: &mut UnixStream) -> io::Result<()> {
    let mut session = Session::default();
    while let Some(bytes) = read_frame(socket)? {
        let request: Request = serde_json::from_slice(&bytes)?;
        let body = request.body.get();
        let (outcome, descriptors) = match request.call {
            Call::Confine => confined(body),
            call => (session.handle(call, body), Vec::new()),
        };
        let reply = Reply {
            id: request.id,
            outcome,
        };
        send(socket, &frame(&reply)?, &descriptors)?;
    }
    Ok(())
}

/// Sends a frame; the descriptors, if there are any, arrive with its first byte.
fn send(socket: &mut UnixStream, frame: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    if descriptors.is_empty() {
        return socket.write_all(frame);
    }
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("more descriptors than are sent at once"));
    }
    let sent = sendmsg(
        &*socket,
        &[IoSlice::new(frame)],
        &mut control,
        SendFlags::empty(),
    )?;
    socket.write_all(&frame[sent..])
}

fn confined(body: &str) -> (Outcome, Vec<OwnedFd>) {
    let asked: Result<ConfineRequest, _> = serde_json::from_str(body);
    let confined = asked.map_err(io::Error::from).and_then(|asked| {
        let Confined {
            confinement,
            descriptors,
        } = confine(&asked)?;
        Ok((Outcome::Answer(to_raw_value(&confinement)?), descriptors))
    });
    confined.unwrap_or_else(|error| {
        let why = format!("cannot be confined: {error}");
        (Outcome::Refused(LoadErrorKind::Other, why), Vec::new())
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
