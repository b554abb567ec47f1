//! Who is at the other end of a connected Unix socket, asked without a runtime.
//!
//! Owns the question to the kernel; whom to trust is for others to say. Called by [`place`](super::place), `transport::unix` and the lazy server.

use rustix::fd::BorrowedFd;
use std::io;

/// A peer as the system tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its effective user when the connection was made (of a listener: when it began to listen).
    pub uid: u32,
    /// Its effective group then.
    pub gid: u32,
    /// Its process; `None` when it lives in another namespace of processes, or the system does not tell.
    pub pid: Option<u32>,
}

/// Whom `socket` is connected to.
///
/// # Errors
/// What the system says, also when the socket is not connected. To be taken as "a stranger".
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(
    unsafe_code,
    reason = "rustix asks the same, but cannot hold the pid 0 of a peer from another namespace"
)]
pub fn credentials(socket: BorrowedFd<'_>) -> io::Result<UnixPeer> {
    use std::os::fd::AsRawFd;
    let mut told = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let size = size_of::<libc::ucred>();
    let mut len = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
    // SAFETY: `told` and `len` live for the call; `len` says how many bytes may be written to `told`, all of whose bytes are plain numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut told).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::try_from(len).ok() != Some(size) || told.uid == u32::MAX {
        return Err(io::Error::other("the system does not tell who the peer is"));
    }
    Ok(UnixPeer {
        uid: told.uid,
        gid: told.gid,
        pid: u32::try_from(told.pid).ok().filter(|pid| *pid != 0),
    })
}

/// Whom `socket` is connected to.
///
/// # Errors
/// What the system says, also when the socket is not connected. To be taken as "a stranger".
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[allow(
    unsafe_code,
    reason = "no safe crate in the tree asks this question without a runtime"
)]
pub fn credentials(socket: BorrowedFd<'_>) -> io::Result<UnixPeer> {
    use std::os::fd::AsRawFd;
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both places live for the call and have the types that are written.
    let result = unsafe { libc::getpeereid(socket.as_raw_fd(), &raw mut uid, &raw mut gid) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(UnixPeer { uid, gid, pid: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn both_ends_name_this_process_and_a_socket_without_a_peer_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let server = listener.accept().unwrap().0;
        for end in [&client, &server] {
            let peer = credentials(end.as_fd()).unwrap();
            assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
            assert_eq!(peer.gid, rustix::process::getegid().as_raw());
            if cfg!(target_os = "linux") {
                assert_eq!(peer.pid, Some(std::process::id()));
            }
        }
        let alone = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        assert!(credentials(alone.as_fd()).is_err());
    }
}
