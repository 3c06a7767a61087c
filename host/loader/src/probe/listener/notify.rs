//! Receives and answers the notifications of a seccomp filter. See `seccomp_unotify(2)`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use libc::{Ioctl, c_long, seccomp_data, seccomp_notif, seccomp_notif_resp};
use rustix::io::Errno;

/// A system call that waits for the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notification {
    id: u64,
    /// The id of the thread that made the call.
    pub(crate) thread: u32,
    pub(crate) call: c_long,
    pub(crate) arguments: [u64; 6],
}

/// The response to a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response {
    /// The kernel makes the call.
    Continue,
    /// The kernel does not make the call, which fails with this error.
    Fail(Errno),
}

/// The descriptor at which notifications arrive.
pub(crate) struct Notifications(OwnedFd);

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
    /// Receives a notification, which `poll` has reported; otherwise it blocks. `None` if its caller is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<Notification>> {
        // The kernel requires zeros.
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

    /// Whether the caller still waits. If so, its thread id has not been reused since the notification.
    pub(crate) fn is_waiting(&self, notification: &Notification) -> bool {
        self.request(&mut Waiting(notification.id)).is_ok()
    }

    /// Sends the response. Has no effect if the caller is gone.
    pub(crate) fn respond(&self, notification: &Notification, response: Response) {
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
        #[allow(unsafe_code, reason = "no library supports these requests")]
        // SAFETY: the descriptor is open. Each request is defined for one type of message, whose size it contains, and the kernel
        // reads and writes nothing else.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), T::REQUEST, &raw mut *message) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The argument of a request.
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
