//! A message as bytes: the whole frame that carries it, but for its number.
//!
//! Owns where selector, type, and payload lie in it, and the buffer that each thread writes its messages into, so that sending one
//! allocates nothing and runs no code of the program under a lock. Called by `endpoint`, and for the reading side by `receive`.

use super::error::SendError;
use super::message::Message;
use super::message_box::{CodecError, MessageBox, Uuid};
use crate::message::frame::{FrameView, HEADER_LEN};
use crate::message::{Attachments, Encoding, Flags, Header, Kind};
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
    pub(crate) fn new<T: MessageBox>(message: &Message<T>) -> Result<Self, SendError> {
        let mut outgoing = Self {
            frame: SPARE.take(),
            attachments: Attachments::new(),
        };
        outgoing.write(message)?;
        Ok(outgoing)
    }

    fn write<T: MessageBox>(&mut self, message: &Message<T>) -> Result<(), SendError> {
        let out = &mut self.frame;
        let selector = message.selector.as_ref().ok_or(SendError::NoSelector)?;
        out.clear();
        out.resize(HEADER_LEN, 0);
        selector.encode(out)?;
        let key_len = out.len().saturating_sub(HEADER_LEN);
        out.extend_from_slice(&message.payload.uuid());
        message.payload.encode(out)?;
        let body_len = u32::try_from(out.len().saturating_sub(HEADER_LEN))
            .map_err(|_| SendError::TooLarge(format!("a message of {} bytes has no frame", out.len())))?;
        let header = Header {
            body_len,
            kind: Kind::Send,
            encoding: Encoding::POSTCARD,
            flags: Flags::NONE,
            id: 0,
            aux: selector.ttl_ms(),
            // A selector is no longer than a key.
            key_len: u16::try_from(key_len).unwrap_or(u16::MAX),
            attachments: 0,
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

/// What a frame says to an endpoint that takes `R`; `None`: nothing, it is of another type.
pub(crate) fn read<R: MessageBox>(
    view: &FrameView<'_>,
    attachments: Attachments,
) -> Option<Result<Message<R>, CodecError>> {
    let Some((uuid, body)) = view.payload.split_first_chunk::<{ size_of::<Uuid>() }>() else {
        return Some(Err(CodecError::Decode("it has no type".to_owned())));
    };
    if !R::accepts(uuid) {
        return None;
    }
    drop(attachments);
    Some(R::decode(uuid, body).map(|payload| Message::received(payload, view.origin)))
}
