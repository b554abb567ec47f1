//! A message as bytes: the whole frame that carries it, but for its number.
//!
//! Owns where selector, type, and payload lie in it. The bytes are written by [`Encoded`], under no lock. Called by `endpoint`, and
//! for the reading side by `receive`.

use super::error::{RecvError, SendError};
use super::memory::entry::Entry;
use super::memory::{MemoryRegion, Object};
use super::message::Message;
use super::message_box::{CodecError, MessageBox, Uuid};
use super::selector::SelectorMode;
use crate::client::encoded::Encoded;
use crate::message::frame::FrameView;
use crate::message::{Attachment, Attachments, Encoding, Flags, Header, Kind};

/// Writes a message: the whole Send frame but for its number.
///
/// # Errors
/// What is wrong with its selector or payload.
pub(crate) fn encode<T: MessageBox>(message: Message<T>) -> Result<Encoded, SendError> {
    let selector = message.selector.as_ref().ok_or(SendError::NoSelector)?;
    let several = selector.mode == SelectorMode::Multicast;
    let share = message.share || message.objects.is_empty() && !message.memory_regions.is_empty();
    Encoded::new(|out, attachments| {
        let from = out.len();
        selector.encode(out)?;
        let key_len = out.len().saturating_sub(from);
        out.extend_from_slice(&message.payload.uuid());
        if !message.objects.is_empty() || !message.memory_regions.is_empty() {
            *attachments = take_apart(message.objects, message.memory_regions, several, out)?;
        }
        message.payload.encode(out)?;
        Ok(Header {
            body_len: 0,
            kind: Kind::Send,
            encoding: Encoding::POSTCARD,
            flags: Flags::NONE.with_if(share, Flags::SHARE),
            id: 0,
            aux: selector.ttl_ms(),
            // A selector is no longer than a key.
            key_len: u16::try_from(key_len).unwrap_or(u16::MAX),
            attachments: 0,
        })
    })
}

/// Turns what travels with a message into attachments, objects first, and describes the regions: how many, then each.
fn take_apart(
    objects: Vec<Object>,
    regions: Vec<MemoryRegion>,
    several: bool,
    out: &mut Vec<u8>,
) -> Result<Attachments, SendError> {
    let total = objects.len().saturating_add(regions.len());
    let count = u8::try_from(total)
        .and_then(|_| u8::try_from(regions.len()))
        .map_err(|_| {
            SendError::Attachments(format!(
                "{total} objects and regions are more than a message takes"
            ))
        })?;
    out.push(count);
    let mut all: Vec<Attachment> = objects.into_iter().map(Object::into_attachment).collect();
    for region in regions {
        let (attachment, entry) = region
            .into_attachment(several)
            .map_err(|error| SendError::Attachments(error.to_string()))?;
        entry.encode(out);
        all.push(attachment);
    }
    Ok(all.into())
}

/// What travels with a message, and the bytes behind its description.
type Apart<'a> = ((Vec<Object>, Vec<MemoryRegion>), &'a [u8]);

/// The other direction of [`take_apart`].
fn put_together(mut attachments: Vec<Attachment>, body: &[u8]) -> Result<Apart<'_>, RecvError> {
    let wrong = |error: &dyn std::fmt::Display| RecvError::Attachments(error.to_string());
    let short = || wrong(&"the message does not describe its memory regions");
    let (count, mut rest) = body.split_first().ok_or_else(short)?;
    let objects = attachments
        .len()
        .checked_sub(usize::from(*count))
        .ok_or_else(|| wrong(&"the message describes more memory regions than came with it"))?;
    let mut regions = Vec::with_capacity(usize::from(*count));
    for attachment in attachments.split_off(objects) {
        let (entry, behind) = Entry::decode(rest).map_err(|error| wrong(&error))?;
        rest = behind;
        regions.push(MemoryRegion::from_attachment(attachment, &entry).map_err(|error| wrong(&error))?);
    }
    let objects = attachments
        .into_iter()
        .map(Object::from_attachment)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    Ok(((objects, regions), rest))
}

/// What a frame says to an endpoint that takes `R`; `None`: nothing, it is of another type.
pub(crate) fn read<R: MessageBox>(
    view: &FrameView<'_>,
    attachments: Vec<Attachment>,
) -> Option<Result<Message<R>, RecvError>> {
    let Some((uuid, body)) = view.payload.split_first_chunk::<{ size_of::<Uuid>() }>() else {
        return Some(Err(CodecError::Decode("it has no type".to_owned()).into()));
    };
    if !R::accepts(uuid) {
        return None;
    }
    Some(unpack(uuid, body, attachments, view))
}

fn unpack<R: MessageBox>(
    uuid: &Uuid,
    body: &[u8],
    attachments: Vec<Attachment>,
    view: &FrameView<'_>,
) -> Result<Message<R>, RecvError> {
    let (with, body) = match view.header.attachments {
        0 => ((Vec::new(), Vec::new()), body),
        _ => put_together(attachments, body)?,
    };
    let payload = R::decode(uuid, body)?;
    Ok(Message::received(payload, with, view.origin))
}
