//! What a process that was forked off finds of the library: nothing that it could use, and nothing that it could keep alive.
//!
//! Owns the table of descriptors that a forked child must not hold (with a socket of its parent it would keep a connection alive whose
//! process has died) and the question whether this process is such a child. It knows nothing of what the descriptors are for.
//! `transport::unix` notes them, `bus::host` arms it and asks.
//!
//! A child gets, in the place of each noted descriptor, one end of a socket whose other end is closed. The number stays taken, so that
//! whoever owns it in the child and closes it later closes that, and not something that has got the number since.
//!
//! A descriptor is noted right after it was made and struck off right before it is closed. A fork by another thread in between leaves
//! that one to the child; hosts are therefore watched as processes, too, and not by their sockets alone.

pub(crate) use system::{arm, is_forked};

use std::ops::Deref;
use system::Raw;

/// The owner of a descriptor that a forked child does not keep. It takes no room beside what it owns.
#[derive(Debug)]
pub(crate) struct Noted<T: Raw>(T);

impl<T: Raw> Noted<T> {
    /// Notes the descriptor, in a process that has [`arm`]ed.
    pub(crate) fn new(owner: T) -> Self {
        system::note(&owner);
        Self(owner)
    }
}

impl<T: Raw> Deref for Noted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Raw> Drop for Noted<T> {
    fn drop(&mut self) {
        // The owner closes it right after this.
        system::strike_off(&self.0);
    }
}

#[cfg(target_os = "linux")]
mod system {
    pub(crate) use rustix::fd::AsRawFd as Raw;
    use rustix::fd::{IntoRawFd, OwnedFd, RawFd};
    use std::io;
    use std::sync::Mutex;
    use std::sync::PoisonError;
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

    /// Descriptors have numbers below this one, or they are not noted: more than any usual limit of open files.
    const NUMBERS: usize = 1 << 20;
    const BITS: usize = u64::BITS as usize;

    static TABLE: [AtomicU64; NUMBERS / BITS] = [const { AtomicU64::new(0) }; NUMBERS / BITS];
    /// Words of the table that were ever used; the rest is not looked at.
    static USED: AtomicUsize = AtomicUsize::new(0);
    /// What is put in the place of noted descriptors; -1 until armed.
    static DEAD_END: AtomicI32 = AtomicI32::new(-1);
    static FORKED: AtomicBool = AtomicBool::new(false);
    static ARMING: Mutex<()> = Mutex::new(());

    fn place(number: usize) -> Option<(&'static AtomicU64, u64)> {
        let word = TABLE.get(number / BITS)?;
        Some((word, 1 << (number % BITS)))
    }

    fn number(owner: &impl Raw) -> Option<usize> {
        usize::try_from(owner.as_raw_fd()).ok()
    }

    pub(super) fn note(owner: &impl Raw) {
        if DEAD_END.load(Ordering::Acquire) < 0 {
            return;
        }
        if let Some((number, (word, bit))) = number(owner).and_then(|number| Some((number, place(number)?))) {
            USED.fetch_max(number / BITS + 1, Ordering::AcqRel);
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    pub(super) fn strike_off(owner: &impl Raw) {
        if DEAD_END.load(Ordering::Acquire) < 0 {
            return;
        }
        if let Some((word, bit)) = number(owner).and_then(place) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Whether this process was forked off from one that had armed. For ever: what it has of the library was its parent's.
    pub(crate) fn is_forked() -> bool {
        FORKED.load(Ordering::Acquire)
    }

    /// Makes forks of this process be noticed from now on; once is enough.
    ///
    /// # Errors
    /// When there is no descriptor or no memory left.
    pub(crate) fn arm() -> io::Result<()> {
        let _arming = ARMING.lock().unwrap_or_else(PoisonError::into_inner);
        if DEAD_END.load(Ordering::Acquire) >= 0 {
            return Ok(());
        }
        let (end, other): (OwnedFd, OwnedFd) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
            None,
        )?;
        drop(other);
        listen_for_forks()?;
        // Kept for the rest of the process: a fork may come at any time.
        DEAD_END.store(end.into_raw_fd(), Ordering::Release);
        Ok(())
    }

    #[allow(
        unsafe_code,
        reason = "no safe crate registers what is to run in a forked child"
    )]
    fn listen_for_forks() -> io::Result<()> {
        // SAFETY: `in_child` has the type that is asked for, lives as long as the program and does only what is allowed between fork and
        // exec (see there). There is no handler for the time before the fork and none for the parent.
        match unsafe { libc::pthread_atfork(None, None, Some(in_child)) } {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Runs in the child, before `fork` returns there. Only atomics and one system call: whatever lock another thread of the parent held
    /// stays locked here.
    extern "C" fn in_child() {
        FORKED.store(true, Ordering::Release);
        let dead_end: RawFd = DEAD_END.load(Ordering::Acquire);
        if dead_end < 0 {
            return;
        }
        let used = USED.load(Ordering::Acquire).min(TABLE.len());
        for (at, word) in TABLE.iter().take(used).enumerate() {
            let mut bits = word.load(Ordering::Acquire);
            while bits != 0 {
                let number = at * BITS + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                replace(dead_end, number);
            }
        }
    }

    #[allow(
        unsafe_code,
        reason = "the safe call needs an owner of the number, who is somebody else"
    )]
    fn replace(dead_end: RawFd, number: usize) {
        let Ok(number) = RawFd::try_from(number) else {
            return;
        };
        // SAFETY: `dup3` is async-signal-safe and touches no memory. It takes `number` away from nobody: the number is in the table, so
        // its owner has it (it is struck off before it is closed, and this process has one thread), and the owner has an open
        // descriptor of that number afterwards, which stays its own to close. All that changes is what is at the other end: a socket that
        // has been closed there, as may happen to a socket at any time.
        unsafe {
            libc::dup3(dead_end, number, libc::O_CLOEXEC);
        }
    }
}

/// Systems where forks are told by the process id alone: sockets stay with a child.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::sync::OnceLock;

    static ARMED_BY: OnceLock<u32> = OnceLock::new();

    /// Whatever owns a descriptor here.
    pub(crate) trait Raw {}

    impl<T> Raw for T {}

    pub(super) const fn note<T>(_: &T) {}

    pub(super) const fn strike_off<T>(_: &T) {}

    pub(crate) fn is_forked() -> bool {
        ARMED_BY.get().is_some_and(|pid| *pid != std::process::id())
    }

    pub(crate) fn arm() -> io::Result<()> {
        ARMED_BY.get_or_init(std::process::id);
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use rustix::fd::AsRawFd;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// What a child finds at a descriptor: 0 the end, 1 bytes or nothing yet, 2 no descriptor.
    #[allow(unsafe_code, reason = "there is no safe fork")]
    fn in_a_child(number: i32) -> i32 {
        // SAFETY: the child makes three plain system calls and ends, without allocating and without a lock.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut byte = 0_u8;
            // SAFETY: one byte of this frame is written; `_exit` runs nothing of this process.
            unsafe {
                let found = match libc::recv(
                    number,
                    std::ptr::from_mut(&mut byte).cast(),
                    1,
                    libc::MSG_DONTWAIT | libc::MSG_PEEK,
                ) {
                    0 => 0,
                    -1 if libc::fcntl(number, libc::F_GETFD) < 0 => 2,
                    _ => 1,
                };
                libc::_exit(if is_forked() { found } else { found + 10 });
            }
        }
        assert!(pid > 0);
        let mut status = 0;
        // SAFETY: a child of this process is waited for; `status` lives longer than the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status));
        libc::WEXITSTATUS(status)
    }

    #[test]
    fn a_child_has_dead_ends_in_the_place_of_what_is_noted_and_the_parent_has_not() {
        arm().unwrap();
        arm().unwrap();
        let (kept, mut other) = UnixStream::pair().unwrap();
        let (mut mine, mut theirs) = UnixStream::pair().unwrap();
        let noted = Noted::new(mine.try_clone().unwrap());
        let number = noted.as_raw_fd();
        assert_eq!(in_a_child(number), 0, "noted");
        assert_eq!(in_a_child(kept.as_raw_fd()), 1, "not noted");
        assert_eq!(in_a_child(mine.as_raw_fd()), 1, "its duplicate is not noted");
        drop(noted);
        assert!(in_a_child(number) != 0, "its number may be anything's now");
        assert!(!is_forked());
        let noted = Noted::new(mine.try_clone().unwrap());
        assert_eq!(in_a_child(noted.as_raw_fd()), 0, "noted again");
        theirs.write_all(b"x").unwrap();
        mine.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(mine.read(&mut [0; 1]).unwrap(), 1, "the parent's is what it was");
        other.write_all(b"x").unwrap();
    }
}
