//! What stands at the broker for a client: its names, and what it leaves to be said when it is lost.

use super::scripted::{WELCOME, place};
use actix_ipc::client::{Methods, WorkerBuilder};
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Kind, Metadata, Payload, Welcome};

/// Each name that a stopped broker does not give back would take half a minute.
#[tokio::test]
async fn a_worker_gives_up_all_its_names_at_once() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut place = place();
    let worker = WorkerBuilder::new().endpoint(place.endpoint.clone());
    let worker = NAMES
        .iter()
        .fold(worker, |worker, name| worker.add_handler(name, Methods::new()));
    let (serves, serving) = tokio::sync::oneshot::channel();
    let worker = worker.on_serving(move || serves.send(()).unwrap());
    let (worker, stop) = worker.with_graceful_shutdown();
    let script = async {
        let mut peer = place.accept().await;
        let welcome = Welcome {
            open_calls: 100,
            ..WELCOME
        };
        peer.send(
            &Draft::new(Kind::Welcome, 7)
                .aux(1)
                .payload(Encoding::RAW, &welcome.encode()),
        );
        for _ in NAMES {
            let asked = peer.expect(Kind::Register).await;
            peer.send(&Draft::new(Kind::Done, asked.header.id));
        }
        // Told before that, it has nothing to give up.
        serving.await.unwrap();
        stop.send(true).unwrap();
        let mut given_up = Vec::new();
        for _ in NAMES {
            given_up.push(peer.expect(Kind::Unregister).await);
        }
        for frame in given_up {
            peer.send(&Draft::new(Kind::Done, frame.header.id));
        }
        peer.expect(Kind::Goodbye).await;
        peer.send(&Draft::new(Kind::Goodbye, 0).aux(CloseReason::Finished.code()));
        peer
    };
    let (served, _peer) = tokio::join!(worker.spawn(), script);
    served.unwrap();
}

#[tokio::test]
async fn what_no_frame_can_hold_is_refused_here() {
    let (client, mut peer) = place().pair().await;
    let will = |bytes: usize| {
        let payload = Payload {
            encoding: Encoding::RAW,
            bytes: vec![0; bytes].into(),
        };
        client.set_will("o", "t", payload, Metadata::new(), false)
    };
    let limit = WELCOME.frame_bytes as usize;
    assert_eq!(will(limit + 1).await.unwrap_err().code, ErrorCode::TooLarge);
    let answer = async {
        let frame = peer.expect(Kind::Will).await;
        assert_eq!(frame.payload.len(), limit);
        peer.send(&Draft::new(Kind::Done, frame.header.id));
    };
    let (set, ()) = tokio::join!(will(limit), answer);
    set.unwrap();
}

#[tokio::test]
async fn a_will_that_is_taken_back_while_it_is_set_is_not_set_later() {
    let (client, mut peer) = place().pair().await;
    let will = |text: &str| {
        let payload = Payload::json(text).unwrap();
        client.set_will("o", "t", payload, Metadata::new(), false)
    };
    // The second waits for the answer to the first.
    let (mut first, mut second) = (Box::pin(will("first")), Box::pin(will("second")));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    let answers = async {
        let set = peer.expect(Kind::Will).await;
        let taken_back = peer.expect(Kind::Will).await;
        assert_eq!((set.key.is_empty(), taken_back.key.is_empty()), (false, true));
        for frame in [set, taken_back] {
            peer.send(&Draft::new(Kind::Done, frame.header.id));
        }
        let next = peer.expect(Kind::Ping).await;
        peer.send(&Draft::new(Kind::Pong, next.header.id));
    };
    let steps = async {
        client.clear_will().await.unwrap();
        client.flush().await.unwrap();
    };
    tokio::join!(steps, answers);
    for set in [first, second] {
        assert_eq!(set.await.unwrap_err().code, ErrorCode::Cancelled);
    }
}
