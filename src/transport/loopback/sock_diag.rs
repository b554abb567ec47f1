//! The user behind a loopback TCP socket, by asking Linux for that one socket.
//!
//! Owns the question and the answer of the `sock_diag` netlink protocol. Its cost does not grow with the number of
//! sockets, as that of reading `/proc/net/tcp` does; but it may be missing (a kernel module, a sandbox), so
//! [`proc_net`](super::proc_net) is asked when this knows nothing. The same rule holds: only a socket with an inode
//! is evidence.

use crate::transport::inject::{Site, fault};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::net::{IpAddr, SocketAddr};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const LISTENING: u8 = 10;
/// Closed by its process, and the other end has not confirmed that yet. What follows (FIN-WAIT-2, TIME-WAIT) is kept without an owner.
const FIN_WAIT_1: u8 = 4;
const HEADER_LEN: usize = 16;
const QUESTION_LEN: usize = HEADER_LEN + 56;
/// `inet_diag_msg`: where its state, uid and inode are.
const STATE_AT: usize = HEADER_LEN + 1;
const UID_AT: usize = HEADER_LEN + 64;
const INODE_AT: usize = HEADER_LEN + 68;

/// What the kernel says about one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) listens: bool,
    /// `None` for a socket without a process.
    pub(super) uid: Option<u32>,
    /// Whom the kernel still names as the owner of one that has just been closed. Before 6.17 it names root for all of them.
    pub(super) closed_by: Option<u32>,
}

/// The socket at `local` that is connected to `remote`, or else the one that listens for it. `None` when there is
/// neither, or the kernel does not answer.
pub(super) fn ask(local: SocketAddr, remote: SocketAddr) -> Option<Answer> {
    fault(Site::Owner).ok()?;
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )
    .ok()?;
    send(&kernel, &question(local, remote), SendFlags::empty()).ok()?;
    // The kernel answers before `send` returns: with the socket, or with an error.
    let mut bytes = [0_u8; 1024];
    let (len, _) = recv(&kernel, &mut bytes, RecvFlags::DONTWAIT).ok()?;
    answer(bytes.get(..len)?)
}

/// `nlmsghdr`, then `inet_diag_req_v2`: addresses and ports in the network's order, the rest in this machine's.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(QUESTION_LEN);
    bytes.extend((QUESTION_LEN as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]); // sequence number and port: one question, one answer
    let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in any state
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for ip in [local.ip(), remote.ip()] {
        match ip {
            IpAddr::V4(ip) => {
                bytes.extend(ip.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend(0_u32.to_ne_bytes()); // any interface
    bytes.extend([0xFF; 8]); // no cookie
    bytes
}

fn answer(bytes: &[u8]) -> Option<Answer> {
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    if kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let (uid, inode) = (number(UID_AT)?, number(INODE_AT)?);
    let state = *bytes.get(STATE_AT)?;
    Some(Answer {
        listens: state == LISTENING,
        uid: (inode != 0).then_some(uid),
        closed_by: (inode == 0 && state == FIN_WAIT_1).then_some(uid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_is_no_answer() {
        for len in [0, 4, 15, 16, INODE_AT + 3] {
            assert_eq!(answer(&vec![0; len]), None);
            let mut typed = vec![0; len.max(6)];
            typed[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            assert_eq!(answer(&typed), None);
        }
    }

    /// Where the kernel answers at all, it says what `/proc/net` says.
    #[test]
    fn the_kernel_knows_both_ends_and_the_listener() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(ip) else {
                continue;
            };
            let server = listener.local_addr().unwrap();
            let nobody = SocketAddr::new(server.ip(), 1);
            let Some(found) = ask(server, nobody) else {
                continue;
            };
            let ours = Some(rustix::process::geteuid().as_raw());
            assert_eq!(
                found,
                Answer {
                    listens: true,
                    uid: ours,
                    closed_by: None,
                }
            );
            let client = std::net::TcpStream::connect(server).unwrap();
            let local = client.local_addr().unwrap();
            assert_eq!(
                ask(local, server),
                Some(Answer {
                    listens: false,
                    uid: ours,
                    closed_by: None,
                })
            );
            assert_eq!(
                ask(server, local),
                Some(Answer {
                    listens: false,
                    uid: None,
                    closed_by: None,
                }),
                "not accepted yet"
            );
            let (_accepted, _) = listener.accept().unwrap();
            assert_eq!(
                ask(server, local),
                Some(Answer {
                    listens: false,
                    uid: ours,
                    closed_by: None,
                })
            );
            assert_eq!(ask(nobody, local), None);
        }
    }
}
