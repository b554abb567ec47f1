//! A message as bytes: the whole frame that carries it, but for its number.
//!
//! Owns where selector, type, and payload lie in it, and the buffer that each thread writes its messages into, so that sending one
//! allocates nothing and runs no code of the program under a lock. Called by `endpoint`, and for the reading side by `receive`.

use super::error::{RecvError, SendError};
use super::memory::entry::Entry;
use super::memory::{MemoryRegion, Object};
use super::message::Message;
use super::message_box::{CodecError, MessageBox, Uuid};
use super::selector::SelectorMode;
use crate::message::frame::{FrameView, HEADER_LEN};
use crate::message::{Attachment, Attachments, Encoding, Flags, Header, Kind};
use std::cell::Cell;

/// A larger buffer is not kept, in bytes.
const KEPT: usize = 256 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A message on its way out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) frame: Vec<u8>,
    pub(crate) attachments: Attachments,
}

impl Outgoing {
    /// Writes a message.
    ///
    /// # Errors
    /// What is wrong with its selector or payload.
    pub(crate) fn new<T: MessageBox>(message: Message<T>) -> Result<Self, SendError> {
        let mut outgoing = Self {
            frame: SPARE.take(),
            attachments: Attachments::new(),
        };
        outgoing.write(message)?;
        Ok(outgoing)
    }

    fn write<T: MessageBox>(&mut self, message: Message<T>) -> Result<(), SendError> {
        let out = &mut self.frame;
        let selector = message.selector.as_ref().ok_or(SendError::NoSelector)?;
        out.clear();
        out.resize(HEADER_LEN, 0);
        selector.encode(out)?;
        let key_len = out.len().saturating_sub(HEADER_LEN);
        let ttl_ms = selector.ttl_ms();
        out.extend_from_slice(&message.payload.uuid());
        let share = message.share || message.objects.is_empty() && !message.memory_regions.is_empty();
        if !message.objects.is_empty() || !message.memory_regions.is_empty() {
            let several = selector.mode == SelectorMode::Multicast;
            self.attachments = take_apart(message.objects, message.memory_regions, several, out)?;
        }
        message.payload.encode(out)?;
        let body_len = u32::try_from(out.len().saturating_sub(HEADER_LEN))
            .map_err(|_| SendError::TooLarge(format!("a message of {} bytes has no frame", out.len())))?;
        let header = Header {
            body_len,
            kind: Kind::Send,
            encoding: Encoding::POSTCARD,
            flags: Flags::NONE.with_if(share, Flags::SHARE),
            id: 0,
            aux: ttl_ms,
            // A selector is no longer than a key.
            key_len: u16::try_from(key_len).unwrap_or(u16::MAX),
            attachments: u8::try_from(self.attachments.len()).unwrap_or(u8::MAX),
        };
        if let Some(place) = out.first_chunk_mut::<HEADER_LEN>() {
            place.copy_from_slice(header.bytes().as_flattened());
        }
        Ok(())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if (1..=KEPT).contains(&self.frame.capacity()) {
            let frame = std::mem::take(&mut self.frame);
            // At the end of a thread there is no place for it.
            let _ = SPARE.try_with(|spare| spare.set(frame));
        }
    }
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
