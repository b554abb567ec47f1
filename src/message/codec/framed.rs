//! The codec for `tokio_util`'s `Framed`: for programs that speak the protocol over a stream of their own.
//!
//! Owns no state: what is not complete stays in the buffer of its caller. Knows no socket.

use super::{Batch, body_limit, scan};
use crate::message::draft::Draft;
use crate::message::frame::FrameError;
use bytes::{Buf, BytesMut};

/// The wire format for `tokio_util::codec::Framed`: batches out of bytes, drafts into bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameCodec {
    limit: usize,
}

impl FrameCodec {
    /// A codec for payloads up to `frame_bytes`.
    #[must_use]
    pub const fn new(frame_bytes: usize) -> Self {
        Self {
            limit: body_limit(frame_bytes),
        }
    }
}

/// What ends a `Framed` stream: the socket failed, or the bytes were no frame.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The bytes were no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl tokio_util::codec::Decoder for FrameCodec {
    type Item = Batch;
    type Error = CodecError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Batch>, CodecError> {
        let mut frames = Vec::new();
        let complete = scan(source, 0, self.limit, &mut frames)?;
        if frames.is_empty() {
            source.advance(complete);
            return Ok(None);
        }
        let bytes = source.split_to(complete).freeze();
        Ok(Some(Batch {
            bytes,
            frames,
            attachments: Vec::new(),
        }))
    }
}

impl tokio_util::codec::Encoder<Draft<'_>> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, draft: Draft<'_>, out: &mut BytesMut) -> Result<(), CodecError> {
        out.reserve(draft.wire_len());
        draft.encode(out);
        Ok(())
    }
}
