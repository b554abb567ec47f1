//! The client of a lazy server for programs with a tokio runtime.
//!
//! Owns only the waiting; what is said is [`client`](super::client)'s business.

use super::IpcServerCommand;
use super::client::{ClientError, RESPONSE_MAX, check_server, connect_until, decode, encode, too_large};
use super::stream::QUIETLY;
use super::wire::{self, Found};
use socket2::SockRef;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;

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
    let until = Instant::now().checked_add(timeout);
    let mut stream = connect(path, until).await?;
    let left = until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
    let exchange = exchange(&mut stream, &request, &mut sent);
    let answer = match tokio::time::timeout(left, exchange).await {
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

/// Connects; when so many wait already that the system takes no more, one of the runtime's threads for blocking work waits for it.
async fn connect(path: &Path, until: Option<Instant>) -> Result<UnixStream, ClientError> {
    let failed = |source| ClientError::Io {
        action: "connect",
        source,
    };
    match UnixStream::connect(path).await {
        Ok(stream) => {
            check_server(path, stream.as_fd())?;
            Ok(stream)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            let path = path.to_owned();
            let waiting = tokio::task::spawn_blocking(move || connect_until(&path, until));
            let socket = waiting.await.map_err(|error| failed(error.into()))??;
            socket.set_nonblocking(true).map_err(failed)?;
            let socket = std::os::unix::net::UnixStream::from(OwnedFd::from(socket));
            UnixStream::from_std(socket).map_err(failed)
        }
        Err(source) => Err(ClientError::NoServer {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes everything, without a signal when nobody reads it.
async fn write(stream: &UnixStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                SockRef::from(stream).send_with_flags(rest, QUIETLY)
            })
            .await;
        match sent {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn exchange(
    stream: &mut UnixStream,
    request: &[u8],
    sent: &mut bool,
) -> Result<(u8, Vec<u8>), ClientError> {
    // The server may have said why it takes no more before it closed: the answer is looked at in any case.
    *sent = write(stream, request).await.is_ok();
    let mut incoming = Vec::new();
    loop {
        match wire::find(&incoming, 0, RESPONSE_MAX) {
            Found::Frame(status, body) => {
                let body = incoming.get(body).unwrap_or_default().to_vec();
                return Ok((status, body));
            }
            Found::TooLarge(bytes) => return Err(too_large(bytes)),
            Found::Partial { .. } => {}
        }
        match stream.read_buf(&mut incoming).await {
            Ok(0) | Err(_) => return Err(ClientError::Closed { may_have_run: *sent }),
            Ok(_) => {}
        }
    }
}
