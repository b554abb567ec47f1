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
use crate::transport::passing::{self, Passing};
use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
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
const GONE: &str = "its sender had closed the connection before it was taken";

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
    /// What has come as these values of one portion, as handles of this process, at the end of `came`. `is_connected` tells whether the
    /// client had its end open still when it is asked.
    ///
    /// # Errors
    /// `InvalidData` where the server gave what is no handle that it may give.
    pub(super) fn take(
        &self,
        values: &[u64],
        came: &mut Vec<Attachment>,
        is_connected: &impl Fn() -> bool,
    ) -> io::Result<()> {
        let Self::Server(process) = self else {
            for value in values {
                came.push(Arc::new(given(*value)?));
            }
            return Ok(());
        };
        let taken: Vec<Result<OwnedHandle, Withheld>> = values
            .iter()
            .map(|value| match is_real(*value) {
                false => Err(Withheld("it is no handle")),
                true => duplicate(Some(process), raw(*value), None)
                    .map(owned)
                    .map_err(|_| Withheld("it is no handle of the sender that can be duplicated")),
            })
            .collect();
        // A client closes its end first, then what it has lent: what was taken before that is what it has lent.
        let open = is_connected();
        came.extend(taken.into_iter().map(|taken| match taken {
            Ok(handle) if open => judged(handle),
            Ok(handle) => withheld(handle, GONE),
            Err(withheld) => Arc::new(withheld),
        }));
        Ok(())
    }

    /// Values that stand for `attachments` at the other end.
    ///
    /// # Errors
    /// `InvalidInput` for what is no handle, was released, or cannot be given to that process, `BrokenPipe` when that process has ended;
    /// nothing was given then.
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
            // Whoever sent it: a program that has the broker inside of it may attach what it likes.
            let there = check_lendable(handle)
                .map_err(wrong)
                .and_then(|()| duplicate(None, handle.as_raw_handle(), Some(process)));
            match there {
                Ok(there) => values.push(value(there)),
                Err(error) => {
                    self.give_up(&Lent::There(values));
                    // Seen before the end of its connection is: the handle is in order.
                    if process.has_ended() {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
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
            // A last handle, whose closing may hang.
            moved
                .into_iter()
                .for_each(|moved| discard(Arc::new(owned(moved))));
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

/// Closes it elsewhere: that may hang, and nobody is charged for it.
pub(super) fn discard(attachment: Attachment) {
    drop(Passing::wrap(attachment, Box::new(())));
}

fn judged(handle: OwnedHandle) -> Attachment {
    match check_lendable(&handle) {
        Ok(()) => Arc::new(handle),
        Err(why) => withheld(handle, why),
    }
}

fn withheld(handle: OwnedHandle, why: &'static str) -> Attachment {
    discard(Arc::new(handle));
    Arc::new(Withheld(why))
}

/// Whether it is of a kind that may be lent; why not.
fn check_lendable(handle: &OwnedHandle) -> Result<(), &'static str> {
    match kind(handle) {
        Ok(kind) if LENDABLE.contains(&kind.as_str()) => Ok(()),
        Ok(_) => Err("its kind may not be lent"),
        Err(_) => Err("the system does not say what it is"),
    }
}

/// The values of real handles are multiples of 4; others stand for the process itself, or for nothing.
fn is_real(value: u64) -> bool {
    value != 0 && value % 4 == 0 && value <= u64::from(u32::MAX)
}

/// What the server has put into this process.
fn given(value: u64) -> io::Result<OwnedHandle> {
    let handle = match is_real(value) {
        true => duplicate(None, raw(value), None)
            .map(owned)
            .map_err(|error| error.to_string()),
        false => Err("no handle has that value".to_owned()),
    };
    let judged = handle.and_then(|handle| {
        check_lendable(&handle)
            .map(|()| handle)
            .map_err(ToOwned::to_owned)
    });
    judged.map_err(|why| {
        let text = format!("the server gave a handle that is none, or none that may be lent: {why}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;

    /// What comes of a value whose sender is there.
    fn take(way: &Way, value: u64) -> io::Result<Attachment> {
        let mut came = Vec::new();
        way.take(&[value], &mut came, &|| true)?;
        assert_eq!(came.len(), 1);
        Ok(came.remove(0))
    }

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
        let came = take(&this(), value(reader.as_raw_handle())).unwrap();
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
            let came = take(&this(), value).unwrap();
            assert!(came.is::<Withheld>(), "{value:#x}");
            // Nor does a server give any.
            let error = take(&Way::Client, value).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{value:#x}: {error}");
        }
        let error = this().give(&[Arc::new(process.into_handle())]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("may not be lent"), "{error}");
    }

    /// Its value may stand for something else by then.
    #[test]
    fn what_is_taken_from_a_client_that_has_gone_is_withheld() {
        let (reader, _writer) = pipe();
        let mut came = Vec::new();
        let values = [value(reader.as_raw_handle()), 2];
        this().take(&values, &mut came, &|| false).unwrap();
        let why = came.iter().map(|one| one.downcast_ref::<Withheld>().unwrap().0);
        assert_eq!(why.collect::<Vec<_>>(), [GONE, "it is no handle"]);
    }

    #[test]
    fn what_was_given_is_closed_there_once_it_is_given_up() {
        let way = this();
        let (reader, writer) = pipe();
        let (values, lent) = way.give(&[Arc::new(writer)]).unwrap();
        assert!(is_open(values[0]));
        way.give_up(&lent);
        // The end comes when nobody has the other one open; closing is done by a thread of its own.
        let mut all = Vec::new();
        std::fs::File::from(reader).read_to_end(&mut all).unwrap();
        assert!(all.is_empty());
    }

    /// Whoever sent the handle did nothing wrong, and may not be told to try again later.
    #[test]
    fn a_process_that_has_ended_is_gone() {
        let mut child = std::process::Command::new("cmd")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::open_to_duplicate(child.id()).unwrap();
        assert!(!process.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.has_ended());
        let (_reader, writer) = pipe();
        let error = Way::Server(process).give(&[Arc::new(writer)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
    }

    fn section() -> OwnedHandle {
        use windows_sys::Win32::System::Memory::{CreateFileMappingW, PAGE_READWRITE};
        let (file, name) = (INVALID_HANDLE_VALUE, std::ptr::null());
        // SAFETY: no attributes and no name are given; the page file stands behind it, and what is made is new.
        let made = unsafe { CreateFileMappingW(file, std::ptr::null(), PAGE_READWRITE, 0, 4096, name) };
        assert!(!made.is_null(), "{}", io::Error::last_os_error());
        owned(made)
    }

    #[test]
    fn every_kind_that_may_be_lent_is_called_so() {
        use std::ptr::null;
        use windows_sys::Win32::System::Threading as system;
        // SAFETY: no attributes and no names are given; what is made is new, and owned by nobody else.
        let made = unsafe {
            [
                ("Event", system::CreateEventW(null(), 1, 0, null())),
                ("Mutant", system::CreateMutexW(null(), 0, null())),
                ("Semaphore", system::CreateSemaphoreW(null(), 0, 1, null())),
                ("Timer", system::CreateWaitableTimerW(null(), 1, null())),
            ]
        };
        let made = made.map(|(name, handle)| {
            assert!(!handle.is_null(), "{name}: {}", io::Error::last_os_error());
            (name, owned(handle))
        });
        let others = [
            ("Section", section()),
            ("File", tempfile::tempfile().unwrap().into()),
        ];
        let all: Vec<(&str, OwnedHandle)> = made.into_iter().chain(others).collect();
        for (name, handle) in &all {
            assert_eq!(kind(handle).unwrap(), *name);
            let came = take(&this(), value(handle.as_raw_handle())).unwrap();
            assert!(came.is::<OwnedHandle>(), "{name}");
        }
        let mut names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(names, LENDABLE);
    }

    #[test]
    fn only_handles_are_given() {
        for way in [this(), Way::Client] {
            let error = way.give(&[Arc::new(7_u8)]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }
}
