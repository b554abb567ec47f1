//! The client library against a scripted peer: what it sends, and what it makes of a broker that is silent, rude or gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: what is not as expected fails the test"
)]

#[path = "client_wire/scripted.rs"]
mod scripted;
#[path = "client_wire/standing.rs"]
mod standing;

use actix_ipc::client::IpcClient;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Payload};
#[cfg(unix)]
use actix_ipc::transport::{Endpoint, Listener};
#[cfg(unix)]
use scripted::Place;
use scripted::{Peer, WELCOME, place};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_call_is_one_frame_and_its_answer_another() {
    let (client, mut peer) = place().pair().await;
    let call = client
        .call("math", "add")
        .deadline(Duration::from_millis(250))
        .send::<_, u8>(&(1, 2));
    let answer = async {
        let frame = peer.expect(Kind::Call).await;
        assert_eq!(
            (frame.key.as_slice(), frame.payload.as_slice()),
            (&b"math\0add"[..], &b"[1,2]"[..])
        );
        assert_eq!((frame.header.aux, frame.header.encoding), (250, Encoding::JSON));
        // Late, doubled and foreign answers change nothing.
        for id in [frame.header.id ^ (1 << 40), frame.header.id + 1, 0] {
            peer.send(&Draft::new(Kind::Reply, id).payload(Encoding::JSON, b"9"));
        }
        peer.send(&Draft::new(Kind::Reply, frame.header.id).payload(Encoding::JSON, b"3"));
        peer.send(&Draft::new(Kind::Reply, frame.header.id).payload(Encoding::JSON, b"4"));
        peer.send(&Draft::new(Kind::Ping, 5).payload(Encoding::RAW, b"there?"));
        let pong = peer.expect(Kind::Pong).await;
        assert_eq!((pong.header.id, pong.payload.as_slice()), (5, &b"there?"[..]));
    };
    let (sum, ()) = tokio::join!(call, answer);
    assert_eq!((sum.unwrap(), client.peer_id().0), (3, 7));
}

#[tokio::test]
async fn a_stopped_broker_does_not_hold_its_callers() {
    let (client, mut peer) = place().pair().await;
    let start = Instant::now();
    let call = client
        .call("o", "m")
        .deadline(Duration::from_millis(100))
        .send::<_, u8>(&());
    assert_eq!(call.await.unwrap_err().code, ErrorCode::Deadline);
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_millis(1000) && waited < Duration::from_secs(5),
        "{waited:?}"
    );
    let call = peer.expect(Kind::Call).await;
    assert_eq!(peer.expect(Kind::Cancel).await.header.id, call.header.id);
}

#[tokio::test]
async fn a_stopped_broker_does_not_hold_up_the_end() {
    let (client, mut peer) = place().pair().await;
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(10), client.close())
        .await
        .unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    peer.expect(Kind::Goodbye).await;
}

#[tokio::test]
async fn nothing_follows_a_goodbye() {
    let (client, mut peer) = place().pair().await;
    let subscribed = async {
        let asked = peer.expect(Kind::Subscribe).await;
        peer.send(&Draft::new(Kind::Done, asked.header.id));
    };
    let subscribing = async { client.subscribe("o", "t").await };
    let (subscription, ()) = tokio::join!(subscribing, subscribed);
    let subscription = subscription.unwrap();
    let other = client.clone();
    let closing = tokio::spawn(client.close());
    peer.expect(Kind::Goodbye).await;
    drop(subscription);
    let refused = other.subscribe("o", "t").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotConnected);
    peer.send(&Draft::new(Kind::Ping, 5));
    peer.send(&Draft::new(Kind::Goodbye, 0).aux(CloseReason::Finished.code()));
    closing.await.unwrap();
    // What it has written is there, and then the end.
    let mut buffer = [0; 64];
    std::future::poll_fn(|cx| peer.stream.poll_read_ready(cx))
        .await
        .unwrap();
    let rest = peer.stream.try_read(&mut buffer, &mut Vec::new()).unwrap_or(0);
    assert_eq!(buffer[..rest], [0_u8; 0], "behind the goodbye");
    assert!(peer.frames.is_empty());
}

#[tokio::test]
async fn connections_that_end_at_once_are_not_made_without_a_pause() {
    let mut place = place();
    let connect = IpcClient::connect_to(place.endpoint.clone());
    let refuse = async {
        let mut times = Vec::new();
        for _ in 0..5 {
            let peer = place.accept().await;
            times.push(Instant::now());
            peer.send(
                &Draft::new(Kind::Welcome, 7)
                    .aux(1)
                    .payload(Encoding::RAW, &WELCOME.encode()),
            );
            peer.send(&Draft::new(Kind::Goodbye, 0).aux(CloseReason::Protocol.code()));
        }
        times
    };
    let (client, times) = tokio::join!(connect, refuse);
    // At least 25, 50, 100 and 200 ms lie between them.
    assert!(times[4] - times[0] >= Duration::from_millis(370), "{times:?}");
    drop(client);
}

#[tokio::test]
async fn an_acknowledgement_is_waited_for_as_long_as_the_client_says() {
    let mut place = place();
    let connect = IpcClient::builder()
        .endpoint(place.endpoint.clone())
        .deadline(Duration::from_millis(100))
        .connect();
    let welcome = async {
        let peer = place.accept().await;
        peer.send(
            &Draft::new(Kind::Welcome, 7)
                .aux(1)
                .payload(Encoding::RAW, &WELCOME.encode()),
        );
        peer
    };
    let (client, _peer) = tokio::join!(connect, welcome);
    let client = client.unwrap();
    let publish = client.publish("o", "t", &1).acknowledged();
    let ended = tokio::time::timeout(Duration::from_secs(10), publish).await;
    assert_eq!(ended.unwrap().unwrap_err().code, ErrorCode::Deadline);
}

#[tokio::test]
async fn open_calls_are_limited_by_an_error() {
    let (client, mut peer) = place().pair().await;
    let mut calls: Vec<_> = (0..3)
        .map(|_| Box::pin(client.remote_call::<_, u8>("o", "m", ())))
        .collect();
    for call in &mut calls {
        assert!(futures::poll!(call).is_pending());
    }
    let error = client.remote_call::<_, u8>("o", "m", ()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooMany, false));
    for part in [
        "3 calls are open already",
        "limits.open_calls",
        "IPC_BROKER_LIMITS__OPEN_CALLS",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    drop(calls);
    for _ in 0..3 {
        peer.expect(Kind::Call).await;
    }
    for _ in 0..3 {
        peer.expect(Kind::Cancel).await;
    }
}

#[tokio::test]
async fn the_publish_window_is_kept_and_returned() {
    let (client, mut peer) = place().pair().await;
    let payload = Payload::raw(vec![1; 600]);
    let publish = || client.publish_payload("o", "e", payload.clone()).into_future();
    publish().await.unwrap();
    publish().await.unwrap();
    let mut third = Box::pin(publish());
    assert!(
        futures::poll!(&mut third).is_pending(),
        "1,200 bytes and more are out, the window has 1,000"
    );
    let mut used = 0;
    for _ in 0..2 {
        used += peer.expect(Kind::Publish).await.header.wire_len();
    }
    peer.send(&Draft::new(Kind::PublishCredit, 0).aux(u32::try_from(used).unwrap() - 1000));
    client.ping_with(&mut peer).await;
    assert!(futures::poll!(&mut third).is_pending(), "zero is not above zero");
    peer.send(&Draft::new(Kind::PublishCredit, 0).aux(1));
    third.await.unwrap();
    assert_eq!(peer.expect(Kind::Publish).await.payload.len(), 600);
}

#[tokio::test]
async fn half_a_publish_that_takes_too_long_is_taken_back() {
    let patience = IpcClient::builder().deadline(Duration::from_millis(10));
    let (client, mut peer) = place().pair_with(patience).await;
    let payload = Payload::raw(vec![1; (1 << 20) + 1]);
    let publish = client.publish_payload("o", "e", payload).into_future();
    let error = publish.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Deadline);
    let first = peer.expect(Kind::Publish).await;
    assert!(first.header.flags.has(Flags::CONTINUED));
    let used = u32::try_from(first.header.wire_len()).unwrap();
    peer.send(&Draft::new(Kind::PublishCredit, 0).aux(used));
    let last = peer.expect(Kind::PublishPiece).await;
    assert_eq!(last.header.id, first.header.id);
    assert!(last.header.flags.has(Flags::ABORT));
}

trait PingWith {
    async fn ping_with(&self, peer: &mut Peer);
}

impl PingWith for IpcClient {
    /// What was sent before has been handled on both sides.
    async fn ping_with(&self, peer: &mut Peer) {
        let pong = async {
            let ping = peer.expect(Kind::Ping).await;
            peer.send(&Draft::new(Kind::Pong, ping.header.id));
        };
        let (ping, ()) = tokio::join!(self.ping(), pong);
        ping.unwrap();
    }
}

#[tokio::test]
async fn pieces_of_a_call_wait_for_credit() {
    let (client, mut peer) = place().pair().await;
    let payload = Payload::raw(vec![3; (1 << 20) + 1]);
    let mut call = Box::pin(client.call("o", "m").send_payload(payload));
    assert!(futures::poll!(&mut call).is_pending());
    let first = peer.expect(Kind::Call).await;
    assert!(first.header.flags.has(Flags::CONTINUED));
    let piece = peer.expect(Kind::CallPiece).await;
    let mut got = first.payload.len() + piece.payload.len();
    client.ping_with(&mut peer).await;
    assert!(
        futures::poll!(&mut call).is_pending(),
        "the first piece has used the window"
    );
    let feed = async {
        loop {
            peer.send(&Draft::new(Kind::CallCredit, first.header.id).aux(70_000));
            let piece = peer.expect(Kind::CallPiece).await;
            got += piece.payload.len();
            if !piece.header.flags.has(Flags::CONTINUED) {
                break;
            }
        }
        assert_eq!(got, (1 << 20) + 1);
        peer.send(&Draft::new(Kind::Reply, first.header.id).payload(Encoding::RAW, b"whole"));
    };
    let (answer, ()) = tokio::join!(call, feed);
    assert_eq!(answer.unwrap().bytes, "whole");
}

#[tokio::test]
async fn what_was_not_written_has_not_run() {
    let mut place = place();
    let (client, peer) = place.pair().await;
    // Memory holds far less than this, and the peer reads nothing.
    let large = Payload::raw(vec![0; 1 << 20]);
    let mut calls = Vec::new();
    for _ in 0..3 {
        let mut call = Box::pin(client.call("o", "m").send_payload(large.clone()));
        assert!(futures::poll!(&mut call).is_pending());
        calls.push(call);
    }
    drop(peer);
    for call in calls {
        let error = call.await.unwrap_err();
        let gone = matches!(error.code, ErrorCode::BrokerGone | ErrorCode::NotConnected);
        assert!(gone && !error.may_have_run, "{error:?}");
    }
}

#[tokio::test]
async fn a_goodbye_is_told_to_those_who_wait() {
    let (client, mut peer) = place().pair().await;
    let call = client.remote_call::<_, u8>("o", "m", ());
    let end = async {
        peer.expect(Kind::Call).await;
        let aux = CloseReason::Draining.code();
        peer.send(
            &Draft::new(Kind::Goodbye, 0)
                .aux(aux)
                .payload(Encoding::RAW, b"back in a minute"),
        );
    };
    let (answer, ()) = tokio::join!(call, end);
    let error = answer.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::BrokerGone, true));
    assert!(error.message.contains("back in a minute"), "{error}");
}

/// The goodbye is in the socket, but the runtime, of which this and the client's socket are tasks, has not looked: the failed write is
/// what the client learns first.
#[cfg(unix)]
#[actix::test]
async fn a_goodbye_is_told_although_a_write_fails_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Unix(folder.path().join("b.sock"));
    let mut place = Place {
        listener: Listener::bind(&endpoint).unwrap(),
        endpoint,
    };
    for before in [0, 40] {
        let (client, peer) = place.pair().await;
        // What has come before it is read, too.
        for _ in 0..before {
            peer.send(&Draft::new(Kind::Pong, 1));
        }
        peer.send(
            &Draft::new(Kind::Goodbye, 0)
                .aux(CloseReason::TooMany.code())
                .payload(Encoding::RAW, b"limits.memory_bytes_total"),
        );
        drop(peer);
        let call = client.remote_call::<_, u8>("o", "m", ());
        let (answer, closed) = tokio::join!(call, client.closed());
        let error = answer.unwrap_err();
        assert!(error.message.contains("limits.memory_bytes_total"), "{error}");
        assert!(closed.message.contains("limits.memory_bytes_total"), "{closed}");
    }
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_left() {
    let (client, peer) = place().pair().await;
    peer.send(&Draft::new(Kind::Call, 1).pair("nobody", "asked"));
    peer.send(&Draft::new(Kind::Hello, 1));
    let reason = tokio::time::timeout(Duration::from_secs(10), client.closed())
        .await
        .unwrap();
    assert!(reason.message.contains("Hello"), "{reason}");
}

#[tokio::test]
async fn a_refused_greeting_says_why() {
    let mut place = place();
    let aux = CloseReason::Version.code();
    let text = b"this broker speaks protocol version 9; the client needs 1 to 1";
    let goodbye = Draft::new(Kind::Goodbye, 0)
        .aux(aux)
        .payload(Encoding::RAW, text)
        .to_vec();
    let said = place.refuse(&goodbye).await;
    assert!(
        said.contains("protocol version 9") && said.contains(&place.endpoint.to_string()),
        "{said}"
    );
    let other = Draft::new(Kind::Welcome, 1)
        .aux(2)
        .payload(Encoding::RAW, &WELCOME.encode())
        .to_vec();
    assert!(place.refuse(&other).await.contains("chose protocol version 2"));
    let short = Draft::new(Kind::Welcome, 1)
        .aux(1)
        .payload(Encoding::RAW, b"short")
        .to_vec();
    assert!(place.refuse(&short).await.contains("cut off"));
    assert!(
        place
            .refuse(b"SSH-2.0-OpenSSH_9.0 and so on, longer than a header")
            .await
            .contains("not a broker")
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_is_told_within_a_second() {
    let mut place = place();
    for wait in [None, Some(Duration::from_millis(300))] {
        let start = Instant::now();
        let connect = async {
            let builder = IpcClient::builder().endpoint(place.endpoint.clone());
            match wait {
                None => builder.connect().await,
                Some(wait) => builder.connect_wait(wait).await,
            }
        };
        let error = connect.await.unwrap_err().to_string();
        assert!(error.contains("no welcome"), "{error}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?} for a promise of 1 s",
            start.elapsed()
        );
    }
    place.accept().await;
}
