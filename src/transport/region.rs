//! Payloads that lie in a fresh memory file of their own: filled by their sender, sealed, and mapped by who gets them.
//!
//! Owns when such memory may be trusted: what [`check`] has let pass is as long as it is said to be, and stays as it is. Whether a
//! payload goes this way is decided by the ends, [`client`](crate::client) and broker. Linux only; elsewhere no memory is made, and
//! none passes.

#[cfg(target_os = "linux")]
use super::unix::region as system;
use crate::message::Attachment;
use bytes::Bytes;
use std::io;

/// Whether this system has such memory.
pub const SUPPORTED: bool = cfg!(target_os = "linux");

/// Memory that is being filled.
#[derive(Debug)]
pub struct Filling {
    memory: system::Memory,
    done: usize,
}

impl Filling {
    /// Memory for `length` bytes.
    ///
    /// # Errors
    /// The system's, for want of descriptors say; `Unsupported` where there is no such memory.
    pub fn new(length: usize) -> io::Result<Self> {
        system::create(length).map(|memory| Self { memory, done: 0 })
    }

    /// Copies about `most` more bytes of the payload in. `true`: all of it is there.
    ///
    /// # Errors
    /// The system's, for want of memory say.
    pub fn fill(&mut self, payload: &[u8], most: usize) -> io::Result<bool> {
        let rest = payload.get(self.done..).unwrap_or_default();
        let part = rest.get(..most.min(rest.len())).unwrap_or_default();
        system::write(&self.memory, self.done, part)?;
        self.done = self.done.saturating_add(part.len());
        Ok(part.len() == rest.len())
    }

    /// From now on nobody changes it.
    ///
    /// # Errors
    /// The system's.
    pub fn seal(self) -> io::Result<Attachment> {
        system::seal(self.memory)
    }
}

/// Whether what came is memory of so many bytes, all of them there, that nobody can change or take away any more. A broker's
/// [`Passing`](super::Passing) is judged by what is inside.
///
/// # Errors
/// What it is instead, for its sender.
pub fn check(attachment: &Attachment, length: usize) -> Result<(), String> {
    system::check(attachment, length).map(|_| ())
}

/// The same, and its bytes: mapped, as long as anybody has them, or copied where the system maps no more.
///
/// # Errors
/// As [`check`].
pub fn open(attachment: &Attachment, length: usize) -> Result<Bytes, String> {
    system::open(attachment, length)
}

/// Where there is no sealed memory.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Attachment, Bytes, io};

    #[derive(Clone, Copy, Debug)]
    pub(super) enum Memory {}

    const NONE: &str = "no sealed memory: this system has none";

    pub(super) fn create(_: usize) -> io::Result<Memory> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NONE))
    }

    pub(super) const fn write(memory: &Memory, _: usize, _: &[u8]) -> io::Result<()> {
        match *memory {}
    }

    pub(super) const fn seal(memory: Memory) -> io::Result<Attachment> {
        match memory {}
    }

    pub(super) fn check(_: &Attachment, _: usize) -> Result<(), String> {
        Err(NONE.to_owned())
    }

    pub(super) fn open(attachment: &Attachment, length: usize) -> Result<Bytes, String> {
        check(attachment, length).map(|()| Bytes::new())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use rustix::fd::OwnedFd;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    use std::sync::Arc;

    const ALL: SealFlags = SealFlags::SHRINK
        .union(SealFlags::GROW)
        .union(SealFlags::WRITE)
        .union(SealFlags::SEAL);

    fn made(bytes: &[u8], length: u64, seals: SealFlags) -> Attachment {
        let memory = memfd_create("t", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&memory, length).unwrap();
        rustix::io::pwrite(&memory, bytes, 0).unwrap();
        fcntl_add_seals(&memory, seals).unwrap();
        Arc::new(memory)
    }

    #[test]
    fn what_was_filled_in_parts_is_what_is_opened() {
        for length in [1, 4_095, 4_096, 4_097, 300_000] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut filling = Filling::new(length).unwrap();
            let mut turns = 1;
            while !filling.fill(&payload, 65_536).unwrap() {
                turns += 1;
            }
            assert_eq!(turns, length.div_ceil(65_536));
            let memory = filling.seal().unwrap();
            let opened = open(&memory, length).unwrap();
            drop(memory);
            assert_eq!(opened, payload, "the mapping needs no descriptor");
            assert_eq!(opened.slice(1..).clone(), payload[1..]);
        }
    }

    #[test]
    fn what_could_change_or_end_early_is_refused_with_its_reason() {
        let (reader, _writer) = io::pipe().unwrap();
        let reader = OwnedFd::from(reader);
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let whole = vec![7; 8192];
        let table: [(Attachment, &str); 9] = [
            (Arc::new(7_u8), "no descriptor"),
            (Arc::new(reader), "no seals"),
            (Arc::new(file), "seal"),
            (made(&whole, 8192, SealFlags::empty()), "not sealed"),
            (
                made(&whole, 8192, ALL.difference(SealFlags::SHRINK)),
                "not sealed",
            ),
            (made(&whole, 8192, ALL.difference(SealFlags::WRITE)), "not sealed"),
            (made(&whole[1..], 8191, ALL), "8191 bytes"),
            (made(&whole, 8193, ALL), "8193 bytes"),
            (made(&whole[..4096], 8192, ALL), "holes"),
        ];
        for (attachment, why) in table {
            let text = check(&attachment, 8192).unwrap_err();
            assert!(text.contains(why), "{why}: {text}");
            assert_eq!(open(&attachment, 8192).unwrap_err(), text);
        }
        assert_eq!(open(&made(&whole, 8192, ALL), 8192).unwrap(), whole);
    }
}
