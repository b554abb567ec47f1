//! What only Unix sockets have: descriptors, paths, locks, modes and users.

use super::*;
use crate::platform::place::{self, address};
use crate::transport::BACKLOG;
use crate::transport::tests::{connected, read, write};
use crate::transport::{ATTACHMENTS_MAX, Listener, Stream, connect, current_uid};
use crate::transport::{BindError, Endpoint, UnixOptions};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage};
use socket2::{Domain, Type};
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn place() -> (tempfile::TempDir, PathBuf, Endpoint) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.sock");
    let endpoint = Endpoint::Unix(path.clone());
    (dir, path, endpoint)
}

async fn streams() -> (tempfile::TempDir, Stream, Stream) {
    let (dir, _, endpoint) = place();
    let (server, client) = connected(&mut Listener::bind(&endpoint).unwrap()).await;
    (dir, server, client)
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn lock_path(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.lock", path.display()))
}

/// The attachments of `count` pipes' reading ends, and the writing ends.
fn pipes(count: usize) -> (Vec<Attachment>, Vec<io::PipeWriter>) {
    (0..count)
        .map(|_| {
            let (reader, writer) = io::pipe().unwrap();
            (Arc::new(OwnedFd::from(reader)) as Attachment, writer)
        })
        .unzip()
}

#[tokio::test]
async fn descriptors_travel_and_are_closed_on_exec() {
    let (_dir, server, client) = streams().await;
    let (sent, writers) = pipes(ATTACHMENTS_MAX);
    assert_eq!(write(&client, &[IoSlice::new(b"here")], &sent).await.unwrap(), 4);
    drop(sent);
    let (mut buffer, mut received) = ([0; 64], Vec::new());
    assert_eq!(read(&server, &mut buffer, &mut received).await.unwrap(), 4);
    assert_eq!(received.len(), ATTACHMENTS_MAX);
    for (index, (attachment, mut writer)) in received.iter().zip(writers).enumerate() {
        let reader = attachment.downcast_ref::<OwnedFd>().unwrap();
        assert!(
            rustix::io::fcntl_getfd(reader)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
        writer.write_all(format!("pipe {index}").as_bytes()).unwrap();
        drop(writer);
        let mut text = String::new();
        std::fs::File::from(reader.try_clone().unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, format!("pipe {index}"));
    }
}

#[tokio::test]
async fn bytes_behind_descriptors_are_read_without_another_event() {
    let (_dir, server, client) = streams().await;
    let (sent, _writers) = pipes(1);
    let writing = async {
        for (text, attachments) in [
            ("plain", &[][..]),
            ("first", &sent),
            ("second", &sent),
            ("end", &[]),
        ] {
            write(&client, &[IoSlice::new(text.as_bytes())], attachments)
                .await
                .unwrap();
        }
    };
    let reading = async {
        let (mut buffer, mut received, mut text) = ([0; 64], Vec::new(), String::new());
        while text.len() < 19 {
            let len = read(&server, &mut buffer, &mut received).await.unwrap();
            text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
        }
        (text, received.len())
    };
    let (_, (text, received)) = tokio::join!(writing, reading);
    assert_eq!((text.as_str(), received), ("plainfirstsecondend", 2));
}

/// Linux says what is unread. The wait ends with the peer's reading, or with its end.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_write_with_descriptors_is_in_the_queue_at_a_time() {
    for peer_reads in [true, false] {
        let (_dir, server, client) = streams().await;
        let (sent, _writers) = pipes(2);
        assert!(!client.holds_attachments());
        assert_eq!(client.try_write(&[IoSlice::new(b"one")], &sent).unwrap(), 3);
        assert!(client.holds_attachments());
        let error = client.try_write(&[IoSlice::new(b"two")], &sent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(client.obstacle(), Some(Obstacle::Unread));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(
            client.poll_write_ready(&mut cx).is_pending(),
            "there is space, but that is not it"
        );
        assert_eq!(client.try_write(&[IoSlice::new(b"plain")], &[]).unwrap(), 5);
        let waited = async {
            std::future::poll_fn(|cx| client.poll_write_ready(cx))
                .await
                .unwrap();
            client.try_write(&[IoSlice::new(b"two")], &sent)
        };
        let (mut buffer, mut received) = ([0; 64], Vec::new());
        let ending = async {
            if peer_reads {
                read(&server, &mut buffer, &mut received).await.unwrap();
                // The bytes behind them are still in the queue; so is the wait.
                read(&server, &mut buffer, &mut received).await.unwrap();
                return Some(server);
            }
            drop(server);
            None
        };
        let (written, server) = tokio::join!(waited, ending);
        assert_eq!(written.is_ok(), peer_reads, "{written:?}");
        if let Some(server) = server {
            while received.len() < 4 {
                read(&server, &mut buffer, &mut received).await.unwrap();
            }
            assert!(!client.holds_attachments());
        }
    }
}

#[tokio::test]
async fn what_only_passes_through_is_sent_as_it_is_and_closed_when_it_is_released() {
    use crate::transport::{Passing, is_unix_socket, passing};
    let (_dir, server, client) = streams().await;
    let (mut sent, mut writers) = pipes(1);
    let passed = [Passing::wrap(sent.remove(0), Box::new(()))];
    write(&client, &[IoSlice::new(b"x")], &passed).await.unwrap();
    let mut received = Vec::new();
    read(&server, &mut [0; 8], &mut received).await.unwrap();
    assert!(!is_unix_socket(&received[0]) && number(&received[0]).is_some());
    received.clear();
    passing::release(&passed[0]);
    let error = client.try_write(&[IoSlice::new(b"x")], &passed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // Closed by another thread, some time: the pipe has no reader then.
    while writers[0].write(b"x").is_ok() {
        tokio::task::yield_now().await;
    }
    let pair = UnixStream::pair().unwrap();
    assert!(is_unix_socket(&(Arc::new(OwnedFd::from(pair.0)) as Attachment)));
}

#[tokio::test]
async fn descriptors_go_with_the_first_byte_of_a_short_write() {
    let (_dir, server, client) = streams().await;
    let (sent, _writers) = pipes(1);
    let large = vec![7; 4 * 1024 * 1024];
    let written = write(&client, &[IoSlice::new(&large)], &sent).await.unwrap();
    assert!(written < large.len());
    let (mut buffer, mut received) = (vec![0; large.len()], Vec::new());
    assert!(read(&server, &mut buffer[..1], &mut received).await.unwrap() == 1);
    assert_eq!(received.len(), 1);
    let mut total = 1;
    while total < written {
        total += read(&server, &mut buffer, &mut received).await.unwrap();
    }
    assert_eq!(received.len(), 1);
}

#[tokio::test]
async fn too_many_descriptors_are_refused_by_both_ends() {
    let (_dir, server, client) = streams().await;
    let (sent, _writers) = pipes(ATTACHMENTS_MAX + 1);
    let error = client.try_write(&[IoSlice::new(b"x")], &sent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = client
        .try_write(&[IoSlice::new(b"x")], &[Arc::new(5_u8) as Attachment])
        .unwrap_err();
    assert!(error.to_string().contains("OwnedFd"), "{error}");

    // A peer that does not know the limit.
    let Stream::Unix(raw) = &client else {
        panic!("not a Unix socket")
    };
    let fds: Vec<_> = sent
        .iter()
        .map(|one| one.downcast_ref::<OwnedFd>().unwrap().as_fd())
        .collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ATTACHMENTS_MAX + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    descriptors::send_with(raw.fd.get_ref().as_fd(), &[IoSlice::new(b"x")], &mut control).unwrap();
    drop(sent);
    let mut received = Vec::new();
    let error = read(&server, &mut [0; 8], &mut received).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    assert!(received.is_empty());
    // None of those that came was kept open: nobody can read what these pipes carry.
    for mut writer in _writers {
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn the_peer_is_known() {
    let (_dir, path, endpoint) = place();
    let mut listener = Listener::bind(&endpoint).unwrap();
    let (accepted, client) = tokio::join!(listener.accept(), super::connect(&path));
    for credentials in [accepted.unwrap().credentials, client.unwrap().1] {
        assert_eq!(credentials.uid, current_uid());
        assert_eq!(credentials.gid, Some(rustix::process::getegid().as_raw()));
        assert_eq!(credentials.pid, Some(std::process::id()));
    }
}

#[tokio::test]
async fn a_second_listener_is_told_who_has_it() {
    let (_dir, path, endpoint) = place();
    let _first = Listener::bind(&endpoint).unwrap();
    let error = Listener::bind(&endpoint).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(&error, BindError::InUse { pid: Some(p), endpoint: e } if *p == pid && *e == endpoint));
    let text = error.to_string();
    assert!(
        text.contains(&endpoint.to_string()) && text.contains(&pid.to_string()),
        "{text}"
    );
    assert!(path.exists());
    connect(&endpoint).await.unwrap();
}

#[tokio::test]
async fn a_live_socket_without_a_lock_is_kept() {
    let (_dir, path, endpoint) = place();
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = Listener::bind(&endpoint).unwrap_err();
    #[cfg(target_os = "linux")]
    assert!(
        matches!(error, BindError::InUse { pid: Some(p), .. } if p == std::process::id()),
        "{error}"
    );
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    assert!(path.exists() && !lock_path(&path).exists());
    drop(other);
}

#[tokio::test]
async fn what_a_dead_broker_left_is_replaced() {
    let (_dir, path, endpoint) = place();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    std::fs::write(lock_path(&path), "999999\n").unwrap();
    let listener = Listener::bind(&endpoint).unwrap();
    connect(&endpoint).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(listener);
    assert!(!path.exists() && !lock_path(&path).exists());
}

#[tokio::test]
async fn what_no_broker_made_is_refused_and_kept() {
    let (dir, path, endpoint) = place();
    let precious = dir.path().join("precious");
    std::fs::write(&precious, "data").unwrap();
    for (where_, beside) in [(path.clone(), lock_path(&path)), (lock_path(&path), path.clone())] {
        let kinds: [(&str, &dyn Fn()); 4] = [
            ("symbolic link", &|| symlink(&precious, &where_).unwrap()),
            ("symbolic link", &|| {
                symlink(dir.path().join("nowhere"), &where_).unwrap()
            }),
            ("directory", &|| std::fs::create_dir(&where_).unwrap()),
            (
                if where_ == path {
                    "regular file"
                } else {
                    "process id"
                },
                &|| {
                    std::fs::write(&where_, "text").unwrap();
                },
            ),
        ];
        for (what, make) in kinds {
            make();
            let error = Listener::bind(&endpoint).unwrap_err();
            assert!(
                matches!(&error, BindError::Foreign { path, .. } if *path == where_),
                "{error}"
            );
            assert!(error.to_string().contains(what), "{error}");
            assert!(std::fs::symlink_metadata(&where_).is_ok() && !beside.exists());
            std::fs::remove_file(&where_)
                .or_else(|_| std::fs::remove_dir(&where_))
                .unwrap();
        }
    }
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "data");
    assert!(!dir.path().join("nowhere").exists());
    let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(error.to_string().contains("not a stream socket"), "{error}");
    drop(datagrams);
}

/// At every step between the first appearance of the path and the listening socket.
#[tokio::test]
async fn nobody_else_can_connect_at_any_moment() {
    let (_dir, path, _) = place();
    let (bound, _file) = place::create(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let refused = UnixStream::connect(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    bound.listen(1).unwrap();
    assert_eq!(mode(&path), 0o600);
    UnixStream::connect(&path).unwrap();
}

/// Linux makes the file with its final mode; a thread that looks as fast as it can sees no other.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_mode_is_never_wider() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let (_dir, path, _) = place();
    let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Ok(there) = std::fs::symlink_metadata(&path) {
                    assert_eq!(there.permissions().mode() & 0o777, 0o600);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        while seen.load(Ordering::Relaxed) < 100 {
            drop(place::bind(&path, &UnixOptions::default(), BACKLOG).unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[tokio::test]
async fn only_its_own_socket_is_removed() {
    let (_dir, path, endpoint) = place();
    let listener = Listener::bind(&endpoint).unwrap();
    assert_eq!(
        std::fs::read_to_string(lock_path(&path)).unwrap(),
        format!("{}\n", std::process::id())
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "somebody else's").unwrap();
    drop(listener);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody else's");
    assert!(!lock_path(&path).exists());
}

#[tokio::test]
async fn a_path_that_does_not_fit_is_explained() {
    let (dir, ..) = place();
    let path = dir.path().join("x".repeat(place::PATH_MAX));
    let endpoint = Endpoint::Unix(path.clone());
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(
        matches!(
            error,
            BindError::PathTooLong {
                max: place::PATH_MAX,
                ..
            }
        ),
        "{error}"
    );
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("at most {}", place::PATH_MAX)),
        "{error}"
    );
    let fill = place::PATH_MAX - dir.path().as_os_str().len() - 1;
    let longest = Endpoint::Unix(dir.path().join("y".repeat(fill)));
    let _listener = Listener::bind(&longest).unwrap();
    connect(&longest).await.unwrap();
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let (dir, ..) = place();
    let endpoint = Endpoint::Unix(dir.path().join("no/such/b.sock"));
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(matches!(error, BindError::Io { .. }));
    assert!(error.to_string().contains("no/such/b.sock"), "{error}");
}

/// The lock decides among many that start at once: exactly one gets the path.
#[test]
fn of_many_at_once_one_wins() {
    let (_dir, path, _) = place();
    for _ in 0..20 {
        let barrier = std::sync::Barrier::new(8);
        let winners: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let bound = place::bind(&path, &UnixOptions::default(), BACKLOG);
                        barrier.wait();
                        bound
                    })
                })
                .collect();
            starts
                .into_iter()
                .filter_map(|start| start.join().unwrap().ok())
                .collect()
        });
        assert_eq!(winners.len(), 1);
        assert!(UnixStream::connect(&path).is_ok());
    }
}

/// Needs root, to make files of another user.
#[tokio::test]
async fn another_users_endpoint_is_told_apart() {
    if current_uid() != Some(0) {
        return;
    }
    let (_dir, path, endpoint) = place();
    for theirs in [path.clone(), lock_path(&path)] {
        if theirs == path {
            drop(std::os::unix::net::UnixListener::bind(&theirs).unwrap());
        } else {
            std::fs::write(&theirs, "1\n").unwrap();
        }
        std::os::unix::fs::chown(&theirs, Some(12345), None).unwrap();
        let error = Listener::bind(&endpoint).unwrap_err();
        assert!(
            matches!(error, BindError::OtherUser { uid: 12345, .. }),
            "{error}"
        );
        assert!(theirs.exists());
        std::fs::remove_file(&theirs).unwrap();
    }
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let (_dir, path, _) = place();
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&address(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let first = super::connect(&path).await.unwrap();
    // On Linux the queue is full now, and nobody accepts: an error after a while, not a hang.
    if cfg!(target_os = "linux") {
        let error = super::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    let (second, accepted) = tokio::join!(super::connect(&path), async { socket.accept() });
    accepted.unwrap();
    let _ends = (first, second.unwrap());
}
