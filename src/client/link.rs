//! From an endpoint to a connection whose handshake is done.
//!
//! Owns the attempt at each endpoint, its time limits, and the two frames of the handshake. What happens on the
//! connection afterwards is [`super::drive`]'s.

use super::builder::Options;
use super::connect_error::{Attempts, ConnectError, Obstacle};
use super::peer::{self, Met};
use crate::error::CloseReason;
use crate::message::codec::body_limit;
use crate::message::frame::HELLO_BODY_MAX;
use crate::message::handshake::PREFACE;
use crate::message::{
    Batch, Decoder, Draft, Encoding, Hello, Kind, PROTOCOL_VERSION, PeerId, Token, Welcome,
};
use crate::transport::region;
use crate::transport::{ConnectOptions, Endpoint, Stream, connect_known};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

/// What one endpoint may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_millis(300);
/// The most that a welcome is believed of any size, in bytes: what a broker may send is held, so its word is not enough.
const SIZE_MAX: u32 = 1024 * 1024 * 1024;
/// What one round over all endpoints may take when there are other rounds: a broker under load gets time to answer.
pub(crate) const ROUND_LIMIT: Duration = Duration::from_secs(5);
/// The same for the only round, so that its failure is told within a second.
pub(crate) const ONLY_ROUND_LIMIT: Duration = Duration::from_millis(900);

/// A connection, ready for frames.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: Arc<Stream>,
    pub(crate) decoder: Decoder,
    pub(crate) welcome: Welcome,
    pub(crate) peer: PeerId,
    /// Who it is, when it is no broker.
    pub(crate) met: Option<Arc<Met>>,
}

/// Tries the endpoints in order for at most `budget` in all and returns the first connection. What one endpoint leaves
/// of its share of the time is for those behind it.
///
/// # Errors
/// Every endpoint with its own reason.
pub(crate) async fn establish(options: &Options, budget: Duration) -> Result<Link, ConnectError> {
    let until = Instant::now() + budget;
    let mut attempts = Attempts::new(options.role());
    let mut left = u32::try_from(options.endpoints.len()).unwrap_or(u32::MAX);
    for endpoint in &options.endpoints {
        let share = until.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        match attempt(endpoint, options, share).await {
            Ok(link) => return Ok(link),
            Err(obstacle) => attempts.failed(endpoint, obstacle),
        }
    }
    Err(attempts.into_error())
}

async fn attempt(endpoint: &Endpoint, options: &Options, share: Duration) -> Result<Link, Obstacle> {
    if let Some(why) = endpoint.lacking() {
        return Err(Obstacle::Unsupported(why.to_owned()));
    }
    let until = Instant::now() + share;
    let limit = if matches!(endpoint, Endpoint::Tls(_)) || options.peer.is_some() {
        // The way to another machine takes what it takes, several times over; what a program may take, its caller has said.
        share
    } else {
        CONNECT_LIMIT.min(share)
    };
    let connecting = ConnectOptions {
        tls: options.tls.clone(),
    };
    let (stream, server) = match timeout(limit, connect_known(endpoint, &connecting)).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => {
            let text = error.to_string();
            let own = text.strip_prefix(&format!("{endpoint}: ")).unwrap_or(&text);
            let of_a_user = matches!(endpoint, Endpoint::Unix(_) | Endpoint::Pipe(_));
            return Err(match error.kind() {
                io::ErrorKind::PermissionDenied if of_a_user => Obstacle::Forbidden(own.to_owned()),
                _ => Obstacle::Other(own.to_owned()),
            });
        }
        Err(_) => return Err(format!("no connection within {} ms", limit.as_millis()).into()),
    };
    let asked = options.token_file.as_deref();
    let (greeted, (answer, what)) = match &options.peer {
        None => {
            let token = super::proof::token(endpoint, asked)?;
            let greeting = greet(stream, &options.name, token);
            (timeout_at(until, greeting).await, ("welcome", "a broker"))
        }
        Some(offer) => {
            // The usual token file is the broker's.
            let token = match asked {
                Some(_) => super::proof::token(endpoint, asked)?,
                None => None,
            };
            let greeting = peer::greet((stream, server), offer, token);
            (timeout_at(until, greeting).await, ("Meet", "an RpcServer"))
        }
    };
    greeted.unwrap_or_else(|_| {
        let text = format!(
            "connected, but got no {answer} within {} ms: the program there is stopped or busy, or it is not {what}",
            // Without the part of a moment that was spent before.
            share.as_millis().div_ceil(10).saturating_mul(10)
        );
        Err(Obstacle::Silent(text))
    })
}

async fn greet(stream: Stream, name: &str, token: Option<Token>) -> Result<Link, Obstacle> {
    let hello = Hello {
        name: name.to_owned(),
        token,
        regions: region::SUPPORTED,
        handles: stream.expects_handles(),
    };
    // It may hold a token, which is not left behind in memory.
    let hello = Zeroizing::new(hello.encode());
    let mut greeting = Zeroizing::new(Vec::with_capacity(HELLO_BODY_MAX));
    greeting.extend(PREFACE);
    Draft::new(Kind::Hello, u64::from(PROTOCOL_VERSION))
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &hello)
        .encode(&mut *greeting);
    let sent = write_all(&stream, &greeting).await;
    let mut decoder = Decoder::new(HELLO_BODY_MAX);
    let answer = first_batch(&stream, &mut decoder).await;
    // A broker may refuse and close before it is greeted: what it said is there to be read, and tells more.
    let batch = match (sent, answer) {
        (Err(error), Err(_)) => return Err(format!("the greeting was not sent: {error}").into()),
        (_, answer) => answer?,
    };
    let (welcome, peer) = read_welcome(&batch)?;
    decoder.set_limit(body_limit(welcome.frame_bytes as usize));
    Ok(Link {
        stream: Arc::new(stream),
        decoder,
        welcome,
        peer,
        met: None,
    })
}

fn read_welcome(batch: &Batch) -> Result<(Welcome, PeerId), Obstacle> {
    let first = batch.view(0).ok_or_else(|| "the answer is no frame".to_owned())?;
    match first.header.kind {
        Kind::Welcome if first.header.aux == PROTOCOL_VERSION => Welcome::decode(first.payload)
            .map(|welcome| (believable(welcome), PeerId(first.header.id)))
            .ok_or_else(|| "the welcome is cut off".to_owned().into()),
        Kind::Welcome => Err(Obstacle::Refused(
            CloseReason::Version,
            format!(
                "the broker chose protocol version {}, this library speaks {PROTOCOL_VERSION}",
                first.header.aux
            ),
        )),
        Kind::Goodbye => Err(Obstacle::Refused(
            CloseReason::from_code(first.header.aux),
            String::from_utf8_lossy(first.payload).into_owned(),
        )),
        other => Err(format!("the answer is a {} frame instead of a welcome", other.name()).into()),
    }
}

/// A welcome without sizes that no client should prepare for.
fn believable(welcome: Welcome) -> Welcome {
    Welcome {
        frame_bytes: welcome.frame_bytes.min(SIZE_MAX),
        message_bytes: welcome.message_bytes.min(SIZE_MAX),
        stream_window: welcome.stream_window.min(SIZE_MAX),
        region_bytes: welcome.region_bytes.min(SIZE_MAX),
        ..welcome
    }
}

pub(super) async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(&[IoSlice::new(bytes)], &[]) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::future::poll_fn(|cx| stream.poll_write_ready(cx)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads no further than the first frame needs, so that nothing behind the welcome is taken with it.
async fn first_batch(stream: &Stream, decoder: &mut Decoder) -> Result<Batch, String> {
    use crate::message::frame::HEADER_LEN;
    let failed = |error: io::Error| format!("no answer to the greeting: {error}");
    let mut attachments = Vec::new();
    let mut wanted = HEADER_LEN;
    let mut head: Vec<u8> = Vec::new();
    loop {
        std::future::poll_fn(|cx| stream.poll_read_ready(cx))
            .await
            .map_err(failed)?;
        let mut part = vec![0; wanted];
        let count = match stream.try_read(&mut part, &mut attachments) {
            Ok(0) => return Err("the server closed the connection; is it a broker?".to_owned()),
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        attachments.clear();
        let part = part.get(..count).unwrap_or_default();
        head.extend_from_slice(part);
        let batch = decoder
            .decode(part)
            .map_err(|error| format!("the answer is not a broker's: {error}"))?;
        if !batch.is_empty() {
            return Ok(batch);
        }
        wanted = match head.first_chunk::<4>().filter(|_| head.len() >= HEADER_LEN) {
            Some(length) => HEADER_LEN
                .saturating_add(u32::from_le_bytes(*length) as usize)
                .saturating_sub(head.len())
                .clamp(1, HELLO_BODY_MAX),
            None => HEADER_LEN.saturating_sub(head.len()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_in_another_version_is_a_refusal_and_no_reason_to_start_a_broker() {
        let frame = Draft::new(Kind::Welcome, 5).aux(PROTOCOL_VERSION + 1).to_vec();
        let batch = Decoder::new(4096).decode(&frame).unwrap();
        let mut attempts = Attempts::new(peer::Role::Broker);
        attempts.failed(&Endpoint::Unix("/b".into()), read_welcome(&batch).unwrap_err());
        let error = attempts.into_error();
        assert_eq!(error.code(), crate::error::ErrorCode::Invalid);
        let text = error.to_string();
        let said = format!("chose protocol version {}", PROTOCOL_VERSION + 1);
        assert!(text.contains(&said) && !text.contains("start one"), "{text}");
    }

    #[tokio::test]
    #[cfg(unix)]
    async fn a_refusal_is_read_although_the_greeting_cannot_be_sent() {
        use std::io::Write;
        use std::net::Shutdown;
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let server = UnixListener::bind(&path).unwrap();
        let goodbye = Draft::goodbye(CloseReason::Denied, "uid 7 may not connect").to_vec();
        let endpoint = Endpoint::Unix(path);
        for said in [&goodbye[..], b""].repeat(100) {
            let stream = crate::transport::connect_with(&endpoint, &ConnectOptions::default())
                .await
                .unwrap();
            let (mut peer, _) = server.accept().unwrap();
            peer.write_all(said).unwrap();
            peer.shutdown(Shutdown::Both).unwrap();
            drop(peer);
            let error = greet(stream, "", None).await.unwrap_err();
            let as_expected = match (&error, said.is_empty()) {
                (Obstacle::Other(text), true) => text.contains("the greeting was not sent"),
                (Obstacle::Refused(CloseReason::Denied, text), false) => text == "uid 7 may not connect",
                _ => false,
            };
            assert!(as_expected, "{error:?}");
        }
    }
}
