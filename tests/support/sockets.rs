//! Sockets for an end that a test plays in bytes: Unix sockets, elsewhere TCP on this machine.
//!
//! Owns where such a socket lies, listening there and dialling it; what is said over it is the callers' business. No pipes: one that
//! a blocking program has opened cannot be read and written at the same time.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::transport::Endpoint;
use std::path::{Path, PathBuf};

#[cfg(not(unix))]
pub use std::net::{TcpListener as Listener, TcpStream as Socket};
#[cfg(unix)]
pub use std::os::unix::net::{UnixListener as Listener, UnixStream as Socket};

/// Where a server is that bytes reach, with the folder of its socket.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// For a server to listen on; over TCP it gets a port of its own then.
    pub fn endpoint(&self) -> Endpoint {
        if cfg!(unix) {
            Endpoint::Unix(self.0.path().join("s"))
        } else {
            Endpoint::Tcp("127.0.0.1:0".into())
        }
    }

    /// Listens, and says where.
    #[cfg(unix)]
    pub fn listen(&self) -> (Listener, Endpoint) {
        let path = self.0.path().join("s");
        let listener = Listener::bind(&path).expect("the folder is new");
        (listener, Endpoint::Unix(path))
    }

    /// Listens, and says where.
    #[cfg(not(unix))]
    #[allow(
        clippy::unused_self,
        reason = "where the socket is a file, this has its folder"
    )]
    pub fn listen(&self) -> (Listener, Endpoint) {
        let listener = Listener::bind("127.0.0.1:0").expect("a port is free");
        is_known(&listener);
        let address = listener.local_addr().expect("it is bound");
        (listener, Endpoint::Tcp(address.to_string()))
    }
}

/// Wine tells whose a TCP socket is once its process has used it; elsewhere nothing comes of this.
pub fn is_known(listener: &std::net::TcpListener) {
    listener.set_ttl(64).expect("a socket");
}

/// What [`dial`] takes of an endpoint: the path of the Unix socket; elsewhere the address.
pub fn path(endpoint: &Endpoint) -> PathBuf {
    match endpoint {
        Endpoint::Unix(path) => path.clone(),
        Endpoint::Tcp(address) => address.into(),
        other => panic!("{other} is not for raw clients"),
    }
}

#[cfg(unix)]
pub fn dial(path: &Path) -> std::io::Result<Socket> {
    Socket::connect(path)
}

/// The path is an address here.
#[cfg(not(unix))]
pub fn dial(path: &Path) -> std::io::Result<Socket> {
    let socket = Socket::connect(path.to_str().expect("an address"))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}
