//! TLS over TCP: the only way to and from other machines.
//!
//! Owns which files a server and a client use ([`TlsServer`], [`TlsClient`]) and, with the feature `tls`, the
//! handshake and the records. TLS 1.3 only, never a fallback to plain TCP. What a certificate's name may do is not
//! its business; the broker asks [`Stream::proven_name`](super::Stream::proven_name).

#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "tls")]
mod stream;

#[cfg(all(feature = "tls", feature = "cli"))]
pub(super) use config::wrong_files;
#[cfg(feature = "tls")]
pub(super) use config::{client, server};
#[cfg(feature = "tls")]
pub use stream::Stream;

use std::path::PathBuf;

/// What is said of a `tls:` endpoint by a program that was built without TLS.
pub const NOT_BUILT_IN: &str =
    "this program was built without TLS; build it with the feature `tls` (cargo build --features tls)";

/// How a server shows who it is and whom it trusts. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsServer {
    /// The server's certificate, followed by those between it and its CA.
    pub certificate: PathBuf,
    /// The certificate's key: a file of this user or root that nobody else may read.
    pub key: PathBuf,
    /// The CA of clients: a client with a certificate of this CA is the one that its DNS name says. `None`: every client
    /// needs a token.
    pub client_ca: Option<PathBuf>,
}

/// Whom a client trusts and how it shows who it is. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClient {
    /// The CA of the server's certificate.
    pub ca: Option<PathBuf>,
    /// The server's certificate itself: exactly this one is trusted, whatever name and dates it has. Wins over `ca`.
    pub pin: Option<PathBuf>,
    /// The name that must be in the server's certificate; `None`: the host of the endpoint.
    pub server_name: Option<String>,
    /// The client's own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}
