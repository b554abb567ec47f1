//! What a connection holds from its accept to its end: its places among the connections, the handshakes and in the memory.
//!
//! Owns the order in which they are taken; all come back when it is dropped, however the connection ends. Who may connect at all is
//! `listener`'s question. Made there, or by a simulator; kept by the connection's life.

use super::accounts::{Budget, Charge, OverShare};
use super::core::Shared;
use super::memory::Memory;
use super::shares::Who;
use crate::config::CONNECTION_COST;
use crate::transport::PeerCredentials;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The places of one living connection: one among the connections, its cost in the memory, and one among the handshakes from its
/// first byte (or its start, where silence is timed) until it is welcomed. They are given back here and not by a charge each, because an idle connection should hold little.
#[derive(Debug)]
pub struct Admission {
    who: Who,
    in_handshake: bool,
    // Last: whoever waits for the end of connections finds the places free.
    count: CountGuard,
}

impl Admission {
    /// Takes the places. `silent`: it may say nothing for as long as it likes, and is in no handshake before it [`begins`](Self::begins).
    ///
    /// # Errors
    /// [`OverShare`] with the limit that is reached; nothing is held then.
    pub fn new(
        shared: Arc<Shared>,
        credentials: &PeerCredentials,
        address: Option<IpAddr>,
        silent: bool,
    ) -> Result<Self, OverShare> {
        let accounts = &shared.accounts;
        let who = Who {
            connection: accounts.next_connection(),
            ..stranger(credentials, address)
        };
        let both = [
            accounts.charge(Budget::Connections, process(who), 1)?,
            accounts.charge_connection(process(who), CONNECTION_COST)?,
        ];
        if !silent {
            let handshake = accounts.charge(Budget::Handshakes, process(who), 1)?;
            handshake.hand_over();
        }
        both.into_iter().for_each(Charge::hand_over);
        Ok(Self {
            who,
            in_handshake: !silent,
            count: CountGuard::new(shared),
        })
    }

    /// A place among the handshakes for somebody who is not let in, until it is told so. `None`: there is none left.
    pub(super) fn for_refusal(
        shared: &Shared,
        credentials: &PeerCredentials,
        address: Option<IpAddr>,
    ) -> Option<Charge> {
        let who = stranger(credentials, address);
        shared.accounts.charge(Budget::Handshakes, who, 1).ok()
    }

    /// Its first byte is there.
    ///
    /// # Errors
    /// [`OverShare`]: too many of its process's are in their handshake; it keeps its other places.
    pub(super) fn begins(&mut self) -> Result<(), OverShare> {
        if !self.in_handshake {
            let accounts = &self.count.0.accounts;
            accounts
                .charge(Budget::Handshakes, process(self.who), 1)?
                .hand_over();
            self.in_handshake = true;
        }
        Ok(())
    }

    /// A number for the process, or for the connection when its process is not known.
    pub(super) const fn process(&self) -> u64 {
        match self.who.pid {
            0 => self.who.connection | 1 << 63,
            pid => pid as u64,
        }
    }

    /// The handshake is done: its place is free for another. Returns the memory that is kept for the peer from now on.
    pub(super) fn welcomed(&mut self) -> Memory {
        self.leave_handshake();
        Memory::of(&self.count.0.accounts, self.who)
    }

    /// A part of the memory that is shared with clients, for this connection.
    pub(super) fn ring(&self, bytes: usize) -> Result<Charge, OverShare> {
        let accounts = &self.count.0.accounts;
        accounts.charge(Budget::Rings, process(self.who), bytes)
    }

    fn leave_handshake(&mut self) {
        if std::mem::take(&mut self.in_handshake) {
            let accounts = &self.count.0.accounts;
            accounts.release(Budget::Handshakes, process(self.who), 1);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.leave_handshake();
        let accounts = &self.count.0.accounts;
        accounts.release(Budget::Connections, process(self.who), 1);
        accounts.release(Budget::Memory, process(self.who), CONNECTION_COST);
    }
}

/// Whose places they are: of the process as a whole.
const fn process(who: Who) -> Who {
    Who { connection: 0, ..who }
}

/// Whom somebody is charged to who has connected.
fn stranger(credentials: &PeerCredentials, address: Option<IpAddr>) -> Who {
    Who {
        uid: credentials.uid.unwrap_or(u32::MAX),
        pid: credentials.pid.unwrap_or_else(|| address.map_or(0, stand_in)),
        connection: 0,
    }
}

/// What a machine far away is counted as, in place of a process: one of them must not take what is for all. No process has such
/// a number; processes of this machine that the system does not name are counted as one.
fn stand_in(address: IpAddr) -> u32 {
    let address = address.to_canonical();
    if address.is_loopback() {
        return 0;
    }
    let fold = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let sum = match address {
        IpAddr::V4(address) => address.octets().iter().fold(0x811c_9dc5, fold),
        // Who has one address of such a network has all of it.
        IpAddr::V6(address) => address.octets().iter().take(8).fold(0x811c_9dc5, fold),
    };
    sum | 1 << 31
}

/// Counts a living connection.
#[derive(Debug)]
struct CountGuard(Arc<Shared>);

impl CountGuard {
    fn new(shared: Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::AcqRel);
        Self(shared)
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.connection_ended.notify_waiters();
    }
}
