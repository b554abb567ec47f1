//! Handles on their way when an end goes, or does not read: the receiver gets what was sent or is told, never what somebody else has.

use super::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::windows::io::{AsRawHandle, OwnedHandle};

fn value_of(handle: &impl AsRawHandle) -> u64 {
    handle.as_raw_handle().addr() as u64
}

/// Waits until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < limit, "it does not come to be");
        tokio::task::yield_now().await;
    }
}

/// Values of closed handles are used again, those of the last ones first.
#[tokio::test]
async fn a_value_of_a_client_that_has_gone_stands_for_nothing() {
    let (client, server) = carrying("gone").await;
    let (_reader, lent) = io::pipe().unwrap();
    let value = value_of(&lent);
    let mut bytes = Vec::new();
    portions::begin(&mut bytes, &[value], 1);
    bytes.push(b'x');
    assert_eq!(pipe(&client).write_one(&bytes).unwrap(), bytes.len());
    drop(client);
    until(|| !sys::is_connected(pipe(&server).handle())).await;
    drop(lent);
    let mut others = Vec::new();
    while !others.iter().any(|other: &OwnedHandle| value_of(other) == value) {
        assert!(others.len() < 10_000, "the value is not used again");
        let (reader, writer) = io::pipe().unwrap();
        others.extend([OwnedHandle::from(reader), writer.into()]);
    }
    let mut came = Vec::new();
    assert_eq!(read(&server, &mut [0; 8], &mut came).await.unwrap(), 1);
    let why = crate::transport::withheld(&came[0]).unwrap();
    assert!(why.contains("closed the connection"), "{why}");
}

#[tokio::test]
async fn what_a_client_has_lent_outlives_its_stream() {
    let (client, server) = carrying("outlives").await;
    let (mut reader, attachment) = end_of_pipe();
    write(&client, &[IoSlice::new(b"with")], &[attachment])
        .await
        .unwrap();
    drop(client);
    let _others: Vec<_> = (0..100).map(|_| io::pipe().unwrap()).collect();
    let (mut buffer, mut came) = ([0; 64], Vec::new());
    assert_eq!(read(&server, &mut buffer, &mut came).await.unwrap(), 4);
    let mut writer = File::from(
        came[0]
            .downcast_ref::<OwnedHandle>()
            .unwrap()
            .try_clone()
            .unwrap(),
    );
    writer.write_all(b"it").unwrap();
    let mut got = [0; 2];
    reader.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"it");
    drop((writer, came));
    // The server tells that it has taken it; then the client's end goes, and with it what it kept.
    assert_eq!(read(&server, &mut buffer, &mut Vec::new()).await.unwrap(), 0);
    assert!(is_given_up(reader).await);
}

#[tokio::test]
async fn what_was_lent_stays_open_when_its_runtime_ends() {
    let mut listener = Listener::bind(&endpoint("runtime")).unwrap();
    let to = endpoint("runtime");
    let (mut reader, attachment) = end_of_pipe();
    let client = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = connect(&to).await.unwrap();
            assert_eq!(read(&client, &mut [0; 8], &mut Vec::new()).await.unwrap(), 5);
            write(&client, &[IoSlice::new(b"with")], &[attachment])
                .await
                .unwrap();
        });
    });
    let server = listener.accept().await.unwrap().socket.register().unwrap();
    server.carry_handles();
    assert_eq!(write(&server, &[IoSlice::new(b"hello")], &[]).await.unwrap(), 5);
    client.await.unwrap();
    let _others: Vec<_> = (0..100).map(|_| io::pipe().unwrap()).collect();
    let (mut buffer, mut came) = ([0; 64], Vec::new());
    assert_eq!(read(&server, &mut buffer, &mut came).await.unwrap(), 4);
    // The right one, or none, if the end was closed before it was taken.
    match came[0].downcast_ref::<OwnedHandle>() {
        Some(writer) => {
            let mut writer = File::from(writer.try_clone().unwrap());
            writer.write_all(b"it").unwrap();
            let mut got = [0; 2];
            reader.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"it");
        }
        None => assert!(crate::transport::withheld(&came[0]).is_some()),
    }
}

#[tokio::test]
async fn a_client_lends_as_much_as_the_pipe_holds() {
    const PORTIONS: usize = 2_000;
    let (client, server) = carrying("many").await;
    let (reader, attachment) = end_of_pipe();
    for _ in 0..PORTIONS {
        let wrote = write(&client, &[IoSlice::new(b"x")], std::slice::from_ref(&attachment)).await;
        assert_eq!(wrote.unwrap(), 1);
    }
    drop(attachment);
    let (mut buffer, mut bytes, mut handles) = ([0; 4096], 0, 0);
    while bytes < PORTIONS {
        let mut came = Vec::new();
        bytes += read(&server, &mut buffer, &mut came).await.unwrap();
        assert!(came.len() <= 1, "handles of one frame at a time");
        handles += came.iter().filter(|one| one.is::<OwnedHandle>()).count();
    }
    assert_eq!((bytes, handles), (PORTIONS, PORTIONS));
    drop(client);
    assert_eq!(read(&server, &mut buffer, &mut Vec::new()).await.unwrap(), 0);
    assert!(is_given_up(reader).await, "every one was told to be taken");
}

#[tokio::test]
async fn a_server_gives_no_more_than_a_client_takes() {
    let (_client, server) = carrying("fills").await;
    let (_reader, attachment) = end_of_pipe();
    let (bytes, given) = ([IoSlice::new(b"x")], std::slice::from_ref(&attachment));
    for _ in 0..1_024 {
        assert_eq!(write(&server, &bytes, given).await.unwrap(), 1);
    }
    let error = write(&server, &bytes, given).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    assert_eq!(write(&server, &bytes, &[]).await.unwrap(), 1);
}

/// A client that reads nothing would have the server keep an end and its buffers for as long as it likes.
#[tokio::test]
async fn an_end_that_is_not_read_is_not_kept() {
    let mut listener = Listener::bind(&endpoint("unread-end")).unwrap();
    let to = endpoint("unread-end");
    let (client, accepted) = tokio::join!(connect(&to), listener.accept());
    let (client, server) = (client.unwrap(), accepted.unwrap().socket.register().unwrap());
    let bytes = vec![7; 64 * 1024];
    let mut full = false;
    for _ in 0..64 {
        let part = [IoSlice::new(&bytes)];
        let wrote = write(&server, &part, &[]);
        full = tokio::time::timeout(Duration::from_millis(300), wrote)
            .await
            .is_err();
        if full {
            break;
        }
    }
    assert!(full, "nothing bounds what waits");
    drop(server);
    until(|| !sys::is_connected(pipe(&client).handle())).await;
    // What lies in the pipe can be read still, and then comes the end.
    let (mut buffer, mut all) = (vec![0; 64 * 1024], 0);
    loop {
        match read(&client, &mut buffer, &mut Vec::new()).await.unwrap() {
            0 => break,
            count => all += count,
        }
    }
    assert!(all > 0);
}
