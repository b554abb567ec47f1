//! The signals of a daemon: SIGINT and SIGTERM (under Windows ctrl+c, ctrl+break, a closed console, the end of the system, the service manager) ask it to end, SIGHUP
//! to read its settings again.
//!
//! Owns their registration with the system, and SIGCHLD, which must not be ignored by who has children. It decides nothing; `ipc-broker` does. The library itself never calls
//! this: signals belong to the program.

use std::io;

/// A signal that asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGINT, or ctrl+c.
    Interrupt,
    /// SIGTERM; under Windows ctrl+break, or the system is going down.
    Terminate,
    /// SIGHUP: the terminal is gone; under Windows its window is being closed, as at the end of the session in which it is.
    HangUp,
    /// SIGQUIT, or ctrl+\.
    Quit,
}

impl EndSignal {
    /// Its name; where there are no signals, what stands for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt if cfg!(windows) => "ctrl+c",
            Self::Terminate if cfg!(windows) => "request to stop",
            Self::HangUp if cfg!(windows) => "end of the console",
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

/// Sees to it that the ends of children are noticed, also when whoever has started this program had it ignore SIGCHLD: the system reaps
/// them then, and nobody learns how they ended. Needs a tokio run-time.
///
/// # Errors
/// When the system refuses.
pub fn notice_children() -> io::Result<()> {
    // To receive a signal is not to ignore it; that stays so when nobody listens any more.
    #[cfg(unix)]
    drop(tokio::signal::unix::signal(
        tokio::signal::unix::SignalKind::child(),
    )?);
    Ok(())
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
    terminal: [Option<tokio::signal::unix::Signal>; 2],
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    stop: tokio::signal::windows::CtrlBreak,
    #[cfg(windows)]
    close: Option<tokio::signal::windows::CtrlClose>,
    #[cfg(windows)]
    shutdown: Option<tokio::signal::windows::CtrlShutdown>,
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
                terminal: [None, None],
            })
        }
        #[cfg(windows)]
        {
            use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
            // Whoever receives one of the last two never comes back from it: the system waits for the end of the process. A service hears of
            // the end of the system from its manager, which may wait longer. The end of a session is not received at all: services, and what is
            // started like them, hear of other people's, and the windows of one's own are closed at its end.
            let own = !super::service::is_serving();
            Ok(Self {
                interrupt: ctrl_c()?,
                stop: ctrl_break()?,
                close: own.then(ctrl_close).transpose()?,
                shutdown: own.then(ctrl_shutdown).transpose()?,
            })
        }
    }

    /// The same, and SIGHUP and SIGQUIT: for programs that somebody has started at a terminal, and that leave something behind when they
    /// end without a word. Of these two one that is ignored stays so: `nohup` means it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn receive_at_terminal() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let unless_ignored = |kind: SignalKind| match is_ignored(kind.as_raw_value()) {
                true => Ok(None),
                false => signal(kind).map(Some),
            };
            let terminal = [
                unless_ignored(SignalKind::hangup())?,
                unless_ignored(SignalKind::quit())?,
            ];
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
                signal = of_terminal(&mut self.terminal) => signal,
            }
        }
        #[cfg(windows)]
        {
            if super::service::is_serving() {
                // Its manager alone: what else tells of an end is not to be taken for somebody who asks twice.
                super::service::end_asked().await;
                return EndSignal::Terminate;
            }
            // `None` never comes as long as the process lives. After the last two the system gives a few seconds.
            tokio::select! {
                _ = self.interrupt.recv() => EndSignal::Interrupt,
                _ = self.stop.recv() => EndSignal::Terminate,
                () = closed(&mut self.close) => EndSignal::HangUp,
                () = shut_down(&mut self.shutdown) => EndSignal::Terminate,
            }
        }
    }
}

#[cfg(windows)]
async fn closed(close: &mut Option<tokio::signal::windows::CtrlClose>) {
    match close {
        Some(close) => drop(close.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(windows)]
async fn shut_down(shutdown: &mut Option<tokio::signal::windows::CtrlShutdown>) {
    match shutdown {
        Some(shutdown) => drop(shutdown.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(unix)]
async fn of_terminal([hang_up, quit]: &mut [Option<tokio::signal::unix::Signal>; 2]) -> EndSignal {
    tokio::select! {
        () = received(hang_up) => EndSignal::HangUp,
        () = received(quit) => EndSignal::Quit,
    }
}

#[cfg(unix)]
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether who started this process has it ignore the signal.
#[cfg(unix)]
#[allow(unsafe_code, reason = "nothing safe asks what a signal does")]
fn is_ignored(number: libc::c_int) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action nothing is changed, and the present one is written to memory of its type that is ours. All zeroes are a
    // valid `sigaction`, so it may be read even where the system refused.
    let now = unsafe {
        libc::sigaction(number, std::ptr::null(), now.as_mut_ptr());
        now.assume_init()
    };
    now.sa_sigaction == libc::SIG_IGN
}

/// Lets SIGINT end this process also where it is ignored, as shells have it for what scripts start with `&`: who sends it means this
/// process. To be called before anything else, and by programs only.
#[cfg(unix)]
#[allow(unsafe_code, reason = "nothing safe gives a signal its default back")]
pub fn end_by_interrupt() {
    if is_ignored(libc::SIGINT) {
        // SAFETY: no handler is installed, so no code of ours ever runs in one.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    }
}

/// The same of ctrl+c, which a program ignores that was started in a process group of its own, as some shells and services do; and of the
/// end that it and ctrl+break bring to a program that receives neither: with the exit codes that are those of SIGINT and SIGTERM elsewhere.
#[cfg(not(unix))]
#[allow(unsafe_code, reason = "nothing safe says what ctrl+c does")]
pub fn end_by_interrupt() {
    use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;
    // SAFETY: without a handler the call changes one setting of this process. The handler is there as long as the process, and may run on
    // any thread: it touches nothing of the program's.
    unsafe {
        SetConsoleCtrlHandler(None, 0);
        SetConsoleCtrlHandler(Some(end_by_event), 1);
    }
}

/// Called by the system, after the handlers of who receives these events: they tell it when they have taken one.
#[cfg(not(unix))]
extern "system" fn end_by_event(event: u32) -> i32 {
    use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT};
    match event {
        CTRL_C_EVENT => std::process::exit(EndSignal::Interrupt.exit_code().into()),
        CTRL_BREAK_EVENT => std::process::exit(EndSignal::Terminate.exit_code().into()),
        _ => 0,
    }
}

/// The signal that asks to read the settings again, SIGHUP; under Windows services are told so by their manager (`sc.exe control NAME paramchange`).
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
        #[cfg(windows)]
        super::service::reload_asked().await;
    }
}
