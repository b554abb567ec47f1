//! The signals of a daemon: SIGINT and SIGTERM (under Windows ctrl+c, ctrl+break, a closed console, the end of the session) ask it to end, SIGHUP
//! to read its settings again.
//!
//! Owns their registration with the system. It decides nothing; `ipc-broker` does. The library itself never calls
//! this: signals belong to the program.

use std::io;

/// A signal that asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGINT, or ctrl+c.
    Interrupt,
    /// SIGTERM; under Windows ctrl+break, or the system is going down.
    Terminate,
    /// SIGHUP: the terminal is gone; under Windows its window is being closed.
    HangUp,
    /// SIGQUIT, or ctrl+\.
    Quit,
}

impl EndSignal {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
            Self::Quit => "SIGQUIT",
        }
    }

    /// What a shell reports of a process that the signal ended: 128 and the signal's number.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::HangUp => 129,
            Self::Quit => 131,
        }
    }
}

/// The signals that ask for the end, received instead of ending the process as long as the process lives.
#[derive(Debug)]
pub struct EndSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// SIGHUP and SIGQUIT, where they mean the end as well.
    #[cfg(unix)]
    terminal: Option<[tokio::signal::unix::Signal; 2]>,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    stop: tokio::signal::windows::CtrlBreak,
    #[cfg(windows)]
    close: tokio::signal::windows::CtrlClose,
    #[cfg(windows)]
    shutdown: tokio::signal::windows::CtrlShutdown,
}

impl EndSignals {
    /// Receives them from now on. Needs a tokio run-time (an actix System has one).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn receive() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                terminal: None,
            })
        }
        #[cfg(windows)]
        {
            use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
            Ok(Self {
                interrupt: ctrl_c()?,
                stop: ctrl_break()?,
                close: ctrl_close()?,
                shutdown: ctrl_shutdown()?,
            })
        }
    }

    /// The same, and SIGHUP and SIGQUIT: for programs that somebody has started at a terminal, and that leave something behind when they
    /// end without a word.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn receive_at_terminal() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let terminal = Some([signal(SignalKind::hangup())?, signal(SignalKind::quit())?]);
            Ok(Self {
                terminal,
                ..Self::receive()?
            })
        }
        #[cfg(windows)]
        Self::receive()
    }

    /// The next one. Several of one kind that come before they are taken count as one. Cancel safe.
    pub async fn next(&mut self) -> EndSignal {
        #[cfg(unix)]
        {
            tokio::select! {
                _ = self.interrupt.recv() => EndSignal::Interrupt,
                _ = self.terminate.recv() => EndSignal::Terminate,
                signal = of_terminal(self.terminal.as_mut()) => signal,
            }
        }
        #[cfg(windows)]
        {
            // `None` never comes as long as the process lives. After the last two the system gives a few seconds.
            tokio::select! {
                _ = self.interrupt.recv() => EndSignal::Interrupt,
                _ = self.stop.recv() => EndSignal::Terminate,
                _ = self.close.recv() => EndSignal::HangUp,
                _ = self.shutdown.recv() => EndSignal::Terminate,
            }
        }
    }
}

#[cfg(unix)]
async fn of_terminal(terminal: Option<&mut [tokio::signal::unix::Signal; 2]>) -> EndSignal {
    match terminal {
        Some([hang_up, quit]) => tokio::select! {
            _ = hang_up.recv() => EndSignal::HangUp,
            _ = quit.recv() => EndSignal::Quit,
        },
        None => std::future::pending().await,
    }
}

/// The signal that asks to read the settings again, SIGHUP; there is none under Windows.
#[derive(Debug)]
pub struct ReloadSignal {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl ReloadSignal {
    /// Receives it from now on instead of ending the process. Needs a tokio run-time.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn receive() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    /// The next one. Several that come before they are taken count as one. Cancel safe.
    #[cfg_attr(
        not(unix),
        allow(clippy::needless_pass_by_ref_mut, reason = "there is nothing to receive")
    )]
    pub async fn next(&mut self) {
        #[cfg(unix)]
        {
            self.hangup.recv().await;
        }
        #[cfg(not(unix))]
        {
            std::future::pending::<()>().await;
        }
    }
}
