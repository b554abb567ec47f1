//! The frame decoder, against a decoder written from section 4 of `docs/protocol.md` that reads one frame at a time.
//!
//! Owns that model ([`expected`]) and two targets: all bytes at once, and the same bytes in any chunks.

use crate::allocation::measure;
use crate::input::Input;
use actix_ipc::message::codec::{FrameCodec, body_limit};
use actix_ipc::message::frame::FrameView;
use actix_ipc::message::{Batch, Decoder, Draft, FrameError};
use bytes::{Bytes, BytesMut};

/// Kinds of version 1 and the mandatory flags that each may have: the table of section 6.
const KINDS: &[(u8, u16)] = &[
    (0x01, 0),
    (0x02, 0),
    (0x03, 0),
    (0x04, 0),
    (0x05, 0),
    (0x06, 0),
    (0x07, 0),
    (0x08, 0),
    (0x09, 0x001 | 0x010),
    (0x0a, 0x010),
    (0x10, 0x010 | 0x020 | 0x040 | 0x080),
    (0x11, 0),
    (0x12, 0),
    (0x13, 0),
    (0x14, 0),
    (0x15, 0),
    (0x16, 0x001 | 0x002),
    (0x17, 0),
    (0x18, 0),
    (0x20, 0x001 | 0x004 | 0x002 | 0x010 | 0x020 | 0x040 | 0x080),
    (0x21, 0x004 | 0x010 | 0x020),
    (0x22, 0),
    (0x23, 0),
    (0x24, 0x001 | 0x004 | 0x008),
    (0x25, 0x004 | 0x010 | 0x020),
    (0x26, 0),
    (0x30, 0x001 | 0x010 | 0x020 | 0x040),
    (0x31, 0),
    (0x32, 0x001 | 0x004 | 0x010 | 0x020 | 0x040),
    (0x33, 0x004 | 0x010 | 0x020),
    (0x34, 0),
    (0x35, 0),
    (0x36, 0x001 | 0x004 | 0x010),
    (0x37, 0x004 | 0x010 | 0x020),
    (0x38, 0),
    (0x39, 0x001 | 0x020),
    (0x40, 0),
    (0x41, 0),
    (0x42, 0x001 | 0x040),
    (0x44, 0x001 | 0x002),
    (0x46, 0),
    (0x47, 0),
];

const META: u16 = 0x001;
const ORIGIN: u16 = 0x002;

/// One frame as the document describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: u8,
    encoding: u8,
    flags: u16,
    id: u64,
    aux: u32,
    attachments: u8,
    origin: Option<(u64, u32, u32)>,
    meta: Vec<u8>,
    key: Vec<u8>,
    payload: Vec<u8>,
}

/// Why the document refuses a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kind,
    Length,
    Flags,
    Parts,
    Metadata,
}

/// How a run of bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// So many bytes of a frame that is not complete.
    Partial(usize),
    /// A fault, and how many bytes must have come to know it.
    Broken(Fault, usize),
}

/// Every complete frame, with the offset behind it, and how the bytes end.
fn expected(bytes: &[u8], limit: usize) -> (Vec<(Seen, usize)>, End) {
    let mut frames = Vec::new();
    let mut at = 0;
    loop {
        let left = &bytes[at..];
        if left.len() < 24 {
            return (frames, End::Partial(left.len()));
        }
        let number = |from: usize, count: usize| {
            (0..count).fold(0_u64, |sum, index| {
                sum | u64::from(left[from + index]) << (8 * index)
            })
        };
        let (length, kind, flags) = (number(0, 4) as usize, left[4], number(6, 2) as u16);
        let allowed = KINDS
            .iter()
            .find(|(code, _)| *code == kind)
            .map(|(_, flags)| *flags);
        let fault = match allowed {
            None if kind < 0x80 => Some(Fault::Kind),
            _ if length > limit => Some(Fault::Length),
            Some(allowed) if flags & 0x0fff & !allowed != 0 => Some(Fault::Flags),
            _ => None,
        };
        if let Some(fault) = fault {
            return (frames, End::Broken(fault, at + 24));
        }
        if left.len() < 24 + length {
            return (frames, End::Partial(left.len()));
        }
        at += 24 + length;
        if allowed.is_none() {
            continue;
        }
        match parts(flags, number(20, 2) as usize, &left[24..24 + length]) {
            Ok((origin, meta, key, payload)) => frames.push((
                Seen {
                    kind,
                    encoding: left[5],
                    flags,
                    id: number(8, 8),
                    aux: number(16, 4) as u32,
                    attachments: left[22],
                    origin,
                    meta: meta.to_vec(),
                    key: key.to_vec(),
                    payload: payload.to_vec(),
                },
                at,
            )),
            Err(fault) => return (frames, End::Broken(fault, at)),
        }
    }
}

type Origin = Option<(u64, u32, u32)>;
/// Origin, metadata, key, payload.
type Parts<'a> = (Origin, &'a [u8], &'a [u8], &'a [u8]);

fn parts(flags: u16, key: usize, mut body: &[u8]) -> Result<Parts<'_>, Fault> {
    let mut take = |count: usize| {
        if count > body.len() {
            return Err(Fault::Parts);
        }
        let (taken, rest) = body.split_at(count);
        body = rest;
        Ok(taken)
    };
    let mut origin = None;
    if flags & ORIGIN != 0 {
        let block = take(16)?;
        origin = Some((
            u64::from_le_bytes(block[..8].try_into().unwrap()),
            u32::from_le_bytes(block[8..12].try_into().unwrap()),
            u32::from_le_bytes(block[12..].try_into().unwrap()),
        ));
    }
    let mut meta: &[u8] = &[];
    if flags & META != 0 {
        let length = take(2)?;
        meta = take(usize::from(length[0]) | usize::from(length[1]) << 8)?;
    }
    let key = take(key)?;
    if crate::names::entries(meta).is_none() {
        return Err(Fault::Metadata);
    }
    Ok((origin, meta, key, body))
}

fn fault_of(error: &FrameError) -> Fault {
    match error {
        FrameError::UnknownKind(_) => Fault::Kind,
        FrameError::UnknownFlags(..) => Fault::Flags,
        FrameError::TooLarge { .. } => Fault::Length,
        FrameError::Malformed(_) => Fault::Parts,
        FrameError::Metadata { .. } => Fault::Metadata,
    }
}

fn seen(view: &FrameView<'_>) -> Seen {
    Seen {
        kind: view.header.kind as u8,
        encoding: view.header.encoding.0,
        flags: view.header.flags.0,
        id: view.header.id,
        aux: view.header.aux,
        attachments: view.header.attachments,
        origin: view.origin.map(|origin| (origin.peer.0, origin.uid, origin.pid)),
        meta: view.meta.to_vec(),
        key: view.key.to_vec(),
        payload: view.payload.to_vec(),
    }
}

/// The frames of a batch; the accessors of a batch agree with each other.
fn frames_of(batch: &Batch) -> Vec<Seen> {
    assert_eq!(batch.is_empty(), batch.header(0).is_none());
    assert_eq!(batch.headers().len(), batch.len());
    assert!(batch.view(batch.len()).is_none() && batch.header(batch.len()).is_none());
    let copies = batch.extract(0..batch.len());
    (0..batch.len())
        .map(|index| {
            let view = batch.view(index).expect("a frame that was decoded has parts");
            assert_eq!(batch.header(index), Some(view.header));
            assert_eq!(view.header.wire_len(), 24 + view.header.body_len as usize);
            assert_eq!(batch.share(view.payload), view.payload);
            assert_eq!(batch.share(view.key), view.key);
            let copy = copies.view(index).expect("a copy of a frame is a frame");
            assert_eq!(seen(&copy), seen(&view));
            seen(&view)
        })
        .collect()
}

/// A frame, written again from its parts, is the frame: except for the reserved byte, which is written as 0, and an
/// empty metadata block, which is not written.
fn written_again(view: &FrameView<'_>, wire: &[u8]) {
    let mut draft = Draft::new(view.header.kind, view.header.id)
        .aux(view.header.aux)
        .flags(view.header.flags)
        .key(view.key)
        .meta(view.meta)
        .payload(view.header.encoding, view.payload);
    draft.attachments = view.header.attachments;
    draft.origin = view.origin;
    let again = draft.to_vec();
    assert_eq!(again.len(), draft.wire_len());
    let mut first = wire.to_vec();
    first[23] = 0;
    if view.header.flags.0 & META != 0 && view.meta.is_empty() {
        let at = 24 + if view.origin.is_some() { 16 } else { 0 };
        first.drain(at..at + 2);
        first[6] &= !1;
        let length = (first.len() - 24) as u32;
        first[..4].copy_from_slice(&length.to_le_bytes());
    }
    assert_eq!(again, first, "{:?}", view.header);
}

/// Limits that are met in practice, and any other.
fn limit(input: &mut Input<'_>) -> usize {
    match input.byte() {
        0..=99 => body_limit(16 * 1024 * 1024),
        100..=199 => 4096,
        200..=219 => usize::MAX,
        small => usize::from(small - 220) * 16,
    }
}

/// All bytes at once. Input: one byte for the limit, then the bytes of the connection.
pub fn decoder(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = limit(&mut input);
    let bytes = input.rest();
    let (frames, end) = expected(bytes, limit);
    let mut decoder = Decoder::new(limit);
    let (result, peak) = measure(|| decoder.decode(bytes));
    // One entry of about forty bytes for each frame of at least 24, in a vector that doubles; the copy of the bytes.
    let bound = bytes.len() * 16 + 4096;
    assert!(peak <= bound, "{} bytes of input cost {peak}", bytes.len());
    match (result, end) {
        (Ok(batch), End::Partial(left)) => {
            let mut from = frames.iter();
            for (index, seen) in frames_of(&batch).iter().enumerate() {
                let (wanted, behind) = from.next().expect("no more frames than there are");
                assert_eq!(seen, wanted);
                let view = batch.view(index).unwrap();
                written_again(&view, &bytes[behind - view.header.wire_len()..*behind]);
            }
            assert_eq!(from.next(), None, "every frame");
            assert_eq!(decoder.buffered(), left);
        }
        (Err(error), End::Broken(fault, _)) => {
            assert_eq!(fault_of(&error), fault, "{error}");
            assert!(
                error.to_string().chars().all(|letter| !letter.is_control()),
                "{error}"
            );
        }
        (result, end) => panic!("{result:?} instead of {end:?}"),
    }
    other_ways(bytes, limit, &frames, end);
}

/// The other two readers of the same format.
fn other_ways(bytes: &[u8], limit: usize, frames: &[(Seen, usize)], end: End) {
    if limit < body_limit(0) || limit == usize::MAX {
        return;
    }
    let frame_bytes = limit - body_limit(0);
    let wanted: Vec<&Seen> = frames.iter().map(|(seen, _)| seen).collect();
    match (Batch::from_bytes(Bytes::copy_from_slice(bytes), frame_bytes), end) {
        (Ok(batch), End::Partial(_)) => assert_eq!(frames_of(&batch).iter().collect::<Vec<_>>(), wanted),
        (Err(error), End::Broken(fault, _)) => assert_eq!(fault_of(&error), fault),
        (result, end) => panic!("from_bytes: {result:?} instead of {end:?}"),
    }
    let mut codec = FrameCodec::new(frame_bytes);
    let mut source = BytesMut::from(bytes);
    match (tokio_util_decode(&mut codec, &mut source), end) {
        (Ok(batch), End::Partial(left)) => {
            assert_eq!(
                frames_of(&batch.unwrap_or_default()).iter().collect::<Vec<_>>(),
                wanted
            );
            assert_eq!(source.len(), left);
        }
        (Err(_), End::Broken(..)) => {}
        (result, end) => panic!("FrameCodec: {result:?} instead of {end:?}"),
    }
}

fn tokio_util_decode(codec: &mut FrameCodec, source: &mut BytesMut) -> Result<Option<Batch>, String> {
    tokio_util::codec::Decoder::decode(codec, source).map_err(|error| error.to_string())
}

/// The same bytes in any chunks: the same frames, and the same fault, told with the byte that shows it. Input: the
/// limit, a byte for the number of cuts, the cuts, then the bytes of the connection.
pub fn chunks(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = limit(&mut input);
    let sizes: Vec<usize> = (0..input.below(16)).map(|_| input.chunk()).collect();
    let bytes = input.rest();
    let (frames, end) = expected(bytes, limit);
    let mut decoder = Decoder::new(limit);
    let mut got = Vec::new();
    let (mut at, mut turn) = (0, 0);
    while at < bytes.len() {
        let size = if sizes.is_empty() {
            1
        } else {
            sizes[turn % sizes.len()]
        };
        turn += 1;
        let next = (at + size).min(bytes.len());
        let held = decoder.buffered();
        let (result, peak) = measure(|| decoder.decode(&bytes[at..next]));
        let bound = (held + next - at) * 16 + 4096;
        assert!(
            peak <= bound,
            "{held} waiting and {} new bytes cost {peak}",
            next - at
        );
        match result {
            Ok(batch) => {
                got.extend(frames_of(&batch));
                if let End::Broken(_, known) = end {
                    assert!(
                        next < known,
                        "the fault that {known} bytes show was not told after {next}"
                    );
                }
            }
            Err(error) => {
                let End::Broken(fault, known) = end else {
                    panic!("{error} in bytes without a fault")
                };
                assert_eq!(fault_of(&error), fault, "{error}");
                assert!(
                    at < known && known <= next,
                    "told at {at}..{next}, shown at {known}"
                );
                // Frames of the chunk that shows the fault are not handed out; those before it all are.
                let before = frames.iter().filter(|(_, behind)| *behind <= at).count();
                assert!(got.len() >= before);
                assert!(got.iter().eq(frames.iter().map(|(seen, _)| seen).take(got.len())));
                return;
            }
        }
        at = next;
    }
    if let End::Partial(left) = end {
        assert!(got.iter().eq(frames.iter().map(|(seen, _)| seen)));
        assert_eq!(decoder.buffered(), left);
    } else {
        panic!("a fault was not told: {end:?}");
    }
}

impl Input<'_> {
    /// Chunks of one byte, of a header, and of any size up to some kilobytes.
    fn chunk(&mut self) -> usize {
        match self.byte() {
            0..=63 => 1,
            64..=127 => 24,
            128..=191 => self.below(32) + 1,
            _ => self.below(5000) + 1,
        }
    }
}
