//! The same over every transport of this platform: joining, a run, a wait, the outcomes; and attachments where none travel.

use crate::wire::Wire;
use crate::*;
use actix_ipc::actors::Broker;

/// What is told of so many messages.
async fn told(wire: &mut Wire, count: usize) -> Vec<(u64, Outcome)> {
    let mut told = Vec::new();
    while told.len() < count {
        for (first, count, outcome, ..) in entries(&wire.read().await) {
            told.extend((first..first + u64::from(count)).map(|id| (id, outcome)));
        }
    }
    told
}

async fn bus_over(endpoint: &str) {
    let handle = Broker::builder()
        .listen(endpoint.parse().unwrap())
        .start()
        .unwrap();
    let endpoint = &handle.endpoints()[0];
    let (mut sender, mut receiver) = (Wire::connect(endpoint).await, Wire::connect(endpoint).await);
    let (key, payload) = (to("earth"), body("m"));
    sender.send(&[message(1, &key, &payload).aux(3_000_000)]).await;
    // Answered when Registry has the message.
    sender.send(&[Draft::new(Kind::Describe, 2).key(b"nobody")]).await;
    assert_eq!(sender.read().await.kind, Kind::Error);
    let labels = join_payload(b"", &["earth"]);
    receiver
        .send(&[Draft::new(Kind::Join, 7).payload(Encoding::RAW, &labels)])
        .await;
    assert_eq!(receiver.read().await.kind, Kind::Done);
    let run: Vec<_> = (2..=100).map(|id| message(id, &key, &payload)).collect();
    sender.send(&run).await;
    for _ in 0..100 {
        let got = receiver.read().await;
        assert_eq!(
            (got.kind, got.id, got.payload),
            (Kind::Message, 7, payload.clone())
        );
    }
    receiver.send(&[Draft::new(Kind::Taken, 7).aux(100)]).await;
    let expected: Vec<_> = (1..=100).map(|id| (id, Outcome::Taken)).collect();
    assert_eq!(told(&mut sender, 100).await, expected);
    sender.send(&[message(101, &key, &payload)]).await;
    assert_eq!(receiver.read().await.kind, Kind::Message);
    drop(receiver);
    assert_eq!(told(&mut sender, 1).await, [(101, Outcome::ReceiverGone)]);
    sender.send(&[message(102, &to("nobody"), &payload)]).await;
    assert_eq!(told(&mut sender, 1).await, [(102, Outcome::NoMatch)]);
    drop(sender);
    handle.stop().await;
}

#[cfg(unix)]
#[actix::test]
async fn over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    bus_over(&format!("unix:{}", folder.path().join("b.sock").display())).await;
}

#[cfg(windows)]
#[actix::test]
async fn over_pipes() {
    bus_over(&format!("pipe:bus-frames-{}", std::process::id())).await;
}

#[actix::test]
async fn over_tcp() {
    bus_over("tcp:127.0.0.1:0").await;
}

#[actix::test]
async fn over_memory() {
    bus_over(&format!("mem:bus-frames-{}", std::process::id())).await;
}

/// A receiver over TCP takes no descriptor: the sender is told, and the rest arrives.
#[cfg(unix)]
#[actix::test]
async fn descriptors_to_a_receiver_over_tcp_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let handle = Broker::builder()
        .listen(format!("unix:{}", path.display()).parse().unwrap())
        .listen("tcp:127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let mut receiver = Wire::connect(&handle.endpoints()[1]).await;
    let labels = join_payload(b"", &["far"]);
    receiver
        .send(&[Draft::new(Kind::Join, 7).payload(Encoding::RAW, &labels)])
        .await;
    assert_eq!(receiver.read().await.kind, Kind::Done);
    let sending = std::thread::spawn(move || {
        let mut sender = Raw::connect(&path);
        let (writers, readers) = descriptors::pipes(1);
        let (key, payload) = (to("far"), body("m"));
        let carrying = Draft {
            attachments: 1,
            ..message(1, &key, &payload)
        };
        descriptors::send(&sender, &carrying.to_vec(), &writers);
        drop(writers);
        assert_eq!(outcome(&mut sender), (1, 1, Outcome::Attachments, false, 0));
        readers
            .into_iter()
            .for_each(|reader| drop(descriptors::closed(reader)));
        sender.send(&message(2, &key, &payload));
        outcome(&mut sender)
    });
    assert_eq!(receiver.read().await.kind, Kind::Message);
    receiver.send(&[Draft::new(Kind::Taken, 7).aux(1)]).await;
    let told = tokio::task::spawn_blocking(|| sending.join().unwrap())
        .await
        .unwrap();
    assert_eq!(told, (2, 1, Outcome::Taken, true, 1));
    drop(receiver);
    handle.stop().await;
}
