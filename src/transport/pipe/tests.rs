//! What only pipes have: who may come, who is told to be at the other end, one name for one server, and bursts of clients.

mod lent;

use super::*;
use crate::message::Attachment;
use crate::transport::tests::{read, write};
use crate::transport::{Listener, connect, current_uid};
use futures::future::join_all;
use std::io::IoSlice;

fn endpoint(name: &str) -> Endpoint {
    Endpoint::Pipe(pipe_name(name))
}

fn pipe_name(name: &str) -> String {
    format!("actix-ipc-{name}-{}", std::process::id())
}

#[tokio::test]
async fn both_ends_know_the_other() {
    let mut listener = Listener::bind(&endpoint("knows")).unwrap();
    let name = pipe_name("knows");
    let (client, accepted) = tokio::join!(super::connect(&name), listener.accept());
    for credentials in [client.unwrap().1, accepted.unwrap().credentials] {
        assert_eq!(credentials.uid, current_uid());
        assert_eq!(credentials.pid, Some(std::process::id()));
    }
}

/// Its number is that of a process that is over.
#[tokio::test]
async fn a_process_that_began_after_the_connection_is_not_its_client() {
    let name = pipe_name("later");
    let instance = sys::create_instance(&path(&name), true).unwrap();
    let (client, connected) = tokio::join!(super::connect(&name), instance.connect());
    connected.unwrap();
    let _client = client.unwrap();
    for (seen, is_taken) in [(sys::now(), true), (0, false)] {
        let (named, process) = super::client(instance.as_handle(), seen);
        assert_eq!(process.is_some(), is_taken);
        assert_eq!(named.credentials.uid, current_uid());
    }
}

#[tokio::test]
async fn a_second_listener_is_told_who_has_it() {
    let endpoint = endpoint("second");
    let _first = Listener::bind(&endpoint).unwrap();
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(
        matches!(error, BindError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "wine ignores the flag that a first instance is made with; for Windows itself"]
async fn only_the_first_instance_may_be_made_as_the_first() {
    let path = path(&pipe_name("first"));
    let _first = sys::create_instance(&path, true).unwrap();
    let error = sys::create_instance(&path, true).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    sys::create_instance(&path, false).unwrap();
}

#[tokio::test]
async fn every_instance_is_for_this_user_and_system_alone() {
    let path = path(&pipe_name("list"));
    let user = sys::current_user().unwrap();
    let mut kept = Vec::new();
    for first in [true, false, false] {
        let instance = sys::create_instance(&path, first).unwrap();
        let text = sys::security(instance.as_handle()).unwrap();
        let (owner, list) = text.split_once("D:").unwrap();
        assert_eq!(owner, format!("O:{user}"), "{text}");
        let (flags, entries) = list.split_once('(').unwrap();
        assert!(flags.contains('P'), "nothing is inherited: {text}");
        let admitted: Vec<&str> = entries
            .split(['(', ')'])
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                assert!(entry.starts_with("A;"), "{text}");
                entry.rsplit(';').next().unwrap()
            })
            .collect();
        assert_eq!(admitted, ["SY", &user.to_string()], "{text}");
        kept.push(instance);
    }
}

/// Whoever was first to take the name would be told everything; so who has it is asked before the first byte is sent.
#[tokio::test]
async fn a_server_of_somebody_else_is_refused() {
    let endpoint = endpoint("foreign");
    // The administrators as a group: not this user, even when they are this user's group.
    let made = sys::instance_with(&path(&pipe_name("foreign")), true, "O:BAD:(A;;GA;;;WD)");
    let _instance = made.expect("needs a user who may give a pipe to the administrators");
    let refused = connect(&endpoint).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
    assert!(refused.to_string().contains("uid 544"), "{refused}");
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(
        matches!(
            error,
            BindError::OtherUser { uid: 544, .. } | BindError::InUse { .. }
        ),
        "{error}"
    );
}

/// The name is never free and never without an instance to wait for, however many come at once, and all of them within the time that
/// any client has.
#[tokio::test]
async fn a_burst_of_a_thousand_is_served() {
    const BURST: usize = 1_000;
    let name = pipe_name("burst");
    let mut listener = Listener::bind(&endpoint("burst")).unwrap();
    let clients = join_all((0..BURST).map(|_| async {
        let (pipe, _) = super::connect(&name).await.unwrap();
        let stream = crate::transport::Stream::Pipe(pipe);
        let mut byte = [0];
        assert_eq!(read(&stream, &mut byte, &mut Vec::new()).await.unwrap(), 1);
        (stream, byte[0])
    }));
    let server = async {
        let mut kept = Vec::new();
        for number in 0..BURST {
            let stream = listener.accept().await.unwrap().socket.register().unwrap();
            let byte = [(number % 251) as u8];
            assert_eq!(write(&stream, &[IoSlice::new(&byte)], &[]).await.unwrap(), 1);
            kept.push(stream);
        }
        kept
    };
    let (clients, kept) = tokio::join!(clients, server);
    assert_eq!((clients.len(), kept.len()), (BURST, BURST));
    let mut greeted: Vec<u8> = clients.iter().map(|(_, byte)| *byte).collect();
    let mut given: Vec<u8> = (0..BURST).map(|number| (number % 251) as u8).collect();
    greeted.sort_unstable();
    given.sort_unstable();
    assert_eq!(greeted, given, "each client has an instance of its own");
}

#[tokio::test]
async fn a_pipe_that_stays_busy_is_given_up() {
    let path = path(&pipe_name("busy"));
    let instance = sys::create_instance(&path, true).unwrap();
    let name = pipe_name("busy");
    let (first, connected) = tokio::join!(super::connect(&name), instance.connect());
    connected.unwrap();
    let _first = first.unwrap();
    let error = connect_within(&name, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(error.to_string().contains("busy"), "{error}");
}

#[tokio::test]
async fn who_waits_for_one_server_is_in_nobodys_way_at_another() {
    let names = ["hung", "moment"].map(pipe_name);
    let mut taken = Vec::new();
    for name in &names {
        let instance = sys::create_instance(&path(name), true).unwrap();
        let (client, connected) = tokio::join!(super::connect(name), instance.connect());
        connected.unwrap();
        taken.push((instance, client.unwrap()));
    }
    let [hung, moment] = &names;
    let wait = |name| Box::pin(connect_within(name, Duration::from_secs(30)));
    // They have all places at a server that accepts nobody.
    let mut waiting: Vec<_> = (0..WAITING).map(|_| wait(hung)).collect();
    for one in &mut waiting {
        assert!(futures::poll!(one).is_pending());
    }
    let mut other = wait(moment);
    assert!(futures::poll!(&mut other).is_pending());
    let next = sys::create_instance(&path(moment), false).unwrap();
    let (client, connected) = tokio::join!(other, next.connect());
    connected.unwrap();
    client.unwrap();
    for one in &mut waiting {
        assert!(futures::poll!(one).is_pending(), "they wait for longer");
    }
}

/// What is behind a connection.
fn pipe(stream: &crate::transport::Stream) -> &Stream {
    match stream {
        crate::transport::Stream::Pipe(pipe) => pipe,
        _ => panic!("a pipe"),
    }
}

/// Both ends, of which the server's has begun to carry handles.
async fn carrying(name: &str) -> (crate::transport::Stream, crate::transport::Stream) {
    let mut listener = Listener::bind(&endpoint(name)).unwrap();
    let endpoint = endpoint(name);
    let (client, accepted) = tokio::join!(connect(&endpoint), listener.accept());
    let (client, server) = (client.unwrap(), accepted.unwrap().socket.register().unwrap());
    assert!(client.expects_handles() && server.can_carry_handles());
    assert_eq!((client.max_attachments(), server.max_attachments()), (0, 0));
    server.carry_handles();
    assert_eq!(write(&server, &[IoSlice::new(b"hello")], &[]).await.unwrap(), 5);
    let mut buffer = [0; 64];
    assert_eq!(read(&client, &mut buffer, &mut Vec::new()).await.unwrap(), 5);
    assert_eq!(&buffer[..5], b"hello", "and nothing of the mark");
    assert_eq!((client.max_attachments(), server.max_attachments()), (16, 16));
    (client, server)
}

fn end_of_pipe() -> (io::PipeReader, Attachment) {
    let (reader, writer) = io::pipe().unwrap();
    (reader, Arc::new(std::os::windows::io::OwnedHandle::from(writer)))
}

/// Whether nobody has the other end any more; waits for it.
async fn is_given_up(reader: io::PipeReader) -> bool {
    let mut reader = reader;
    let read = tokio::task::spawn_blocking(move || io::Read::read(&mut reader, &mut [0]));
    tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .is_ok_and(|read| read.unwrap().unwrap() == 0)
}

#[tokio::test]
async fn handles_travel_both_ways_and_nothing_stays() {
    let (client, server) = carrying("both").await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (reader, attachment) = end_of_pipe();
        write(from, &[IoSlice::new(b"with")], &[attachment])
            .await
            .unwrap();
        let (mut buffer, mut came) = ([0; 64], Vec::new());
        assert_eq!(read(to, &mut buffer, &mut came).await.unwrap(), 4);
        assert_eq!((&buffer[..4], came.len()), (&b"with"[..], 1));
        assert!(came[0].is::<std::os::windows::io::OwnedHandle>());
        drop(came);
        // Who asks for more tells that it has taken these; who lent them hears of it with the next bytes or without any.
        let _ = futures::future::poll_fn(|cx| Poll::Ready(to.poll_read_ready(cx).is_ready())).await;
        write(to, &[IoSlice::new(b"more")], &[]).await.unwrap();
        assert_eq!(read(from, &mut buffer, &mut Vec::new()).await.unwrap(), 4);
        assert!(is_given_up(reader).await);
    }
}

/// Handles that are on their way; what is read when nobody has one any more.
async fn three_sent(server: &crate::transport::Stream) -> Vec<io::PipeReader> {
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (reader, attachment) = end_of_pipe();
        write(server, &[IoSlice::new(b"with")], &[attachment])
            .await
            .unwrap();
        readers.push(reader);
    }
    readers
}

#[tokio::test]
async fn what_a_client_leaves_unread_is_closed_in_it() {
    let (client, server) = carrying("unread").await;
    let readers = three_sent(&server).await;
    drop(client);
    // Its end is seen by whoever reads.
    assert_eq!(read(&server, &mut [0; 8], &mut Vec::new()).await.unwrap(), 0);
    for reader in readers {
        assert!(is_given_up(reader).await);
    }
}

/// A broker closes the connection of one that is too slow; the client is there still, and makes another one.
#[tokio::test]
async fn what_a_server_gave_before_it_ended_is_closed_when_its_client_ends() {
    let (client, server) = carrying("given").await;
    let readers = three_sent(&server).await;
    drop(server);
    drop(client);
    for reader in readers {
        assert!(is_given_up(reader).await);
    }
}

#[tokio::test]
async fn what_no_client_says_is_an_error_of_the_connection() {
    let mut too_many = Vec::new();
    portions::taken(&mut too_many, 1);
    let empty = vec![0, 0, 0, 1];
    for (name, bytes) in [("taken", too_many), ("empty", empty)] {
        let (client, server) = carrying(name).await;
        let raw = pipe(&client);
        assert_eq!(raw.write_one(&bytes).unwrap(), bytes.len());
        let error = read(&server, &mut [0; 8], &mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
    }
}

/// Values that are no handles of the client, and those that stand for it, reach nobody; the bytes do.
#[tokio::test]
async fn a_value_that_is_no_handle_is_withheld() {
    let (client, server) = carrying("values").await;
    let raw = pipe(&client);
    let values = [u64::MAX, u64::MAX - 1, 0, 3, 0xffff_fff0];
    let mut bytes = Vec::new();
    portions::begin(&mut bytes, &values, 1);
    bytes.push(b'x');
    assert_eq!(raw.write_one(&bytes).unwrap(), bytes.len());
    let mut came = Vec::new();
    assert_eq!(read(&server, &mut [0; 8], &mut came).await.unwrap(), 1);
    assert_eq!(came.len(), values.len());
    assert!(came.iter().all(|one| crate::transport::withheld(one).is_some()));
}
