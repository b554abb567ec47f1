//! Messages that come in pieces, put together again for an actor of this process.
//!
//! Owns the bytes that came so far. Pure; called by `dispatch` and `subscriber`.

use crate::message::frame::FrameView;
use crate::message::{Encoding, Metadata, Payload};
use bytes::{Bytes, BytesMut};

/// The beginning of a message.
#[derive(Debug)]
pub(super) struct Partial {
    encoding: Encoding,
    pub(super) metadata: Metadata,
    bytes: BytesMut,
}

impl Partial {
    /// Begins with a first frame.
    pub(super) fn begin(view: &FrameView<'_>) -> Self {
        Self {
            encoding: view.header.encoding,
            metadata: metadata(view.meta),
            bytes: BytesMut::from(view.payload),
        }
    }

    /// Adds a piece. `false`: the message is larger than `limit`.
    pub(super) fn add(&mut self, piece: &[u8], limit: usize) -> bool {
        self.bytes.extend_from_slice(piece);
        self.bytes.len() <= limit
    }

    /// What it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.bytes.len().saturating_add(self.metadata.as_bytes().len())
    }

    /// The whole message.
    pub(super) fn finish(self) -> (Payload, Metadata) {
        let payload = Payload {
            encoding: self.encoding,
            bytes: self.bytes.freeze(),
        };
        (payload, self.metadata)
    }
}

/// The metadata of a frame that the codec has checked.
pub(super) fn metadata(block: &[u8]) -> Metadata {
    if block.is_empty() {
        return Metadata::new();
    }
    Metadata::parse(block).unwrap_or_default()
}

/// The payload of a frame: shared with the batch it lies in, but copied where it would keep a much larger buffer alive.
pub(super) fn payload(batch: &crate::message::Batch, view: &FrameView<'_>) -> Payload {
    let bytes = if view.payload.len().saturating_mul(4) < batch.buffer_len() {
        Bytes::copy_from_slice(view.payload)
    } else {
        batch.share(view.payload)
    };
    Payload {
        encoding: view.header.encoding,
        bytes,
    }
}
