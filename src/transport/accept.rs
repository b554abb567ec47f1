//! What a failed accept means, and what is done about clients that wait while no descriptor is left.
//!
//! Owns the one table of errors and the spare descriptor. A failure that concerns one connection is passed over; one
//! that concerns the process is the listener's, which pauses. Called by the listeners of `unix` and `tcp`.

use std::io;

/// Failures of single connections that are passed over in a row before the listener itself is taken for broken.
pub(super) const PASSED_OVER_MAX: usize = 64;

/// Whether no descriptor is left, in this process or in the whole system.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }
    #[cfg(not(unix))]
    {
        const WSAEMFILE: i32 = 10_024;
        error.raw_os_error() == Some(WSAEMFILE)
    }
}

/// Whether asking again at once would fail again: descriptors or memory are short. Every other failure is that of the
/// connection that would have been next, which its peer gave up or the system refused.
pub(super) fn is_the_listeners(error: &io::Error) -> bool {
    let memory = {
        #[cfg(unix)]
        {
            use rustix::io::Errno;
            matches!(Errno::from_io_error(error), Some(Errno::NOMEM | Errno::NOBUFS))
        }
        #[cfg(not(unix))]
        {
            const WSAENOBUFS: i32 = 10_055;
            error.raw_os_error() == Some(WSAENOBUFS)
        }
    };
    memory || is_shortage(error)
}

/// A descriptor that is kept open to be closed when none is left: with its number one client after another can be
/// accepted, and closed, instead of waiting for nothing.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Spare(Option<rustix::fd::OwnedFd>);

#[cfg(unix)]
impl Spare {
    /// Most clients that are turned away together, before the connections get their turn.
    const AT_ONCE: usize = 64;

    pub(super) fn keep() -> Self {
        Self(Self::open())
    }

    fn open() -> Option<rustix::fd::OwnedFd> {
        use rustix::fs::{Mode, OFlags, open};
        open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// Accepts those that wait at `listener`, gives each `goodbye` as far as its socket takes it, and closes it; with `first` only those
    /// get it that have sent this byte first. Returns how many there were.
    pub(super) fn turn_away(
        &mut self,
        listener: &socket2::Socket,
        goodbye: &[u8],
        first: Option<u8>,
    ) -> usize {
        let mut count = 0;
        while count < Self::AT_ONCE {
            if self.0.is_none() {
                self.0 = Self::open();
            }
            if self.0.take().is_none() {
                break;
            }
            let accepted = listener.accept();
            if let Ok((socket, _)) = &accepted {
                // A client that does not take it will see the end of file.
                let _ = socket.set_nonblocking(true);
                if first.is_none_or(|first| begins_with(socket, first)) {
                    let _ = send(socket, goodbye);
                }
            }
            let ended = accepted.is_err();
            drop(accepted);
            self.0 = Self::open();
            if ended {
                break;
            }
            count += 1;
        }
        count
    }
}

/// Whether this byte is the first that the socket has; it stays there.
#[cfg(unix)]
fn begins_with(socket: &socket2::Socket, byte: u8) -> bool {
    let mut first = [0];
    let peeked = rustix::net::recv(socket, &mut first[..], rustix::net::RecvFlags::PEEK);
    peeked.is_ok_and(|(_, count)| count == 1) && first == [byte]
}

#[cfg(unix)]
fn send(socket: &socket2::Socket, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(target_vendor = "apple")]
    let flags = rustix::net::SendFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = rustix::net::SendFlags::NOSIGNAL;
    Ok(rustix::net::send(socket, bytes, flags)?)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn only_a_lack_of_descriptors_or_memory_is_the_listeners() {
        let table = [
            (Errno::MFILE, true, true),
            (Errno::NFILE, true, true),
            (Errno::NOMEM, false, true),
            (Errno::NOBUFS, false, true),
            (Errno::CONNABORTED, false, false),
            (Errno::PERM, false, false),
            (Errno::SRCH, false, false),
            (Errno::PROTO, false, false),
            (Errno::INVAL, false, false),
        ];
        for (errno, shortage, pauses) in table {
            let error = io::Error::from(errno);
            assert_eq!(
                (is_shortage(&error), is_the_listeners(&error)),
                (shortage, pauses),
                "{errno}"
            );
        }
    }
}
