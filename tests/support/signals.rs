//! What people do to a process at a terminal: ask it to end, stop it, and let it go on.
//!
//! Owns how the system is told. On Windows only who is attached to a console can type into it, and is typed to as well: a process of its own
//! does it, which is this test program, started again for the one test below. The process that is asked must have a console of its own
//! (`Process::spawn` gives it one). Expects the processes beside it, as `crate::support`.
#![allow(
    dead_code,
    unreachable_pub,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test; Windows has nothing safe for it"
)]

use crate::support::Process;

/// Ctrl+c.
#[track_caller]
pub fn interrupt(process: &Process) {
    system::interrupt(process.id());
}

/// The same for the process with this number.
#[track_caller]
pub fn interrupt_pid(pid: u32) {
    system::interrupt(pid);
}

/// SIGTERM; on Windows ctrl+break, which means the same to our programs.
#[track_caller]
pub fn terminate(process: &Process) {
    system::terminate(process.id());
}

/// Its console is closed.
#[cfg(windows)]
#[track_caller]
pub fn close_console(process: &Process) {
    system::close_console(process.id());
}

/// The same as [`terminate`] of a process that the test has started itself.
#[track_caller]
pub fn terminate_child(child: &std::process::Child) {
    system::terminate(child.id());
}

/// The process with this number does nothing any more.
#[track_caller]
pub fn freeze(pid: u32) {
    system::stop(pid);
}

/// A command that begins as at a terminal: it ignores no signal, though who runs the tests may, as nohup and `&` do.
#[cfg(unix)]
pub fn at_a_terminal(mut command: std::process::Command) -> std::process::Command {
    use std::os::unix::process::CommandExt;
    let heed = || {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            // SAFETY: it may be called between fork and exec, and takes numbers only.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: what is run in the child calls nothing else and allocates nothing.
    unsafe { command.pre_exec(heed) };
    command
}

/// What has been stopped. Dropped, it goes on.
pub struct Stopped(u32);

/// The process does nothing until what is returned is dropped.
#[track_caller]
pub fn stop(process: &Process) -> Stopped {
    system::stop(process.id());
    Stopped(process.id())
}

impl Drop for Stopped {
    fn drop(&mut self) {
        system::go_on(self.0);
    }
}

/// What a shell shows as `$?` of a process that has ended.
pub fn shown(status: std::process::ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Some(128 + signal);
    }
    status.code()
}

#[cfg(unix)]
mod system {
    use rustix::process::{Pid, Signal, kill_process};

    #[track_caller]
    fn signal(pid: u32, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(super) fn interrupt(pid: u32) {
        signal(pid, Signal::INT);
    }

    pub(super) fn terminate(pid: u32) {
        signal(pid, Signal::TERM);
    }

    /// Returns when the system says that it has been stopped: a signal may take its time.
    pub(super) fn stop(pid: u32) {
        signal(pid, Signal::STOP);
        #[cfg(target_os = "linux")]
        {
            let stopped = || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.rsplit_once(") ")
                    .is_none_or(|(_, rest)| rest.starts_with(['T', 'Z']))
            };
            crate::support::until(&format!("{pid} is stopped"), stopped);
        }
    }

    pub(super) fn go_on(pid: u32) {
        signal(pid, Signal::CONT);
    }
}

#[cfg(windows)]
mod system {
    use std::ffi::{CStr, c_char, c_void};
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
    use windows_sys::Win32::Foundation::{FARPROC, HANDLE};
    use windows_sys::Win32::System::Console::{
        AttachConsole, CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, FreeConsole,
        GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
    };
    use windows_sys::Win32::System::Threading::{
        CreateRemoteThread, DETACHED_PROCESS, OpenProcess, PROCESS_ALL_ACCESS, PROCESS_SUSPEND_RESUME,
    };

    /// Tells the test below whose console it is, and what is typed.
    const TYPED: &str = "ACTIX_IPC_TEST_TYPED";

    #[link(name = "ntdll")]
    unsafe extern "system" {
        fn NtSuspendProcess(process: HANDLE) -> i32;
        fn NtResumeProcess(process: HANDLE) -> i32;
    }

    pub(super) fn interrupt(pid: u32) {
        typed(pid, CTRL_C_EVENT);
    }

    /// Wine has no ctrl+break: it ends a thread of the other process. What the system would do there is done for it.
    #[track_caller]
    pub(super) fn terminate(pid: u32) {
        match routine(c"ntdll.dll", c"wine_get_version") {
            Some(_) => called(pid, CTRL_BREAK_EVENT),
            None => typed(pid, CTRL_BREAK_EVENT),
        }
    }

    /// Nobody types it.
    #[track_caller]
    pub(super) fn close_console(pid: u32) {
        called(pid, CTRL_CLOSE_EVENT);
    }

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetModuleHandleA(name: *const c_char) -> HANDLE;
        fn GetProcAddress(module: HANDLE, name: *const c_char) -> FARPROC;
    }

    fn routine(library: &CStr, name: &CStr) -> FARPROC {
        // SAFETY: both names end with a zero, and both libraries are there as long as a process.
        unsafe { GetProcAddress(GetModuleHandleA(library.as_ptr()), name.as_ptr()) }
    }

    /// Calls what the system calls in a process when something is typed at its console, as the system does: in a thread that is made there.
    #[track_caller]
    fn called(pid: u32, event: u32) {
        let routine = routine(c"kernel32.dll", c"CtrlRoutine");
        let process = open(pid, PROCESS_ALL_ACCESS);
        // SAFETY: the process is open with all rights. The routine takes a number and is where it is here: the system's libraries have one
        // place in all processes.
        let thread = unsafe {
            let routine = std::mem::transmute::<FARPROC, Option<unsafe extern "system" fn(*mut c_void) -> u32>>(
                routine,
            );
            assert!(routine.is_some());
            let number = std::ptr::without_provenance(event as usize);
            CreateRemoteThread(
                process.as_raw_handle(),
                std::ptr::null(),
                0,
                routine,
                number,
                0,
                std::ptr::null_mut(),
            )
        };
        assert!(!thread.is_null(), "{}", std::io::Error::last_os_error());
        // SAFETY: the call has just made this handle for this process; nobody else owns it.
        drop(unsafe { OwnedHandle::from_raw_handle(thread) });
    }

    #[track_caller]
    fn typed(pid: u32, event: u32) {
        use std::os::windows::process::CommandExt;
        // The module of this file, without the name of the test program.
        let (_, module) = module_path!().split_once("::").unwrap();
        let test = format!("{module}::types_into_a_console");
        let typed = crate::support::this_program(&test)
            .env(TYPED, format!("{pid} {event}"))
            .creation_flags(DETACHED_PROCESS)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&typed.stdout);
        assert!(typed.status.success() && said.contains("typed"), "{typed:?}");
    }

    /// Does nothing by itself: it is who types.
    #[test]
    fn types_into_a_console() {
        let Ok(typed) = std::env::var(TYPED) else { return };
        let (pid, event) = typed.split_once(' ').unwrap();
        let (pid, event) = (pid.parse().unwrap(), event.parse().unwrap());
        // SAFETY: the calls take numbers only. This process is detached from its own console, takes no ctrl+c, and ends soon.
        unsafe {
            FreeConsole();
            assert_ne!(AttachConsole(pid), 0, "{}", std::io::Error::last_os_error());
            SetConsoleCtrlHandler(Some(taken), 1);
            assert_ne!(
                GenerateConsoleCtrlEvent(event, 0),
                0,
                "{}",
                std::io::Error::last_os_error()
            );
            FreeConsole();
        }
        println!("typed");
    }

    /// What is typed is not for this process.
    extern "system" fn taken(_: u32) -> i32 {
        1
    }

    #[track_caller]
    fn open(pid: u32, rights: u32) -> OwnedHandle {
        // SAFETY: the call takes numbers only.
        let handle = unsafe { OpenProcess(rights, 0, pid) };
        assert!(!handle.is_null(), "{}", std::io::Error::last_os_error());
        // SAFETY: the call has just made this handle for this process; nobody else owns it.
        unsafe { OwnedHandle::from_raw_handle(handle) }
    }

    #[track_caller]
    pub(super) fn stop(pid: u32) {
        // SAFETY: the handle is open, with the right that the call needs.
        assert!(unsafe { NtSuspendProcess(open(pid, PROCESS_SUSPEND_RESUME).as_raw_handle()) } >= 0);
    }

    #[track_caller]
    pub(super) fn go_on(pid: u32) {
        // SAFETY: the handle is open, with the right that the call needs.
        assert!(unsafe { NtResumeProcess(open(pid, PROCESS_SUSPEND_RESUME).as_raw_handle()) } >= 0);
    }
}
