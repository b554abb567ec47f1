//! One connected pipe: its bytes, in both directions, and its end.
//!
//! Owns [`Stream`], whose end leaves behind what is not finished ([`parting`](super::parting)). What travels beside the bytes is
//! [`carried`](super::carried)'s business; it does not know how connections are made.

use super::carried::Carried;
use super::{handles, parting, sys};
use crate::message::Attachment;
use std::io::{self, IoSlice};
use std::ops::Deref;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};

const ERROR_NO_DATA: i32 = 232;
/// Most bytes of one write. The reactor copies what it is given, so that more at once would only hold more memory.
const WRITE_MAX: usize = 64 * 1024;

/// A connected pipe, on the reactor of the thread that made it.
#[derive(Debug)]
pub struct Stream(Arc<Open>);

/// What a [`Stream`] has, and has still for a while when it is gone.
#[derive(Debug)]
pub struct Open {
    end: End,
    carried: Carried,
}

#[derive(Debug)]
pub(super) enum End {
    Server(NamedPipeServer),
    Client(NamedPipeClient),
}

macro_rules! forward {
    ($self:ident, $pipe:ident => $call:expr) => {
        match &$self.end {
            End::Server($pipe) => $call,
            End::Client($pipe) => $call,
        }
    };
}

impl Stream {
    pub(super) fn new(end: End, carried: Carried) -> Self {
        Self(Arc::new(Open { end, carried }))
    }
}

impl Deref for Stream {
    type Target = Open;

    fn deref(&self) -> &Open {
        &self.0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.hear_last();
        if !self.is_finished() {
            parting::begin(Arc::clone(&self.0));
        }
    }
}

impl Open {
    pub(in crate::transport) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who lent what was read waits to hear of it, and nothing else may be written for long. The task that reads is the one that writes.
        while self.carried.owes() {
            match self.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                _ => break,
            }
            let told = self.carried.pay(|bytes| self.write_one(bytes));
            if told.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                // Reading tells of the end.
                break;
            }
        }
        if self.carried.has_rest() {
            return Poll::Ready(Ok(()));
        }
        forward!(self, pipe => pipe.poll_read_ready(cx))
    }

    pub(in crate::transport) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, pipe => pipe.poll_write_ready(cx))
    }

    pub(in crate::transport) fn try_read(
        &self,
        buffer: &mut [u8],
        attachments: &mut Vec<Attachment>,
    ) -> io::Result<usize> {
        self.carried.read(
            buffer,
            attachments,
            |buffer| self.read_some(buffer),
            || sys::is_connected(self.handle()),
        )
    }

    fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match forward!(self, pipe => pipe.try_read(buffer)) {
            // The other end is closed and everything it wrote was read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            result => result,
        }
    }

    /// The reactor takes one buffer at a time, so several slices are put together first.
    pub(in crate::transport) fn try_write(
        &self,
        slices: &[IoSlice<'_>],
        attachments: &[Attachment],
    ) -> io::Result<usize> {
        // Before anything is put together, or given to another process only to be taken back.
        if !self.is_writable() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let portion = self
            .carried
            .write(slices, attachments, WRITE_MAX, |bytes| self.write_one(bytes));
        if let Some(written) = portion {
            return written;
        }
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let Some(first) = filled.next() else { return Ok(0) };
        let Some(second) = filled.next().filter(|_| first.len() < WRITE_MAX) else {
            return self.write_one(first.get(..WRITE_MAX).unwrap_or(first));
        };
        let mut together = first.to_vec();
        for slice in std::iter::once(second).chain(filled) {
            let space = WRITE_MAX.saturating_sub(together.len());
            together.extend_from_slice(slice.get(..space).unwrap_or(slice));
        }
        self.write_one(&together)
    }

    /// The reactor takes a buffer whole, and writes it when there is room: until it has, the pipe is not ready for another one.
    pub(super) fn write_one(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = Err(io::ErrorKind::WouldBlock.into());
        let _ = forward!(self, pipe => pipe.try_io(Interest::WRITABLE, || {
            written = pipe.try_write(bytes);
            match &written {
                Ok(_) => Err::<(), _>(io::ErrorKind::WouldBlock.into()),
                Err(_) => Ok(()),
            }
        }));
        match written {
            Err(error) if error.raw_os_error() == Some(ERROR_NO_DATA) => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            result => result,
        }
    }

    /// Whether the reactor has written what it was given. Nobody is woken by it.
    fn is_writable(&self) -> bool {
        forward!(self, pipe => pipe.try_io(Interest::WRITABLE, || Ok(()))).is_ok()
    }

    pub(in crate::transport) fn is_closed(&self) -> bool {
        sys::is_broken(self.handle())
    }

    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the signature of every transport"
    )]
    pub(in crate::transport) const fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn handle(&self) -> BorrowedHandle<'_> {
        forward!(self, pipe => pipe.as_handle())
    }

    /// Whether this is a server's end that could carry handles, were its client told so.
    pub(in crate::transport) fn can_carry_handles(&self) -> bool {
        self.carried.is_able()
    }

    /// Whether this is a client's end that has read nothing yet.
    pub(in crate::transport) fn expects_handles(&self) -> bool {
        self.carried.looks()
    }

    /// The client knows: handles travel from the next byte on, in both directions.
    pub(in crate::transport) fn carry_handles(&self) {
        self.carried.begin();
    }

    pub(in crate::transport) fn carries_handles(&self) -> bool {
        self.carried.is_on()
    }
}

/// What is left when the stream is gone.
impl Open {
    /// Whether everything is written, and the other end has taken all handles that were on their way to it.
    fn is_finished(&self) -> bool {
        self.is_writable() && !self.carried.lends()
    }

    /// Whether a server may take handles of this process still.
    pub(super) fn lends_own(&self) -> bool {
        self.carried.lends_own()
    }

    /// Takes back what a server has given to a client that will not read of it.
    fn hear_last(&self) {
        self.carried
            .end(|buffer| self.read_some(buffer), || self.is_closed());
    }

    /// Reads on for what was taken. Ready when all is finished, or nothing more can be.
    pub(super) fn poll_finished(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (mut buffer, mut late) = ([0; 1024], Vec::new());
        while self.carried.lends() {
            if ready!(self.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.try_read(&mut buffer, &mut late) {
                Ok(1..) => late.drain(..).for_each(handles::discard),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        self.poll_write_ready(cx).map(drop)
    }

    /// Nobody waits any longer. The server's end does not keep what its client does not read; a client's last words stay with the system,
    /// which keeps them for as long as this process lives. Handles that a server may read of yet stay open as long.
    pub(super) fn give_up(&self) {
        self.hear_last();
        self.carried.keep_lent();
        if matches!(self.end, End::Server(_)) && !self.is_writable() {
            sys::cancel(self.handle());
        }
    }
}
