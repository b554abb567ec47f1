//! Every shape of a control message, every kind of descriptor and every set of seals, one by one, through a broker.
//!
//! Owns the tables. What limits, slow peers and failures do to descriptors is in `descriptors.rs`, events with descriptors in
//! `event_descriptors.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(target_os = "linux")]

#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Flags, Kind};
use descriptors::{Reader, call, call_with, closed, pipes, same, send};
use raw::Raw;
use running::Running;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    CWD, FileType, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat,
};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, UCred,
    sendmsg, socket_with, socketpair,
};
use std::io::{IoSlice, PipeReader, Write};
use std::mem::MaybeUninit;
use std::path::Path;

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits {
        descriptor_wait_ms: 600_000,
        ..Limits::default()
    };
    change(&mut limits);
    limits
}

/// One `sendmsg`: how many bytes more of what is sent, and how many descriptors in each control message.
struct Part {
    bytes: usize,
    rights: &'static [usize],
    credentials: bool,
}

const fn part(bytes: usize, rights: &'static [usize]) -> Part {
    Part {
        bytes,
        rights,
        credentials: false,
    }
}

const fn with_credentials(bytes: usize, rights: &'static [usize]) -> Part {
    Part {
        bytes,
        rights,
        credentials: true,
    }
}

const REST: usize = usize::MAX;

/// What becomes of it.
enum Ends {
    /// So many descriptors with each frame, in order.
    Come(&'static [usize]),
    /// The connection is closed for it.
    Closed(CloseReason, &'static str),
}
use Ends::{Closed, Come};

const TOO_MANY: Ends = Closed(CloseReason::Protocol, "16 descriptors");
const NOT_THERE: Ends = Closed(CloseReason::Protocol, "did not come with it");

/// What is declared by each frame (`None`: an optional kind that nobody knows), how it is cut, and what becomes of it.
type Shape = (&'static str, &'static [Option<u8>], Vec<Part>, Ends);

#[rustfmt::skip] // A table: one line each.
fn shapes() -> Vec<Shape> {
    vec![
        ("one", &[Some(1)], vec![part(REST, &[1])], Come(&[1])),
        ("two", &[Some(2)], vec![part(REST, &[2])], Come(&[2])),
        ("three", &[Some(3)], vec![part(REST, &[3])], Come(&[3])),
        ("one less than the most", &[Some(15)], vec![part(REST, &[15])], Come(&[15])),
        ("the most", &[Some(16)], vec![part(REST, &[16])], Come(&[16])),
        ("one more than the most", &[Some(17)], vec![part(REST, &[17])], TOO_MANY),
        ("what pads the buffer", &[Some(18)], vec![part(REST, &[18])], TOO_MANY),
        ("far too many", &[Some(64)], vec![part(REST, &[64])], TOO_MANY),
        ("the most that the kernel takes", &[Some(253)], vec![part(REST, &[253])], TOO_MANY),
        ("an empty control message", &[Some(0)], vec![part(REST, &[0])], Come(&[0])),
        ("an empty one where one is declared", &[Some(1)], vec![part(REST, &[0])], NOT_THERE),
        ("none where one is declared", &[Some(1)], vec![part(REST, &[])], NOT_THERE),
        ("two control messages", &[Some(2)], vec![part(REST, &[1, 1])], Come(&[2])),
        ("two full halves", &[Some(16)], vec![part(REST, &[8, 8])], Come(&[16])),
        ("two that are too many together", &[Some(17)], vec![part(REST, &[8, 9])], TOO_MANY),
        ("an empty one before one", &[Some(1)], vec![part(REST, &[0, 1])], Come(&[1])),
        ("with credentials", &[Some(1)], vec![with_credentials(REST, &[1])], Come(&[1])),
        ("credentials alone", &[Some(0)], vec![with_credentials(REST, &[])], Come(&[0])),
        ("with the first byte", &[Some(2)], vec![part(1, &[2]), part(REST, &[])], Come(&[2])),
        ("within the header", &[Some(2)], vec![part(23, &[]), part(1, &[2]), part(REST, &[])], Come(&[2])),
        ("with the header's last byte", &[Some(1)], vec![part(23, &[]), part(REST, &[1])], Come(&[1])),
        ("behind the header", &[Some(1)], vec![part(24, &[]), part(REST, &[1])], Come(&[1])),
        ("with the last byte", &[Some(2)], vec![part(30, &[]), part(REST, &[2])], Come(&[2])),
        ("one by one", &[Some(4)], vec![part(1, &[1]), part(1, &[1]), part(22, &[1]), part(3, &[1]), part(REST, &[])], Come(&[4])),
        ("in two halves", &[Some(16)], vec![part(10, &[8]), part(REST, &[8])], Come(&[16])),
        ("all halves too many", &[Some(17)], vec![part(10, &[8]), part(REST, &[9])], Closed(CloseReason::Protocol, "at most 16")),
        ("without a byte", &[Some(1)], vec![part(0, &[1]), part(REST, &[])], NOT_THERE),
        ("fewer than declared", &[Some(2)], vec![part(REST, &[1])], NOT_THERE),
        ("all that can be declared", &[Some(255)], vec![part(REST, &[1])], NOT_THERE),
        ("behind its frame", &[Some(1), Some(0)], vec![part(33, &[]), part(REST, &[1])], NOT_THERE),
        ("two frames at once", &[Some(1), Some(2)], vec![part(REST, &[3])], Come(&[1, 2])),
        ("two frames, one by one", &[Some(1), Some(2)], vec![part(33, &[1]), part(REST, &[2])], Come(&[1, 2])),
        ("one frame too early", &[Some(0), Some(1)], vec![part(33, &[1]), part(REST, &[])], Come(&[0, 1])),
        ("more than declared, for the next", &[Some(1), Some(1)], vec![part(33, &[2]), part(REST, &[])], Come(&[1, 1])),
        ("beside an unknown kind, for the next", &[None, Some(1)], vec![part(24, &[1]), part(REST, &[])], Come(&[1])),
        ("many frames that each have one", &[Some(1); 8], vec![part(REST, &[8])], Come(&[1; 8])),
        ("many in turns", &[Some(1), Some(0), Some(1), Some(0), Some(1)], vec![part(33, &[1]), part(66, &[1]), part(REST, &[1])], Come(&[1, 0, 1, 0, 1])),
    ]
}

/// Frames of 33 bytes each, and of 24 where the kind is unknown.
fn frames(declared: &[Option<u8>]) -> Vec<u8> {
    let frame = |(at, declared): (usize, &Option<u8>)| match declared {
        Some(count) => call_with(
            at as u64 + 1,
            "o",
            usize::from(*count),
            b"text!!",
            Flags::NO_REPLY,
        ),
        None => {
            let mut bytes = Draft::new(Kind::Ping, 0).to_vec();
            bytes[4] = 0xf0;
            bytes
        }
    };
    declared.iter().enumerate().flat_map(frame).collect()
}

fn send_part(raw: &Raw, bytes: &[u8], rights: &[&[OwnedFd]], credentials: bool) {
    let borrowed: Vec<Vec<BorrowedFd<'_>>> = rights
        .iter()
        .map(|some| some.iter().map(AsFd::as_fd).collect())
        .collect();
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253), ScmRights(16), ScmCredentials(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    for some in &borrowed {
        assert!(control.push(SendAncillaryMessage::ScmRights(some)));
    }
    if credentials {
        let me = UCred {
            pid: rustix::process::getpid(),
            uid: rustix::process::getuid(),
            gid: rustix::process::getgid(),
        };
        assert!(control.push(SendAncillaryMessage::ScmCredentials(me)));
    }
    let sent = sendmsg(
        &raw.stream,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    );
    // A broker that has closed the connection for an earlier part takes no other one.
    let rest = bytes.get(sent.unwrap_or(bytes.len())..).unwrap();
    let _ = (&raw.stream).write_all(rest);
}

/// All that is received is what was sent, and nothing else is open anywhere.
fn check_shape(broker: &Running, (name, declared, parts, ends): Shape) {
    let [mut caller, mut callee] = broker.connect_all();
    callee.register("o");
    let mut reader = Reader::default();
    let bytes = frames(declared);
    let mut readers: Vec<PipeReader> = Vec::new();
    let mut at = 0;
    for part in parts {
        let end = at + part.bytes.min(bytes.len() - at);
        let total = part.rights.iter().sum();
        let (sent, ends) = pipes(total);
        readers.extend(ends);
        let mut left = &sent[..];
        let rights = part.rights.iter().map(|count| {
            let (now, later) = left.split_at(*count);
            left = later;
            now
        });
        let rights: Vec<&[OwnedFd]> = rights.collect();
        send_part(&caller, &bytes[at..end], &rights, part.credentials);
        at = end;
        // The broker has read this part when it has answered a connection that came after it.
        broker.connect();
    }
    match ends {
        Come(counts) => {
            for count in counts {
                let (frame, came) = reader.read(&mut callee);
                assert_eq!(
                    (frame.kind, frame.text()),
                    (Kind::Call, "text!!".into()),
                    "{name}"
                );
                assert_eq!(came.len(), *count, "{name}");
                same(came, readers.drain(..count).collect());
            }
            caller.ping();
        }
        Closed(reason, text) => {
            let (why, told) = caller.goodbye();
            assert_eq!(why, reason, "{name}: {told}");
            assert!(told.contains(text), "{name}: {told}");
        }
    }
    drop((caller, callee));
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty(), "{name}"));
}

#[test]
fn every_shape_of_a_control_message_comes_whole_or_closes_its_sender() {
    let broker = Running::start(limits(|_| {}));
    for shape in shapes() {
        check_shape(&broker, shape);
    }
    broker.stop();
}

/// Whether a Unix socket is what travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Unix,
    Other,
}

fn open(path: &Path, flags: OFlags) -> OwnedFd {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn files(folder: &Path) -> Vec<(&'static str, OwnedFd, Is)> {
    let file = folder.join("file");
    std::fs::write(&file, "text").unwrap();
    let gone = folder.join("gone");
    std::fs::write(&gone, "text").unwrap();
    let link = folder.join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let fifo = folder.join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let deleted = open(&gone, OFlags::RDWR);
    std::fs::remove_file(&gone).unwrap();
    let at = |path: &str, flags| open(Path::new(path), flags);
    vec![
        ("a file to read", open(&file, OFlags::RDONLY), Is::Other),
        ("a file to write", open(&file, OFlags::WRONLY), Is::Other),
        (
            "a file to append to",
            open(&file, OFlags::RDWR | OFlags::APPEND),
            Is::Other,
        ),
        ("a file without a name", deleted, Is::Other),
        ("a path of a file", open(&file, OFlags::PATH), Is::Other),
        (
            "a path of a link",
            open(&link, OFlags::PATH | OFlags::NOFOLLOW),
            Is::Other,
        ),
        ("a path of a directory", open(folder, OFlags::PATH), Is::Other),
        (
            "a directory",
            open(folder, OFlags::RDONLY | OFlags::DIRECTORY),
            Is::Other,
        ),
        ("a FIFO", open(&fifo, OFlags::RDWR), Is::Other),
        (
            "the reading end of a FIFO",
            open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK),
            Is::Other,
        ),
        ("a path of a FIFO", open(&fifo, OFlags::PATH), Is::Other),
        (
            "the reading end of a pipe",
            std::io::pipe().unwrap().0.into(),
            Is::Other,
        ),
        (
            "the writing end of a pipe",
            std::io::pipe().unwrap().1.into(),
            Is::Other,
        ),
        ("nothing", at("/dev/null", OFlags::RDWR), Is::Other),
        ("zeros", at("/dev/zero", OFlags::RDONLY), Is::Other),
        (
            "a terminal",
            at("/dev/ptmx", OFlags::RDWR | OFlags::NOCTTY),
            Is::Other,
        ),
        (
            "a file of the kernel",
            at("/proc/self/maps", OFlags::RDONLY),
            Is::Other,
        ),
        (
            "a folder of the kernel",
            at("/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY),
            Is::Other,
        ),
        ("a namespace", at("/proc/self/ns/net", OFlags::RDONLY), Is::Other),
    ]
}

#[rustfmt::skip] // A table: one line each.
fn objects(own: &Raw, folder: &Path) -> Vec<(&'static str, OwnedFd, Is)> {
    use rustix::event::{EventfdFlags, epoll, eventfd};
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
    let epoll = || epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let watching = epoll();
    epoll::add(
        &watching,
        &own.stream,
        epoll::EventData::new_u64(0),
        epoll::EventFlags::IN,
    )
    .unwrap();
    let pair = |kind| {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, kind, flags, None).unwrap().0
    };
    let socket = |family, kind| socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(folder.join("l.sock")).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let me = rustix::process::getpid();
    let memory =
        |name| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    vec![
        ("an epoll", epoll(), Is::Other),
        ("an epoll that watches its own connection", watching, Is::Other),
        ("an eventfd", eventfd(0, EventfdFlags::CLOEXEC).unwrap(), Is::Other),
        ("a timer", timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).unwrap(), Is::Other),
        ("an inotify", rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).unwrap(), Is::Other),
        ("a process", rustix::process::pidfd_open(me, rustix::process::PidfdFlags::empty()).unwrap(), Is::Other),
        ("memory", memory("m"), Is::Other),
        ("a TCP listener", tcp.try_clone().unwrap().into(), Is::Other),
        ("a TCP connection", std::net::TcpStream::connect(tcp.local_addr().unwrap()) .unwrap() .into(), Is::Other),
        ("a UDP socket", std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), Is::Other),
        ("a socket of the kernel", socket(AddressFamily::NETLINK, SocketType::DGRAM), Is::Other),
        ("a Unix stream", pair(SocketType::STREAM), Is::Unix),
        ("Unix datagrams", pair(SocketType::DGRAM), Is::Unix),
        ("Unix packets", pair(SocketType::SEQPACKET), Is::Unix),
        ("a Unix listener", listener.into(), Is::Unix),
        ("a Unix socket that is nowhere", socket(AddressFamily::UNIX, SocketType::STREAM), Is::Unix),
        ("the connection itself", own.stream.try_clone().unwrap().into(), Is::Unix),
    ]
}

#[test]
fn every_kind_travels_but_unix_sockets_where_they_are_not_allowed() {
    for allowed in [false, true] {
        let broker = Running::start(limits(|limits| limits.attach_unix_sockets = allowed));
        let folder = tempfile::tempdir().unwrap();
        let [mut caller, mut callee] = broker.connect_all();
        callee.register("o");
        let mut reader = Reader::default();
        let mut kinds = files(folder.path());
        kinds.extend(objects(&caller, folder.path()));
        let all = kinds.len();
        assert!(all >= 36, "{all}");
        for (number, (name, descriptor, is)) in kinds.into_iter().enumerate() {
            let sent = fstat(&descriptor).unwrap();
            let id = number as u64 + 1;
            // Its own descriptor is not closed on exec; the one that comes is.
            rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::empty()).unwrap();
            send(&caller, &call(id, "o", 1, b""), &[descriptor]);
            if is == Is::Unix && !allowed {
                assert_eq!(caller.answer(id).error(), (ErrorCode::Denied, false), "{name}");
                continue;
            }
            let (frame, came) = reader.read(&mut callee);
            let stat = fstat(&came[0]).unwrap();
            assert_eq!(
                (stat.st_dev, stat.st_ino, stat.st_mode),
                (sent.st_dev, sent.st_ino, sent.st_mode),
                "{name}"
            );
            let flags = rustix::io::fcntl_getfd(&came[0]).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{name}");
            drop(came);
            callee.reply(&frame, b"");
            assert_eq!(caller.answer(id).kind, Kind::Reply, "{name}");
        }
        drop((caller, callee));
        broker.stop();
    }
}

/// What is open for reading stays so, and two processes that have the same file have the same place in it.
#[test]
fn what_arrives_may_do_what_was_sent_may_do() {
    let broker = Running::start(limits(|_| {}));
    let [caller, mut callee] = broker.connect_all();
    callee.register("o");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "0123456789").unwrap();
    let mut reader = Reader::default();
    for (flags, reads, writes) in [
        (OFlags::RDONLY, true, false),
        (OFlags::WRONLY, false, true),
        (OFlags::RDWR, true, true),
        (OFlags::PATH, false, false),
    ] {
        let sent = open(&file, flags);
        if reads {
            rustix::fs::seek(&sent, rustix::fs::SeekFrom::Start(4)).unwrap();
        }
        let frame = call_with(1, "o", 1, b"", Flags::NO_REPLY);
        send(&caller, &frame, std::slice::from_ref(&sent));
        let (_, came) = reader.read(&mut callee);
        let mut two = [0; 2];
        let read = rustix::io::read(&came[0], &mut two);
        assert_eq!((read.is_ok(), &two == b"45"), (reads, reads), "{flags:?}");
        if reads {
            assert_eq!(rustix::fs::tell(&sent).unwrap(), 6, "{flags:?}");
        }
        assert_eq!(
            rustix::io::write(&came[0], b"").is_ok() && !flags.contains(OFlags::PATH),
            writes,
            "{flags:?}"
        );
    }
    broker.stop();
}

#[test]
fn every_set_of_seals_arrives_as_it_was() {
    let broker = Running::start(limits(|_| {}));
    let [caller, mut callee] = broker.connect_all();
    callee.register("o");
    let mut reader = Reader::default();
    let all = [
        SealFlags::SHRINK,
        SealFlags::GROW,
        SealFlags::WRITE,
        SealFlags::SEAL,
        SealFlags::FUTURE_WRITE,
    ];
    for bits in 0..32_u32 {
        let chosen = all.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        let seals = chosen.fold(SealFlags::empty(), |seals, (_, seal)| seals | *seal);
        let memory = rustix::fs::memfd_create("m", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&memory, b"text").unwrap();
        fcntl_add_seals(&memory, seals).unwrap();
        send(&caller, &call_with(1, "o", 1, b"", Flags::NO_REPLY), &[memory]);
        let (_, came) = reader.read(&mut callee);
        assert_eq!(fcntl_get_seals(&came[0]).unwrap(), seals);
        // The receiver is held to them.
        let writes = rustix::io::pwrite(&came[0], b"x", 0).is_ok();
        assert_eq!(
            writes,
            !seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE),
            "{seals:?}"
        );
        let shrinks = rustix::fs::ftruncate(&came[0], 1).is_ok();
        assert_eq!(shrinks, !seals.contains(SealFlags::SHRINK), "{seals:?}");
        let more = fcntl_add_seals(&came[0], SealFlags::GROW).is_ok();
        assert_eq!(more, !seals.contains(SealFlags::SEAL), "{seals:?}");
    }
    broker.stop();
}
