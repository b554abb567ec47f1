//! Whether a Unix socket's bytes go through shared memory, and since when.
//!
//! Owns the ring beside a socket and the two moments at which each direction moves to it; which frames those are is the caller's
//! business. On systems without such rings nothing ever moves.

use crate::message::Attachment;
use rustix::fd::OwnedFd;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;

#[cfg(target_os = "linux")]
pub(in crate::transport) use linux::Upgrade;
#[cfg(not(target_os = "linux"))]
pub(in crate::transport) use none::Upgrade;

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::transport::unix::descriptors::receive;
    use crate::transport::unix::ring::{Ring, make, take};
    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::fd::AsFd;
    use rustix::io::retry_on_intr;
    use std::sync::OnceLock;
    use tokio::io::Interest;

    /// See the module's documentation.
    #[derive(Debug, Default)]
    pub(in crate::transport) struct Upgrade(OnceLock<Box<Ring>>);

    impl Upgrade {
        /// Makes a ring; what its other end needs is returned. Nothing moves yet.
        pub(in crate::transport) fn offer(
            &self,
            capacity: u32,
            fits: &dyn Fn(&[Attachment]) -> bool,
        ) -> io::Result<Vec<Attachment>> {
            let (ring, given) = make(capacity)?;
            if !fits(&given) {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            self.keep(ring)?;
            Ok(given)
        }

        /// Takes the other end of a ring. Nothing moves yet.
        pub(in crate::transport) fn accept(&self, given: &[Attachment], capacity: u32) -> io::Result<()> {
            self.keep(take(given, capacity)?)
        }

        fn keep(&self, ring: Ring) -> io::Result<()> {
            let again =
                |_| io::Error::new(io::ErrorKind::AlreadyExists, "this connection has a ring already");
            self.0.set(Box::new(ring)).map_err(again)
        }

        /// Lets go of a ring that nothing goes through.
        pub(in crate::transport) fn withdraw(&mut self) {
            if self.0.get().is_some_and(|ring| !ring.reads() && !ring.writes()) {
                self.0 = OnceLock::new();
            }
        }

        pub(in crate::transport) fn start_reading(&self, early: bool) {
            let ring = self.0.get().into_iter();
            ring.for_each(|ring| ring.start_reading(early));
        }

        pub(in crate::transport) fn start_writing(&self) {
            self.0.get().into_iter().for_each(|ring| ring.start_writing());
        }

        fn reading(&self) -> Option<&Ring> {
            self.0.get().filter(|ring| ring.reads()).map(|ring| &**ring)
        }

        fn writing(&self) -> Option<&Ring> {
            self.0.get().filter(|ring| ring.writes()).map(|ring| &**ring)
        }

        pub(in crate::transport) fn writes(&self) -> bool {
            self.writing().is_some()
        }

        pub(in crate::transport) fn reads(&self) -> bool {
            self.reading().is_some()
        }

        pub(in crate::transport) fn poll_read_ready(
            &self,
            socket: &AsyncFd<OwnedFd>,
            cx: &mut Context<'_>,
        ) -> Option<Poll<io::Result<()>>> {
            let ring = self.reading()?;
            let readable = ring.poll_readable(cx);
            if readable.is_ready() {
                return Some(readable);
            }
            // The socket tells of the end.
            Some(socket.poll_read_ready(cx).map_ok(|_still_ready| ()))
        }

        pub(in crate::transport) fn poll_write_ready(
            &self,
            cx: &mut Context<'_>,
        ) -> Option<Poll<io::Result<()>>> {
            Some(self.writing()?.poll_writable(cx))
        }

        pub(in crate::transport) fn try_read(
            &self,
            socket: &AsyncFd<OwnedFd>,
            buffer: &mut [u8],
            attachments: &mut Vec<Attachment>,
        ) -> Option<io::Result<usize>> {
            self.try_read_unless(socket, buffer, attachments, ended)
        }

        /// The same; `ended` is asked whether the peer has, when there is nothing to read.
        pub(in crate::transport::unix) fn try_read_unless(
            &self,
            socket: &AsyncFd<OwnedFd>,
            buffer: &mut [u8],
            attachments: &mut Vec<Attachment>,
            ended: impl FnOnce(&OwnedFd) -> bool,
        ) -> Option<io::Result<usize>> {
            let ring = self.reading()?;
            Some(read(ring, socket, buffer, attachments, ended))
        }

        pub(in crate::transport) fn has_room(&self) -> io::Result<bool> {
            self.writing().map_or(Ok(false), Ring::has_room)
        }

        pub(in crate::transport) fn attached(&self) {
            self.writing().into_iter().for_each(Ring::attached);
        }

        pub(in crate::transport) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writing().map_or_else(
                || Err(io::ErrorKind::WouldBlock.into()),
                |ring| ring.write(slices),
            )
        }
    }

    fn read(
        ring: &Ring,
        socket: &AsyncFd<OwnedFd>,
        buffer: &mut [u8],
        attachments: &mut Vec<Attachment>,
        ended: impl FnOnce(&OwnedFd) -> bool,
    ) -> io::Result<usize> {
        let count = read_ring(ring, socket, buffer, attachments)?;
        if count > 0 {
            return Ok(count);
        }
        // Nothing in the ring: has the peer gone? What lies in the socket belongs to bytes that are not written yet.
        socket.try_io(Interest::READABLE, |socket| {
            if ended(socket) {
                Ok(())
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        })?;
        // It may have written its last bytes between the two looks, and sent what they declare.
        read_ring(ring, socket, buffer, attachments)
    }

    /// Bytes of the ring, and what came through the socket for them.
    fn read_ring(
        ring: &Ring,
        socket: &AsyncFd<OwnedFd>,
        buffer: &mut [u8],
        attachments: &mut Vec<Attachment>,
    ) -> io::Result<usize> {
        let (count, with_attachments) = ring.read(buffer)?;
        for _ in 0..with_attachments {
            // They came with one byte each, before the bytes of the ring. A peer that counts more than it sends is
            // found out by the frame that declares them.
            match receive(socket.get_ref().as_fd(), &mut [0], attachments) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Whether the peer has ended its direction, or all.
    fn ended(socket: &OwnedFd) -> bool {
        let wanted = PollFlags::RDHUP;
        let mut fds = [PollFd::new(socket, wanted)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let asked = retry_on_intr(|| rustix::event::poll(&mut fds, Some(&now)));
        let [polled] = fds;
        let over = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        asked.is_ok() && polled.revents().intersects(over)
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use super::*;

    /// See the module's documentation.
    #[derive(Debug, Default)]
    pub(in crate::transport) struct Upgrade;

    fn unsupported<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    impl Upgrade {
        pub(in crate::transport) fn offer(
            &self,
            _: u32,
            _: &dyn Fn(&[Attachment]) -> bool,
        ) -> io::Result<Vec<Attachment>> {
            unsupported()
        }

        pub(in crate::transport) fn accept(&self, _: &[Attachment], _: u32) -> io::Result<()> {
            unsupported()
        }

        pub(in crate::transport) const fn withdraw(&mut self) {}

        pub(in crate::transport) const fn start_reading(&self, _: bool) {}

        pub(in crate::transport) const fn start_writing(&self) {}

        pub(in crate::transport) const fn writes(&self) -> bool {
            false
        }

        pub(in crate::transport) const fn reads(&self) -> bool {
            false
        }

        pub(in crate::transport) const fn poll_read_ready(
            &self,
            _: &AsyncFd<OwnedFd>,
            _: &mut Context<'_>,
        ) -> Option<Poll<io::Result<()>>> {
            None
        }

        pub(in crate::transport) const fn poll_write_ready(
            &self,
            _: &mut Context<'_>,
        ) -> Option<Poll<io::Result<()>>> {
            None
        }

        pub(in crate::transport) const fn try_read(
            &self,
            _: &AsyncFd<OwnedFd>,
            _: &mut [u8],
            _: &mut Vec<Attachment>,
        ) -> Option<io::Result<usize>> {
            None
        }

        pub(in crate::transport) fn has_room(&self) -> io::Result<bool> {
            unsupported()
        }

        pub(in crate::transport) const fn attached(&self) {}

        pub(in crate::transport) fn write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
            unsupported()
        }
    }
}
