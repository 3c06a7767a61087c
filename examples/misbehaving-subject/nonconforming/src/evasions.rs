//! Attempts at what the sandbox does not permit, made so that nobody notices.

use std::{
    env,
    fs::{self, File},
    os::{
        fd::IntoRawFd,
        unix::fs::{OpenOptionsExt, symlink},
    },
    process::Command,
};

use crate::switch::is_on;

/// Of Linux.
const O_PATH: i32 = 0o10_000_000;
const PR_SET_DUMPABLE: i32 = 4;
const SECRET: &str = "/etc/shadow";

unsafe extern "C" {
    safe fn close(fd: i32) -> i32;
    safe fn fork() -> i32;
    safe fn kill(pid: i32, signal: i32) -> i32;
    safe fn prctl(option: i32, value: usize) -> i32;
    safe fn waitpid(pid: i32, status: Option<&mut i32>, options: i32) -> i32;
    safe fn _exit(status: i32) -> !;
    fn syscall(number: i64, ...) -> i64;
}

/// Does what the switch says.
pub fn evade() {
    if is_on("evasion.close-descriptors") {
        // All but the socket over which it answers.
        (3..900).for_each(|fd| {
            close(fd);
        });
        let _ = fs::read(SECRET);
    }
    if is_on("evasion.reference") {
        let reference = File::options().read(true).custom_flags(O_PATH).open(SECRET);
        let reference = reference.map_or(-1, IntoRawFd::into_raw_fd);
        let _ = fs::read(format!("/proc/self/fd/{reference}"));
    }
    if is_on("evasion.hidden-process") {
        prctl(PR_SET_DUMPABLE, 0);
        let _ = env::set_current_dir("/etc");
        let _ = fs::read("shadow");
    }
    if is_on("evasion.other-process") {
        match fork() {
            0 => {
                let _ = fs::read(SECRET);
                _exit(0);
            }
            child => waitpid(child, None, 0),
        };
    }
    if is_on("evasion.many") {
        for number in 0..200 {
            let link = format!("link-{number}");
            let _ = symlink(SECRET, &link).and_then(|()| fs::read(link));
        }
        let _ = Command::new("/bin/sh").status();
    }
    if is_on("evasion.everyone") {
        kill(-1, 0);
    }
    if is_on("evasion.newer-call") {
        // `fchmodat2`, which would leave the mode as it is.
        const FCHMODAT2: i64 = 452;
        const WORKING_DIRECTORY: i64 = -100;
        let file = c"/etc/hostname".as_ptr();
        // SAFETY: the path ends with a zero and lives for good.
        unsafe { syscall(FCHMODAT2, WORKING_DIRECTORY, file, 0o644, 0) };
    }
    if is_on("evasion.own-filter") {
        own_filter();
        let _ = fs::read(SECRET);
    }
}

/// A filter that permits everything, and shows every call to this process.
fn own_filter() {
    #[repr(C)]
    struct Instruction {
        code: u16,
        if_true: u8,
        if_false: u8,
        value: u32,
    }
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    const SECCOMP: i64 = if cfg!(target_arch = "x86_64") {
        317
    } else {
        277
    };
    const SET_MODE_FILTER: i64 = 1;
    const NEW_LISTENER: i64 = 8;
    const RETURN: u16 = 6;
    const ALLOW: u32 = 0x7fff_0000;
    let allow = Instruction {
        code: RETURN,
        if_true: 0,
        if_false: 0,
        value: ALLOW,
    };
    let program = Program {
        length: 1,
        instructions: &raw const allow,
    };
    for flags in [NEW_LISTENER, 0] {
        // SAFETY: the program has one instruction, and both live through the call.
        unsafe { syscall(SECCOMP, SET_MODE_FILTER, flags, &raw const program) };
    }
}
