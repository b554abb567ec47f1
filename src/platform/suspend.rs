//! Suspension by a shell's job control, for programs that have the terminal to themselves: such a program gives it back first.
//!
//! Owns the signals that ask for it and that end it, and the stop itself. What is given back, and how it is taken again, the program knows.
//! `rob top` calls it; where the system has no job control nothing ever asks.

use std::io;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

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

    /// Stops this process and those of its group, as a terminal does, until somebody lets it go on.
    pub async fn stop(&mut self) {
        #[cfg(unix)]
        {
            use futures::FutureExt;
            // What came before is no answer to this.
            while self.continued.recv().now_or_never().is_some() {}
            // A script that waits for this one stops with it, so that its shell learns of it.
            if rustix::process::kill_current_process_group(rustix::process::Signal::STOP).is_ok() {
                self.continued.recv().await;
            }
        }
    }
}
