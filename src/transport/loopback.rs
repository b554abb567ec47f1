//! The user at the other end of a TCP connection inside this machine (Linux).
//!
//! Owns which of two sources is asked: the kernel about one socket ([`sock_diag`]), else its table of all sockets
//! ([`proc_net`]). A socket without a process is shown as root's and is no evidence, but where [`closed`] has found that the
//! kernel still knows who has just closed it.

mod closed;
mod proc_net;
mod sock_diag;

use std::net::SocketAddr;

/// The user of the connected socket at `local` whose peer is `remote`.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    match sock_diag::ask(local, remote) {
        Some(found) if !found.listens => found
            .uid
            .or_else(|| found.closed_by.filter(|_| closed::are_told())),
        _ => proc_net::owner(local, remote),
    }
}

/// The user who serves the connection from `client` to `server`: that of the server's socket once it is accepted,
/// before that the listener's. The listener is asked first: a connection that still waits after that cannot have come
/// from an earlier listener, whose end would have ended it.
pub(super) fn server_owner(server: SocketAddr, client: SocketAddr) -> Option<u32> {
    let nobody = SocketAddr::new(client.ip(), 0);
    let listener = sock_diag::ask(server, nobody)
        .filter(|found| found.listens)
        .and_then(|found| found.uid);
    match sock_diag::ask(server, client) {
        Some(found) if !found.listens => found.uid.or(listener),
        _ => proc_net::server_owner(server, client),
    }
}

/// The user who listens on `address`, if anyone does.
pub(super) fn listener_owner(address: SocketAddr) -> Option<u32> {
    proc_net::listener_owner(address)
}
