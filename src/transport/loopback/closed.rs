//! Whether this kernel says truly who had a TCP socket that has just been closed (Linux).
//!
//! Owns the trial that finds out, made once. A client that connects, writes and ends at once has often closed its socket before it is
//! accepted. Kernels from 6.17 on still name its user then, for as long as the end is not confirmed (some 40 ms); older ones name
//! root, which must not be believed. So a socket of this process is closed in the same way, and looked at.

use super::sock_diag;
use rustix::fs::{Uid, fchown};
use rustix::process::geteuid;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::OnceLock;

/// Trials before the kernel is taken for an older one.
const TRIALS: usize = 3;

/// Whether the kernel tells.
pub(super) fn are_told() -> bool {
    static TOLD: OnceLock<bool> = OnceLock::new();
    *TOLD.get_or_init(|| (0..TRIALS).any(|_| trial().unwrap_or(false)))
}

fn trial() -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server = listener.local_addr()?;
    let mut client = TcpStream::connect(server)?;
    let mut owner = geteuid();
    if owner.is_root() {
        // Root is what an older kernel says in any case, so the socket is given to somebody else.
        owner = Uid::from_raw(1);
        fchown(&client, Some(owner), None)?;
    }
    client.write_all(b"x")?;
    let local = client.local_addr()?;
    drop(client);
    let found = sock_diag::ask(local, server);
    Ok(found.is_some_and(|found| found.closed_by == Some(owner.as_raw())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::loopback::owner;

    /// A kernel that says so for this process's sockets is believed, and any from 6.17 on does.
    #[test]
    fn who_has_just_closed_is_known_where_the_kernel_tells() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(server).unwrap();
        client.write_all(b"x").unwrap();
        let local = client.local_addr().unwrap();
        drop(client);
        let found = owner(local, server);
        let ours = Some(geteuid().as_raw());
        assert!(found.is_none() || are_told() && found == ours, "{found:?}");
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let numbers: Vec<u32> = release
            .split(['.', '-'])
            .map_while(|part| part.parse().ok())
            .collect();
        let asks = sock_diag::ask(server, std::net::SocketAddr::new(server.ip(), 0)).is_some();
        assert!(are_told() || !asks || numbers[..] < [6, 17][..], "{release}");
    }
}
