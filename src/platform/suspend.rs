//! Suspension by a shell's job control, for programs that have the terminal to themselves: such a program gives it back first.
//!
//! Owns the signals that ask for it and that end it, and the stop itself. What is given back, and how it is taken again, the program knows.
//! `rob top` calls it; where the system has no job control nothing ever asks.

use std::io;
#[cfg(unix)]
use std::time::Duration;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long the system may take to stop a process that it is going to stop.
#[cfg(unix)]
const AT_ONCE: Duration = Duration::from_millis(200);

/// SIGTSTP, received instead of stopping the process as long as the process lives, and SIGCONT.
#[derive(Debug)]
pub struct Suspension {
    #[cfg(unix)]
    asked: Signal,
    #[cfg(unix)]
    continued: Signal,
}

impl Suspension {
    /// Receives them from now on. Needs a tokio run-time.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn receive() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            asked: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            #[cfg(unix)]
            continued: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// When somebody asks for it. Cancel safe.
    pub async fn asked(&mut self) {
        #[cfg(unix)]
        self.asked.recv().await;
        #[cfg(not(unix))]
        std::future::pending::<()>().await;
    }

    /// Stops this process and those of its group, as a terminal does, until somebody lets it go on. Returns soon when nobody could: then
    /// the system does not stop them.
    pub async fn stop(&mut self) {
        #[cfg(unix)]
        {
            use futures::FutureExt;
            use rustix::process::{Signal, kill_current_process_group};
            // What came before is no answer to this.
            while self.continued.recv().now_or_never().is_some() {}
            let Ok(_unreceived) = Unreceived::begin() else {
                return;
            };
            // A script that waits for this one stops with it, so that its shell learns of it. Not SIGSTOP: that one the system obeys also
            // where no shell is there to continue a group, as behind `ssh -t host rob top`.
            if kill_current_process_group(Signal::TSTP).is_ok() {
                // Whatever came of it is told by who looks next.
                let _ = tokio::time::timeout(AT_ONCE, self.continued.recv()).await;
            }
        }
    }
}

/// While it lives, SIGTSTP does what it does to any program.
#[cfg(unix)]
struct Unreceived {
    before: libc::sigaction,
}

#[cfg(unix)]
impl Unreceived {
    #[allow(unsafe_code, reason = "nothing safe gives a signal its default for a while")]
    fn begin() -> io::Result<Self> {
        // SAFETY: a plain structure of the system's, of numbers and pointers; all zeroes are no flags and an empty set.
        let mut default: libc::sigaction = unsafe { std::mem::zeroed() };
        default.sa_sigaction = libc::SIG_DFL;
        let mut before = default;
        // SAFETY: both structures live during the call, and the default runs no code of ours.
        match unsafe { libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut before) } {
            0 => Ok(Self { before }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(unix)]
impl Drop for Unreceived {
    #[allow(unsafe_code, reason = "nothing safe gives a signal its default for a while")]
    fn drop(&mut self) {
        // SAFETY: what the system has given out as the one before, whose handler stays for the life of the process. It cannot fail then.
        unsafe { libc::sigaction(libc::SIGTSTP, &raw const self.before, std::ptr::null_mut()) };
    }
}
