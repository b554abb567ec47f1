//! How Windows starts a process with a job of its own, and ends the job.
//!
//! Owns jobs, and that a process begins to run when it is in its job, so that whatever it starts is, too. The stages of a process' life are
//! `child`'s, which calls it; `filter` starts and waits with it. The system has no way to ask a process without windows to end: it is ended.
//! Each has an invisible console of its own: ctrl+c is typed for this program, which decides what becomes of the others.
#![allow(unsafe_code, reason = "jobs have no safe interface; each use is proven")]

use super::super::lines::Lines;
use super::{Group, Left};
use std::io::{self, PipeReader, Read};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::ptr;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, OpenThread, ResumeThread, THREAD_SUSPEND_RESUME,
};

/// Whether services can be units of systemd here.
pub const HAS_UNITS: bool = false;

/// What a process leaves that was ended by its job: as of one that was told to by a console.
const ENDED: u32 = 1;

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
        // Nobody could end it later.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok((child, Tie(job)))
}

/// Waits for the end of the process, and ends what is left of its job.
pub(in crate::platform) fn wait(child: &mut Child, group: &Group) -> io::Result<ExitStatus> {
    let status = child.wait();
    // All who could write into the output are of the job, so its reader ends.
    group.end(true);
    group.over(|| status)
}

/// Reads lines until the output ends.
pub(super) fn read(mut output: PipeReader, _over: &PipeReader, told: &(dyn Fn(&str) + Sync)) {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        lines.take(buffer.get(..length).unwrap_or_default(), told);
    }
    lines.end(told);
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

/// Lets a process that was started suspended run. It has one thread; where another program has put in one more, that runs already.
fn resume(child: &Child) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle for this process; nobody else owns it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut thread = THREADENTRY32::default();
    let mut resumed = Err(io::ErrorKind::NotFound.into());
    let mut next: unsafe extern "system" fn(HANDLE, *mut THREADENTRY32) -> i32 = Thread32First;
    loop {
        thread.dwSize = length_of(&thread);
        // SAFETY: the snapshot is open, and the entry is ours and says its length.
        if unsafe { next(snapshot.as_raw_handle(), &raw mut thread) } == 0 {
            return resumed;
        }
        next = Thread32Next;
        // The number is that of our child, whose handle we have: it is nobody else's.
        if thread.th32OwnerProcessID == child.id() {
            resume_thread(thread.th32ThreadID)?;
            resumed = Ok(());
        }
    }
}

fn resume_thread(number: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let thread = unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, number) };
    if thread.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle for this process; nobody else owns it.
    let thread = unsafe { OwnedHandle::from_raw_handle(thread) };
    // SAFETY: the handle is open, with the right that the call needs.
    match unsafe { ResumeThread(thread.as_raw_handle()) } {
        u32::MAX => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
