//! The user behind a loopback TCP socket, from Linux' tables `/proc/net/tcp` and `/proc/net/tcp6`.
//!
//! Owns reading them and which rows are evidence. A socket without a process (not accepted yet, closed, or in
//! TIME_WAIT) is shown with uid 0, which must never pass for root; such a row has inode 0.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// Most bytes read of one table, about 400,000 sockets. What lies behind stays unknown.
const TABLE_MAX: u64 = 64 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;
const LISTENING: u8 = 0x0A;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    uid: u32,
    inode: u64,
}

impl Row {
    fn connects(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.state != LISTENING && self.local == local && self.remote == remote
    }

    fn listens_on(&self, address: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified() && (address.is_ipv4() || self.local.is_ipv6());
        self.state == LISTENING
            && self.local.port() == address.port()
            && (any || self.local.ip() == address.ip())
    }
}

/// The user of the connected socket at `local` whose peer is `remote`.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (canonical(local), canonical(remote));
    let mut owner = None;
    each_row(|row| {
        if row.connects(local, remote) && row.inode != 0 {
            owner = Some(row.uid);
        }
        owner.is_none()
    });
    owner
}

/// The user who serves the connection from `client` to `server`.
///
/// The server's socket of this connection tells, once it is accepted. Before that it is the listener's, and so are
/// the listeners asked; if more than one could be meant they must be of one user. The connection's row must be
/// there in either case: a listener may have come after another one that has the connection.
pub(super) fn server_owner(server: SocketAddr, client: SocketAddr) -> Option<u32> {
    let (server, client) = (canonical(server), canonical(client));
    let (mut accepted, mut waiting, mut listeners) = (None, false, Vec::new());
    each_row(|row| {
        if row.listens_on(server) && row.inode != 0 {
            listeners.push(row.uid);
        } else if row.connects(server, client) {
            waiting = true;
            accepted = (row.inode != 0).then_some(row.uid);
        }
        accepted.is_none()
    });
    let one = listeners
        .first()
        .copied()
        .filter(|first| listeners.iter().all(|uid| uid == first));
    accepted.or_else(|| one.filter(|_| waiting))
}

/// The user who listens on `address`, if anyone does and there is one.
pub(super) fn listener_owner(address: SocketAddr) -> Option<u32> {
    let address = canonical(address);
    let mut owner = None;
    each_row(|row| {
        if row.listens_on(address) {
            owner = Some(row.uid);
        }
        owner.is_none()
    });
    owner
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Shows every row until `wants_more` says no. Tables that cannot be read have no rows.
fn each_row(mut wants_more: impl FnMut(Row) -> bool) {
    let mut line = Vec::with_capacity(256);
    for table in TABLES {
        let Ok(file) = File::open(table) else { continue };
        let mut lines = BufReader::with_capacity(CHUNK, file.take(TABLE_MAX));
        loop {
            line.clear();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if let Some(row) = parse(&line)
                && !wants_more(row)
            {
                return;
            }
        }
    }
}

/// `sl local remote state queues timer retransmits uid timeout inode …`; `None` for anything else.
fn parse(line: &[u8]) -> Option<Row> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let local = address(fields.nth(1)?)?;
    let remote = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Row {
        local,
        remote,
        state,
        uid,
        inode,
    })
}

/// Hexadecimal words of the address, each as this machine reads it from the network's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0_u8; 16];
            for (index, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_are_parsed_and_rubbish_is_not() {
        let v4 = b"   1: 0100007F:1403 0100007F:C000 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0\n";
        let row = Row {
            local: "127.0.0.1:5123".parse().unwrap(),
            remote: "127.0.0.1:49152".parse().unwrap(),
            state: 1,
            uid: 1000,
            inode: 12345,
        };
        assert_eq!(parse(v4), Some(row));
        let mapped = b"1: 0000000000000000FFFF00000100007F:1403 00000000000000000000000001000000:0001 0A 0:0 0:0 0 7 0 9";
        let row = parse(mapped).unwrap();
        assert_eq!(row.local, "127.0.0.1:5123".parse().unwrap());
        assert_eq!(row.remote, "[::1]:1".parse().unwrap());
        for rubbish in [
            &b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"[..],
            b"",
            b"1: 0100007F:1403",
            b"1: 0100007F:14031 0100007F:C000 01 0:0 0:0 0 1000 0 1",
            b"1: 0100007:1403 0100007F:C000 01 0:0 0:0 0 1000 0 1",
            b"1: 0100007F:1403 0100007F:C000 01 0:0 0:0 0 -1 0 1",
            b"1: \xFF\xFF0007F:1403 0100007F:C000 01 0:0 0:0 0 1000 0 1",
            "1: é100007:1403 0100007F:C000 01 0:0 0:0 0 1000 0 1".as_bytes(),
        ] {
            assert_eq!(parse(rubbish), None, "{}", String::from_utf8_lossy(rubbish));
        }
    }

    #[test]
    fn wildcards_listen_for_their_family() {
        let row = |local: &str| Row {
            local: local.parse().unwrap(),
            remote: "0.0.0.0:0".parse().unwrap(),
            state: LISTENING,
            uid: 0,
            inode: 1,
        };
        let table = [
            ("127.0.0.1:5", "127.0.0.1:5", true),
            ("0.0.0.0:5", "127.0.0.1:5", true),
            ("[::]:5", "127.0.0.1:5", true),
            ("[::]:5", "[::1]:5", true),
            ("0.0.0.0:5", "[::1]:5", false),
            ("127.0.0.2:5", "127.0.0.1:5", false),
            ("127.0.0.1:6", "127.0.0.1:5", false),
        ];
        for (local, address, expected) in table {
            assert_eq!(
                row(local).listens_on(address.parse().unwrap()),
                expected,
                "{local} {address}"
            );
        }
    }

    #[test]
    fn the_owner_of_an_unaccepted_connection_is_its_listeners() {
        let ours = rustix::process::geteuid().as_raw();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        assert_eq!(listener_owner(server), Some(ours));
        let client = std::net::TcpStream::connect(server).unwrap();
        let local = client.local_addr().unwrap();
        assert_eq!(owner(local, server), Some(ours));
        // In the accept queue: the row has no process, and is no evidence.
        assert_eq!(owner(server, local), None);
        assert_eq!(server_owner(server, local), Some(ours));
        let (_accepted, _) = listener.accept().unwrap();
        assert_eq!(owner(server, local), Some(ours));
        assert_eq!(server_owner(server, local), Some(ours));
        // A listener alone says nothing about a connection that is not there.
        assert_eq!(server_owner(server, "127.0.0.1:1".parse().unwrap()), None);
    }
}
