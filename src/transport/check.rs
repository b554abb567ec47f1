//! What would keep a server from listening, found without listening.
//!
//! Owns the questions that can be asked before a start: does this program have the transport, can the path hold a socket, do the
//! files of TLS hold what they should. Whether an address is taken is not asked: it may be by the broker whose settings these are.
//! `settings` calls it.

use super::{BindError, Endpoint, TlsServer, UnixOptions};
use std::net::SocketAddr;

/// Whether the endpoint could be bound.
///
/// # Errors
/// What [`Listener::bind_with`](super::Listener::bind_with) would say.
pub(crate) fn endpoint(endpoint: &Endpoint, unix: &UnixOptions) -> Result<(), BindError> {
    if endpoint.lacking().is_some() {
        return Err(BindError::Unsupported {
            endpoint: endpoint.clone(),
        });
    }
    #[cfg(unix)]
    if let Endpoint::Unix(path) = endpoint {
        return crate::platform::place::check(path, unix).map_err(|error| BindError::place(endpoint, error));
    }
    let _ = unix;
    Ok(())
}

/// Why a plain TCP endpoint is not to be had anywhere: its address, written as a number, can be reached from other machines. What a name leads to is
/// found at the start.
pub(crate) fn open_to_others(endpoint: &Endpoint) -> Option<BindError> {
    let Endpoint::Tcp(address) = endpoint else {
        return None;
    };
    let address: SocketAddr = address.parse().ok()?;
    let open = !address.ip().to_canonical().is_loopback();
    open.then(|| BindError::NotLoopback {
        endpoint: endpoint.clone(),
        address,
    })
}

/// What is wrong with the files of TLS, each with its key; nothing where TLS is not built in, because the endpoint is refused then.
pub(crate) fn tls(server: &TlsServer) -> Vec<(&'static str, String)> {
    #[cfg(feature = "tls")]
    return super::tls::wrong_files(server);
    #[cfg(not(feature = "tls"))]
    {
        let _ = server;
        Vec::new()
    }
}
