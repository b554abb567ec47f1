//! What the operating system keeps for a broker besides its sockets.
//!
//! Owns lock files, files of secrets, the folders of settings and the signals that ask for the end. It knows nothing of endpoints, actors and frames;
//! `transport::unix`, `settings` and the daemon call it.

#[cfg(feature = "cli")]
pub mod folders;
#[cfg(unix)]
pub mod lock;
pub mod process;
pub mod secret;
#[cfg(feature = "cli")]
pub mod signals;
