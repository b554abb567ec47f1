//! A child process with a job of its own, from its start to its end (Windows).
//!
//! Owns how it is started, ended and reaped, and the reading of what it prints. It refuses to know why it runs. `activation` calls it, on
//! a thread that may block. The system has no way to ask a process without windows to end: it is ended.
#![allow(unsafe_code, reason = "jobs have no safe interface; each use is proven")]

use super::lines::Lines;
use std::io::{self, PipeReader, Read};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::ptr;
use std::sync::{Mutex, PoisonError};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, TerminateJobObject,
};

/// Whether services can be units of systemd here.
pub const HAS_UNITS: bool = false;

/// What a process leaves that was ended by its job: as of one that was told to by a console.
const ENDED: u32 = 1;

#[derive(Debug)]
enum Stage {
    Before,
    /// It is not to be started any more.
    CalledOff,
    Live(OwnedHandle),
    Over,
}

/// The process and all that it has started since: the way to end them, from any thread.
#[derive(Debug)]
pub struct Group(Mutex<Stage>);

impl Default for Group {
    fn default() -> Self {
        Self(Mutex::new(Stage::Before))
    }
}

impl Group {
    /// Ends the group. One that is not started yet will not be.
    pub fn end(&self, _kill: bool) {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stage {
            Stage::Before => *stage = Stage::CalledOff,
            Stage::Live(job) => terminate(job),
            Stage::CalledOff | Stage::Over => {}
        }
    }

    /// `false`: it was called off meanwhile.
    fn live(&self, job: OwnedHandle) -> bool {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = matches!(*stage, Stage::Before);
        *stage = Stage::Live(job);
        wanted
    }

    fn is_called_off(&self) -> bool {
        matches!(
            *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            Stage::CalledOff
        )
    }
}

/// Starts the command, waits for its end and reaps it; what it has started is ended then. Each line that it prints is told, unless its
/// output is to go nowhere.
///
/// # Errors
/// It cannot be started ([`io::ErrorKind::Interrupted`]: it was called off).
pub fn run(
    mut command: Command,
    group: &Group,
    told: Option<&(dyn Fn(&str) + Sync)>,
) -> io::Result<ExitStatus> {
    command.stdin(Stdio::null());
    let mut output = None;
    if told.is_some() {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        output = Some(reader);
    } else {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    if group.is_called_off() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let job = job()?;
    let mut child = command.spawn()?;
    // It holds the writing end of the output, which is to end with the child.
    drop(command);
    if let Err(error) = assign(&job, &child) {
        // Nobody could end it later. It may have ended meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    if !group.live(job) {
        group.end(true);
    }
    std::thread::scope(|threads| {
        if let (Some(output), Some(told)) = (output, told) {
            let reader = std::thread::Builder::new().name("service-output".into());
            // Without a thread nobody reads; the pipe's other end is closed then, and the child learns of it.
            let _ = reader.spawn_scoped(threads, move || read(output, told));
        }
        let status = child.wait();
        // All who could write into the output are of the job, so the reader ends.
        group.end(true);
        *group.0.lock().unwrap_or_else(PoisonError::into_inner) = Stage::Over;
        status
    })
}

/// Reads lines until the output ends.
fn read(mut output: PipeReader, told: &(dyn Fn(&str) + Sync)) {
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

fn terminate(job: &OwnedHandle) {
    // SAFETY: the handle is open as long as it is borrowed here. It fails when nobody is left, which is as well.
    unsafe { TerminateJobObject(job.as_raw_handle(), ENDED) };
}
