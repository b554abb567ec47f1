//! What the operating system keeps for a broker besides its sockets.
//!
//! Owns lock files. It knows nothing of endpoints, actors and frames; `transport::unix` calls it.

#[cfg(unix)]
pub mod lock;
