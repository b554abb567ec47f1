//! What the operating system keeps for a broker besides its sockets.
//!
//! Owns lock files and record locks, child processes, the ends of other processes, what forked children find, socket files and who is at the other end of one, the limit of open files, plain files, files of secrets and files that must be trusted, the folders of settings, users and groups by name, the
//! signals that daemons get, what service managers pass to them and are told, services of Windows, files for logs, and what measuring needs: blocking sockets, temporary folders and what a process has used. It knows nothing of endpoints, actors and frames;
//! `transport::unix`, `settings` and the daemon call it.

#[cfg(all(feature = "cli", any(windows, test)))]
mod access;
#[cfg(feature = "broker")]
pub mod child;
#[cfg(feature = "cli")]
pub mod closed;
#[cfg(feature = "cli")]
#[cfg_attr(not(unix), path = "filter/windows.rs")]
pub mod filter;
#[cfg(feature = "cli")]
mod filtered;
#[cfg(feature = "cli")]
pub mod folders;
#[cfg(feature = "broker")]
#[cfg_attr(
    not(feature = "bus"),
    allow(unused_imports, reason = "only the label bus asks all of it")
)]
#[cfg_attr(not(unix), allow(dead_code, reason = "no process is copied there"))]
pub(crate) mod fork;
#[cfg(feature = "cli")]
#[cfg_attr(not(unix), path = "leash/windows.rs")]
pub mod leash;
#[cfg(feature = "broker")]
mod lines;
#[cfg(feature = "cli")]
pub mod local;
#[cfg(unix)]
pub mod lock;
#[cfg(feature = "bus")]
pub(crate) mod lock_holder;
#[cfg(feature = "cli")]
pub mod log_file;
#[cfg(feature = "cli")]
pub mod manager;
pub mod open_files;
#[cfg(feature = "broker")]
pub mod passed;
#[cfg(unix)]
pub mod peer;
#[cfg(unix)]
pub mod place;
pub mod plain;
pub mod process;
#[cfg(windows)]
pub(crate) mod process_handle;
#[cfg(feature = "bus")]
#[cfg_attr(not(unix), path = "range_lock.rs")]
pub(crate) mod record_lock;
#[cfg(feature = "cli")]
pub mod scratch;
#[cfg(feature = "broker")]
pub mod secret;
#[cfg(windows)]
pub(crate) mod security;
#[cfg(feature = "cli")]
pub mod service;
#[cfg(feature = "cli")]
pub mod signals;
pub mod socket_options;
#[cfg(feature = "cli")]
pub mod suspend;
#[cfg(feature = "cli")]
pub mod trusted;
#[cfg(feature = "broker")]
pub mod usage;
#[cfg(feature = "cli")]
pub mod users;
#[cfg(feature = "bus")]
pub(crate) mod watch;
