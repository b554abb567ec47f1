//! How Windows starts a process with a job of its own, and ends the job.
//!
//! Owns jobs, that a process begins to run when it is in its job, so that whatever it starts is, too, and how the reader of an output learns that
//! it is over. The stages of a process' life are `child`'s, which calls it; `filter` starts and waits with it. The system has no way to ask a
//! process without windows to end: it is ended. Each has an invisible console of its own: ctrl+c is typed for this program, which decides what
//! becomes of the others.
#![allow(
    unsafe_code,
    reason = "jobs and looks into pipes have no safe interface; each use is proven"
)]

use super::super::lines::Lines;
use super::{Group, Left};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS, RtlNtStatusToDosError};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;
use windows_sys::Win32::System::Threading::{CREATE_NO_WINDOW, CREATE_SUSPENDED};

#[link(name = "ntdll")]
unsafe extern "system" {
    /// Lets the threads of a process run that was started suspended. By its process, because `std` keeps the handle of the thread.
    fn NtResumeProcess(process: HANDLE) -> NTSTATUS;
}

/// Whether services can be units of systemd here.
pub const HAS_UNITS: bool = false;

/// What a process leaves that was ended by its job: as of one that was told to by a console.
const ENDED: u32 = 1;
/// What is read at most when the process has ended: others may still write into its output.
const REST_MAX: usize = 64 * 1024;
/// The byte that wakes the reader. It is told to nobody.
const WAKE: u8 = 0;

/// What a process is ended by: its job.
#[derive(Debug)]
pub(in crate::platform) struct Tie(OwnedHandle);

impl Tie {
    pub(super) const fn of_left(left: Left) -> Self {
        match left {}
    }

    pub(super) fn end(&self, _kill: bool) {
        // SAFETY: the handle is open as long as it is borrowed here. It fails when nobody is left, which is as well.
        unsafe { TerminateJobObject(self.0.as_raw_handle(), ENDED) };
    }
}

/// What the reader of an output asks.
#[derive(Debug)]
pub(super) struct Over(Arc<AtomicBool>);

/// Dropped when the process is over.
#[derive(Debug)]
pub(super) struct IsOver(Arc<AtomicBool>, PipeWriter);

impl Drop for IsOver {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        // The reader may wait in the system. Where there is none, nobody has to be woken.
        let _ = self.1.write(&[WAKE]);
    }
}

/// The two ends by which the reader of an output learns that its process is over: the output alone does not say it, for somebody else may
/// have it open.
pub(super) fn over(output: &PipeWriter) -> io::Result<(Over, IsOver)> {
    let over = Arc::new(AtomicBool::new(false));
    Ok((Over(over.clone()), IsOver(over, output.try_clone()?)))
}

/// Starts the command in a job of its own.
pub(super) fn start(command: &mut Command) -> io::Result<(Child, Tie)> {
    start_in(job()?, command)
}

/// The same; a job that is held ends with this process, however that ends.
#[cfg(feature = "cli")]
pub(in crate::platform) fn start_held(command: &mut Command, held: bool) -> io::Result<(Child, Tie)> {
    let job = job()?;
    if held {
        hold(&job)?;
    }
    start_in(job, command)
}

fn start_in(job: OwnedHandle, command: &mut Command) -> io::Result<(Child, Tie)> {
    // Suspended, so that it starts nobody before it is in the job.
    let mut child = command
        .creation_flags(CREATE_SUSPENDED | CREATE_NO_WINDOW)
        .spawn()?;
    if let Err(error) = assign(&job, &child).and_then(|()| resume(&child)) {
        // Nobody could end it later. Somebody else may have ended it meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok((child, Tie(job)))
}

/// Waits for the end of the process, and ends what is left of its job.
pub(in crate::platform) fn wait(child: &mut Child, group: &Group) -> io::Result<ExitStatus> {
    let status = child.wait();
    group.end(true);
    group.over(|| status)
}

/// Reads lines until the output ends, or the process.
pub(super) fn read(mut output: PipeReader, over: &Over, told: &(dyn Fn(&str) + Sync)) {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        let read = buffer.get(..length).unwrap_or_default();
        if over.0.load(Ordering::Acquire) {
            let rest = rest(output, read.to_vec());
            let end = rest.iter().rposition(|byte| *byte != WAKE);
            let said = end.and_then(|end| rest.get(..=end));
            lines.take(said.unwrap_or_default(), told);
            break;
        }
        lines.take(read, told);
    }
    lines.end(told);
}

/// What has been read, and what is there behind it: all that the process and its job have written, for they have ended.
fn rest(mut output: PipeReader, mut read: Vec<u8>) -> Vec<u8> {
    let mut buffer = [0; 4096];
    while read.len() < REST_MAX && waiting(&output) > 0 {
        let Ok(length @ 1..) = output.read(&mut buffer) else {
            break;
        };
        read.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    read
}

/// So many bytes are in the pipe.
fn waiting(output: &PipeReader) -> u32 {
    let mut count = 0;
    // SAFETY: the handle is open as long as it is borrowed here; nothing is read into the null buffer of length 0, `count` is a valid place,
    // and null places ask for nothing.
    let asked = unsafe {
        PeekNamedPipe(
            output.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &raw mut count,
            ptr::null_mut(),
        )
    };
    if asked == 0 { 0 } else { count }
}

fn job() -> io::Result<OwnedHandle> {
    // SAFETY: no attributes and no name are given; nothing is read from this process.
    let handle = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle for this process; nobody else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn assign(job: &OwnedHandle, child: &Child) -> io::Result<()> {
    // SAFETY: both handles are open as long as they are borrowed here, and the call keeps neither.
    match unsafe { AssignProcessToJobObject(job.as_raw_handle(), child.as_raw_handle()) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Its processes end when its last handle is closed, which the system does for a process that has ended.
#[cfg(feature = "cli")]
fn hold(job: &OwnedHandle) -> io::Result<()> {
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    // SAFETY: the handle is open as long as it is borrowed here; the structure is of the kind that is named, with its length, and is read
    // before the call returns.
    let done = unsafe {
        SetInformationJobObject(
            job.as_raw_handle(),
            JobObjectExtendedLimitInformation,
            (&raw const limits).cast(),
            length_of(&limits),
        )
    };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The length of a structure, as the system wants it.
const fn length_of<T>(_: &T) -> u32 {
    // No structure of the system is longer than 4 GiB.
    size_of::<T>() as u32
}

fn resume(child: &Child) -> io::Result<()> {
    // SAFETY: the handle is open as long as it is borrowed here, and `std` has got it with every right to the new process.
    match unsafe { NtResumeProcess(child.as_raw_handle()) } {
        0.. => Ok(()),
        // SAFETY: the call takes a plain value.
        status => Err(io::Error::from_raw_os_error(
            unsafe { RtlNtStatusToDosError(status) } as i32,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn what_somebody_else_keeps_open_is_not_waited_for() {
        for (written, expected) in [("one\ntwo", &["one", "two"][..]), ("one\n", &["one"]), ("", &[])] {
            let (output, mut writer) = io::pipe().unwrap();
            let (over, is_over) = over(&writer).unwrap();
            writer.write_all(written.as_bytes()).unwrap();
            let heard = Mutex::new(Vec::new());
            let told = |line: &str| heard.lock().unwrap().push(line.to_owned());
            std::thread::scope(|threads| {
                threads.spawn(|| read(output, &over, &told));
                drop(is_over);
            });
            assert_eq!(heard.into_inner().unwrap(), expected, "{written:?}");
            // It was open all the time.
            drop(writer);
        }
    }
}
