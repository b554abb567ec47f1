//! Bytes to batches of frames and back.
//!
//! [`Decoder`] turns what one read brought into one [`Batch`]: every complete frame, as ranges of one buffer.
//! A frame that is not complete waits in the decoder and grows with the bytes that arrive, never to its declared length.
//! Errors are final. [`FrameCodec`] offers the same to whoever frames a stream of its own.

mod framed;
mod lent;
#[cfg(test)]
mod tests;

pub use framed::{CodecError, FrameCodec};

use super::attachment::Attachment;
use super::frame::{
    ALIKE_LEN, Flags, FrameError, FrameView, HEADER_LEN, Header, OVERHEAD_MAX, parse_alike, parse_header,
};
use super::metadata;
use crate::error::CallError;
use bytes::{Bytes, BytesMut};

/// The complete frames of one read, in order, as slices of one buffer.
#[derive(Default)]
pub struct Batch {
    bytes: Bytes,
    frames: Vec<Entry>,
    attachments: Vec<(u32, Carried)>,
}

/// What travels with one frame, or why it was refused.
type Carried = Result<Vec<Attachment>, Box<CallError>>;

#[derive(Clone, Copy)]
struct Entry {
    header: Header,
    start: u32,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.frames.iter().map(|entry| entry.header))
            .finish()
    }
}

impl Batch {
    /// A batch of the frames that `bytes` holds from end to end; used for frames made in this process.
    ///
    /// # Errors
    /// [`FrameError`] as for bytes from a peer; bytes behind the last complete frame are ignored.
    pub fn from_bytes(bytes: Bytes, limit: usize) -> Result<Self, FrameError> {
        let mut frames = Vec::new();
        scan(&bytes, 0, body_limit(limit), &mut frames)?;
        Ok(Self {
            bytes,
            frames,
            attachments: Vec::new(),
        })
    }

    /// How many frames it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it holds no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of the buffer that the batch keeps alive.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    /// The header of frame `index`.
    #[must_use]
    pub fn header(&self, index: usize) -> Option<&Header> {
        self.frames.get(index).map(|entry| &entry.header)
    }

    /// The headers in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = &Header> {
        self.frames.iter().map(|entry| &entry.header)
    }

    /// The parts of frame `index`.
    #[must_use]
    pub fn view(&self, index: usize) -> Option<FrameView<'_>> {
        let (header, body) = self.body(index)?;
        FrameView::split(header, body).ok()
    }

    /// The header, the key and the payload of frame `index`, the payload sharing the buffer; `None` when it has an origin,
    /// metadata or attachments, too: see [`view`](Self::view).
    #[must_use]
    #[inline]
    pub fn plain(&self, index: usize) -> Option<(&Header, &[u8], Bytes)> {
        let Entry { header, start } = self.frames.get(index)?;
        if header.flags.0 & (Flags::META.0 | Flags::ORIGIN.0) != 0 || header.attachments > 0 {
            return None;
        }
        let start = *start as usize;
        let payload = start.checked_add(usize::from(header.key_len))?;
        let end = start.checked_add(header.body_len as usize)?;
        let key = self.bytes.get(start..payload)?;
        if payload > end || end > self.bytes.len() {
            return None;
        }
        Some((header, key, self.bytes.slice(payload..end)))
    }

    /// Frame `index` as it came: its header, and everything behind that.
    #[must_use]
    pub fn body(&self, index: usize) -> Option<(&Header, &[u8])> {
        let Entry { header, start } = self.frames.get(index)?;
        let body = self.bytes.get(*start as usize..)?;
        Some((header, body.get(..header.body_len as usize)?))
    }

    /// The headers from frame `first` on.
    pub fn headers_from(&self, first: usize) -> impl Iterator<Item = &Header> {
        let entries = self.frames.get(first..).unwrap_or_default();
        entries.iter().map(|entry| &entry.header)
    }

    /// The frames from `first` on, as [`Self::body`] gives each.
    pub fn bodies(&self, first: usize) -> impl Iterator<Item = (&Header, &[u8])> {
        let entries = self.frames.get(first..).unwrap_or_default();
        entries.iter().map_while(|Entry { header, start }| {
            let start = *start as usize;
            let end = start.saturating_add(header.body_len as usize);
            Some((header, self.bytes.get(start..end)?))
        })
    }

    /// Whether any of its frames has attachments, or had some that were refused.
    #[must_use]
    pub const fn has_attachments(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// `part`, which must be a slice of one of this batch's views, sharing the buffer instead of borrowing it.
    #[must_use]
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.bytes.slice_ref(part)
    }

    /// A batch of copies of some of the frames, in the order asked for, which keeps nothing of this buffer alive.
    #[must_use]
    pub fn extract(&self, indexes: impl Iterator<Item = usize>) -> Self {
        let (mut bytes, mut frames, mut attachments) = (BytesMut::new(), Vec::new(), Vec::new());
        for index in indexes {
            let Some(entry) = self.frames.get(index) else {
                continue;
            };
            let start = entry.start as usize;
            let Some(body) = self
                .bytes
                .get(start..start.saturating_add(entry.header.body_len as usize))
            else {
                continue;
            };
            if let Some(carried) = self.carried(index) {
                let place = u32::try_from(frames.len()).unwrap_or(u32::MAX);
                attachments.push((place, carried.clone()));
            }
            frames.push(Entry {
                header: entry.header,
                start: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            });
            bytes.extend_from_slice(body);
        }
        Self {
            bytes: bytes.freeze(),
            frames,
            attachments,
        }
    }

    /// A batch of frame `index` alone, without what is attached to it. A small part of this buffer is copied, a large one shared.
    #[must_use]
    pub fn only(&self, index: usize) -> Self {
        let Some((header, body)) = self.body(index) else {
            return Self::default();
        };
        let bytes = match body.len() < self.buffer_len() / 4 {
            true => Bytes::copy_from_slice(body),
            false => self.share(body),
        };
        let header = *header;
        Self {
            bytes,
            frames: vec![Entry { header, start: 0 }],
            attachments: Vec::new(),
        }
    }

    /// The same frames and bytes, with these attachments of the first frame and no others.
    #[must_use]
    pub fn carrying(&self, attachments: Vec<Attachment>) -> Self {
        Self {
            bytes: self.bytes.clone(),
            frames: self.frames.clone(),
            attachments: vec![(0, Ok(attachments))],
        }
    }

    /// Gives the attachments of frame `index` to the batch.
    pub fn attach(&mut self, index: usize, attachments: Vec<Attachment>) {
        if let Ok(index) = u32::try_from(index) {
            self.attachments.push((index, Ok(attachments)));
        }
    }

    /// Takes the attachments of frames of one kind out, with the indexes of their frames, in order.
    pub(crate) fn take_attachments(&mut self, kind: super::frame::Kind) -> Vec<(usize, Vec<Attachment>)> {
        let frames = &self.frames;
        let of_kind = |index: u32| {
            let frame = frames.get(index as usize);
            frame.is_some_and(|frame| frame.header.kind == kind)
        };
        let taken = self
            .attachments
            .extract_if(.., |(index, carried)| carried.is_ok() && of_kind(*index));
        taken
            .filter_map(|(index, carried)| Some((index as usize, carried.ok()?)))
            .collect()
    }

    /// Takes all attachments out that were not refused, with the indexes of their frames.
    pub(crate) fn take_all_attachments(&mut self) -> Vec<(usize, Vec<Attachment>)> {
        let taken = self.attachments.extract_if(.., |(_, carried)| carried.is_ok());
        taken
            .filter_map(|(index, carried)| Some((index as usize, carried.ok()?)))
            .collect()
    }

    /// Frame `index` came with attachments, and they were refused.
    pub fn refuse_attachments(&mut self, index: usize, why: Box<CallError>) {
        if let Ok(index) = u32::try_from(index) {
            self.attachments.push((index, Err(why)));
        }
    }

    /// Refuses what is attached to each frame for which `check` says why.
    pub fn check_attachments(
        &mut self,
        check: impl Fn(&Header, &[Attachment]) -> Result<(), Box<CallError>>,
    ) {
        for (index, carried) in &mut self.attachments {
            if let Ok(list) = carried
                && let Some(entry) = self.frames.get(*index as usize)
                && let Err(why) = check(&entry.header, list)
            {
                *carried = Err(why);
            }
        }
    }

    /// Why the attachments of frame `index` were refused, if they were.
    #[must_use]
    pub fn refused_attachments(&self, index: usize) -> Option<&CallError> {
        match self.carried(index) {
            Some(Err(why)) => Some(why),
            _ => None,
        }
    }

    fn carried(&self, index: usize) -> Option<&Carried> {
        let found = self.attachments.iter().find(|(at, _)| *at as usize == index);
        found.map(|(_, carried)| carried)
    }

    /// The attachments of frame `index`.
    #[must_use]
    pub fn attachments(&self, index: usize) -> &[Attachment] {
        match self.carried(index) {
            Some(Ok(list)) => list,
            _ => &[],
        }
    }
}

/// The largest body whose payload is within `frame_bytes`.
#[must_use]
pub const fn body_limit(frame_bytes: usize) -> usize {
    frame_bytes.saturating_add(OVERHEAD_MAX)
}

/// Finds the complete frames of `bytes` and adds them, their offsets moved by `base`. Returns where the first
/// incomplete frame begins.
fn scan(bytes: &[u8], base: usize, limit: usize, frames: &mut Vec<Entry>) -> Result<usize, FrameError> {
    let mut rest = bytes;
    let mut like: Option<([u8; ALIKE_LEN], Header)> = None;
    while let Some(head) = rest.first_chunk::<HEADER_LEN>() {
        let header = match &like {
            // What was checked of the frame before this one holds for this one.
            Some((alike, header)) if head.starts_with(alike) => parse_alike(head, header),
            _ => match parse_header(head, limit)? {
                Ok(header) => {
                    like = head.first_chunk().map(|alike| (*alike, header));
                    header
                }
                Err(total) => match rest.get(total..) {
                    Some(after) => {
                        rest = after;
                        continue;
                    }
                    None => break,
                },
            },
        };
        let Some((frame, after)) = rest.split_at_checked(header.wire_len()) else {
            break;
        };
        check_parts(&header, frame.get(HEADER_LEN..).unwrap_or(&[]))?;
        let at = bytes.len().saturating_sub(rest.len());
        let start = base.saturating_add(at).saturating_add(HEADER_LEN);
        if frames.len() == frames.capacity() {
            // One small frame seldom comes alone.
            frames.reserve((rest.len() / 96).clamp(1, 48));
        }
        frames.push(Entry {
            header,
            start: u32::try_from(start).unwrap_or(u32::MAX),
        });
        rest = after;
    }
    Ok(bytes.len().saturating_sub(rest.len()))
}

#[inline]
fn check_parts(header: &Header, body: &[u8]) -> Result<(), FrameError> {
    if header.flags.0 & (Flags::META.0 | Flags::ORIGIN.0) == 0 {
        return match usize::from(header.key_len) <= body.len() {
            true => Ok(()),
            false => Err(FrameError::Malformed(header.kind)),
        };
    }
    let view = FrameView::split(header, body)?;
    metadata::check(view.meta).map_err(|error| FrameError::Metadata {
        kind: header.kind,
        error,
    })
}

/// A number of bytes, as far as a header can say it.
const fn within(bytes: usize) -> u32 {
    if bytes > u32::MAX as usize {
        u32::MAX
    } else {
        bytes as u32
    }
}

/// Turns reads into batches for one connection. Pure: no socket, no clock.
#[derive(Debug)]
pub struct Decoder {
    // Both are at most what a header can say; an idle connection should hold little.
    limit: u32,
    /// So many bytes are left of a frame that is read over.
    over: u32,
    partial: BytesMut,
}

impl Decoder {
    /// A decoder that refuses bodies above `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: within(limit),
            over: 0,
            partial: BytesMut::new(),
        }
    }

    /// Changes the limit, at the end of the handshake.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = within(limit);
    }

    /// Bytes of the frame that is not complete yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Whether a frame has begun that is not complete.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !self.partial.is_empty() || self.over > 0
    }

    /// Gives the frame up that is not complete: what has come of it is forgotten, and the rest will be read over. Returns its header;
    /// `None` where nobody can say what it is, before its header is complete or when this version does not know it.
    ///
    /// # Errors
    /// [`FrameError`] as from [`Self::decode`].
    pub fn read_over(&mut self) -> Result<Option<Header>, FrameError> {
        let Some(head) = self.partial.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = parse_header(head, self.limit as usize)?;
        let total = header.as_ref().map_or_else(|total| *total, Header::wire_len);
        self.over = within(total.saturating_sub(self.partial.len()));
        self.partial = BytesMut::new();
        Ok(header.ok())
    }

    /// Forgets the bytes of the frame that is not complete: they were none.
    pub fn forget_partial(&mut self) {
        self.partial.clear();
    }

    /// Takes the bytes of one read and returns the frames that are complete now.
    ///
    /// # Errors
    /// [`FrameError`]; the decoder must not be used afterwards.
    pub fn decode(&mut self, mut input: &[u8]) -> Result<Batch, FrameError> {
        let mut frames = Vec::new();
        if self.over > 0 {
            let over = self.over.min(within(input.len()));
            self.over = self.over.saturating_sub(over);
            input = input.get(over as usize..).unwrap_or_default();
        }
        if !self.partial.is_empty() && !self.top_up(&mut input, &mut frames)? {
            return Ok(Batch::default());
        }
        let base = self.partial.len();
        let complete = scan(input, base, self.limit as usize, &mut frames)?;
        let (complete, rest) = input.split_at_checked(complete).unwrap_or((input, &[]));
        if frames.is_empty() {
            // Only unknown optional frames, or nothing: none of these bytes is kept.
            self.partial.clear();
            self.partial.extend_from_slice(rest);
            return Ok(Batch::default());
        }
        Ok(Batch {
            bytes: self.hand_out(complete, rest),
            frames,
            attachments: Vec::new(),
        })
    }

    /// What waited and the bytes behind it that make whole frames; `rest` waits from now on.
    fn hand_out(&mut self, complete: &[u8], rest: &[u8]) -> Bytes {
        if let Some(bytes) = lent::join(&self.partial, complete) {
            if rest.is_empty() {
                self.partial = BytesMut::new();
            } else {
                // In bulk the next read ends within a frame as well.
                self.partial.clear();
                self.partial.extend_from_slice(rest);
            }
            return bytes;
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(complete);
        if !rest.is_empty() {
            self.partial = BytesMut::from(rest);
        }
        bytes.freeze()
    }

    /// Moves bytes from `input` until the waiting frame is complete. `false`: it still is not.
    fn top_up(&mut self, input: &mut &[u8], frames: &mut Vec<Entry>) -> Result<bool, FrameError> {
        self.take_up_to(input, HEADER_LEN);
        let Some(head) = self.partial.first_chunk::<HEADER_LEN>() else {
            return Ok(false);
        };
        let total = match parse_header(head, self.limit as usize)? {
            Ok(header) => header.wire_len(),
            Err(total) => total,
        };
        self.take_up_to(input, total);
        if self.partial.len() < total {
            return Ok(false);
        }
        scan(&self.partial, 0, self.limit as usize, frames)?;
        if frames.is_empty() {
            self.partial.clear();
        }
        Ok(true)
    }

    fn take_up_to(&mut self, input: &mut &[u8], total: usize) {
        let wanted = total.saturating_sub(self.partial.len());
        let (taken, rest) = input.split_at_checked(wanted).unwrap_or((input, &[]));
        self.partial.extend_from_slice(taken);
        *input = rest;
    }
}
