//! Faults that create what outlives a process, and is reached by others.

use std::{ffi::CStr, io};

const CREATE: i32 = 0o1000;
const O_CREAT_RDWR: i32 = 0o102;

unsafe extern "C" {
    safe fn shmget(key: i32, size: usize, flags: i32) -> i32;
    safe fn msgget(key: i32, flags: i32) -> i32;
    fn mq_open(name: *const std::ffi::c_char, flags: i32, ...) -> i32;
    fn memfd_create(name: *const std::ffi::c_char, flags: u32) -> i32;
}

fn result(returned: i32) -> io::Result<()> {
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub fn memory() -> io::Result<()> {
    result(shmget(0, 4096, CREATE | 0o600))
}

pub fn queue() -> io::Result<()> {
    result(msgget(0, CREATE | 0o600))
}

pub fn posix_queue() -> io::Result<()> {
    let (name, mode): (&CStr, u32) = (c"/misbehaving", 0o600);
    let attributes: *const u8 = std::ptr::null();
    // SAFETY: the name ends with a zero; without attributes the queue has those that the system chooses.
    result(unsafe { mq_open(name.as_ptr(), O_CREAT_RDWR, mode, attributes) })
}

pub fn memory_file() -> io::Result<()> {
    // SAFETY: the name ends with a zero.
    result(unsafe { memfd_create(c"misbehaving".as_ptr(), 0) })
}
