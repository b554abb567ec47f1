//! Unix stream sockets: bytes and descriptors.
//!
//! Owns reading and writing with `recvmsg`, `send` and `sendmsg`, and waiting. How connections come about is [`establish`]'s
//! business, how a path is taken safely `platform::place`'s. Attachments here are `Arc<OwnedFd>`.
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
//!
//! # Descriptors
//! At most one write with descriptors is in the peer's queue: the next waits until the peer has read everything, so
//! that a peer that never reads holds at most [`ATTACHMENTS_MAX`](super::ATTACHMENTS_MAX) of them in the kernel. (Where the kernel does not say
//! what is unread, on other systems than Linux, they are sent as they come.)

mod descriptors;
mod establish;
#[cfg(target_os = "linux")]
mod groups;
#[cfg(target_os = "linux")]
pub(super) mod region;
#[cfg(target_os = "linux")]
mod ring;
mod shared;
mod space;

pub(super) use establish::{Listener, connect};

pub(super) use descriptors::check_kinds;
pub use descriptors::{is_sealed, is_unix_socket, number};

use super::inject::{Site, fault};
use super::stream::Obstacle;
use crate::message::Attachment;
use crate::platform::fork::Noted;
use descriptors::{receive, send_attachments, send_bytes};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::retry_on_intr;
use rustix::net::Shutdown;
use shared::Upgrade;
use space::Space;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Slices of one write; Linux and macOS take no more.
pub(super) const SLICES_MAX: usize = 1024;

/// A connected Unix socket on a reactor.
#[derive(Debug)]
pub struct Stream {
    fd: Noted<AsyncFd<OwnedFd>>,
    space: Space,
    upgrade: Upgrade,
}

impl Stream {
    pub(super) fn register(socket: OwnedFd) -> io::Result<Self> {
        fault(Site::Register)?;
        let fd = watch(socket, Interest::READABLE)?;
        Ok(Self {
            fd: Noted::new(fd),
            space: Space::default(),
            upgrade: Upgrade::default(),
        })
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(ready) = self.upgrade.poll_read_ready(&self.fd, cx) {
            return ready;
        }
        self.fd.poll_read_ready(cx).map_ok(|_still_ready| ())
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.space.obstacle() == Some(Obstacle::Full)
            && let Some(ready) = self.upgrade.poll_write_ready(cx)
        {
            if ready.is_ready() {
                self.space.clear();
            }
            return ready;
        }
        self.space.poll(self.fd.get_ref(), cx)
    }

    pub(super) fn try_read(&self, buffer: &mut [u8], attachments: &mut Vec<Attachment>) -> io::Result<usize> {
        if let Some(read) = self.upgrade.try_read(&self.fd, buffer, attachments) {
            return read;
        }
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
        if self.upgrade.writes() {
            return self.write_shared(slices, attachments);
        }
        let socket = self.fd.get_ref().as_fd();
        if attachments.is_empty() {
            let result = send_bytes(socket, slices);
            let full = match &result {
                Ok(written) => *written < slices.iter().map(|slice| slice.len()).sum::<usize>(),
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            if full {
                self.space.wait_for(Obstacle::Full);
            }
            return result;
        }
        self.write_attachments(socket, slices, attachments)
    }

    fn write_attachments(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        attachments: &[Attachment],
    ) -> io::Result<usize> {
        if self.space.holds_descriptors(socket) {
            self.space.wait_for(Obstacle::Unread);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = send_attachments(socket, slices, attachments);
        match &result {
            Ok(written) => {
                self.space.sent_descriptors();
                if *written < slices.iter().map(|slice| slice.len()).sum::<usize>() {
                    self.space.wait_for(Obstacle::Full);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.space.wait_for(Obstacle::Full),
            Err(error) if descriptors::too_many_in_flight(error) => {
                self.space.wait_for(Obstacle::InFlight);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Err(_) => {}
        }
        result
    }

    /// The same where bytes go through shared memory: attachments go through the socket before them, with a byte of their own.
    fn write_shared(&self, slices: &[IoSlice<'_>], attachments: &[Attachment]) -> io::Result<usize> {
        if !attachments.is_empty() {
            if !self.upgrade.has_room()? {
                self.space.wait_for(Obstacle::Full);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let sent = self.write_attachments(self.fd.get_ref().as_fd(), &[IoSlice::new(&[0])], attachments);
            if sent.is_err() && self.space.obstacle() == Some(Obstacle::Full) {
                // It is the socket that is full, and not the memory, which `Full` stands for here.
                self.space.wait_for(Obstacle::Unread);
            }
            sent?;
            self.upgrade.attached();
        }
        let written = self.upgrade.write(slices);
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        match &written {
            Ok(count) if *count == wanted => {}
            Ok(_) => self.space.wait_for(Obstacle::Full),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.space.wait_for(Obstacle::Full),
            Err(_) => {}
        }
        written
    }

    pub(super) const fn upgrade(&self) -> &Upgrade {
        &self.upgrade
    }

    pub(super) const fn upgrade_mut(&mut self) -> &mut Upgrade {
        &mut self.upgrade
    }

    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        self.space.obstacle()
    }

    pub(super) fn holds_descriptors(&self) -> bool {
        self.space.holds_descriptors(self.fd.get_ref().as_fd())
    }

    pub(super) fn is_closed(&self) -> bool {
        hung_up(self.fd.get_ref().as_fd())
    }

    /// The process that listens, on the side that connected; asks the system.
    pub(super) fn server(&self) -> Option<u32> {
        let copy = self.fd.get_ref().try_clone().ok()?;
        establish::listener_pid(copy.into())
    }

    pub(super) fn shutdown(&self) {
        // It fails where the other end has gone, and this one is at its end already.
        let _ = rustix::net::shutdown(self.fd.get_ref(), Shutdown::Both);
    }

    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        fault(Site::Shutdown)?;
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

#[cfg(test)]
mod mode_tests;
#[cfg(test)]
mod tests;
