//! Regions between processes: what a death gives back, and what a hostile process can do.
//!
//! Owns the other process: this program again, which hears and says words on its standard input, a socket that memory is sent over.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]
#![cfg(target_os = "linux")]

#[path = "regions/passing.rs"]
mod passing;
mod support;

use actix_ipc::bus::memory::{Entry, Kind, MapError, MemoryRegion, MemoryRegistry};
use passing::{entry, memory, receive, receive_region, send, send_region};
use rustix::fs::{SealFlags, ftruncate};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::{Process, this_program};

const PATIENCE: Duration = Duration::from_secs(20);
const ROLE: &str = "MEMORY_PROCESSES_ROLE";

/// One test at a time: between its fork and its program a child has all descriptors of this process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other process, and the socket to it.
struct Other {
    process: Process,
    socket: UnixStream,
}

impl Other {
    /// Starts it; it does what is written under `role` below.
    fn start(role: &str) -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let stdin = std::os::fd::OwnedFd::from(theirs);
        let process = Process::spawn(this_program("as_the_other_process").env(ROLE, role).stdin(stdin));
        let mut other = Self { process, socket };
        other.hear();
        other
    }

    /// Waits for a word of it.
    fn hear(&mut self) -> u8 {
        let mut word = [0];
        self.socket
            .read_exact(&mut word)
            .expect("the other process is silent");
        word[0]
    }

    fn say(&mut self, word: u8) {
        self.socket.write_all(&[word]).unwrap();
    }

    /// Kills it as nothing can be caught, and waits until the system is done with it.
    fn kill(mut self) {
        self.process.kill();
    }

    /// Waits for its own end.
    fn end(self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        self.process.end().success();
    }
}

/// Does nothing by itself: it is the other process of the tests here.
#[test]
fn as_the_other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    socket.write_all(b"r").unwrap();
    match role.as_str() {
        "hold" => hold(&mut socket),
        "hold and read no more" => hold_only(&mut socket),
        "cut" => cut(&mut socket),
        "count descriptors" => count_descriptors(),
        "make" => make(&socket),
        "fork" => fork(),
        _ => panic!("{role:?}"),
    }
}

/// Takes a region, looks at it, tells its first byte, and keeps it until it is killed or hears something.
fn hold(socket: &mut UnixStream) {
    while let Ok(region) = receive_region(socket) {
        let first = region.to_vec(..1).unwrap()[0];
        if region.is_immutable() {
            assert_eq!(region.view(..1).unwrap(), [first]);
        }
        socket.write_all(&[first]).unwrap();
        let mut word = [0];
        if socket.read_exact(&mut word).is_err() || word[0] == b'e' {
            return;
        }
        drop(region);
        socket.write_all(b"d").unwrap();
    }
}

/// Takes a region, tells its first byte, and leaves what comes then in the socket, until the other end is closed.
fn hold_only(socket: &mut UnixStream) {
    let region = receive_region(socket).unwrap();
    socket.write_all(&region.to_vec(..1).unwrap()).unwrap();
    let mut closed = [rustix::event::PollFd::new(
        socket,
        rustix::event::PollFlags::empty(),
    )];
    rustix::event::poll(&mut closed, None).unwrap();
}

/// Sends memory and cuts it off, again and again, until the receiver has looked at it for long enough.
fn cut(socket: &mut UnixStream) {
    let memory = memory(1 << 16, SealFlags::empty());
    for kind in [Kind::Immutable, Kind::Writable] {
        send(socket, &memory, &entry(1 << 16, kind));
        socket.set_nonblocking(true).unwrap();
        while socket.read_exact(&mut [0]).is_err() {
            ftruncate(&memory, 0).unwrap();
            ftruncate(&memory, 1 << 16).unwrap();
        }
        socket.set_nonblocking(false).unwrap();
    }
}

/// Sends what it makes and dies at once.
fn make(socket: &UnixStream) {
    let mut region = MemoryRegion::new(1 << 16);
    region.map(..).unwrap().fill(5);
    send_region(socket, region, false);
}

/// Forks, with memory of all kinds. The child tells what went wrong by the way it ends.
fn fork() {
    let mut registry = MemoryRegistry::default();
    let mut regions = [
        MemoryRegion::new(4096),
        registry.alloc(4096, None),
        MemoryRegion::new(4096),
    ];
    regions[..2]
        .iter_mut()
        .for_each(|region| region.map(..).unwrap()[0] = 1);
    let sealed = MemoryRegion::copy_of(b"x").unwrap();
    // SAFETY: the child makes system calls and takes memory, which the C library keeps usable for it, and ends itself.
    #[allow(unsafe_code, reason = "there is no safe fork")]
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = |result: Result<(), MapError>| matches!(result, Err(MapError::Forked));
        let all = regions
            .iter_mut()
            .all(|region| refused(region.map(..).map(drop)) && refused(region.write_at(0, &[2])));
        let [own, _, unmapped] = &regions;
        let kept = [own, unmapped]
            .iter()
            .all(|region| refused(region.seal()) && refused(region.share_writable()));
        let copied = regions[0].to_vec(..1).is_ok_and(|copy| copy == [1]);
        let seen = sealed.view(..).is_ok_and(|seen| seen == b"x");
        let wrong = [all, kept, copied, seen].iter().rposition(|right| !right);
        // SAFETY: nothing of the parent is flushed or ended twice.
        #[allow(unsafe_code, reason = "there is no safe end without the parent's handlers")]
        unsafe {
            libc::_exit(wrong.map_or(0, |at| at as i32 + 1))
        };
    }
    let child = rustix::process::Pid::from_raw(child).unwrap();
    let ended = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
    assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
    regions
        .iter_mut()
        .for_each(|region| region.map(..).unwrap()[0] += 1);
    assert_eq!(regions.map(|region| region.to_vec(..1).unwrap()[0]), [2, 2, 1]);
}

#[test]
fn a_forked_child_changes_nothing() {
    let _alone = alone();
    Other::start("fork").end();
}

/// A region of `registry` with a mark.
fn marked(registry: &mut MemoryRegistry, mark: u8) -> MemoryRegion {
    let mut region = registry.alloc(10_000, None);
    region.map(..).unwrap()[0] = mark;
    region
}

fn mark(region: &MemoryRegion) -> u8 {
    region.to_vec(..1).unwrap()[0]
}

#[test]
fn the_death_of_a_holder_gives_its_memory_back() {
    let _alone = alone();
    let mut registry = MemoryRegistry::default();
    for round in 1..=3 {
        let mut other = Other::start("hold");
        send_region(&other.socket, marked(&mut registry, round), false);
        assert_eq!(other.hear(), round);
        let meanwhile = registry.alloc(10_000, None);
        assert_ne!(mark(&meanwhile), round, "it is held");
        other.kill();
        let again = registry.alloc(10_000, None);
        assert_eq!((mark(&again), registry.held().0), (round, 2));
    }
}

#[test]
fn the_death_of_who_was_to_receive_it_gives_it_back_too() {
    let _alone = alone();
    let mut registry = MemoryRegistry::default();
    let mut other = Other::start("hold and read no more");
    send_region(&other.socket, marked(&mut registry, 1), false);
    assert_eq!(other.hear(), 1);
    // It holds the first and does not read on: the second lies in its socket, with nobody's descriptor.
    send_region(&other.socket, marked(&mut registry, 2), false);
    let marks = |registry: &mut MemoryRegistry, count| {
        let regions: Vec<MemoryRegion> = (0..count).map(|_| registry.alloc(10_000, None)).collect();
        let mut marks: Vec<u8> = regions.iter().map(mark).collect();
        marks.sort_unstable();
        marks
    };
    assert_eq!(marks(&mut registry, 1), [0], "both are held");
    other.kill();
    assert_eq!(marks(&mut registry, 3), [0, 1, 2]);
    assert_eq!(registry.held().0, 3);
}

#[test]
fn one_of_several_holders_that_dies_leaves_the_others_theirs() {
    let _alone = alone();
    let mut registry = MemoryRegistry::default();
    let mut others = [0; 3].map(|_| Other::start("hold"));
    let (attachment, entry) = marked(&mut registry, 7).into_attachment(true).unwrap();
    for other in &mut others {
        send(
            &other.socket,
            attachment.downcast_ref::<std::os::fd::OwnedFd>().unwrap(),
            &entry,
        );
        assert_eq!(other.hear(), 7);
    }
    let here = MemoryRegion::from_attachment(attachment, &entry).unwrap();
    assert_eq!(here.ref_count(), 4);
    let [one, mut two, three] = others;
    one.kill();
    assert_eq!(here.ref_count(), 3);
    three.kill();
    drop(here);
    assert_eq!(mark(&registry.alloc(10_000, None)), 0, "one has it still");
    two.say(b'd');
    assert_eq!(two.hear(), b'd');
    let both = [0; 2].map(|_| registry.alloc(10_000, None));
    assert_eq!(both.iter().map(mark).sum::<u8>(), 7);
}

#[test]
fn a_region_outlives_its_maker() {
    let _alone = alone();
    let other = Other::start("make");
    let region = receive_region(&other.socket).unwrap();
    other.end();
    assert!(region.view(..).unwrap().iter().all(|byte| *byte == 5));
    assert_eq!(region.ref_count(), 1);
}

#[test]
fn a_sender_that_cuts_memory_off_at_any_moment_raises_no_signal() {
    let _alone = alone();
    let mut other = Other::start("cut");
    for kind in [Kind::Immutable, Kind::Writable] {
        // It may be cut off at the very moment of its examination, too: then it is taken once more.
        let (attachment, entry) = receive(&other.socket);
        let limit = Instant::now() + PATIENCE;
        let (mut whole, mut cut) = (0, 0);
        while whole < 10 || cut < 10 {
            assert!(Instant::now() < limit, "{whole} times whole, {cut} times cut off");
            let looked = MemoryRegion::from_attachment(attachment.clone(), &entry);
            let looked = looked.and_then(|region| {
                if kind == Kind::Immutable && whole < 5 {
                    let copy = region.view(..)?.to_vec();
                    assert_eq!(region.view(..)?, copy);
                }
                region.to_vec(..)
            });
            match looked {
                Ok(copy) => {
                    assert!(copy.iter().all(|byte| [0, 7].contains(byte)));
                    whole += 1;
                }
                Err(MapError::Truncated { .. }) => cut += 1,
                Err(error) => panic!("{error}"),
            }
        }
        other.say(b'n');
    }
    other.end();
}

#[test]
fn ten_thousand_messages_with_failures_leave_no_descriptor() {
    let _alone = alone();
    // In a process with no other test beside it.
    Other::start("count descriptors").end();
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn count_descriptors() {
    let sockets = UnixStream::pair().unwrap();
    let mut registry = MemoryRegistry::default();
    let wrong = memory(100, SealFlags::empty());
    let mut round = |number: usize| match number % 10 {
        0..6 => failure(number, &sockets, &mut registry, &wrong),
        _ => success(number, &sockets, &mut registry, &wrong),
    };
    (0..20).for_each(&mut round);
    let before = open_descriptors();
    (0..10_000).for_each(&mut round);
    assert_eq!(open_descriptors(), before);
    drop(registry);
    let (mapped, left) = (
        std::fs::read_to_string("/proc/self/maps").unwrap(),
        open_descriptors(),
    );
    assert!(!mapped.contains("actix-ipc-region"), "{mapped}");
    assert!(left < before, "the registry's own");
}

fn failure(
    number: usize,
    (near, far): &(UnixStream, UnixStream),
    registry: &mut MemoryRegistry,
    wrong: &std::os::fd::OwnedFd,
) {
    match number % 10 {
        // Not memory, shorter than described, too large.
        0 => {
            send(near, std::io::stdin(), &entry(100, Kind::Immutable));
            assert!(receive_region(far).is_err());
        }
        1 => {
            send(near, wrong, &entry(101, Kind::Pooled));
            assert!(receive_region(far).is_err());
        }
        2 => {
            send(
                near,
                wrong,
                &Entry::new(u64::MAX, Kind::Writable, true, None).unwrap(),
            );
            assert!(receive_region(far).is_err());
        }
        // Never sent.
        3 => drop(
            MemoryRegion::copy_of(b"x")
                .unwrap()
                .into_attachment(number % 20 == 3)
                .unwrap(),
        ),
        // Lost on its way.
        4 => {
            let (near, _far) = UnixStream::pair().unwrap();
            send_region(&near, registry.alloc(100, None), true);
        }
        // No object.
        _ => {
            let attachment = Arc::new("no descriptor");
            assert!(MemoryRegion::from_attachment(attachment, &entry(1, Kind::Immutable)).is_err());
        }
    }
}

fn success(
    number: usize,
    (near, far): &(UnixStream, UnixStream),
    registry: &mut MemoryRegistry,
    loose: &std::os::fd::OwnedFd,
) {
    match number % 10 {
        6 => {
            send_region(near, registry.alloc(100, Some("several")), true);
            assert_eq!(receive_region(far).unwrap().to_vec(..).unwrap().len(), 4096);
        }
        7 => {
            send(near, loose, &entry(100, Kind::Immutable));
            let region = receive_region(far).unwrap();
            let kept = region.clone();
            send_region(near, region, true);
            let again = receive_region(far).unwrap();
            assert_eq!(again.view(..).unwrap(), kept.view(..).unwrap());
        }
        _ => {
            let mut region = MemoryRegion::new(5000);
            region.map(..).unwrap()[0] = 1;
            let kept = region.clone();
            send_region(near, region, number.is_multiple_of(2));
            let received = receive_region(far).unwrap();
            assert_eq!((received.view(..1).unwrap(), kept.ref_count()), (&[1][..], 2));
        }
    }
}
