//! How Windows starts a process with a job of its own, and ends the job.
//!
//! Owns jobs. The stages of a process' life are `child`'s, which calls it. The system has no way to ask a process without windows to end: it
//! is ended.
#![allow(unsafe_code, reason = "jobs have no safe interface; each use is proven")]

use super::super::lines::Lines;
use super::{Group, Left};
use std::io::{self, PipeReader, Read};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::{Child, Command, ExitStatus};
use std::ptr;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, TerminateJobObject,
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
    let job = job()?;
    let mut child = command.spawn()?;
    if let Err(error) = assign(&job, &child) {
        // Nobody could end it later. It may have ended meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok((child, Tie(job)))
}

/// Waits for the end of the process, and ends what is left of its job.
pub(super) fn wait(child: &mut Child, group: &Group) -> io::Result<ExitStatus> {
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
