//! The notifications of a seccomp filter, which the kernel sends of system calls before it makes them. See
//! `seccomp_unotify(2)`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use libc::{Ioctl, c_long, seccomp_data, seccomp_notif, seccomp_notif_resp};
use rustix::io::Errno;

/// A system call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notification {
    id: u64,
    /// The thread that made the call.
    pub(super) thread: u32,
    pub(super) call: c_long,
    pub(super) arguments: [u64; 6],
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// The kernel makes it, as if it had not asked.
    Continue,
    /// It is not made, and fails with this error.
    Fail(Errno),
}

/// Where notifications arrive.
pub(super) struct Notifications(OwnedFd);

impl From<OwnedFd> for Notifications {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Notifications {
    /// The next one. Blocks unless one is known to be there; `None` when its caller was gone by then.
    pub(super) fn receive(&self) -> io::Result<Option<Notification>> {
        // The kernel wants it zeroed.
        let mut received = seccomp_notif {
            id: 0,
            pid: 0,
            flags: 0,
            data: seccomp_data {
                nr: 0,
                arch: 0,
                instruction_pointer: 0,
                args: [0; 6],
            },
        };
        match self.request(&mut received) {
            Ok(()) => Ok(Some(Notification {
                id: received.id,
                thread: received.pid,
                call: received.data.nr.into(),
                arguments: received.data.args,
            })),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENOENT)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the caller still waits, so that its thread's number has not been another's meanwhile.
    pub(super) fn is_waiting(&self, notification: &Notification) -> bool {
        self.request(&mut Waiting(notification.id)).is_ok()
    }

    /// Answers. Nothing happens if the caller is gone.
    pub(super) fn respond(&self, notification: &Notification, response: Response) {
        let (error, flags) = match response {
            Response::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Response::Fail(error) => (-error.raw_os_error(), 0),
        };
        let mut response = seccomp_notif_resp {
            id: notification.id,
            val: 0,
            error,
            flags: u32::try_from(flags).unwrap_or_default(),
        };
        let _ = self.request(&mut response);
    }

    fn request<T: Message>(&self, message: &mut T) -> io::Result<()> {
        #[allow(unsafe_code, reason = "no library makes these requests")]
        // SAFETY: the descriptor is open, and the kernel reads and writes no more for a request than the type of message that
        // it is made for.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), T::REQUEST, &raw mut *message) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// What is exchanged in one kind of request.
trait Message {
    const REQUEST: Ioctl;
}

impl Message for seccomp_notif {
    const REQUEST: Ioctl = libc::SECCOMP_IOCTL_NOTIF_RECV;
}

impl Message for seccomp_notif_resp {
    const REQUEST: Ioctl = libc::SECCOMP_IOCTL_NOTIF_SEND;
}

/// The id of a notification.
#[repr(transparent)]
struct Waiting(u64);

impl Message for Waiting {
    const REQUEST: Ioctl = libc::SECCOMP_IOCTL_NOTIF_ID_VALID;
}
