//! The first frames of two programs: `Meet` and its answer.
//!
//! Owns the reading of exactly one frame and the writing of one; who may come in is its caller's question.

use super::{Met, Offer, welcome};
use crate::client::connect_error::Obstacle;
use crate::client::link::{Link, write_all};
use crate::error::CloseReason;
use crate::message::codec::body_limit;
use crate::message::frame::{HEADER_LEN, HELLO_BODY_MAX};
use crate::message::handshake::{PREFACE, choose_version};
use crate::message::meet::MEET_BODY_MAX;
use crate::message::{
    Attachment, Batch, Decoder, Draft, Encoding, Kind, Meet, PROTOCOL_VERSION, PeerId, Served, Token,
};
use crate::transport::{PeerCredentials, Stream};
use std::io;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Why somebody is not let in: what its Goodbye says. `None`: it is no peer of ours and gets no byte.
pub(crate) type Refused = Option<(CloseReason, String)>;

/// Makes itself known to who listens, and hears who that is.
pub(crate) async fn greet(
    (stream, server): (Stream, PeerCredentials),
    offer: &Offer,
    token: Option<Token>,
) -> Result<Link, Obstacle> {
    let own = Meet {
        token,
        ..offer.meet.clone()
    };
    let payload = own.encode().map(Zeroizing::new).ok_or_else(too_many_protocols)?;
    let mut greeting = Zeroizing::new(PREFACE.to_vec());
    Draft::new(Kind::Meet, u64::from(PROTOCOL_VERSION))
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &payload)
        .encode(&mut *greeting);
    let sent = write_all(&stream, &greeting).await;
    let mut decoder = Decoder::new(MEET_BODY_MAX);
    let batch = match (sent, frame(&stream, &mut decoder, MEET_BODY_MAX).await) {
        (Err(error), Err(_)) => return Err(format!("the greeting was not sent: {error}").into()),
        (_, Err(Unread::Closed)) => {
            return Err("the server closed the connection; is it an RpcServer?"
                .to_owned()
                .into());
        }
        (_, Err(error)) => return Err(format!("no answer to the greeting: {}", error.text()).into()),
        (_, Ok(batch)) => batch,
    };
    let first = batch.view(0).ok_or_else(|| "the answer is no frame".to_owned())?;
    match first.header.kind {
        Kind::Meet if first.header.aux == PROTOCOL_VERSION => {
            let meet =
                Meet::decode(first.payload).ok_or_else(|| "the server's Meet is malformed".to_owned())?;
            let met = Met {
                number: first.header.id,
                meet,
                credentials: server,
                proven: None,
            };
            Ok(link(Arc::new(stream), decoder, offer, Arc::new(met)))
        }
        Kind::Meet => Err(Obstacle::Refused(
            CloseReason::Version,
            format!(
                "the server chose protocol version {}, this library speaks {PROTOCOL_VERSION}",
                first.header.aux
            ),
        )),
        Kind::Goodbye => Err(Obstacle::Refused(
            CloseReason::from_code(first.header.aux),
            String::from_utf8_lossy(first.payload).into_owned(),
        )),
        other => Err(format!("the answer is a {} frame instead of a Meet", other.name()).into()),
    }
}

fn too_many_protocols() -> String {
    format!(
        "what is served here does not fit in {MEET_BODY_MAX} bytes: serve fewer protocols on one connection"
    )
}

/// Hears who has connected.
///
/// # Errors
/// What it is to be told.
pub(crate) async fn receive_meet(stream: &Stream) -> Result<(Meet, Decoder), Refused> {
    let mut seen = [0; PREFACE.len()];
    let mut count = 0;
    while count < PREFACE.len() {
        let part = read(stream, PREFACE.len() - count).await.map_err(|_| None)?;
        for (place, byte) in seen.iter_mut().skip(count).zip(&part) {
            *place = *byte;
        }
        count += part.len();
        if !seen.iter().take(count).eq(PREFACE.iter().take(count)) {
            return Err(None);
        }
    }
    let wrong = |text: String| Some((CloseReason::Protocol, text));
    let mut decoder = Decoder::new(MEET_BODY_MAX);
    let batch = match frame(stream, &mut decoder, MEET_BODY_MAX).await {
        Ok(batch) => batch,
        Err(Unread::Frame(text)) => return Err(wrong(text)),
        Err(_) => return Err(None),
    };
    let Some(view) = batch.view(0) else {
        return Err(None);
    };
    let header = view.header;
    if header.kind == Kind::Hello {
        return Err(wrong(
            "this is an RpcServer, not a broker: connect with RpcClient".into(),
        ));
    }
    if header.kind != Kind::Meet || header.attachments > 0 {
        return Err(wrong("the first frame must be Meet, without attachments".into()));
    }
    if choose_version(header.id, header.aux).is_none() {
        let text = format!(
            "this server speaks protocol version {PROTOCOL_VERSION}; the client needs {} to {}",
            header.id, header.aux
        );
        return Err(Some((CloseReason::Version, text)));
    }
    let meet = Meet::decode(view.payload).ok_or_else(|| wrong("the payload of Meet is malformed".into()))?;
    Ok((meet, decoder))
}

/// The answer that lets it in, with what is served to it.
///
/// # Errors
/// The protocols do not fit in it.
pub(crate) fn answer_of(offer: &Offer, number: u64, serves: &[Served]) -> Result<Vec<u8>, String> {
    let own = Meet {
        protocols: serves.to_vec(),
        ..offer.meet.clone()
    };
    let payload = own.encode().ok_or_else(too_many_protocols)?;
    let answer = Draft::new(Kind::Meet, number).aux(PROTOCOL_VERSION);
    Ok(answer.payload(Encoding::RAW, &payload).to_vec())
}

/// Lets it in.
///
/// # Errors
/// What the socket said.
pub(crate) async fn let_in(
    stream: Arc<Stream>,
    decoder: Decoder,
    offer: &Offer,
    met: Arc<Met>,
    answer: &[u8],
) -> io::Result<Link> {
    write_all(&stream, answer).await?;
    Ok(link(stream, decoder, offer, met))
}

/// Says why somebody is not let in, as far as its socket takes it at once.
pub(crate) async fn refuse(stream: &Stream, reason: CloseReason, text: &str) {
    let goodbye = Draft::goodbye(reason, crate::text::cut(text, HELLO_BODY_MAX)).to_vec();
    if write_all(stream, &goodbye).await.is_ok() {
        super::life::linger(stream).await;
    }
}

fn link(stream: Arc<Stream>, mut decoder: Decoder, offer: &Offer, met: Arc<Met>) -> Link {
    let mut terms = offer.meet.terms.common(met.meet.terms);
    terms.attachments = terms.attachments.min(stream.max_attachments());
    decoder.set_limit(body_limit(terms.frame_bytes as usize));
    Link {
        welcome: welcome(terms, met.meet.epoch),
        peer: PeerId(met.number),
        stream,
        decoder,
        met: Some(met),
    }
}

/// Why there is no frame.
enum Unread {
    Closed,
    Socket(io::Error),
    Frame(String),
}

impl Unread {
    fn text(&self) -> String {
        match self {
            Self::Closed => "the connection was closed".to_owned(),
            Self::Socket(error) => error.to_string(),
            Self::Frame(text) => format!("it is not a frame of this protocol: {text}"),
        }
    }
}

/// Reads at most so much, at least a byte.
async fn read(stream: &Stream, most: usize) -> Result<Vec<u8>, Unread> {
    let mut attachments: Vec<Attachment> = Vec::new();
    let mut part = vec![0; most];
    loop {
        std::future::poll_fn(|cx| stream.poll_read_ready(cx))
            .await
            .map_err(Unread::Socket)?;
        match stream.try_read(&mut part, &mut attachments) {
            Ok(0) => return Err(Unread::Closed),
            Ok(count) => {
                part.truncate(count);
                return Ok(part);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(Unread::Socket(error)),
        }
    }
}

/// Reads no further than the next frame needs.
async fn frame(stream: &Stream, decoder: &mut Decoder, most: usize) -> Result<Batch, Unread> {
    let mut head = Vec::with_capacity(HEADER_LEN);
    let mut taken = 0_usize;
    loop {
        let wanted = match head.first_chunk::<4>().filter(|_| head.len() >= HEADER_LEN) {
            Some(length) => HEADER_LEN
                .saturating_add(u32::from_le_bytes(*length) as usize)
                .saturating_sub(taken)
                .clamp(1, most),
            None => HEADER_LEN.saturating_sub(taken).max(1),
        };
        let part = read(stream, wanted).await?;
        taken = taken.saturating_add(part.len());
        if head.len() < HEADER_LEN {
            head.extend_from_slice(&part);
        }
        let batch = decoder
            .decode(&part)
            .map_err(|error| Unread::Frame(error.to_string()))?;
        if !batch.is_empty() {
            return Ok(batch);
        }
    }
}
