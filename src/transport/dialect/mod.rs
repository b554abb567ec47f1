//! The formats of older brokers, for programs that were built for them: ipc-broker 1.1.5 and ipc-server 0.1.10.
//!
//! Owns how a format is told from the first byte of a connection, and the [`Gateway`]: what stands between an old client's bytes and
//! the frames of `docs/protocol.md`. To the broker such a client is a peer like any other, with the same rules of owners, limits,
//! deadlines and identity. It refuses to know sockets, actors and clocks. The broker's Connection is the caller.
//!
//! ```text
//!  old client ──bytes──► codec ──Said──► Gateway ──frames──► Session …
//!  old client ◄──bytes── codec ◄──Told── Gateway ◄──frames── Outbox …
//! ```

mod asked;
mod begun;
mod bounds;
#[cfg(test)]
mod bounds_tests;
mod gateway;
mod ipc_broker;
mod ipc_server;
mod pieces;
mod relief;
mod said;
mod scan;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timed_tests;
mod value;

pub use bounds::{BITE, Bounds};
pub use gateway::{Broken, Gateway};

use crate::message::handshake::PREFACE;

/// An older format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// ipc-broker 1.1.5: JSON behind a length of four bytes, big-endian.
    IpcBroker,
    /// ipc-server 0.1.10 of LorenzoLeonardo: JSON documents one after the other.
    IpcServer,
}

impl Dialect {
    /// As the settings name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpcBroker => "ipc-broker",
            Self::IpcServer => "ipc-server",
        }
    }
}

/// Which of them are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialects {
    /// [`Dialect::IpcBroker`].
    pub ipc_broker: bool,
    /// [`Dialect::IpcServer`].
    pub ipc_server: bool,
}

/// What the first byte of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The preface of `docs/protocol.md`.
    Native,
    /// An older format that is served.
    Old(Dialect),
    /// Something else; it gets no answer.
    Foreign,
}

impl Default for Dialects {
    fn default() -> Self {
        Self::ALL
    }
}

impl Dialects {
    /// Both are served.
    pub const ALL: Self = Self {
        ipc_broker: true,
        ipc_server: true,
    };
    /// None is served.
    pub const NONE: Self = Self {
        ipc_broker: false,
        ipc_server: false,
    };

    /// Whether any is served.
    #[must_use]
    pub const fn any(self) -> bool {
        self.ipc_broker || self.ipc_server
    }

    /// What a connection speaks that begins with this byte. A length of ipc-broker begins with a zero, as it is at most 65,536; the
    /// messages of ipc-server are objects, or `null`, and there may be blanks in front of them.
    #[must_use]
    pub const fn opening(self, first: u8) -> Opening {
        match first {
            byte if byte == PREFACE[0] => Opening::Native,
            0 if self.ipc_broker => Opening::Old(Dialect::IpcBroker),
            b'{' | b'n' | b' ' | b'\t' | b'\r' | b'\n' if self.ipc_server => Opening::Old(Dialect::IpcServer),
            _ => Opening::Foreign,
        }
    }
}
