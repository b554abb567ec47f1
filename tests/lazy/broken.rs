//! What must not go wrong at the edges: panics in serde, bytes too many, full queues, signals, other folders.

use crate::support::{run, this_program, until_with_others};
use crate::{Bench, Command, PREFACE, frame};
use actix_ipc::lazy::{
    ClientError, IpcServer, IpcServerCommand, Limits, client_send, client_send_async, client_send_within,
};
use serde::{Deserialize, Serialize, Serializer};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// Tells a process that a test starts what it is.
const ROLE: &str = "LAZY_BROKEN_ROLE";

/// Runs the test of this name once more, in a process of its own.
fn again(name: &str) {
    run(this_program(name).env(ROLE, name)).success();
}

#[derive(Debug)]
struct Touchy(u8);

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 9, "as asked");
        to.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(from)?;
        assert!(number != 8, "as asked");
        Ok(Self(number))
    }
}

impl IpcServerCommand for Touchy {
    type Response = (u8, Self);
    type Context<'a> = ();

    fn process(self, (): &mut ()) -> (u8, Self) {
        (77, self)
    }
}

#[test]
fn a_panic_while_a_message_is_read_or_written_is_one_whole_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut server = IpcServer::<Touchy>::new(&path).unwrap();
    let mut raw = crate::Raw {
        socket: UnixStream::connect(&path).unwrap(),
    };
    raw.send(PREFACE);
    for number in [8, 9, 5] {
        raw.send(&[1, 0, 0, 0, 0, number]);
    }
    for _ in 0..2 {
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            server.handle_new_messages(()).unwrap()
        }));
        assert!(unwound.is_err());
    }
    assert_eq!(server.handle_new_messages(()).unwrap(), 1);
    for _ in 0..2 {
        let (status, text) = raw.answer();
        assert_eq!(status, 4);
        assert!(String::from_utf8(text).unwrap().contains("panicked"));
    }
    assert_eq!(raw.answer(), (0, vec![77, 5]));
}

#[test]
fn bytes_too_many_are_no_command() {
    let mut bench = Bench::new(Limits::default());
    let mut raw = bench.raw();
    raw.send(PREFACE);
    raw.send(&[5, 0, 0, 0, 0, 1, 7, 1, 2, 3]);
    bench.poll();
    let (status, text) = raw.answer();
    assert_eq!(status, 1);
    assert!(String::from_utf8(text).unwrap().contains("3 bytes too many"));
    assert!(bench.values.is_empty());
}

/// A server that answers each connection with these bytes.
fn answering(bytes: &'static [u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let _ = client.read(&mut [0; 100]);
            let _ = client.write_all(bytes);
        }
    });
    (folder, path)
}

#[actix::test]
async fn an_answer_that_is_none_leaves_open_whether_the_command_ran() {
    let table: [&'static [u8]; 3] = [
        &[0, 0, 0, 0, 99],
        &[255, 255, 255, 255, 0],
        // A response with a byte too many.
        &[3, 0, 0, 0, 0, 1, 5, 6],
    ];
    for bytes in table {
        let (_folder, path) = answering(bytes);
        let sync = client_send(&Command::Count, &path).unwrap_err();
        assert!(sync.may_have_run(), "{bytes:?}: {sync}");
        let other = client_send_async(&Command::Count, &path, Duration::from_secs(60))
            .await
            .unwrap_err();
        assert!(other.may_have_run(), "{bytes:?}: {other}");
    }
}

#[actix::test]
async fn a_full_queue_is_waited_for_and_told() {
    let bench = Bench::new(Limits::default());
    let address = socket2::SockAddr::unix(&bench.path).unwrap();
    loop {
        // Those that are gone again wait as well.
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        if let Err(error) = socket.connect(&address) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            break;
        }
    }
    let timeout = Duration::from_millis(20);
    let sync = client_send_within(&Command::Count, &bench.path, timeout).unwrap_err();
    let other = client_send_async(&Command::Count, &bench.path, timeout)
        .await
        .unwrap_err();
    for error in [sync, other] {
        assert!(matches!(error, ClientError::Busy(_)), "{error:?}");
        assert!(!error.may_have_run());
    }
    // Whoever waits in this queue is served once it moves.
    let mut bench = bench;
    let path = bench.path.clone();
    let client =
        actix::spawn(async move { client_send_async(&Command::Count, &path, Duration::from_secs(60)).await });
    until_with_others("it is answered", || {
        bench.poll();
        client.is_finished()
    })
    .await;
    client.await.unwrap().unwrap();
}

#[test]
fn the_shortest_times_are_times() {
    let bench = Bench::new(Limits::default());
    for turn in 0..500 {
        let timeout = Duration::from_nanos(1 + (turn * 13) % 20_000);
        let error = client_send_within(&Command::Count, &bench.path, timeout).unwrap_err();
        assert!(
            matches!(error, ClientError::Timeout { .. } | ClientError::Busy(_)),
            "{error:?}"
        );
    }
}

#[test]
fn no_signal_ends_a_program_that_lets_sigpipe_do_so() {
    const NAME: &str = "broken::no_signal_ends_a_program_that_lets_sigpipe_do_so";
    if std::env::var_os(ROLE).is_none() {
        return again(NAME);
    }
    // SAFETY: the default action is what such a program asks for.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut bench = Bench::new(Limits::default());
    let mut raw = bench.raw();
    raw.send(PREFACE);
    raw.send(&frame(&Command::Count));
    drop(raw);
    assert_eq!(bench.poll(), 1);
    // A client whose server goes away.
    let path = bench.path.with_file_name("other");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || drop(listener.accept()));
    let error = client_send(&Command::Echo("x".repeat(10_000_000)), &path).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
    server.join().unwrap();
}

#[test]
fn the_socket_is_removed_although_the_program_went_to_another_folder() {
    const NAME: &str = "broken::the_socket_is_removed_although_the_program_went_to_another_folder";
    if std::env::var_os(ROLE).is_none() {
        return again(NAME);
    }
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    std::env::set_current_dir(folders[0].path()).unwrap();
    let server = IpcServer::<Command>::new("relative.sock").unwrap();
    assert!(folders[0].path().join("relative.sock").exists());
    std::env::set_current_dir(folders[1].path()).unwrap();
    drop(server);
    assert_eq!(std::fs::read_dir(folders[0].path()).unwrap().count(), 0);
}
