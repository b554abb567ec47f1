//! The user at the other end of a TCP connection inside this machine (Windows).
//!
//! Owns the system's tables of TCP sockets, which name a process for each, and which rows are evidence. A row names the process that made
//! the socket, even when another one has it now and the first has ended; its number may be somebody else's by then. So a process that began
//! after its row is no evidence. `tcp` asks; whom to trust is decided elsewhere.
#![allow(
    unsafe_code,
    reason = "the tables have no safe interface; the one use is proven"
)]

use crate::transport::pipe::sys::{Process, Sid};
use crate::transport::{Named, PeerCredentials};
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, MIB_TCP_STATE_LISTEN, MIB_TCP6ROW_OWNER_MODULE, MIB_TCP6TABLE_OWNER_MODULE,
    MIB_TCPROW_OWNER_MODULE, MIB_TCPTABLE_OWNER_MODULE, TCP_TABLE_CLASS, TCP_TABLE_OWNER_MODULE_ALL,
    TCP_TABLE_OWNER_MODULE_CONNECTIONS, TCP_TABLE_OWNER_MODULE_LISTENER,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};

/// Most bytes taken of one table, about 350,000 sockets. A longer one tells nothing.
const TABLE_MAX: u32 = 64 * 1024 * 1024;
/// Room for a table at the first attempt, in bytes: for some hundred sockets.
const TABLE_FIRST: usize = 64 * 1024;
/// How often a table may have grown between the question for its length and the one for its rows.
const ATTEMPTS: usize = 8;

/// The process that made a socket, by number, and when the row came to be; 0 where the system does not tell (Wine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Maker {
    pid: u32,
    since: u64,
}

impl Maker {
    /// Its user, if the process that has the number now is the one that made the socket.
    fn user(self) -> Option<Sid> {
        let process = Process::open(self.pid).ok()?;
        if self.since != 0 && process.began().ok()? > self.since {
            return None;
        }
        process.user().ok()
    }

    fn uid(self) -> Option<u32> {
        self.user()?.known_number()
    }

    /// The process as well, if its user can be told.
    fn named(self) -> Named {
        self.user().map_or_else(Named::default, |user| Named {
            credentials: PeerCredentials {
                uid: user.known_number(),
                gid: None,
                pid: Some(self.pid),
            },
            user: Some(user.into()),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    listens: bool,
    /// `None`: nobody has accepted it yet, or it is closed.
    maker: Option<Maker>,
}

impl Row {
    fn connects(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        !self.listens && self.local == local && self.remote == remote
    }

    fn listens_on(&self, address: SocketAddr) -> bool {
        let any = self.local.ip().is_unspecified() && (address.is_ipv4() || self.local.is_ipv6());
        self.listens && self.local.port() == address.port() && (any || self.local.ip() == address.ip())
    }
}

/// Who made the connected socket at `local` whose peer is `remote`.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> Named {
    let (local, remote) = (canonical(local), canonical(remote));
    let maker = |rows: Vec<Row>| {
        rows.iter()
            .filter(|row| row.connects(local, remote))
            .find_map(|row| row.maker)
    };
    [TCP_TABLE_OWNER_MODULE_CONNECTIONS, TCP_TABLE_OWNER_MODULE_ALL]
        .into_iter()
        .flat_map(|class| families(local).map(|family| (family, class)))
        .find_map(|(family, class)| maker(rows(family, class)))
        .map_or_else(Named::default, Maker::named)
}

/// The tables in which a socket of this address may stand, the likelier one first: sockets of IPv6 can have addresses of IPv4. The system
/// looks up the process of every row, which is work, so that only rows are asked for that may be needed.
const fn families(address: SocketAddr) -> [u16; 2] {
    match address {
        SocketAddr::V4(_) => [AF_INET, AF_INET6],
        SocketAddr::V6(_) => [AF_INET6, AF_INET],
    }
}

/// Who serves the connection from `client` to `server`: whoever has accepted it; before that the listeners, who must be one user then.
pub(super) fn server_owner(server: SocketAddr, client: SocketAddr) -> PeerCredentials {
    let (server, client) = (canonical(server), canonical(client));
    let both = |class| {
        families(server)
            .into_iter()
            .flat_map(move |family| rows(family, class))
    };
    let [likely, _] = families(server);
    let mut found = serving(&rows(likely, TCP_TABLE_OWNER_MODULE_CONNECTIONS), server, client);
    if !matches!(found, Serving::Accepted(_)) {
        let connected = both(TCP_TABLE_OWNER_MODULE_CONNECTIONS);
        let all: Vec<Row> = connected.chain(both(TCP_TABLE_OWNER_MODULE_LISTENER)).collect();
        found = serving(&all, server, client);
    }
    if found == Serving::Nobody {
        // It is ending already.
        let all: Vec<Row> = both(TCP_TABLE_OWNER_MODULE_ALL).collect();
        found = serving(&all, server, client);
    }
    match found {
        Serving::Accepted(maker) => maker.named().credentials,
        Serving::Waiting(makers) => {
            let mut all = makers.iter().map(|maker| maker.named().credentials);
            let first = all.next().unwrap_or(PeerCredentials::UNKNOWN);
            if all.all(|other| other.uid == first.uid) {
                first
            } else {
                PeerCredentials::UNKNOWN
            }
        }
        Serving::Nobody => PeerCredentials::UNKNOWN,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Serving {
    Accepted(Maker),
    /// The connection is there and nobody has accepted it; these listen.
    Waiting(Vec<Maker>),
    Nobody,
}

fn serving(rows: &[Row], server: SocketAddr, client: SocketAddr) -> Serving {
    let mut there = false;
    for row in rows.iter().filter(|row| row.connects(server, client)) {
        there = true;
        if let Some(maker) = row.maker {
            return Serving::Accepted(maker);
        }
    }
    let listening = rows.iter().filter(|row| row.listens_on(server));
    if there {
        Serving::Waiting(listening.filter_map(|row| row.maker).collect())
    } else {
        Serving::Nobody
    }
}

/// The user who listens on `address`, if anyone does.
pub(super) fn listener_owner(address: SocketAddr) -> Option<u32> {
    let address = canonical(address);
    families(address)
        .into_iter()
        .flat_map(|family| rows(family, TCP_TABLE_OWNER_MODULE_LISTENER))
        .filter(|row| row.listens_on(address))
        .find_map(|row| row.maker)?
        .uid()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The TCP sockets of this machine that are of one family and class.
fn rows(family: u16, class: TCP_TABLE_CLASS) -> Vec<Row> {
    let table = table(family, class);
    match family {
        AF_INET => {
            let start = offset_of!(MIB_TCPTABLE_OWNER_MODULE, table);
            let size = size_of::<MIB_TCPROW_OWNER_MODULE>();
            entries(&table, start, size)
                .filter_map(|raw| row::<4>(raw, &IN_V4))
                .collect()
        }
        _ => {
            let start = offset_of!(MIB_TCP6TABLE_OWNER_MODULE, table);
            let size = size_of::<MIB_TCP6ROW_OWNER_MODULE>();
            entries(&table, start, size)
                .filter_map(|raw| row::<16>(raw, &IN_V6))
                .collect()
        }
    }
}

/// The rows of a table: it begins with their count.
fn entries(table: &[u8], start: usize, size: usize) -> impl Iterator<Item = &[u8]> {
    let count = word(table, 0).unwrap_or_default() as usize;
    table
        .get(start..)
        .unwrap_or_default()
        .chunks_exact(size)
        .take(count)
}

/// Where the parts of a row stand, which are the same in both families but for the length of an address.
struct Places {
    local: [usize; 2],
    remote: [usize; 2],
    state: usize,
    maker: [usize; 2],
}

/// The places in a row of this type: its addresses' names differ.
macro_rules! places {
    ($raw:ty, $local:ident, $remote:ident) => {
        Places {
            local: [offset_of!($raw, $local), offset_of!($raw, dwLocalPort)],
            remote: [offset_of!($raw, $remote), offset_of!($raw, dwRemotePort)],
            state: offset_of!($raw, dwState),
            maker: [offset_of!($raw, dwOwningPid), offset_of!($raw, liCreateTimestamp)],
        }
    };
}

const IN_V4: Places = places!(MIB_TCPROW_OWNER_MODULE, dwLocalAddr, dwRemoteAddr);
const IN_V6: Places = places!(MIB_TCP6ROW_OWNER_MODULE, ucLocalAddr, ucRemoteAddr);

/// A row whose addresses have so many bytes.
fn row<const N: usize>(row: &[u8], places: &Places) -> Option<Row>
where
    IpAddr: From<[u8; N]>,
{
    let address = |[ip, number]: [usize; 2]| {
        let ip: IpAddr = bytes::<N>(row, ip)?.into();
        Some(SocketAddr::new(ip.to_canonical(), port(row, number)?))
    };
    let [pid, made] = places.maker;
    Some(Row {
        local: address(places.local)?,
        remote: address(places.remote)?,
        listens: listens(row, places.state)?,
        maker: maker(row, pid, made)?,
    })
}

fn bytes<const N: usize>(row: &[u8], at: usize) -> Option<[u8; N]> {
    row.get(at..)?.first_chunk().copied()
}

fn word(row: &[u8], at: usize) -> Option<u32> {
    bytes(row, at).map(u32::from_ne_bytes)
}

/// A port is in the order of the network, in the first two of its four bytes.
fn port(row: &[u8], at: usize) -> Option<u16> {
    bytes(row, at).map(u16::from_be_bytes)
}

fn listens(row: &[u8], at: usize) -> Option<bool> {
    word(row, at).map(|state| i64::from(state) == i64::from(MIB_TCP_STATE_LISTEN))
}

fn maker(row: &[u8], pid: usize, since: usize) -> Option<Option<Maker>> {
    let pid = word(row, pid)?;
    let since = bytes(row, since).map(u64::from_ne_bytes)?;
    Some((pid != 0).then_some(Maker { pid, since }))
}

/// The table of one address family and class, as the system writes it; empty when it tells none.
fn table(family: u16, class: TCP_TABLE_CLASS) -> Vec<u8> {
    // Eight bytes each, because the rows have numbers of that size.
    let mut buffer: Vec<u64> = vec![0; TABLE_FIRST / 8];
    for _ in 0..ATTEMPTS {
        let mut size = u32::try_from(size_of_val(buffer.as_slice())).unwrap_or(TABLE_MAX);
        // SAFETY: `size` says how many bytes of the buffer may be written, which are initialised and aligned for any row. Nothing
        // else is read or kept.
        let status = unsafe {
            GetExtendedTcpTable(
                buffer.as_mut_ptr().cast(),
                &raw mut size,
                0,
                u32::from(family),
                class,
                0,
            )
        };
        match status {
            NO_ERROR => return buffer.iter().flat_map(|word| word.to_ne_bytes()).collect(),
            ERROR_INSUFFICIENT_BUFFER if size <= TABLE_MAX => {
                // Some room for sockets that come meanwhile.
                buffer = vec![0; (size as usize + 4096).div_ceil(8)];
            }
            _ => break,
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn who_accepted_serves_and_before_that_who_listens() {
        let [server, client, other] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let any = SocketAddr::from(([0, 0, 0, 0], 1));
        let row = |local, remote, listens, pid: u32| Row {
            local,
            remote,
            listens,
            maker: (pid != 0).then_some(Maker { pid, since: 0 }),
        };
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let listener = row(any, nobody, true, 7);
        let of = |pid| Maker { pid, since: 0 };
        // Rows, who serves
        let table = [
            (vec![], Serving::Nobody),
            (vec![listener], Serving::Nobody),
            (vec![listener, row(server, other, false, 9)], Serving::Nobody),
            (
                vec![listener, row(server, client, false, 0)],
                Serving::Waiting(vec![of(7)]),
            ),
            (
                vec![listener, row(server, client, false, 8)],
                Serving::Accepted(of(8)),
            ),
            (vec![row(server, client, false, 0)], Serving::Waiting(vec![])),
        ];
        for (rows, expected) in table {
            assert_eq!(serving(&rows, server, client), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_process_that_began_after_its_socket_did_not_make_it() {
        let pid = std::process::id();
        let ours = crate::transport::current_uid();
        assert!(ours.is_some());
        assert_eq!(Maker { pid, since: 0 }.uid(), ours);
        assert_eq!(Maker { pid, since: u64::MAX }.uid(), ours);
        assert_eq!(Maker { pid, since: 1 }.user(), None, "in the year 1601");
    }

    #[test]
    fn a_connection_is_in_the_table_and_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Wine knows a socket's process once it has used the socket itself.
        listener.set_ttl(64).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let _accepted = listener.accept().unwrap();
        let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let listening = rows(AF_INET, TCP_TABLE_OWNER_MODULE_LISTENER);
        assert!(listening.iter().any(|row| row.listens_on(there)));
        let ours = PeerCredentials::current();
        let named = owner(here, there);
        assert_eq!(named.credentials, ours);
        assert!(
            named.user.is_some_and(|user| user.has_number),
            "it is this process's user"
        );
        assert_eq!(server_owner(there, here), ours);
        assert_eq!(listener_owner(there), ours.uid);
        let stranger = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(owner(stranger, there), Named::default());
        assert_eq!(server_owner(there, stranger), PeerCredentials::UNKNOWN);
    }
}
