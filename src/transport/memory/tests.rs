//! What only the in-process transport has: faults, attachments of any type, names.

use super::*;
use crate::message::Attachment;
use crate::transport::tests::{connected, read, write};
use crate::transport::{BindOptions, Listener, Stream, connect};
use std::io::{ErrorKind, IoSlice};
use std::task::{Poll, Wake};

fn faulty(server: Faults, client: Faults) -> (Stream, Stream) {
    pair(&MemoryOptions {
        capacity: 100,
        server,
        client,
    })
}

#[tokio::test]
async fn attachments_of_any_type_come_with_their_byte() {
    let (server, client) = pair(&MemoryOptions::default());
    let attachment: Attachment = Arc::new(String::from("a thing"));
    write(&client, &[IoSlice::new(b"before")], &[]).await.unwrap();
    write(&client, &[IoSlice::new(b"with")], &[attachment])
        .await
        .unwrap();
    write(&client, &[IoSlice::new(b"after")], &[]).await.unwrap();
    let (mut buffer, mut attachments) = ([0; 64], Vec::new());
    assert_eq!(read(&server, &mut buffer, &mut attachments).await.unwrap(), 6);
    assert!(attachments.is_empty());
    assert_eq!(
        read(&server, &mut buffer[..1], &mut attachments).await.unwrap(),
        1
    );
    assert_eq!(attachments[0].downcast_ref::<String>().unwrap(), "a thing");
    assert_eq!(read(&server, &mut buffer, &mut attachments).await.unwrap(), 8);
    assert_eq!(attachments.len(), 1);
}

#[tokio::test]
async fn unread_attachments_are_dropped_with_the_reader() {
    let (server, client) = pair(&MemoryOptions::default());
    let thing = Arc::new(());
    write(
        &client,
        &[IoSlice::new(b"x")],
        &[Arc::clone(&thing) as Attachment],
    )
    .await
    .unwrap();
    assert_eq!(Arc::strong_count(&thing), 2);
    drop(server);
    assert_eq!(Arc::strong_count(&thing), 1);
}

#[test]
fn capacity_bounds_what_waits() {
    let (server, client) = faulty(Faults::default(), Faults::default());
    assert_eq!(
        client
            .try_write(&[IoSlice::new(&[1; 70]), IoSlice::new(&[2; 70])], &[])
            .unwrap(),
        100
    );
    let full = client.try_write(&[IoSlice::new(&[3])], &[]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let mut buffer = [0; 80];
    assert_eq!(server.try_read(&mut buffer, &mut Vec::new()).unwrap(), 80);
    assert_eq!((buffer[69], buffer[70]), (1, 2));
    // Around the end of the ring.
    assert_eq!(client.try_write(&[IoSlice::new(&[4; 90])], &[]).unwrap(), 80);
    let mut rest = [0; 200];
    assert_eq!(server.try_read(&mut rest, &mut Vec::new()).unwrap(), 100);
    assert_eq!((rest[19], rest[20], rest[99]), (2, 4, 4));
}

#[test]
fn faults_limit_and_end() {
    let slow = Faults {
        max_read: Some(3),
        max_write: Some(5),
        fail_after: None,
    };
    let (server, client) = faulty(slow.clone(), slow);
    assert_eq!(client.try_write(&[IoSlice::new(&[0; 50])], &[]).unwrap(), 5);
    assert_eq!(server.try_read(&mut [0; 50], &mut Vec::new()).unwrap(), 3);

    let (server, client) = faulty(
        Faults::default(),
        Faults {
            fail_after: Some(10),
            ..Faults::default()
        },
    );
    assert_eq!(client.try_write(&[IoSlice::new(&[0; 6])], &[]).unwrap(), 6);
    assert_eq!(server.try_write(&[IoSlice::new(&[0; 50])], &[]).unwrap(), 50);
    assert_eq!(client.try_read(&mut [0; 50], &mut Vec::new()).unwrap(), 4);
    assert!(client.is_closed());
    for _ in 0..2 {
        let error = client.try_read(&mut [0; 50], &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = client.try_write(&[IoSlice::new(&[0])], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(server.try_read(&mut [0; 50], &mut Vec::new()).unwrap(), 6);
    assert_eq!(server.try_read(&mut [0; 50], &mut Vec::new()).unwrap(), 0);
    assert!(server.is_closed());
}

/// A waker that looks at the stream it wakes for: it must not meet a held lock.
struct Curious(Stream);

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_read(&mut [0; 8], &mut Vec::new());
        let _ = self.0.is_closed();
    }
}

#[test]
fn wakers_run_without_locks() {
    let (server, client) = pair(&MemoryOptions::default());
    let curious = Arc::new(Curious(server));
    let waker = Waker::from(Arc::clone(&curious));
    assert!(
        curious
            .0
            .poll_read_ready(&mut Context::from_waker(&waker))
            .is_pending()
    );
    client.try_write(&[IoSlice::new(b"x")], &[]).unwrap();
    assert!(
        curious
            .0
            .poll_read_ready(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(client);
    assert!(matches!(
        curious.0.poll_read_ready(&mut Context::from_waker(&waker)),
        Poll::Ready(Ok(()))
    ));
}

#[tokio::test]
async fn options_reach_both_ends() {
    let endpoint = "mem:options-reach-both-ends".parse().unwrap();
    let memory = MemoryOptions {
        capacity: 10,
        server: Faults {
            max_write: Some(2),
            ..Faults::default()
        },
        client: Faults {
            max_write: Some(3),
            ..Faults::default()
        },
    };
    let options = BindOptions {
        memory,
        ..BindOptions::default()
    };
    let mut listener = Listener::bind_with(&endpoint, &options).unwrap();
    let (server, client) = connected(&mut listener).await;
    assert_eq!(server.try_write(&[IoSlice::new(&[0; 50])], &[]).unwrap(), 2);
    assert_eq!(client.try_write(&[IoSlice::new(&[0; 50])], &[]).unwrap(), 3);
}

#[tokio::test]
async fn clients_in_the_queue_learn_that_the_listener_is_gone() {
    let endpoint = "mem:queue-of-a-listener".parse().unwrap();
    let listener = Listener::bind(&endpoint).unwrap();
    let client = connect(&endpoint).await.unwrap();
    drop(listener);
    assert_eq!(read(&client, &mut [0; 8], &mut Vec::new()).await.unwrap(), 0);
    assert!(client.is_closed());
}

#[tokio::test]
async fn an_acceptor_is_woken_from_another_thread() {
    let endpoint: Endpoint = "mem:woken-from-a-thread".parse().unwrap();
    let mut listener = Listener::bind(&endpoint).unwrap();
    let accepted = tokio::spawn(async move { listener.accept().await.unwrap().credentials });
    let client = std::thread::spawn(move || super::connect("woken-from-a-thread").map(drop));
    assert!(accepted.await.unwrap().is_same_user_or_root());
    client.join().unwrap().unwrap();
}
