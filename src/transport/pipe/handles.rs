//! The raw Windows calls that move handles between two processes.
//!
//! Owns every `unsafe` of it, each with its proof, and the rule about what may be lent. Only the server's end reaches into another
//! process, the one that its system names as the client's, and with the right to duplicate alone; a client opens nobody's. A value that
//! came in bytes is never owned as it is: it is duplicated first, and the duplicate is owned.
#![allow(
    unsafe_code,
    reason = "handles of other processes have no safe interface; each use is proven"
)]

use super::sys::Process;
use crate::message::Attachment;
use crate::transport::passing;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::Arc;
use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectTypeInformation};
use windows_sys::Win32::Foundation::{
    DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE, UNICODE_STRING,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// The kinds of objects that may be lent, as the object manager names them. None of them gives power over a process: no process, thread,
/// token, job, desktop or registry key is among them, whatever its rights are.
const LENDABLE: [&str; 6] = ["Event", "File", "Mutant", "Section", "Semaphore", "Timer"];
const NOT_A_HANDLE: &str = "an attachment is not a handle (OwnedHandle)";

/// Stands for a handle that was not taken over; says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Withheld(pub(in crate::transport) &'static str);

/// Where the values that travel over a pipe are handles.
#[derive(Debug)]
pub(super) enum Way {
    /// This is the server's end: in the client's process.
    Server(Process),
    /// This is the client's end: in this process.
    Client,
}

/// What was sent and is not known to be taken.
#[derive(Debug)]
pub(super) enum Lent {
    /// Handles of this process, open until the server has its own.
    Kept(#[allow(dead_code, reason = "held, and closed by being dropped")] Vec<Attachment>),
    /// Values in the client's process, which the server closes there.
    There(Vec<u64>),
}

impl Way {
    /// What has come as `value`, as a handle of this process.
    ///
    /// # Errors
    /// `InvalidData` where the server gave what is no handle.
    pub(super) fn take(&self, value: u64) -> io::Result<Attachment> {
        match self {
            Self::Client => duplicate(None, raw(value), None)
                .map(|handle| Arc::new(owned(handle)) as Attachment)
                .map_err(|error| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("the server gave a handle that is none: {error}"),
                    )
                }),
            // The values of real handles are multiples of 4; others stand for the process itself, or for nothing.
            Self::Server(_) if value == 0 || value % 4 != 0 || value > u64::from(u32::MAX) => {
                Ok(Arc::new(Withheld("it is no handle")))
            }
            Self::Server(process) => Ok(match duplicate(Some(process), raw(value), None) {
                Err(_) => Arc::new(Withheld("it is no handle of the sender that can be duplicated")),
                Ok(handle) => judged(owned(handle)),
            }),
        }
    }

    /// Values that stand for `attachments` at the other end.
    ///
    /// # Errors
    /// `InvalidInput` for what is no handle, was released, or cannot be given to that process; nothing was given then.
    pub(super) fn give(&self, attachments: &[Attachment]) -> io::Result<(Vec<u64>, Lent)> {
        let inside: Vec<Attachment> = attachments.iter().filter_map(passing::inside).collect();
        if inside.len() < attachments.len() {
            return Err(wrong("an attachment was released before it was sent"));
        }
        check_kinds(&inside)?;
        let handles = inside.iter().filter_map(|one| one.downcast_ref::<OwnedHandle>());
        let Self::Server(process) = self else {
            let values = handles.map(|handle| value(handle.as_raw_handle())).collect();
            return Ok((values, Lent::Kept(inside)));
        };
        let mut values = Vec::with_capacity(inside.len());
        for handle in handles {
            match duplicate(None, handle.as_raw_handle(), Some(process)) {
                Ok(there) => values.push(value(there)),
                Err(error) => {
                    self.give_up(&Lent::There(values));
                    return Err(wrong(&format!("the receiver cannot be given a handle: {error}")));
                }
            }
        }
        Ok((values.clone(), Lent::There(values)))
    }

    /// Closes what was given to the client's process: it has a duplicate of its own, or will never read of it.
    pub(super) fn give_up(&self, lent: &Lent) {
        let (Self::Server(process), Lent::There(values)) = (self, lent) else {
            return;
        };
        // It is moved here and closed here: a move to nowhere, which Windows knows as well, fails between processes under wine.
        for value in values {
            let moved = copy(
                Some(process),
                raw(*value),
                None,
                DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE,
            );
            drop(moved.map(owned));
        }
    }
}

/// Refuses what is no handle.
pub(in crate::transport) fn check_kinds(attachments: &[Attachment]) -> io::Result<()> {
    let known = |one: &Attachment| passing::inside(one).is_some_and(|one| one.is::<OwnedHandle>());
    if attachments.iter().all(known) {
        return Ok(());
    }
    Err(wrong(NOT_A_HANDLE))
}

fn judged(handle: OwnedHandle) -> Attachment {
    match kind(&handle) {
        Ok(kind) if LENDABLE.contains(&kind.as_str()) => Arc::new(handle),
        Ok(_) => Arc::new(Withheld("its kind may not be lent")),
        Err(_) => Arc::new(Withheld("the system does not say what it is")),
    }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn raw(value: u64) -> HANDLE {
    std::ptr::without_provenance_mut::<c_void>(usize::try_from(value).unwrap_or_default())
}

fn value(handle: HANDLE) -> u64 {
    handle.addr() as u64
}

/// Another handle with the same rights, for this process or for `to`, which nobody inherits. `None` is this process.
fn duplicate(from: Option<&Process>, handle: HANDLE, to: Option<&Process>) -> io::Result<HANDLE> {
    copy(from, handle, to, DUPLICATE_SAME_ACCESS)
}

/// The same; with `DUPLICATE_CLOSE_SOURCE` among the options for handles only that [`Way::give`] has made in `from`, once for each: nobody
/// else owns those, because a client owns a duplicate.
fn copy(from: Option<&Process>, handle: HANDLE, to: Option<&Process>, options: u32) -> io::Result<HANDLE> {
    // SAFETY: the call has no conditions; what it returns is a constant that is always valid and never closed.
    let here = unsafe { GetCurrentProcess() };
    let from = from.map_or(here, Process::as_raw);
    let to = to.map_or(here, Process::as_raw);
    let mut made = null_mut();
    // SAFETY: both processes are open while they are borrowed, or this one; `made` has room for what is written. `handle` is looked up by
    // the system in the table of `from`, and refused where it is none. It is closed only where the options say so, which callers do for
    // handles without an owner alone, so nobody loses one.
    let done = unsafe { DuplicateHandle(from, handle, to, &raw mut made, 0, 0, options) };
    if done == 0 || made.is_null() {
        return Err(io::Error::last_os_error());
    }
    Ok(made)
}

/// The owner of what [`copy`] has just made in this process.
fn owned(made: HANDLE) -> OwnedHandle {
    // SAFETY: all callers pass what `copy` returned for this process: a new handle, which nobody else owns.
    unsafe { OwnedHandle::from_raw_handle(made) }
}

/// What the object manager calls the kind of an object.
fn kind(handle: &OwnedHandle) -> io::Result<String> {
    // The structure begins with the name's length and place, and the name lies behind it. Aligned as the structure is.
    let mut about = [0_u64; 64];
    let size = u32::try_from(size_of_val(&about)).unwrap_or_default();
    // SAFETY: the handle is open, for it is borrowed; `about` has room for what is written, of the size that is given; the returned length
    // is not asked for.
    let status = unsafe {
        NtQueryObject(
            handle.as_raw_handle(),
            ObjectTypeInformation,
            about.as_mut_ptr().cast(),
            size,
            null_mut(),
        )
    };
    if status < 0 {
        return Err(io::Error::other(format!(
            "the system does not tell the kind: {status:#x}"
        )));
    }
    // SAFETY: the call succeeded, so `about` begins with a UNICODE_STRING; it is large enough for one, aligned for one, and initialised.
    let name = unsafe { about.as_ptr().cast::<UNICODE_STRING>().read() };
    let start = name.Buffer.addr().checked_sub(about.as_ptr().addr());
    let bytes: Vec<u8> = about.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let found = start.and_then(|start| bytes.get(start..)?.get(..usize::from(name.Length)));
    let found = found.ok_or_else(|| io::Error::other("the system's answer is not whole"))?;
    let units = found
        .chunks_exact(2)
        .filter_map(|unit| unit.try_into().ok().map(u16::from_ne_bytes));
    let units: Vec<u16> = units.collect();
    Ok(String::from_utf16_lossy(&units))
}

/// The process at the other end of a server's instance, opened for duplicating alone; `None` unless it runs as this process' user. It
/// stays that process as long as this is held.
pub(super) fn client_of(pipe: BorrowedHandle<'_>) -> Option<Process> {
    let process = Process::open_to_duplicate(super::sys::client_pid(pipe)?).ok()?;
    let ours = super::sys::current_user().ok()?;
    process.user().is_ok_and(|user| user == ours).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::windows::io::AsHandle;

    fn this() -> Way {
        Way::Server(Process::open_to_duplicate(std::process::id()).unwrap())
    }

    fn is_open(handle: u64) -> bool {
        duplicate(None, raw(handle), None).map(owned).is_ok()
    }

    fn pipe() -> (OwnedHandle, OwnedHandle) {
        let (reader, writer) = io::pipe().unwrap();
        (reader.into(), writer.into())
    }

    #[test]
    fn what_is_lent_is_told_by_its_kind() {
        let (reader, _writer) = pipe();
        assert_eq!(kind(&reader).unwrap(), "File");
        let came = this().take(value(reader.as_raw_handle())).unwrap();
        assert!(came.is::<OwnedHandle>());
        assert!(is_open(value(reader.as_raw_handle())), "the sender's stays");
    }

    #[test]
    fn no_power_over_processes_is_lent() {
        let process = Process::open_to_duplicate(std::process::id()).unwrap();
        let real = value(process.as_raw());
        // The pseudo handles of the process, the thread and the tokens, nothing, and odd values.
        let pseudo = (1_u64..=6).map(|number| u64::MAX - (number - 1));
        for value in pseudo.chain([real, 0, 2, 7, 0xffff_fffc, 0x1_0000_0004]) {
            let came = this().take(value).unwrap();
            assert!(came.is::<Withheld>(), "{value:#x}");
        }
    }

    #[test]
    fn what_was_given_is_closed_there_once_it_is_given_up() {
        let way = this();
        let (reader, _writer) = pipe();
        let attachment: Attachment = Arc::new(reader.as_handle().try_clone_to_owned().unwrap());
        let (values, lent) = way.give(&[attachment]).unwrap();
        assert!(is_open(values[0]));
        way.give_up(&lent);
        assert!(!is_open(values[0]));
    }

    #[test]
    fn only_handles_are_given() {
        for way in [this(), Way::Client] {
            let error = way.give(&[Arc::new(7_u8)]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }
}
