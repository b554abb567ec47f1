//! The client of a lazy server for programs with a tokio runtime.
//!
//! Owns only the waiting; what is said is [`client`](super::client)'s business.

use super::IpcServerCommand;
use super::client::{ClientError, check_server, decode, encode, no_server_of_ours};
use super::wire::{self, Found};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Largest response that is believed, in bytes.
const RESPONSE_MAX: usize = 1 << 30;

/// Sends one command to the server at `socket_path` and returns its response, within `timeout`.
///
/// Not cancel safe as far as the command goes: once it was polled, it may be carried out although nobody waits for the response.
///
/// # Errors
/// [`ClientError`]; [`may_have_run`](ClientError::may_have_run) says whether it may have been carried out.
///
/// # Panics
/// Outside of a tokio runtime with its drivers enabled, as tokio's own sockets.
pub async fn client_send_async<C: IpcServerCommand>(
    command: &C,
    socket_path: impl AsRef<Path>,
    timeout: Duration,
) -> Result<C::Response, ClientError> {
    let path = socket_path.as_ref();
    let request = encode(command, true)?;
    let mut sent = false;
    let exchange = exchange(path, &request, &mut sent);
    let answer = match tokio::time::timeout(timeout, exchange).await {
        Ok(answer) => answer?,
        Err(_) => {
            return Err(ClientError::Timeout {
                timeout,
                may_have_run: sent,
            });
        }
    };
    let (status, body) = answer;
    decode::<C>(status, &body)
}

async fn exchange(path: &Path, request: &[u8], sent: &mut bool) -> Result<(u8, Vec<u8>), ClientError> {
    let none = |source: io::Error| ClientError::NoServer {
        path: path.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(path).await.map_err(none)?;
    check_server(path, stream.as_fd())?;
    // The server may have said why it takes no more before it closed: the answer is looked at in any case.
    *sent = stream.write_all(request).await.is_ok();
    let mut incoming = Vec::new();
    loop {
        match wire::find(&incoming, 0, RESPONSE_MAX) {
            Found::Frame(status, body) => {
                let body = incoming.get(body).unwrap_or_default().to_vec();
                return Ok((status, body));
            }
            Found::TooLarge(_) => return Err(no_server_of_ours()),
            Found::Partial { .. } => {}
        }
        match stream.read_buf(&mut incoming).await {
            Ok(0) | Err(_) => return Err(ClientError::Closed { may_have_run: *sent }),
            Ok(_) => {}
        }
    }
}
