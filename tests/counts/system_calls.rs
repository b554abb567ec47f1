//! The system calls of a thread, counted where they are made.
//!
//! Owns the two ways to see them. Reads and writes of connections go to the kernel without the C library; the transport
//! announces each of them to an observer (feature `inject-faults`). What the runtime calls goes through the C library: this
//! program brings its own `epoll_wait` and `write`, which count and then make the same call. Nothing is traced and nothing of the
//! kernel's is needed, so the counts hold in any container. Not seen: `futex`, which is called only when two threads meet on one lock, and the calls
//! of set-up (`socket`, `accept`, `epoll_ctl`).
#![allow(
    unsafe_code,
    reason = "functions of the C library have its signatures; these only count and pass on"
)]

use crate::parts::{Thing, count};
use actix_ipc::transport::inject::{Site, observe};

/// Begins to count reads and writes of connections; the rest is counted from the start.
pub fn begin() {
    observe(|site| match site {
        Site::Read => count(Thing::Read),
        Site::Write => count(Thing::Write),
        _ => {}
    });
}

/// What the runtime waits with.
///
/// # Safety
/// As for the C library's: `events` has room for `most` of them.
// SAFETY of the name: it takes the place of the C library's function, has its signature and does what it does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epoll: libc::c_int,
    events: *mut libc::epoll_event,
    most: libc::c_int,
    timeout: libc::c_int,
) -> libc::c_int {
    count(Thing::Wait);
    // SAFETY: the arguments are the caller's; without a mask of signals the two calls are the same.
    unsafe { libc::epoll_pwait(epoll, events, most, timeout, std::ptr::null()) }
}

/// What the runtime wakes another thread with, among other things.
///
/// # Safety
/// As for the C library's: `bytes` points to `count` bytes.
// SAFETY of the name: it takes the place of the C library's function, has its signature and does what it does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(
    file: libc::c_int,
    bytes: *const libc::c_void,
    length: libc::size_t,
) -> libc::ssize_t {
    // The kernel's counters for this take and give eight bytes.
    if length == 8 {
        count(Thing::Wake);
    }
    // SAFETY: the arguments are the caller's. The result is as wide as a pointer, as the function's is.
    unsafe { libc::syscall(libc::SYS_write, file, bytes, length) as libc::ssize_t }
}
