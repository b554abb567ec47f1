//! An output that takes nothing: what programs have that write to a full disk.
//!
//! Owns the file. For tests of what a program says then.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test file uses its own part of the harness"
)]

use std::fs::File;

/// The device for it; on Windows, which has none, a file that is open for reading alone: writing to it fails as well, with another word.
pub fn full() -> File {
    if cfg!(windows) {
        return File::open(std::env::current_exe().expect("it has a path")).expect("it can be read");
    }
    File::options()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it")
}
