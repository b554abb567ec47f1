//! Which groups the process at the other end of a Unix socket had when it connected.
//!
//! Owns the question to the kernel for that, `SO_PEERGROUPS`. It decides nothing.
#![allow(
    unsafe_code,
    reason = "the option has no safe wrapper; see the proof at the call"
)]

use rustix::fd::AsFd;
use std::io;

/// Groups of a process, at most what Linux allows (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;
/// Room for the groups of nearly everybody, tried first.
const GROUPS_USUAL: usize = 64;

/// The supplementary groups of the peer when it connected (of a pair or a listener: when that was made).
///
/// # Errors
/// What the kernel answers; it knows the option from 4.13 on.
pub(super) fn supplementary(socket: impl AsFd) -> io::Result<Vec<u32>> {
    match ask(&socket, &mut [0; GROUPS_USUAL]) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => ask(&socket, &mut vec![0; GROUPS_MAX]),
        answer => answer,
    }
}

fn ask(socket: &impl AsFd, groups: &mut [libc::gid_t]) -> io::Result<Vec<u32>> {
    use std::os::fd::AsRawFd;
    const EACH: usize = size_of::<libc::gid_t>();
    let bytes = groups.len().saturating_mul(EACH);
    let mut length = libc::socklen_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed and so open for the whole call. `groups` is an initialised buffer of exactly `length`
    // bytes, aligned for what it holds, and not aliased; the kernel writes at most `length` bytes into it, whole group numbers
    // (any bits are a valid `u32`), and stores in `length`, which is a valid `socklen_t`, how many. Neither pointer is kept.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(length)
        .unwrap_or_default()
        .checked_div(EACH)
        .unwrap_or_default();
    Ok(groups.iter().take(count).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_of_this_process_has_its_groups() {
        let (one, _other) = UnixStream::pair().unwrap();
        let told: BTreeSet<u32> = supplementary(&one).unwrap().into_iter().collect();
        let own = rustix::process::getgroups().unwrap();
        assert_eq!(told, own.into_iter().map(|gid| gid.as_raw()).collect());
    }

    #[test]
    fn who_has_more_groups_than_there_is_room_for_is_asked_again() {
        let (one, _other) = UnixStream::pair().unwrap();
        if !supplementary(&one).unwrap().is_empty() {
            let error = ask(&one, &mut []).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ERANGE));
        }
    }
}
