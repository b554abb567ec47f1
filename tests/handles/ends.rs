//! Who ends while handles are under way: what is not taken is closed, and what was sent before a goodbye arrives.

use super::*;
use crate::limits::{attached, call, callee, wire};
use crate::wire::Wire;
use actix_ipc::message::{Draft, Encoding, Kind};
use std::time::Duration;

const CALLS: u64 = 40;
/// Longer than anything takes on a machine that is shared by many.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls with the writing end of a pipe each, more than lie in the callee's pipe; the reading ends.
async fn send_pipes(caller: &mut Wire) -> Vec<File> {
    let mut readers = Vec::new();
    for id in 1..=CALLS {
        let (reader, writer) = pipe();
        call(caller, id, &[attached(writer)]).await;
        readers.push(reader);
    }
    assert!(caller.ping().await.is_empty(), "none is refused");
    readers
}

/// The callers are told, and nobody has any of what they sent.
async fn all_is_given_back(mut caller: Wire, readers: Vec<File>) {
    for _ in 0..CALLS {
        let got = caller.read().await;
        assert_eq!(got.error().0, ErrorCode::CalleeGone, "{}", got.text());
    }
    for reader in readers {
        assert_eq!(to_the_end(reader).await, b"");
    }
    assert!(caller.ping().await.is_empty());
}

#[actix::test]
async fn a_receiver_that_ends_gives_back_what_is_under_way() {
    let place = Place::new();
    let broker = place.start();
    let (callee, mut caller) = (callee(&broker.endpoint).await, wire(&broker.endpoint).await);
    let readers = send_pipes(&mut caller).await;
    drop(callee);
    all_is_given_back(caller, readers).await;
    broker.stop().await;
}

#[actix::test]
async fn a_receiver_that_reads_nothing_is_closed_and_its_callers_are_told() {
    let place = Place::new();
    let broker = place.start_with(Limits {
        descriptor_wait_ms: 100,
        ..Limits::default()
    });
    let (callee, mut caller) = (callee(&broker.endpoint).await, wire(&broker.endpoint).await);
    let mut readers = Vec::new();
    for id in 1..=CALLS {
        let (reader, writer) = pipe();
        call(&caller, id, &[attached(writer)]).await;
        readers.push(reader);
    }
    for id in 1..=CALLS {
        let got = caller.read().await;
        assert_eq!(
            (got.id, got.error().0),
            (id, ErrorCode::CalleeGone),
            "{}",
            got.text()
        );
    }
    // What lies in its pipe ends with it.
    drop(callee);
    for reader in readers {
        assert_eq!(to_the_end(reader).await, b"");
    }
    assert!(caller.ping().await.is_empty());
    broker.stop().await;
}

/// Does nothing by itself: it is the other process of the test below.
#[test]
fn deaf_process() {
    let Ok(name) = std::env::var(ENDPOINT) else { return };
    actix::System::new().block_on(async {
        let _callee = callee(&Endpoint::Pipe(name)).await;
        println!("ready");
        std::future::pending::<()>().await;
    });
}

#[actix::test]
async fn a_receiver_that_is_killed_gives_back_what_is_under_way() {
    let place = Place::new();
    let broker = place.start();
    let Endpoint::Pipe(name) = broker.endpoint.clone() else {
        panic!("{}", broker.endpoint)
    };
    let other = tokio::task::spawn_blocking(move || {
        let process = Process::spawn(this_program("ends::deaf_process").env(ENDPOINT, name));
        process.wait_for("ready");
        process
    });
    let other = other.await.unwrap();
    let mut caller = wire(&broker.endpoint).await;
    let readers = send_pipes(&mut caller).await;
    drop(other);
    all_is_given_back(caller, readers).await;
    broker.stop().await;
}

/// Whether it says goodbye or not.
#[actix::test]
async fn what_a_client_sent_just_before_its_end_arrives() {
    let place = Place::new();
    let broker = place.start();
    let subscriber = broker.client().await;
    let mut events = subscriber.subscribe("o", "e").await.unwrap();
    for round in 0..40_u8 {
        let client = broker.client().await;
        let mut readers = Vec::new();
        for number in 0..4_u8 {
            let (reader, writer) = pipe();
            let publish = client.publish("o", "e", &number);
            let publish = publish.attachments(Attachments::new().with(writer));
            publish.await.unwrap();
            readers.push(reader);
        }
        if round % 2 == 0 {
            drop(client);
        } else {
            client.close().await;
        }
        for (number, reader) in (0..).zip(readers) {
            let next = tokio::time::timeout(PATIENCE, events.next()).await;
            let event = next
                .unwrap_or_else(|_| panic!("{round}: event {number} does not come"))
                .unwrap();
            assert_eq!(
                (event.decode::<u8>().unwrap(), event.missed),
                (number, 0),
                "{round}"
            );
            let writer = all(event.attachments()).remove(0);
            drop(event);
            File::from(writer).write_all(&[round]).unwrap();
            let heard = tokio::time::timeout(PATIENCE, to_the_end(reader)).await;
            let heard = heard.unwrap_or_else(|_| panic!("{round}: somebody keeps handle {number}"));
            assert_eq!(heard, [round]);
        }
    }
    broker.stop().await;
}

/// Its handles go with it, so the broker may find none; it takes no other for them, and goes on.
#[actix::test]
async fn a_sender_that_breaks_off_costs_nobody_else_anything() {
    let place = Place::new();
    let broker = place.start();
    let (mut callee, mut witness) = (callee(&broker.endpoint).await, wire(&broker.endpoint).await);
    for _ in 0..40 {
        let sender = wire(&broker.endpoint).await;
        let (reader, writer) = pipe();
        let draft = Draft::new(Kind::Call, 7).pair("o", "m");
        let draft = draft.payload(Encoding::RAW, b"x");
        sender.send_with(draft, &[attached(writer)]).await;
        drop(sender);
        let mut ended = std::pin::pin!(to_the_end(reader));
        let heard = loop {
            tokio::select! {
                heard = &mut ended => break heard,
                (got, came) = callee.read_with() => {
                    assert!(came.len() == usize::from(got.kind == Kind::Call), "{got:?}");
                    for one in came {
                        let writer = one.downcast_ref::<OwnedHandle>().unwrap();
                        let mut writer = File::from(writer.try_clone().unwrap());
                        writer.write_all(&got.payload).unwrap();
                    }
                }
            }
        };
        assert!([&b""[..], b"x"].contains(&&*heard), "{heard:?}");
    }
    let draft = Draft::new(Kind::Call, 8).pair("o", "m");
    witness.send(&[draft]).await;
    while callee.read().await.kind != Kind::Call {}
    assert!(witness.ping().await.is_empty());
    drop((callee, witness));
    broker.stop().await;
}
