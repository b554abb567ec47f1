//! Waiting for what other processes do: one ends, or touches a file.
//!
//! Owns what the system tells it with (descriptors on a tokio run-time; a thread of the system's on Windows), and what the system says of a
//! process that does not run. Where nothing tells it says so, and its caller looks again from time to time. `bus::host` is the caller.

pub(crate) use system::End;
#[cfg(target_os = "linux")]
pub(crate) use system::{Changes, is_stopped};
#[cfg(not(target_os = "linux"))]
pub(crate) use untold::{Changes, is_stopped};

#[cfg(not(target_os = "linux"))]
mod untold;

#[cfg(target_os = "linux")]
mod system {
    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::fd::OwnedFd;
    use rustix::fs::inotify;
    use rustix::io::{Errno, retry_on_intr};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::io;
    use std::path::Path;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    #[allow(
        deprecated,
        reason = "deprecated because a type may lie about its descriptor; an OwnedFd does not, and the successor is unsafe"
    )]
    fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
        AsyncFd::with_interest(descriptor, Interest::READABLE)
    }

    /// The end of a process.
    #[derive(Debug)]
    pub(crate) struct End(AsyncFd<OwnedFd>);

    impl End {
        /// Of the process that has this number now. `None`: there is none.
        ///
        /// # Errors
        /// The system has no such descriptors, or none left. To be called on a tokio run-time.
        pub(crate) fn of(pid: u32) -> io::Result<Option<Self>> {
            let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
                return Ok(None);
            };
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(descriptor) => register(descriptor).map(|end| Some(Self(end))),
                Err(Errno::SRCH) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }

        /// Ready once the process has ended, also when it is a zombie still. Cancel safe.
        pub(crate) async fn wait(&self) {
            loop {
                let Ok(mut ready) = self.0.readable().await else {
                    // The run-time is ending; nobody will look at this any more.
                    return;
                };
                let mut asked = [PollFd::new(&self.0, PollFlags::IN)];
                let now = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                if retry_on_intr(|| rustix::event::poll(&mut asked, Some(&now))).is_ok_and(|count| count > 0)
                {
                    return;
                }
                ready.clear_ready();
            }
        }
    }

    /// The changes of a file.
    #[derive(Debug)]
    pub(crate) struct Changes(AsyncFd<OwnedFd>);

    impl Changes {
        /// Of the file that is at this path now, from now on.
        ///
        /// # Errors
        /// There is no file, or the system has no watches left (`fs.inotify.max_user_instances`). To be called on a tokio run-time.
        pub(crate) fn of(path: &Path) -> io::Result<Self> {
            use inotify::{CreateFlags, WatchFlags};
            let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            inotify::add_watch(
                &descriptor,
                path,
                WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF,
            )?;
            register(descriptor).map(Self)
        }

        /// Ready when the file was touched or removed since the last time. Cancel safe.
        pub(crate) async fn wait(&self) {
            loop {
                let Ok(mut ready) = self.0.readable().await else {
                    return;
                };
                // Room for many events; which they are says less than a look at the file.
                let mut events = [0_u8; 4096];
                match ready.try_io(|file| Ok(rustix::io::read(file, &mut events)?)) {
                    Ok(Ok(1..)) => return,
                    Ok(Ok(0) | Err(_)) => ready.clear_ready(),
                    Err(_would_block) => {}
                }
            }
        }
    }

    /// Whether a process has been stopped (SIGSTOP, a debugger, a terminal).
    pub(crate) fn is_stopped(pid: u32) -> bool {
        // "pid (name) state …"; the name may hold anything, but what follows it holds no bracket.
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| {
            let state = text.rsplit_once(')').map(|(_, rest)| rest.trim_start());
            state.is_some_and(|state| state.starts_with(['T', 't']))
        })
    }
}

#[cfg(windows)]
#[path = "watch/windows.rs"]
mod system;

#[cfg(not(any(target_os = "linux", windows)))]
mod system {
    use std::io;

    #[derive(Debug)]
    pub(crate) struct End;

    impl End {
        pub(crate) fn of(_: u32) -> io::Result<Option<Self>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) async fn wait(&self) {
            std::future::pending().await
        }
    }
}
