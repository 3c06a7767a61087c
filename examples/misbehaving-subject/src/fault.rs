//! The faults that can be switched on.

use std::{
    env, fs,
    hint::black_box,
    io::{self, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    process::{self, Command},
    sync::Mutex,
    thread,
    time::Duration,
};

use crate::{processes, shared};
use operator_plugin_api::{
    Error, ErrorKind,
    schemars::{self, JsonSchema},
    serde::Deserialize,
};

/// A fault of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", rename_all = "snake_case")]
pub enum Fault {
    /// No fault.
    None,
    /// Panics.
    Panic,
    /// Returns a retryable error.
    Error,
    /// Returns a retryable error of the kind `refused`.
    Refuse,
    /// Prints the configured `token`, and returns an error that contains it.
    Leak,
    /// Ends the process with status 3.
    Exit,
    /// Writes to unmapped memory.
    Segfault,
    /// Aborts the process.
    Abort,
    /// Recurses until the stack overflows.
    StackOverflow,
    /// Loops forever.
    Spin,
    /// Sleeps forever.
    Sleep,
    /// Waits for a lock that it already holds.
    Lock,
    /// Allocates until memory is exhausted.
    Allocate,
    /// Returns 200 MB (observe, check and invoke).
    HugeAnswer,
    /// Returns invalid JSON (observe).
    NotJson,
    /// Returns JSON that does not match the schema (observe).
    WrongShape,
    /// Prints 4 MB each to standard output and standard error, partly in the format of protocol frames.
    Print,
    /// Closes every descriptor that it did not open, then returns.
    CloseFds,
    /// Starts a child that outlives the call, records `child PID` as an effect, and sleeps forever.
    Child,
    /// Writes a file in the home directory, prints the result, and returns the error if that fails.
    WriteHome,
    /// Starts a shell, with the same reporting.
    StartShell,
    /// Reads the password hashes of this machine, with the same reporting.
    ReadShadow,
    /// Forks, with the same reporting.
    Fork,
    /// Creates a Unix socket, with the same reporting.
    UnixSocket,
    /// Sets the mode of a system file to its current value, with the same reporting.
    ChangeMode,
    /// Sets its parent's file size limit to unlimited, with the same reporting.
    LimitParent,
    /// Calls `getpid` by its number in the x32 ABI, with the same reporting.
    X32Call,
    /// Joins the process group of the operator, and sleeps forever; with the same reporting if that fails.
    LeaveGroup,
    /// Starts a session of its own, with the same reporting.
    LeaveSession,
    /// Clears the signal that ends it together with the operator, with the same reporting.
    ClearDeathSignal,
    /// Starts a child in a session of its own, and records `child PID` as an effect.
    Daemon,
    /// Creates System V shared memory, with the same reporting.
    SharedMemory,
    /// Creates a System V message queue, with the same reporting.
    MessageQueue,
    /// Creates a POSIX message queue, with the same reporting.
    PosixQueue,
    /// Creates a file in memory, with the same reporting.
    MemoryFile,
    /// Creates a pair of datagram sockets, with the same reporting.
    DatagramPair,
    /// Creates a pair of stream sockets, with the same reporting.
    StreamPair,
    /// Runs before all other processes, with the same reporting.
    Realtime,
    /// Writes 300 MiB into its working directory, and sleeps forever.
    FillDirectory,
    /// Starts 2000 threads, and sleeps forever.
    FillThreads,
    /// Declares `set_level` with a high risk and another description (list_actions).
    RaisedRisk,
    /// Declares `set_level` with a low risk, and `wipe`, whose risk is high, as its inverse (list_actions).
    RiskyInverse,
    /// Declares an inverse of `set_level` that does not exist (list_actions).
    LostInverse,
    /// Crashes shortly after the call, on another thread.
    LateCrash,
    /// Reports an invariant that it does not declare (check).
    Undeclared,
    /// Reports something different each time (check).
    Fickle,
}

/// The call with the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", rename_all = "snake_case")]
pub enum Place {
    Create,
    Observe,
    Check,
    ListActions,
    Invoke,
    Drop,
}

/// The size of a huge reply, in bytes.
pub const HUGE: usize = 200 << 20;

impl Fault {
    /// Commits those faults that are the same in every call.
    pub fn trigger(self, token: &str, record_effect: impl Fn(&str)) -> Result<(), Error> {
        match self {
            Self::Panic => panic!("injected panic"),
            Self::Error => {
                let message = "injected failure";
                return Err(Error::retryable(ErrorKind::Unavailable, message));
            }
            Self::Refuse => {
                let message = "injected refusal";
                return Err(Error::retryable(ErrorKind::Refused, message));
            }
            Self::Leak => {
                println!("the token is {token}");
                let message = format!("GET /?token={token} failed");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            Self::Exit => process::exit(3),
            Self::Segfault => segfault(),
            Self::Abort => process::abort(),
            Self::StackOverflow => drop(black_box(fill_the_stack(black_box(1)))),
            Self::Spin => spin(),
            Self::Sleep => sleep(),
            Self::Lock => lock_twice(),
            Self::Allocate => allocate(),
            Self::Print => print(),
            Self::CloseFds => close_fds(),
            Self::Child => {
                start_child(record_effect);
                sleep();
            }
            Self::WriteHome => print_result("write_home", write_home())?,
            Self::StartShell => print_result("start_shell", start_shell())?,
            Self::ReadShadow => print_result("read_shadow", fs::read("/etc/shadow").map(drop))?,
            Self::Fork => print_result("fork", fork_once())?,
            Self::UnixSocket => print_result("unix_socket", unix_socket())?,
            Self::ChangeMode => print_result("change_mode", change_mode())?,
            Self::LimitParent => print_result("limit_parent", limit_parent())?,
            Self::X32Call => print_result("x32_call", x32_call())?,
            Self::LeaveGroup => {
                print_result("leave_group", processes::leave_group())?;
                sleep();
            }
            Self::LeaveSession => print_result("leave_session", processes::leave_session())?,
            Self::ClearDeathSignal => {
                print_result("clear_death_signal", processes::clear_death_signal())?;
            }
            Self::Daemon => processes::start_daemon(record_effect)?,
            Self::SharedMemory => print_result("shared_memory", shared::memory())?,
            Self::MessageQueue => print_result("message_queue", shared::queue())?,
            Self::PosixQueue => print_result("posix_queue", shared::posix_queue())?,
            Self::MemoryFile => print_result("memory_file", shared::memory_file())?,
            Self::DatagramPair => {
                print_result("datagram_pair", UnixDatagram::pair().map(drop))?;
            }
            Self::StreamPair => print_result("stream_pair", UnixStream::pair().map(drop))?,
            Self::Realtime => print_result("realtime", processes::realtime())?,
            Self::FillDirectory => {
                let _ = fs::write("filling", vec![1; 300 << 20]);
                sleep();
            }
            Self::FillThreads => {
                processes::fill_threads();
                sleep();
            }
            Self::LateCrash => drop(thread::spawn(|| {
                thread::sleep(Duration::from_millis(20));
                segfault();
            })),
            Self::None
            | Self::HugeAnswer
            | Self::NotJson
            | Self::WrongShape
            | Self::Undeclared
            | Self::RaisedRisk
            | Self::RiskyInverse
            | Self::LostInverse
            | Self::Fickle => {}
        }
        Ok(())
    }
}

fn segfault() {
    // SAFETY: none; that is the point. Nothing is mapped at this address.
    unsafe { (8 as *mut u8).write_volatile(1) };
}

#[allow(unconditional_recursion)]
fn fill_the_stack(depth: u64) -> u64 {
    let page = black_box([depth; 512]);
    fill_the_stack(depth + 1) + page[0]
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

fn sleep() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn lock_twice() {
    let lock = Mutex::new(());
    let held = lock.lock();
    let again = lock.lock();
    drop((held, again));
}

fn allocate() {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![0_u8; 64 << 20]));
    }
}

fn print() {
    let line = [
        b"\x05\0\0\0{\"id\":1,\"outcome\":{\"answer\":{}}}",
        [b'x'; 990].as_slice(),
    ]
    .concat();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    for _ in 0..4096 {
        let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
        let _ = err.write_all(&line).and_then(|()| err.write_all(b"\n"));
    }
    println!("the last line of many");
}

unsafe extern "C" {
    // The standard library's types would detect that their descriptors are closed.
    safe fn close(fd: i32) -> i32;
}

fn close_fds() {
    for fd in 3..1024 {
        close(fd);
    }
}

/// Prints the result of a fault.
fn print_result(what: &str, result: io::Result<()>) -> Result<(), Error> {
    match &result {
        Ok(()) => println!("{what}: done"),
        Err(error) => println!("{what}: {error}"),
    }
    result.map_err(|error| Error::new(ErrorKind::Internal, format!("{what}: {error}")))
}

fn write_home() -> io::Result<()> {
    let home = env::home_dir().ok_or(io::ErrorKind::NotFound)?;
    let file = home.join(format!(".misbehaving-{}", process::id()));
    fs::write(&file, "written")?;
    fs::remove_file(file)
}

fn start_shell() -> io::Result<()> {
    Command::new("/bin/sh")
        .args(["-c", "true"])
        .status()
        .map(drop)
}

fn fork_once() -> io::Result<()> {
    unsafe extern "C" {
        safe fn fork() -> i32;
        safe fn _exit(status: i32) -> !;
        safe fn waitpid(pid: i32, status: Option<&mut i32>, options: i32) -> i32;
    }
    match fork() {
        0 => _exit(0),
        child if child > 0 => {
            waitpid(child, None, 0);
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    }
}

fn unix_socket() -> io::Result<()> {
    UnixDatagram::unbound().map(drop)
}

fn change_mode() -> io::Result<()> {
    let file = "/etc/passwd";
    fs::set_permissions(file, fs::metadata(file)?.permissions())
}

fn x32_call() -> io::Result<()> {
    const GETPID: i64 = 0x4000_0000 + 39;
    unsafe extern "C" {
        safe fn syscall(number: i64) -> i64;
    }
    match syscall(GETPID) {
        pid if pid > 0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn limit_parent() -> io::Result<()> {
    const RLIMIT_FSIZE: i32 = 1;
    unsafe extern "C" {
        safe fn prlimit64(
            pid: i32,
            of: i32,
            new: Option<&[u64; 2]>,
            old: Option<&mut [u64; 2]>,
        ) -> i32;
    }
    let parent = std::os::unix::process::parent_id().cast_signed();
    match prlimit64(parent, RLIMIT_FSIZE, Some(&[u64::MAX; 2]), None) {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn start_child(record_effect: impl Fn(&str)) {
    let child = Command::new("/bin/sleep").arg("3600").spawn();
    match child {
        Ok(child) => record_effect(&format!("child {}", child.id())),
        Err(error) => eprintln!("no child: {error}"),
    }
}
