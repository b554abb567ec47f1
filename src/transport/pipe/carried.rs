//! Handles that travel over a pipe: whether they may, what is on its way, who closes it.
//!
//! Owns one connection's state of it. The bytes are [`portions`](super::portions)' business, the system's calls [`handles`](super::handles)'.
//! The stream calls it with its own read and write.
//!
//! # How
//! Bytes cannot hold a handle open, so whoever lends one keeps it until the other end says that it has a duplicate of its own:
//!
//! - *Client to server*: the frame's portion carries the values of the client's own handles, which the client keeps open. The server
//!   duplicates them out of the client's process, judges their kinds, and says `taken`; then the client lets go of its own. A value means
//!   something else once its handle is closed, so a client that ends keeps its end open until they are taken
//!   ([`parting`](super::parting)), and what is taken from one whose end was closed by then is withheld.
//! - *Server to client*: the server duplicates into the client's process and sends the values that are valid there. The client duplicates
//!   them within itself, owns the duplicates, and says `taken`; then the server closes what it had made there. So a value that came in
//!   bytes is never owned by a client, and what it will not read of is closed by who has made it.
//!
//! The server closes what is on its way as well when a write fails, and when the client has closed its end. A server that ends first reads
//! what has been said until then; what it does not hear of stays open in the client until that process ends.
//!
//! A read hands out the handles of one portion at most, as the kernel of Unix does: what was read beyond it is kept for the next read, so that
//! many small frames with handles are no more at once than their limits allow.
//!
//! Nothing waits for a `taken`: an end that is not read for a while must not keep the other from writing. Beyond [`LENT_MAX`] portions a
//! server refuses a frame with handles.
//!
//! # Since when
//! A server begins when it is told to ([`Carried::begin`]): its next write starts with a mark, and both directions are portions from there
//! on. A client finds the mark in front of the first bytes that it reads. Without it all is as if this file did not exist.

use super::handles::{self, Lent, Way};
use super::portions::{self, MAGIC, Reader, Said};
use super::sys::Process;
use crate::message::Attachment;
use crate::transport::lock;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Mutex;

/// Portions with handles that a server may have sent while its client has not said that it took them: they fill the client's table, and are
/// closed by the server alone. A client may have sent as many as the pipe holds; what it keeps are its own handles, which the program
/// has open or has given away.
const LENT_MAX: usize = 1_024;
/// Reads of a server that ends, for what was said until then.
const LAST_READS: usize = 64;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Carried(Mutex<Mode>);

#[derive(Debug)]
enum Mode {
    /// Bytes, for good.
    Plain,
    /// A client's end that has read so many bytes of the mark.
    Look(usize),
    /// A server's end that could, into and out of this process.
    Able(Process),
    /// Portions.
    On(Box<On>),
}

#[derive(Debug)]
struct On {
    way: Way,
    reader: Reader,
    /// The mark is to be written first.
    greets: bool,
    /// Portions with values that were taken, and the other end is to be told so.
    owed: u32,
    lent: VecDeque<Lent>,
    /// Taken, and not one of the bytes that they travel with has come.
    came: Vec<Attachment>,
    /// Read from the pipe, and not taken apart.
    rest: Bytes,
}

impl Drop for On {
    fn drop(&mut self) {
        self.came.drain(..).for_each(handles::discard);
    }
}

impl On {
    fn new(way: Way) -> Self {
        Self {
            greets: matches!(way, Way::Server(_)),
            way,
            reader: Reader::default(),
            owed: 0,
            lent: VecDeque::new(),
            came: Vec::new(),
            rest: Bytes::new(),
        }
    }

    /// Puts as much of what was read before into `buffer` as fits; without any, what `read` brings. Says how much it is.
    fn fill(&self, buffer: &mut [u8], read: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let count = self.rest.len().min(buffer.len());
        match (self.rest.get(..count), buffer.get_mut(..count)) {
            (Some(rest), Some(place)) if count > 0 => {
                place.copy_from_slice(rest);
                Ok(count)
            }
            _ => read(buffer),
        }
    }

    /// Takes apart what `fill` brought, up to the end of a portion with handles. `is_connected` tells whether the other end was open when it
    /// was asked.
    fn read(&mut self, buffer: &mut [u8], is_connected: &impl Fn() -> bool) -> io::Result<usize> {
        let Self {
            way,
            reader,
            owed,
            lent,
            came,
            rest,
            ..
        } = self;
        let brought = !came.is_empty();
        let apart = reader.read(buffer, brought, |said| {
            match said {
                Said::Values(values) => {
                    way.take(&values, came, is_connected)?;
                    *owed = owed.saturating_add(1);
                }
                Said::Taken(count) => {
                    for _ in 0..count {
                        let over = lent.pop_front();
                        let over = over.ok_or_else(|| {
                            io::Error::new(
                                io::ErrorKind::InvalidData,
                                "handles were taken that were not lent",
                            )
                        })?;
                        way.give_up(&over);
                    }
                }
            }
            Ok(())
        });
        let Ok((bytes, taken)) = apart else {
            // It is no portion, so nobody knows where the next one begins.
            rest.clear();
            return apart.map(|(bytes, _)| bytes);
        };
        match rest.is_empty() {
            true => *rest = Bytes::copy_from_slice(buffer.get(taken..).unwrap_or_default()),
            false => rest.advance(taken),
        }
        Ok(bytes)
    }

    /// What goes in front of every write.
    fn front(&self) -> Vec<u8> {
        let mut packed = Vec::new();
        if self.greets {
            packed.extend(MAGIC);
        }
        if self.owed > 0 {
            portions::taken(&mut packed, self.owed);
        }
        packed
    }

    /// Writes all of it or nothing: the reactor takes a buffer whole.
    fn write(&mut self, packed: &[u8], write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        if write(packed)? != packed.len() {
            return Err(io::Error::other("the pipe took a part of a portion"));
        }
        (self.greets, self.owed) = (false, 0);
        Ok(())
    }

    fn end(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        lent.iter().for_each(|lent| self.way.give_up(lent));
    }
}

impl Carried {
    /// A client's end.
    pub(super) const fn client() -> Self {
        Self(Mutex::new(Mode::Look(0)))
    }

    /// A server's end; the client's process if handles may go in and out of it.
    pub(super) fn server(client: Option<Process>) -> Self {
        Self(Mutex::new(client.map_or(Mode::Plain, Mode::Able)))
    }

    pub(super) fn is_able(&self) -> bool {
        matches!(*lock(&self.0), Mode::Able(_))
    }

    pub(super) fn looks(&self) -> bool {
        matches!(*lock(&self.0), Mode::Look(_))
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(*lock(&self.0), Mode::On(_))
    }

    /// Portions from here on, at a server's end that is able to.
    pub(super) fn begin(&self) {
        let mut mode = lock(&self.0);
        *mode = match std::mem::replace(&mut *mode, Mode::Plain) {
            Mode::Able(process) => Mode::On(Box::new(On::new(Way::Server(process)))),
            other => other,
        };
    }

    /// Fills `buffer` as `read` does, with what is inside of portions. 0: the end.
    pub(super) fn read(
        &self,
        buffer: &mut [u8],
        attachments: &mut Vec<Attachment>,
        read: impl Fn(&mut [u8]) -> io::Result<usize>,
        is_connected: impl Fn() -> bool,
    ) -> io::Result<usize> {
        let mut mode = lock(&self.0);
        loop {
            let count = match &mut *mode {
                Mode::Plain | Mode::Able(_) => return read(buffer),
                Mode::Look(seen) => {
                    let Some(found) = look(seen, buffer, &read)? else {
                        continue;
                    };
                    let (begins, count) = found;
                    *mode = match begins {
                        true => Mode::On(Box::new(On::new(Way::Client))),
                        false => Mode::Plain,
                    };
                    if !begins {
                        return Ok(count);
                    }
                    count
                }
                Mode::On(on) => match on.fill(buffer, &read)? {
                    0 => {
                        // The client has closed its end: it reads nothing more.
                        on.end();
                        return Ok(0);
                    }
                    count => count,
                },
            };
            if let Mode::On(on) = &mut *mode {
                let came = on.read(buffer.get_mut(..count).unwrap_or_default(), &is_connected)?;
                // A portion may have no bytes, or not yet; nothing is no end. What came with it waits for them.
                if came > 0 {
                    attachments.append(&mut on.came);
                    return Ok(came);
                }
            }
        }
    }

    /// Whether something was read that the next read hands out, whatever else has come.
    pub(super) fn has_rest(&self) -> bool {
        matches!(&*lock(&self.0), Mode::On(on) if !on.rest.is_empty())
    }

    /// Whether the other end is to be told what was taken.
    pub(super) fn owes(&self) -> bool {
        matches!(&*lock(&self.0), Mode::On(on) if on.owed > 0)
    }

    /// Tells it. It goes with the next write as well.
    pub(super) fn pay(&self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        match &mut *lock(&self.0) {
            Mode::On(on) if on.owed > 0 => {
                let packed = on.front();
                on.write(&packed, write)
            }
            _ => Ok(()),
        }
    }

    /// Writes as much of `slices` as fits in `most` bytes, as a portion; `None` where they go as they are.
    pub(super) fn write(
        &self,
        slices: &[IoSlice<'_>],
        attachments: &[Attachment],
        most: usize,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        match &mut *lock(&self.0) {
            Mode::On(on) => Some(write_portion(on, slices, attachments, most, write)),
            _ => None,
        }
    }

    /// Whether handles are on their way that the other end has not taken.
    pub(super) fn lends(&self) -> bool {
        matches!(&*lock(&self.0), Mode::On(on) if !on.lent.is_empty())
    }

    /// Whether they are handles of this process, lent to a server.
    pub(super) fn lends_own(&self) -> bool {
        matches!(&*lock(&self.0), Mode::On(on) if matches!(on.way, Way::Client) && !on.lent.is_empty())
    }

    /// A server that has not taken them may do so as long as this process lives, so they are never closed.
    pub(super) fn keep_lent(&self) {
        if let Mode::On(on) = &mut *lock(&self.0)
            && matches!(on.way, Way::Client)
        {
            std::mem::forget(std::mem::take(&mut on.lent));
        }
    }

    /// This end is closed now; `read` and `is_broken` ask the pipe a last time.
    pub(super) fn end(
        &self,
        read: impl Fn(&mut [u8]) -> io::Result<usize>,
        is_broken: impl FnOnce() -> bool,
    ) {
        match &mut *lock(&self.0) {
            Mode::On(on) if matches!(on.way, Way::Server(_)) && !on.lent.is_empty() => {
                let (mut buffer, mut reads) = ([0; 4096], 0);
                while reads < LAST_READS || !on.rest.is_empty() {
                    reads = reads.saturating_add(usize::from(on.rest.is_empty()));
                    let count = on.fill(&mut buffer, &read).unwrap_or_default();
                    let part = buffer.get_mut(..count).unwrap_or_default();
                    if count == 0 || on.read(part, &|| false).is_err() {
                        break;
                    }
                    // Nobody reads of them any more.
                    on.came.drain(..).for_each(handles::discard);
                }
                if is_broken() {
                    on.end();
                }
            }
            _ => {}
        }
    }
}

/// Reads until it is clear whether the server begins with the mark, and how many bytes of `buffer` are what follows, or what came
/// instead. `None`: not yet.
fn look(
    seen: &mut usize,
    buffer: &mut [u8],
    read: impl Fn(&mut [u8]) -> io::Result<usize>,
) -> io::Result<Option<(bool, usize)>> {
    let room = buffer.len();
    let held = (*seen).min(room);
    // What was seen of the mark is put back, because it may have been none.
    for (place, byte) in buffer.iter_mut().zip(MAGIC).take(held) {
        *place = byte;
    }
    let rest = buffer.get_mut(held..).unwrap_or_default();
    let count = match rest.is_empty() {
        true => 0,
        false => read(rest)?,
    };
    let came = held.saturating_add(count);
    let (begins, follows) = match buffer.get(..came).and_then(|all| all.split_first_chunk()) {
        Some((first, _)) => (*first == MAGIC, came.saturating_sub(MAGIC.len())),
        None if count > 0 && MAGIC.starts_with(buffer.get(..came).unwrap_or_default()) && came < room => {
            *seen = came;
            return Ok(None);
        }
        None => (false, came),
    };
    if begins {
        buffer.copy_within(MAGIC.len()..came, 0);
        return Ok(Some((true, follows)));
    }
    Ok(Some((false, came)))
}

fn write_portion(
    on: &mut On,
    slices: &[IoSlice<'_>],
    attachments: &[Attachment],
    most: usize,
    write: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(most);
    if length == 0 {
        return Ok(0);
    }
    let (values, lent) = match attachments {
        [] => (Vec::new(), None),
        _ if matches!(on.way, Way::Server(_)) && on.lent.len() >= LENT_MAX => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the receiver has not taken the handles of {LENT_MAX} earlier messages"),
            ));
        }
        _ => on
            .way
            .give(attachments)
            .map(|(values, lent)| (values, Some(lent)))?,
    };
    let mut packed = on.front();
    portions::begin(&mut packed, &values, length);
    let until = packed.len().saturating_add(length);
    for slice in slices {
        let room = until.saturating_sub(packed.len());
        packed.extend_from_slice(slice.get(..room).unwrap_or(slice));
    }
    match on.write(&packed, write) {
        Ok(()) => {
            on.lent.extend(lent);
            Ok(length)
        }
        Err(error) => {
            // Nobody will read of it.
            lent.iter().for_each(|lent| on.way.give_up(lent));
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::os::windows::io::{AsRawHandle, OwnedHandle};

    /// Nothing is handed out by a read that says that nothing has come.
    #[test]
    fn handles_come_with_the_first_byte_that_they_travel_with() {
        let carried = Carried::server(Process::open_to_duplicate(std::process::id()).ok());
        carried.begin();
        let (reader, _writer) = io::pipe().unwrap();
        let mut wire = Vec::new();
        portions::begin(&mut wire, &[reader.as_raw_handle().addr() as u64], 1);
        let parts = RefCell::new(VecDeque::from([Some(wire), None, Some(vec![b'x'])]));
        let next = |buffer: &mut [u8]| -> io::Result<usize> {
            let part = parts.borrow_mut().pop_front().flatten();
            let part = part.ok_or(io::ErrorKind::WouldBlock)?;
            buffer[..part.len()].copy_from_slice(&part);
            Ok(part.len())
        };
        let (mut buffer, mut came) = ([0; 64], Vec::new());
        let nothing = carried.read(&mut buffer, &mut came, next, || true).unwrap_err();
        assert_eq!((nothing.kind(), came.len()), (io::ErrorKind::WouldBlock, 0));
        assert_eq!(carried.read(&mut buffer, &mut came, next, || true).unwrap(), 1);
        assert_eq!((buffer[0], came.len()), (b'x', 1));
        assert!(came[0].is::<OwnedHandle>());
    }
}
