//! One suite that every transport of this platform passes, and the rules that hold for all of them.

#[cfg(target_os = "linux")]
mod users;

use super::*;
use crate::message::Attachment;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

/// Longer than any test takes; only a hang reaches it. (Wine looks at every socket of the machine to find whose one is.)
const HANG: Duration = Duration::from_secs(if cfg!(windows) { 300 } else { 30 });

/// Waits until something can be read, and reads it.
pub(super) async fn read(
    stream: &Stream,
    buffer: &mut [u8],
    attachments: &mut Vec<Attachment>,
) -> io::Result<usize> {
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        match stream.try_read(buffer, attachments) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn read_exact(stream: &Stream, buffer: &mut [u8]) {
    let mut at = 0;
    while at < buffer.len() {
        let read = read(stream, &mut buffer[at..], &mut Vec::new()).await.unwrap();
        assert_ne!(read, 0, "end of file after {at} bytes");
        at += read;
    }
}

/// Waits until something can be written, and writes as much as goes.
pub(super) async fn write(
    stream: &Stream,
    slices: &[IoSlice<'_>],
    attachments: &[Attachment],
) -> io::Result<usize> {
    loop {
        match stream.try_write(slices, attachments) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
        poll_fn(|cx| stream.poll_write_ready(cx)).await?;
    }
}

async fn write_all(stream: &Stream, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        at += write(stream, &[IoSlice::new(&bytes[at..])], &[]).await.unwrap();
    }
}

/// The accepting end and the connecting end.
pub(super) async fn connected(listener: &mut Listener) -> (Stream, Stream) {
    let endpoint = listener.endpoint().clone();
    let (client, accepted) = tokio::join!(connect(&endpoint), listener.accept());
    let accepted = accepted.unwrap();
    assert!(accepted.credentials.uid.is_none() || accepted.credentials.is_same_user_or_root());
    (accepted.socket.register().unwrap(), client.unwrap())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

async fn echoes(listener: &mut Listener) {
    let (server, client) = connected(listener).await;
    for (one, other) in [(&client, &server), (&server, &client)] {
        let mut buffer = [0; 64];
        let slices = [
            IoSlice::new(b"half "),
            IoSlice::new(b""),
            IoSlice::new(b"and half"),
        ];
        assert_eq!(write(one, &slices, &[]).await.unwrap(), 13);
        assert_eq!(read(other, &mut buffer, &mut Vec::new()).await.unwrap(), 13);
        assert_eq!(&buffer[..13], b"half and half");
        let nothing = other.try_read(&mut buffer, &mut Vec::new()).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        assert_eq!(
            other.try_read(&mut [], &mut Vec::new()).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert!(!one.is_closed() && !other.is_closed());
    }
}

/// A reader whose buffer is smaller than what comes gets all of it, without being woken in between.
async fn splits_reads(listener: &mut Listener) {
    let (server, client) = connected(listener).await;
    let sent = pattern(1000);
    write_all(&client, &sent).await;
    client.shutdown_write().unwrap_or(());
    let mut received = vec![0; 1000];
    for part in received.chunks_mut(7) {
        read_exact(&server, part).await;
    }
    assert_eq!(received, sent);
    // Bytes that come after a short read are a new event.
    write_all(&server, b"x").await;
    let mut byte = [0; 8];
    assert_eq!(read(&client, &mut byte, &mut Vec::new()).await.unwrap(), 1);
    write_all(&server, b"yz").await;
    assert_eq!(read(&client, &mut byte, &mut Vec::new()).await.unwrap(), 2);
}

/// Both ends write more than fits before they read, then all of it arrives.
async fn carries_much_both_ways(listener: &mut Listener) {
    let (server, client) = connected(listener).await;
    let sent = pattern(8 * 1024 * 1024);
    let turn = |one: Arc<Stream>| {
        let sent = sent.clone();
        async move {
            let mut at = 0;
            loop {
                match one.try_write(&[IoSlice::new(&sent[at..])], &[]) {
                    Ok(written) => at += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock && at > 0 => break,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        poll_fn(|cx| one.poll_write_ready(cx)).await.unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(at < sent.len(), "nothing bounds what waits");
            let mut received = vec![0; sent.len()];
            tokio::join!(write_all(&one, &sent[at..]), read_exact(&one, &mut received));
            assert!(received == sent);
        }
    };
    tokio::join!(turn(Arc::new(server)), turn(Arc::new(client)));
}

async fn notices_the_end(listener: &mut Listener) {
    let (server, client) = connected(listener).await;
    write_all(&client, b"last words").await;
    drop(client);
    let mut buffer = [0; 64];
    assert_eq!(read(&server, &mut buffer, &mut Vec::new()).await.unwrap(), 10);
    assert_eq!(read(&server, &mut buffer, &mut Vec::new()).await.unwrap(), 0);
    assert_eq!(read(&server, &mut buffer, &mut Vec::new()).await.unwrap(), 0);
    // TCP learns that nobody reads from the answer to the first write.
    loop {
        match write(&server, &[IoSlice::new(b"anyone?")], &[]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                    "{error}"
                );
                break;
            }
        }
    }
    assert!(server.is_closed());
}

async fn closes_by_half(listener: &mut Listener) {
    let (server, client) = connected(listener).await;
    client.shutdown_write().unwrap();
    let mut buffer = [0; 64];
    assert_eq!(read(&server, &mut buffer, &mut Vec::new()).await.unwrap(), 0);
    assert!(!server.is_closed());
    write_all(&server, b"still here").await;
    assert_eq!(read(&client, &mut buffer, &mut Vec::new()).await.unwrap(), 10);
    assert!(client.try_write(&[IoSlice::new(b"no")], &[]).is_err());
}

/// A thread fills the connection, the task that owns it waits for space.
async fn writes_from_any_thread(listener: &mut Listener) {
    let (server, client) = connected(listener).await;
    let client = Arc::new(client);
    let chunk = pattern(64 * 1024);
    write_all(&client, b"!").await;
    let writer = Arc::clone(&client);
    let filled = std::thread::spawn(move || {
        let mut total = 1;
        loop {
            match writer.try_write(&[IoSlice::new(&chunk)], &[]) {
                Ok(written) => total += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let filled = filled.join().unwrap();
    let mut received = vec![0; filled];
    let space = poll_fn(|cx| client.poll_write_ready(cx));
    let (ready, ()) = tokio::join!(space, read_exact(&server, &mut received));
    ready.unwrap();
    assert!(write(&client, &[IoSlice::new(b"more")], &[]).await.unwrap() > 0);
}

async fn refuses_wrong_attachments(listener: &mut Listener) {
    let (server, client) = connected(listener).await;
    let attachment: Attachment = Arc::new("no descriptor");
    let most = client.max_attachments() as usize;
    let many = vec![attachment; most + 1];
    let error = client.try_write(&[IoSlice::new(b"x")], &many).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    if most > 0 {
        let error = client.try_write(&[IoSlice::new(b"")], &many[..1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    write_all(&client, b"still usable").await;
    read_exact(&server, &mut [0; 12]).await;
}

/// Many clients at once, and a refused second listener.
async fn serves_many(mut listener: Listener) {
    let endpoint = listener.endpoint().clone();
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    if matches!(endpoint, Endpoint::Pipe(_)) {
        // The one who asked whose the pipe is.
        listener.accept().await.unwrap();
    }
    let mut ends = Vec::new();
    for _ in 0..50 {
        ends.push(connected(&mut listener).await);
    }
    for (index, (server, _)) in ends.iter().enumerate() {
        write_all(server, &[index as u8]).await;
    }
    for (index, (_, client)) in ends.iter().enumerate() {
        let mut byte = [0];
        read_exact(client, &mut byte).await;
        assert_eq!(byte, [index as u8]);
    }
}

/// Listens where somebody has just stopped to.
async fn bind_again(endpoint: &Endpoint) -> Result<Listener, BindError> {
    loop {
        match Listener::bind(endpoint) {
            // The reactor closes a pipe when the system has given its buffers back.
            Err(BindError::InUse { .. }) if matches!(endpoint, Endpoint::Pipe(_)) => {
                tokio::task::yield_now().await;
            }
            bound => return bound,
        }
    }
}

/// What a listener listened on is free when it is dropped, while what it accepted lives on.
async fn gives_its_place_back(endpoint: &str) {
    // Meanwhile the system may give a free port to somebody else: a listener that keeps its own does so each time.
    for _ in 0..20 {
        let mut listener = bind_again(&endpoint.parse().unwrap()).await.unwrap();
        let endpoint = listener.endpoint().clone();
        let ends = connected(&mut listener).await;
        drop(listener);
        let refused = connect(&endpoint).await.is_err();
        // A pipe's name is taken until its connections end.
        let ends = Some(ends).filter(|_| !matches!(endpoint, Endpoint::Pipe(_)));
        let again = bind_again(&endpoint).await;
        if let (true, Ok(mut again)) = (refused, again) {
            echoes(&mut again).await;
            drop(ends);
            return;
        }
    }
    panic!("{endpoint} is never given back");
}

async fn conform(endpoint: &str, halves: bool) {
    let all = async {
        let mut listener = Listener::bind(&endpoint.parse().unwrap()).unwrap();
        echoes(&mut listener).await;
        splits_reads(&mut listener).await;
        carries_much_both_ways(&mut listener).await;
        notices_the_end(&mut listener).await;
        writes_from_any_thread(&mut listener).await;
        refuses_wrong_attachments(&mut listener).await;
        if halves {
            closes_by_half(&mut listener).await;
        }
        serves_many(listener).await;
        gives_its_place_back(endpoint).await;
    };
    tokio::time::timeout(HANG, all).await.expect("a step hangs");
}

#[cfg(unix)]
#[tokio::test]
async fn unix_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conform(&format!("unix:{}", dir.path().join("b.sock").display()), true).await;
}

#[tokio::test]
async fn tcp_conforms() {
    conform("tcp:127.0.0.1:0", true).await;
}

#[tokio::test]
#[cfg_attr(windows, ignore = "Wine does not tell whose an IPv6 socket is; Windows does")]
async fn tcp_over_ipv6_conforms() {
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        conform("tcp:[::1]:0", true).await;
    }
}

#[tokio::test]
async fn memory_conforms() {
    conform("mem:transport-conforms", true).await;
}

#[cfg(windows)]
#[tokio::test]
async fn pipe_conforms() {
    conform(&format!("pipe:actix-ipc-test-{}", std::process::id()), false).await;
}

#[tokio::test]
async fn a_transport_of_another_platform_is_named() {
    let endpoint: Endpoint = if cfg!(unix) { "pipe:x" } else { "unix:/x" }.parse().unwrap();
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(matches!(error, BindError::Unsupported { .. }));
    assert!(error.to_string().contains(&endpoint.to_string()));
    let error = connect(&endpoint).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains(&endpoint.to_string()));
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_the_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut endpoints = vec!["mem:nobody-there".to_owned(), format!("tcp:127.0.0.1:{port}")];
    if cfg!(unix) {
        endpoints.push(format!("unix:{}", dir.path().join("nobody").display()));
    }
    for endpoint in endpoints {
        let error = connect(&endpoint.parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains(&endpoint), "{error}");
        assert!(
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused),
            "{error}"
        );
    }
}

#[test]
fn streams_go_anywhere() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Stream>();
    fn send<T: Send + 'static>() {}
    send::<Accepted>();
    send::<Listener>();
}
