//! Where a broker of a test listens: in a folder that no other test has.
//!
//! Owns the name; who makes the folder keeps it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of the harness"
)]

use actix_ipc::transport::Endpoint;
use std::path::Path;

/// A Unix socket in the folder; on Windows a pipe of its name.
pub fn endpoint_in(folder: &Path) -> Endpoint {
    if cfg!(unix) {
        return Endpoint::Unix(folder.join("b.sock"));
    }
    let name = folder.display().to_string();
    Endpoint::Pipe(name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"))
}
