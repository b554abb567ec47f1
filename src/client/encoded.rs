//! A frame that is encoded once: before anything is locked, into a buffer that then becomes the connection's out-buffer.
//!
//! Owns the buffer that each thread writes its frames into, so that sending one allocates nothing, and the rule that no code of the
//! program runs under a lock. It refuses to know what a body says and who sends it. Called by whoever has typed values to send;
//! [`super::outbox::Outbox::take_in`] is where the bytes go.

use crate::error::{CallError, ErrorCode};
use crate::message::frame::HEADER_LEN;
use crate::message::{Attachments, Header};
use std::cell::Cell;

/// Where a frame holds its number.
pub(crate) const ID: std::ops::Range<usize> = 8..16;

/// A larger buffer is not kept, in bytes.
const KEPT: usize = 256 * 1024;

/// What a buffer has room for at first, in bytes: a small frame.
const FIRST: usize = 256;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A whole frame on its way out, but for its number, and what travels with it. See [`Encoded::new`].
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) attachments: Attachments,
}

impl Encoded {
    /// The frame whose body `write` appends to the bytes that it is given (metadata, key and payload, as
    /// [`crate::message::frame`] has them). It returns the header; the length and the number of attachments in it are filled in here.
    /// What is written in place by the connection later (the number, a deadline) may be zero.
    ///
    /// `write` runs the program's `Serialize` with nothing locked. It may panic, and it may send over the same client: what it sends
    /// goes out before this frame, which has its place from the moment when [`take_in`](super::outbox::Outbox::take_in) has it.
    ///
    /// ```text
    /// let mut frame = Encoded::new(|out, _attachments| {
    ///     out.extend_from_slice(key);
    ///     postcard::serialize_with_flavor(value, Append(out))?;
    ///     Ok(Header { kind: Kind::Call, encoding: Encoding::POSTCARD, key_len, .. })
    /// })?;
    /// shared.poll_push(cx, place, Direct::Now, |state| {
    ///     number(&mut frame.bytes, id);
    ///     state.out.take_in(&mut frame.bytes, &frame.attachments);
    /// })
    /// ```
    ///
    /// # Errors
    /// Those of `write`, after which nothing is left of what it wrote; TooLarge for a body that no header can describe.
    pub(crate) fn new<E: From<CallError>>(
        write: impl FnOnce(&mut Vec<u8>, &mut Attachments) -> Result<Header, E>,
    ) -> Result<Self, E> {
        let mut frame = Self::spare(HEADER_LEN);
        let header = write(&mut frame.bytes, &mut frame.attachments)?;
        let length = frame.bytes.len().saturating_sub(HEADER_LEN);
        let header = Header {
            body_len: u32::try_from(length).map_err(|_| too_long(length))?,
            attachments: u8::try_from(frame.attachments.len()).unwrap_or(u8::MAX),
            ..header
        };
        if let Some(place) = frame.bytes.first_chunk_mut::<HEADER_LEN>() {
            place.copy_from_slice(header.bytes().as_flattened());
        }
        Ok(frame)
    }

    /// A frame whose head is written later into the room of so many bytes in front of what `write` appends.
    ///
    /// # Errors
    /// Those of `write`, after which nothing is left of what it wrote.
    #[inline]
    pub(crate) fn behind<E>(
        head: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut frame = Self::spare(head);
        write(&mut frame.bytes)?;
        Ok(frame)
    }

    /// The buffer of the thread, with so many bytes in it. Who gets none, as another has it, asks for memory once for a small frame.
    fn spare(head: usize) -> Self {
        let mut bytes = SPARE.take();
        bytes.clear();
        if bytes.capacity() == 0 {
            bytes.reserve(FIRST);
        }
        bytes.resize(head, 0);
        let attachments = Attachments::new();
        Self { bytes, attachments }
    }
}

/// Gives a frame the number that it got under the lock.
#[inline]
pub(crate) fn number(frame: &mut [u8], id: u64) {
    if let Some(place) = frame.get_mut(ID) {
        place.copy_from_slice(&id.to_le_bytes());
    }
}

#[cold]
fn too_long(bytes: usize) -> CallError {
    let text =
        format!("{bytes} bytes are more than a frame can have; send them in parts or in shared memory");
    CallError::new(ErrorCode::TooLarge, text).ran(false)
}

impl Drop for Encoded {
    fn drop(&mut self) {
        if (1..=KEPT).contains(&self.bytes.capacity()) {
            let bytes = std::mem::take(&mut self.bytes);
            // At the end of a thread there is no place for it.
            let _ = SPARE.try_with(|spare| spare.set(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Outbox;
    use super::*;
    use crate::message::{Decoder, Draft, Encoding, Flags, Kind};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// What the program's code does while it is asked for its bytes.
    #[derive(Clone, Copy, Debug)]
    enum Does {
        Writes,
        Fails,
        Panics,
        /// It sends another message over the same client first.
        Sends,
    }

    fn header(id: u64) -> Header {
        Header {
            body_len: 0,
            kind: Kind::Send,
            encoding: Encoding::RAW,
            flags: Flags::NONE,
            id,
            aux: 0,
            key_len: 0,
            attachments: 0,
        }
    }

    fn send(out: &mut Outbox, id: u64, length: usize, does: Does) -> Result<(), CallError> {
        let mut frame = Encoded::new(|bytes, _| {
            bytes.resize(bytes.len() + length / 2, 7);
            match does {
                Does::Writes => {}
                Does::Fails => return Err(CallError::from(ErrorCode::Encoding)),
                Does::Panics => panic!("a Serialize of the program's"),
                Does::Sends => send(out, id + 100, length, Does::Writes)?,
            }
            bytes.resize(HEADER_LEN + length, 7);
            Ok(header(id))
        })?;
        out.take_in(&mut frame.bytes, &frame.attachments);
        Ok(())
    }

    fn written(out: &mut Outbox) -> Vec<u64> {
        let mut bytes = Vec::new();
        while let Some(mut claim) = out.claim() {
            bytes.extend_from_slice(claim.part().0);
            claim.advance(claim.part().0.len());
            out.release(claim, false);
        }
        assert!(out.is_idle());
        let batch = Decoder::new(1 << 20).decode(&bytes).unwrap();
        let body = |index| batch.view(index).unwrap().payload.iter().all(|byte| *byte == 7);
        assert!((0..batch.len()).all(body));
        batch.headers().map(|header| header.id).collect()
    }

    #[test]
    fn frames_keep_their_order_and_a_failed_one_leaves_nothing() {
        const LARGE: usize = 20_000;
        let steps = [
            (1, 10, Does::Writes),
            (2, LARGE, Does::Writes),
            (3, LARGE, Does::Fails),
            (4, 10, Does::Panics),
            (5, LARGE, Does::Sends),
            (6, 10, Does::Sends),
            (7, LARGE, Does::Panics),
            (8, 10, Does::Fails),
            (9, LARGE, Does::Writes),
        ];
        // From each place in the table on, once with what is waiting and once with an out-buffer that was emptied before each.
        for (first, drained) in (0..steps.len()).flat_map(|first| [(first, false), (first, true)]) {
            let mut out = Outbox::new(1 << 20);
            let (mut expected, mut seen) = (Vec::new(), Vec::new());
            for (id, length, does) in steps.iter().skip(first) {
                let sent = catch_unwind(AssertUnwindSafe(|| send(&mut out, *id, *length, *does)));
                match does {
                    Does::Writes => expected.push(*id),
                    Does::Sends => expected.extend([*id + 100, *id]),
                    Does::Fails | Does::Panics => {}
                }
                let ended_well = matches!(sent, Ok(Ok(())));
                assert_eq!(
                    ended_well,
                    matches!(does, Does::Writes | Does::Sends),
                    "{id} {does:?}"
                );
                if drained {
                    seen.extend(written(&mut out));
                }
            }
            seen.extend(written(&mut out));
            assert_eq!(seen, expected, "from {first}, drained: {drained}");
        }
    }

    #[test]
    fn a_large_frame_becomes_the_out_buffer_and_is_written_from_there() {
        let mut out = Outbox::new(1 << 20);
        let ping = Draft::new(Kind::Ping, 1);
        for round in 0..4 {
            let mut frame = Encoded::new::<CallError>(|bytes, _| {
                bytes.resize(40_000, 7);
                Ok(header(round))
            })
            .unwrap();
            let encoded_at = frame.bytes.as_ptr();
            let behind = round % 2 == 1;
            if behind {
                out.encode(&ping);
            }
            out.take_in(&mut frame.bytes, &frame.attachments);
            let mut claim = out.claim().unwrap();
            let (bytes, _) = claim.part();
            assert_eq!(bytes.as_ptr() == encoded_at, !behind, "round {round}");
            assert_eq!(bytes.len(), if behind { 40_000 + HEADER_LEN } else { 40_000 });
            claim.advance(bytes.len());
            out.release(claim, false);
        }
        assert_eq!(out.written(), 4 * 40_000 + 2 * HEADER_LEN as u64);
    }
}
