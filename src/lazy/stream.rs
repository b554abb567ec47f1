//! A socket whose writes never raise a signal, for servers and clients inside programs that let SIGPIPE end them.
//!
//! Owns only that; `server` and `client` read and write through it.

use socket2::Socket;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Apple's systems have an option of the socket for it, which `socket2` sets.
pub(super) const QUIETLY: i32 = if cfg!(target_vendor = "apple") {
    0
} else {
    libc::MSG_NOSIGNAL
};

/// A connected socket.
#[derive(Debug)]
pub(super) struct Stream(pub(super) Socket);

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_with_flags(bytes, QUIETLY)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
