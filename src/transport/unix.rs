//! Unix stream sockets: bytes and descriptors.
//!
//! Owns reading and writing with `recvmsg` and `sendmsg`, and waiting. How connections come about is [`establish`]'s
//! business, how a path is taken safely is [`bind`]'s. Attachments here are `Arc<OwnedFd>`.
//!
//! # System calls
//! One read or write is one system call, and waiting is none:
//! - *Reading*: epoll is edge-triggered, and tokio forgets "readable" only when an operation reports `WouldBlock`. On
//!   Linux a read that did not fill its buffer and brought no descriptors has emptied the socket (only the
//!   descriptors of a later write end a read early). So it is reported to tokio as `WouldBlock` while the caller gets
//!   its bytes, which saves the second call that would find nothing. Bytes that come in between are a new edge, which
//!   tokio's tick keeps from being forgotten. Elsewhere a short read may have stopped before descriptors: there the
//!   flag stays, and the next read asks the kernel.
//! - *Writing*: the socket is registered for reading only. A Unix socket that is watched for writing wakes its owner
//!   each time the peer reads, about once a message, for nothing. Only when a write did not fit a second
//!   registration (of a duplicate, since epoll takes a descriptor once) waits for space, and goes with the wait.

mod bind;
mod establish;
#[cfg(target_os = "linux")]
mod groups;

pub(super) use establish::{Listener, connect};

use super::{ATTACHMENTS_MAX, lock};
use crate::message::Attachment;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Slices of one write; Linux and macOS take no more.
pub(super) const SLICES_MAX: usize = 1024;
const CONTROL_LEN: usize = rustix::cmsg_space!(ScmRights(ATTACHMENTS_MAX));

/// A connected Unix socket on a reactor.
#[derive(Debug)]
pub struct Stream {
    fd: AsyncFd<OwnedFd>,
    /// The last write did not fit. Set by any thread that writes, cleared by the task that waited.
    blocked: AtomicBool,
    /// The registration that waits for space; only there while it does.
    space: Mutex<Option<AsyncFd<OwnedFd>>>,
}

impl Stream {
    pub(super) fn register(socket: OwnedFd) -> io::Result<Self> {
        let fd = watch(socket, Interest::READABLE)?;
        Ok(Self {
            fd,
            blocked: AtomicBool::new(false),
            space: Mutex::new(None),
        })
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fd.poll_read_ready(cx).map_ok(|_still_ready| ())
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.blocked.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut space = lock(&self.space);
        let waiting = match &mut *space {
            Some(waiting) => waiting,
            // Registering reports the present state as the first event, so space that appeared since the write is
            // not missed.
            None => space.insert(watch(self.fd.get_ref().try_clone()?, Interest::WRITABLE)?),
        };
        let ready = ready!(waiting.poll_write_ready(cx)).map(|_| ());
        *space = None;
        self.blocked.store(false, Ordering::Release);
        Poll::Ready(ready)
    }

    pub(super) fn try_read(&self, buffer: &mut [u8], attachments: &mut Vec<Attachment>) -> io::Result<usize> {
        let mut emptied = None;
        let result = self.fd.try_io(Interest::READABLE, |fd| {
            let room = buffer.len();
            let (read, more) = receive(fd.as_fd(), buffer, attachments)?;
            if cfg!(target_os = "linux") && read > 0 && read < room && !more {
                emptied = Some(read);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(read)
        });
        emptied.map_or(result, Ok)
    }

    pub(super) fn try_write(&self, slices: &[IoSlice<'_>], attachments: &[Attachment]) -> io::Result<usize> {
        let slices = slices.get(..SLICES_MAX).unwrap_or(slices);
        let result = if attachments.is_empty() {
            send(
                self.fd.get_ref().as_fd(),
                slices,
                &mut SendAncillaryBuffer::new(&mut []),
            )
        } else {
            send_attachments(self.fd.get_ref().as_fd(), slices, attachments)
        };
        let full = match &result {
            Ok(written) => *written < slices.iter().map(|slice| slice.len()).sum::<usize>(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if full {
            self.blocked.store(true, Ordering::Release);
        }
        result
    }

    pub(super) fn is_closed(&self) -> bool {
        hung_up(self.fd.get_ref().as_fd())
    }

    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.fd.get_ref(), Shutdown::Write)?)
    }
}

/// Registers with the reactor of the calling thread.
#[allow(
    deprecated,
    reason = "deprecated because a type may lie about its descriptor; these own theirs, and the successor is unsafe"
)]
fn watch<T: std::os::fd::AsRawFd + Into<OwnedFd>>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// Whether both directions of a socket have ended, or it failed. OUT is asked for because macOS reports a hang-up
/// of the writing direction (the one that a half-close leaves open) only then.
pub(super) fn hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let asked = retry_on_intr(|| rustix::event::poll(&mut fds, Some(&now)));
    let [polled] = fds;
    asked.is_ok()
        && polled
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

/// One `recvmsg`. Besides the length: whether descriptors came, which may have ended the read early.
fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    attachments: &mut Vec<Attachment>,
) -> io::Result<(usize, bool)> {
    #[cfg(target_vendor = "apple")]
    let flags = RecvFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = retry_on_intr(|| recvmsg(socket, &mut slices, &mut control, flags))?;
    // Every descriptor gets its owner before anything is judged: what an error leaves behind is closed.
    let before = attachments.len();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            attachments
                .extend(descriptors.map(|descriptor| Arc::new(close_on_exec(descriptor)) as Attachment));
        }
    }
    // The control buffer is padded, so one or two more may have come without being cut off.
    let came = attachments.len() - before;
    if message.flags.contains(ReturnFlags::CTRUNC) || came > ATTACHMENTS_MAX {
        attachments.truncate(before);
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "the peer sent more than {ATTACHMENTS_MAX} descriptors at once, or this process may open no more"
            ),
        ));
    }
    Ok((message.bytes, came > 0))
}

/// Sets what `MSG_CMSG_CLOEXEC` sets where that exists. A failure leaves a descriptor that works.
fn close_on_exec(descriptor: OwnedFd) -> OwnedFd {
    #[cfg(target_vendor = "apple")]
    let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
    descriptor
}

fn send(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    control: &mut SendAncillaryBuffer<'_, '_, '_>,
) -> io::Result<usize> {
    // On Apple systems SO_NOSIGPIPE, which socket2 sets, does the same.
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::NOSIGNAL;
    Ok(retry_on_intr(|| sendmsg(socket, slices, control, flags))?)
}

fn send_attachments(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    attachments: &[Attachment],
) -> io::Result<usize> {
    let mut descriptors = [socket; ATTACHMENTS_MAX];
    let wrong = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let chosen = descriptors
        .get_mut(..attachments.len())
        .ok_or_else(|| wrong("too many attachments at once"))?;
    for (place, attachment) in chosen.iter_mut().zip(attachments) {
        let descriptor = attachment.downcast_ref::<OwnedFd>();
        *place = descriptor
            .ok_or_else(|| wrong("an attachment is not a file descriptor (OwnedFd)"))?
            .as_fd();
    }
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(chosen)) {
        return Err(wrong("too many attachments at once"));
    }
    send(socket, slices, &mut control)
}

#[cfg(test)]
mod mode_tests;
#[cfg(test)]
mod tests;
