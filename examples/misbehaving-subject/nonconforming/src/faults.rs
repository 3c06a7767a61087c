//! Faults that affect the process.

use std::{
    fs,
    hint::black_box,
    net::UdpSocket,
    process,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{evasions::evade, switch::is_on};

unsafe extern "C" {
    safe fn signal(number: i32, handler: usize) -> usize;
}

/// Commits a fault in a call that only some conformance cases make, so that no other case fails.
pub fn strike() {
    if is_on("robustness.exit") {
        process::exit(3);
    }
    if is_on("robustness.segfault") {
        // SAFETY: none; that is the point. Nothing is mapped at this address.
        unsafe { (8 as *mut u8).write_volatile(1) };
    }
    if is_on("robustness.stack-overflow") {
        black_box(fill_the_stack(black_box(1)));
    }
    if is_on("robustness.spin") {
        let mut count = 0_u64;
        loop {
            count = black_box(count.wrapping_add(1));
        }
    }
    if is_on("robustness.lock") {
        let lock = Mutex::new(());
        let held = lock.lock();
        let again = lock.lock();
        drop((held, again));
    }
    if is_on("robustness.prints") {
        (0..4000).for_each(|_| println!("{}", "x".repeat(80)));
    }
    if is_on("robustness.signal-handlers") {
        // SIGUSR1 is ignored from now on.
        signal(10, 1);
    }
    if is_on("robustness.process-state") {
        let _ = std::env::set_current_dir("/");
    }
    trespass();
    evade();
    harm();
}

/// Attempts operations that the sandbox forbids. The sandbox reports them.
fn trespass() {
    unsafe extern "C" {
        safe fn kill(pid: i32, signal: i32) -> i32;
        safe fn setpgid(pid: i32, group: i32) -> i32;
        safe fn shmget(key: i32, size: usize, flags: i32) -> i32;
    }
    if is_on("sandbox.read") {
        let _ = fs::read("/etc/shadow");
    }
    if is_on("sandbox.write") {
        let home = std::env::home_dir().unwrap_or_default();
        let _ = fs::write(home.join(".nonconforming"), "here");
    }
    if is_on("sandbox.exec") {
        let _ = process::Command::new("/bin/sh")
            .args(["-c", "true"])
            .status();
    }
    if is_on("sandbox.outlive") {
        setpgid(0, 0);
    }
    if is_on("sandbox.share") {
        shmget(0, 4096, 0o600);
    }
    if is_on("sandbox.calls") {
        kill(1, 0);
    }
}

/// Harms other processes.
fn harm() {
    unsafe extern "C" {
        safe fn kill(pid: i32, signal: i32) -> i32;
        safe fn close(fd: i32) -> i32;
        safe fn fork() -> i32;
        safe fn setsid() -> i32;
    }
    if is_on("harm.kill-parent") {
        kill(std::os::unix::process::parent_id().cast_signed(), 9);
        thread::sleep(Duration::from_secs(3600));
    }
    if is_on("harm.close-descriptors") {
        (0..2048).for_each(|fd| {
            close(fd);
        });
    }
    if is_on("harm.fill-memory") {
        let mut held = Vec::new();
        loop {
            held.push(black_box(vec![0_u8; 64 << 20]));
        }
    }
    if is_on("harm.print-megabytes") {
        (0..40_000).for_each(|_| println!("{}", "\u{5}{\"ran\":{\"Ok\":null}}".repeat(20)));
    }
    if is_on("harm.outlive") {
        if fork() == 0 {
            setsid();
            thread::sleep(Duration::from_secs(3600));
        }
        kill(std::os::unix::process::parent_id().cast_signed(), 9);
        thread::sleep(Duration::from_secs(3600));
    }
}

#[allow(unconditional_recursion)]
fn fill_the_stack(depth: u64) -> u64 {
    let page = black_box([depth; 512]);
    fill_the_stack(depth + 1) + page[0]
}

/// Leaks resources in a call of `list_actions`.
pub fn leak() {
    /// So that leaked threads are not reported as leaked memory.
    const MOST_THREADS: u32 = 70;
    static THREADS: AtomicU32 = AtomicU32::new(0);
    if is_on("resources.memory") {
        black_box(vec![1_u8; 16 << 10]).leak();
    }
    if is_on("resources.descriptors") {
        std::mem::forget(fs::File::open("/dev/null"));
    }
    if is_on("resources.sockets") {
        std::mem::forget(UdpSocket::bind("127.0.0.1:0"));
    }
    if is_on("resources.threads") && THREADS.fetch_add(1, Ordering::Relaxed) < MOST_THREADS {
        sleeper();
    }
}

/// Leaks resources of an instance.
pub fn leak_instance() {
    /// Enough for the case to notice.
    const MOST_THREADS: u32 = 3;
    static THREADS: AtomicU32 = AtomicU32::new(0);
    if is_on("resources.create-drop") {
        black_box(vec![1_u8; 64 << 10]).leak();
    }
    if is_on("lifecycle.threads-gone") && THREADS.fetch_add(1, Ordering::Relaxed) < MOST_THREADS {
        sleeper();
    }
}

fn sleeper() {
    thread::spawn(|| {
        loop {
            thread::sleep(Duration::from_secs(3600));
        }
    });
}

/// Runs when the library is opened.
extern "C" fn constructor() {
    if is_on("load.constructor-panic") {
        panic!("injected panic");
    }
    if is_on("load.time") {
        thread::sleep(Duration::from_millis(2500));
    }
    if is_on("load.no-side-effects") {
        sleeper();
    }
}

// SAFETY: the dynamic linker calls the functions in this section once, before any other code of the library.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

unsafe extern "C" {
    fn gnu_get_libc_version() -> *const i8;
}

/// A symbol of libc that nothing else here uses: a copy of the library in which it is renamed cannot be linked.
#[used]
static IMPORTED: unsafe extern "C" fn() -> *const i8 = gnu_get_libc_version;

/// Whether this is the process's first thread.
pub fn is_first_thread() -> bool {
    unsafe extern "C" {
        safe fn gettid() -> i32;
        safe fn getpid() -> i32;
    }
    gettid() == getpid()
}

/// Whether another file of this plugin is open in this process.
pub fn has_twin() -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let files = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5));
    let is_copy = |file: &&str| {
        file.ends_with(".so") && file.rsplit('/').next().is_some_and(|name| name.len() == 67)
    };
    let files: std::collections::HashSet<_> = files.filter(is_copy).collect();
    files.len() > 1
}
