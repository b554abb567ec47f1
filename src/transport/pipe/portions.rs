//! Portions: how bytes of a pipe travel once handles travel with them.
//!
//! Owns the layout, and reading it, with nothing but bytes and numbers: what the numbers stand for is [`carried`](super::carried)'s
//! business. A pipe has nothing beside its bytes, so both directions are cut into portions:
//!
//! ```text
//! head u32 | so many values, u64 each | so many bytes
//! head = values << 24 | bytes         values: 0 to 16; those of the handles that travel with the first of the bytes
//! head = 0xff << 24 | count           no bytes: the oldest `count` portions with values have been taken
//! ```
//!
//! A server begins with [`MAGIC`], which no first frame begins with (it would be longer than the handshake allows).

use crate::transport::ATTACHMENTS_MAX;
use std::io;

/// The first bytes of a server that sends portions from here on, and reads nothing else.
pub(super) const MAGIC: [u8; 4] = [0xff; 4];
/// The most bytes of one portion.
pub(super) const BYTES_MAX: usize = 0x00ff_ffff;
const HEAD_LEN: usize = 4;
const VALUE_LEN: usize = 8;
const TAKEN: u32 = 0xff;

/// Begins a portion of `bytes` bytes, at most [`BYTES_MAX`]; they follow.
pub(super) fn begin(out: &mut Vec<u8>, values: &[u64], bytes: usize) {
    let kind = u32::try_from(values.len()).unwrap_or(TAKEN) << 24;
    let bytes = u32::try_from(bytes.min(BYTES_MAX)).unwrap_or_default();
    out.extend((kind | bytes).to_le_bytes());
    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
}

/// Says that the oldest `count` portions with values were taken.
pub(super) fn taken(out: &mut Vec<u8>, count: u32) {
    out.extend((TAKEN << 24 | count.min(0x00ff_fffe)).to_le_bytes());
}

/// What is in a portion besides bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Travels with the next byte.
    Values(Vec<u64>),
    /// So many portions with values were taken.
    Taken(u32),
}

/// Takes portions apart, wherever reads cut them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Of a head and its values that are not complete.
    head: Vec<u8>,
    /// Bytes of the portion that are still to come.
    left: usize,
}

impl Reader {
    /// Moves the bytes of what was read to the front of `buffer`, and returns how many there are, and how much of the buffer was taken
    /// apart; `said` is told the rest, in order. It stops behind a portion with values, so that those of at most one come together; with
    /// `brought` there are some already, of the portion whose bytes are next.
    ///
    /// # Errors
    /// `InvalidData` for what is no portion; what `said` returns. Nothing is to be read after that.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        mut brought: bool,
        mut said: impl FnMut(Said) -> io::Result<()>,
    ) -> io::Result<(usize, usize)> {
        let (mut from, mut to) = (0_usize, 0_usize);
        while let Some(&byte) = buffer.get(from) {
            if self.left > 0 {
                let count = self.left.min(buffer.len().saturating_sub(from));
                let end = from.saturating_add(count);
                buffer.copy_within(from..end, to);
                self.left = self.left.saturating_sub(count);
                (from, to) = (end, to.saturating_add(count));
                continue;
            }
            if brought {
                break;
            }
            from = from.saturating_add(1);
            self.head.push(byte);
            if let Some(what) = self.complete()? {
                brought = matches!(what, Said::Values(_));
                said(what)?;
            }
        }
        Ok((to, from))
    }

    /// Whether the head is complete: then its bytes follow.
    fn complete(&mut self) -> io::Result<Option<Said>> {
        let Some((head, values)) = self.head.split_first_chunk::<HEAD_LEN>() else {
            return Ok(None);
        };
        let head = u32::from_le_bytes(*head);
        let (kind, number) = (head >> 24, head & 0x00ff_ffff);
        let count = usize::try_from(kind).unwrap_or(usize::MAX);
        let what = match kind {
            TAKEN => Some(Said::Taken(number)),
            _ if number == 0 => return Err(wrong("a portion has no bytes")),
            0 => None,
            _ if count > ATTACHMENTS_MAX => {
                return Err(wrong("a portion has more handles than may travel together"));
            }
            _ if values.len() < count.saturating_mul(VALUE_LEN) => return Ok(None),
            _ => Some(Said::Values(
                values.chunks_exact(VALUE_LEN).filter_map(value).collect(),
            )),
        };
        if kind != TAKEN {
            self.left = usize::try_from(number).unwrap_or(usize::MAX);
        }
        self.head.clear();
        Ok(what)
    }
}

fn value(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes, and what else was said before which of them.
    type Came = (Vec<u8>, Vec<(usize, Said)>);

    /// What a reader makes of bytes that come in parts of `size`.
    fn read_in(size: usize, wire: &[u8]) -> io::Result<Came> {
        let (mut reader, mut bytes, mut all) = (Reader::default(), Vec::new(), Vec::new());
        let mut brought = false;
        for part in wire.chunks(size) {
            let mut part = part.to_vec();
            while !part.is_empty() {
                let mut buffer = part.clone();
                let mut said = Vec::new();
                let (count, taken) = reader.read(&mut buffer, brought, |what| {
                    said.push(what);
                    Ok(())
                })?;
                assert!(taken > 0, "a read gets on");
                let values = said.iter().filter(|what| matches!(what, Said::Values(_))).count();
                assert!(values <= usize::from(!brought), "of one portion at most");
                brought = count == 0 && (brought || values > 0);
                bytes.extend(&buffer[..count]);
                all.extend(said.into_iter().map(|what| (bytes.len(), what)));
                part.drain(..taken);
            }
        }
        Ok((bytes, all))
    }

    #[test]
    fn nothing_is_a_portion_that_could_mislead() {
        for (what, wire) in [
            ("no bytes", vec![0, 0, 0, 0]),
            ("no bytes for its values", vec![0, 0, 0, 2]),
            ("too many values", vec![1, 0, 0, 17]),
            ("an unknown kind", vec![1, 0, 0, 0xfe]),
        ] {
            let error = read_in(1, &wire).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}");
        }
        assert!(
            MAGIC[3] > 0 && MAGIC[2] > 0,
            "longer than any frame before the welcome"
        );
    }

    proptest! {
        #[test]
        fn what_is_cut_anywhere_comes_together(
            portions in prop::collection::vec((prop::collection::vec(any::<u64>(), 0..=ATTACHMENTS_MAX), 1_usize..300, 0_u32..3), 0..12),
            size in 1_usize..400,
        ) {
            let (mut wire, mut bytes, mut values) = (Vec::new(), Vec::new(), Vec::new());
            let mut count = 0_u32;
            for (number, (given, length, acknowledged)) in portions.iter().enumerate() {
                if *acknowledged > 0 {
                    taken(&mut wire, *acknowledged);
                    count += acknowledged;
                }
                begin(&mut wire, given, *length);
                let filled = vec![number as u8; *length];
                wire.extend(&filled);
                if !given.is_empty() {
                    values.push((bytes.len(), given.clone()));
                }
                bytes.extend(filled);
            }
            let (came, said) = read_in(size, &wire).unwrap();
            prop_assert_eq!(came, bytes);
            let (mut came, mut acknowledged) = (Vec::new(), 0);
            for (at, what) in said {
                match what {
                    Said::Values(given) => came.push((at, given)),
                    Said::Taken(number) => acknowledged += number,
                }
            }
            prop_assert_eq!(acknowledged, count);
            prop_assert_eq!(came.len(), values.len());
            for ((at, given), (before, wanted)) in came.into_iter().zip(values) {
                prop_assert_eq!(given, wanted);
                // Told with the read that brings the first byte, or before.
                prop_assert!(at <= before + size);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(wire in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
            let _ = read_in(size, &wire);
        }
    }
}
