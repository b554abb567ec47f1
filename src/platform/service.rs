//! The daemon as a service of Windows: registered, taken out, and run by the system's service manager.
//!
//! Owns what is said to that manager and what it asks for. What a daemon does between start and end is its own business, and so is what people
//! are told. On other systems every call here says that there is no such manager; units of systemd are started as any program.
//! `ipc-broker` calls it, and so do `signals` and `manager`, which pass on what is asked and told.

#[cfg(not(windows))]
mod none;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
use none as system;
#[cfg(windows)]
use windows as system;

use super::manager::State;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// What the manager is to know of a service.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its name; at most 256 characters, no slashes.
    pub name: String,
    /// What this program is started with.
    pub arguments: Vec<OsString>,
    /// The account that it runs as, and that account's password. Without: SYSTEM.
    pub account: Option<(OsString, OsString)>,
    /// Files that it reads and believes. Of SYSTEM's service nobody but SYSTEM, administrators and this user may be able to change these, or the
    /// program.
    pub files: Vec<PathBuf>,
    /// Where its log goes, unless to the usual place. Of SYSTEM's service nobody else may be able to put anything into that folder.
    pub log: Option<PathBuf>,
}

/// How a service has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order, or such that another start would end the same way: the manager is told, and shows the code.
    Reported(u8),
    /// By a failure that may be over at the next start. The process ends with the code, and the manager is not told: it takes it for a crash, after
    /// which it starts the service again.
    Failed(u8),
}

/// Why the manager was not asked, or refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// There is none.
    #[error(
        "this system has no services of this kind; start `ipc-broker` as any program, or by a unit of systemd"
    )]
    Unsupported,
    /// Only administrators may.
    #[error(
        "only an administrator may do this; run it again from a console that was opened \"as administrator\""
    )]
    NotAllowed,
    /// There is one of this name.
    #[error(
        "a service {name:?} is registered already; `ipc-broker service remove --name {name:?}` takes it out"
    )]
    Exists {
        /// Which.
        name: String,
    },
    /// There is none of this name.
    #[error("there is no service {name:?}; `sc.exe query state= all` lists those there are")]
    Missing {
        /// Which.
        name: String,
    },
    /// It is somebody else's.
    #[error(
        "the service {name:?} was not registered by `ipc-broker service install`; `sc.exe delete` takes out any, if you mean it"
    )]
    NotOurs {
        /// Which.
        name: String,
    },
    /// It was taken out while other programs look at it.
    #[error(
        "the service {name:?} is taken out once all programs that look at it have closed it; close the Services window and the like, and try again"
    )]
    Ending {
        /// Which.
        name: String,
    },
    /// This process was not started by the manager.
    #[error(
        "`service run` is what the service manager starts; `ipc-broker` without it runs here, `sc.exe start NAME` starts the service"
    )]
    NotStartedByManager,
    /// The service did not end when it was asked to.
    #[error("the service {name:?} has not ended within {seconds} s; it is still registered")]
    StillRunning {
        /// Which.
        name: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Its log could not be written, and nobody would be told.
    #[error("--log-file {}: {why}", path.display())]
    Log {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// SYSTEM would do what somebody else has written.
    #[error(
        "{}: {source}; a service of SYSTEM must not depend on what others can change: put it where administrators alone can, as below %ProgramFiles%, or name an --account",
        path.display()
    )]
    Untrusted {
        /// Which file or folder.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Registers this program, so that the system starts it whenever the system itself starts. It is not started now.
///
/// # Errors
/// [`ServiceError`]; nothing is registered then.
pub fn install(registration: &Registration) -> Result<(), ServiceError> {
    system::install(registration)
}

/// Asks a service to end, waits until it has, and takes it out. What the manager starts it with must have these words in it, or it is another
/// program's and is left alone.
///
/// # Errors
/// [`ServiceError`]; it is still registered then.
pub fn remove(name: &str, words: &str) -> Result<(), ServiceError> {
    system::remove(name, words)
}

/// Runs `body` as the service of this name, on a thread that the system gives, until it returns how it has ended. The caller waits for that;
/// after [`End::Failed`] there is no return.
///
/// # Errors
/// [`ServiceError::NotStartedByManager`], and what the system says; `body` has not run then.
pub fn run(name: &str, body: impl FnOnce() -> End + Send + 'static) -> Result<(), ServiceError> {
    system::run(name, Box::new(body))
}

/// Where a service of this name writes its log: below `%ProgramData%\ipc-broker` for SYSTEM, in a folder that only SYSTEM and administrators
/// may write; else below `%LOCALAPPDATA%\ipc-broker`. The folder is made.
///
/// # Errors
/// The folder cannot be made, or others could write it.
pub fn log_path(name: &str) -> io::Result<PathBuf> {
    system::log_path(name)
}

/// What the manager hears of a state. Nothing is said in a process that is no service.
pub(super) fn told(state: &State<'_>) {
    system::told(state);
}

/// Whether this process is a service that its manager has started.
#[cfg(windows)]
pub(super) fn is_serving() -> bool {
    system::is_serving()
}

/// Resolves when the manager asks the service to end, or the system goes down. Cancel safe; never in a process that is no service.
#[cfg(windows)]
pub(super) async fn end_asked() {
    system::end_asked().await;
}

/// Resolves when the manager says that the settings have changed. Cancel safe.
#[cfg(windows)]
pub(super) async fn reload_asked() {
    system::reload_asked().await;
}
