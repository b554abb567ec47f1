//! Why a process could not attach to a bus.
//!
//! Owns the errors and their texts: who must act, and how.

use std::io;
use std::path::PathBuf;

/// Why a bus cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The folder of the buses is not one in which nobody else can put anything: give it another owner or mode, or remove it.
    #[error("the folder of the buses, {}, {what}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The folder's path is too long for a socket in it: set `XDG_RUNTIME_DIR` to a shorter one.
    #[error("{} has {length} bytes, but the path of a Unix socket has at most {max}; set XDG_RUNTIME_DIR to a shorter folder", path.display())]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The largest length in bytes.
        max: usize,
    },
    /// The lock file of the bus cannot be used.
    #[error("the lock of the bus cannot be used: {0}")]
    Lock(#[source] io::Error),
    /// Another identifier has the same hash: choose another one.
    #[error("{} belongs to a bus with another identifier of the same hash; choose another identifier", path.display())]
    Collision {
        /// The lock file of that bus.
        path: PathBuf,
    },
    /// Nobody hosts the bus, and this process may not or cannot.
    #[error("nobody hosts the bus{}", because(.reason.as_deref()))]
    NoHost {
        /// Why this process does not.
        reason: Option<String>,
    },
    /// The host has been stopped, and keeps the bus: continue that process (`kill -CONT`) or end it.
    #[error(
        "process {pid} hosts the bus and has been stopped; continue it (kill -CONT {pid}) or end it, and another process takes over"
    )]
    HostStopped {
        /// The host's process.
        pid: u32,
    },
    /// This process was forked off from one that uses a bus, and shares nothing of that with it: start a program (`exec`) instead.
    #[error(
        "this process was forked off from one that uses the bus; only a new program (exec) can use one itself"
    )]
    Forked,
    /// The system refuses a thread, a descriptor or memory.
    #[error("the bus cannot be looked after: {0}")]
    System(#[source] io::Error),
    /// A bus of all users, which this platform has not: use one of the user's, without `system:`.
    #[error(
        "this platform has no buses of all users; leave out `system:`, or join the bus of a broker where that listens (`Options::at`)"
    )]
    NotHere,
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(
        || ", and this process may not host it".to_owned(),
        |reason| format!(": {reason}"),
    )
}
