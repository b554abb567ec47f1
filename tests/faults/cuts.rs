//! Senders that die at any byte of what they send.

use crate::rig::Rig;
use actix_ipc::client::Update;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Flags, Hello, Kind};
use actix_ipc::{Endpoint, IpcClient};
use socket2::SockRef;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What a client may say in a life, and where each frame ends.
fn life() -> (Vec<u8>, Vec<(usize, Kind)>) {
    let hello = Hello {
        name: "cut".into(),
        ..Hello::default()
    }
    .encode();
    let hello = Draft::new(Kind::Hello, 1).aux(1).payload(Encoding::RAW, &hello);
    let publish = |id| {
        Draft::new(Kind::Publish, id)
            .pair("cuts", "news")
            .payload(Encoding::JSON, b"17")
    };
    let call = |id| {
        Draft::new(Kind::Call, id)
            .aux(1_000)
            .payload(Encoding::JSON, b"1")
    };
    let more = Flags::CONTINUED;
    let mut bytes = PREFACE.to_vec();
    let mut ends = Vec::new();
    let frames = [
        hello,
        Draft::new(Kind::Register, 2)
            .key(b"cuts.object")
            .flags(Flags::QUEUE),
        Draft::new(Kind::Subscribe, 3).pair("cuts", "news"),
        publish(4),
        publish(5).flags(Flags::ACK),
        call(6).pair("cuts.object", "method"),
        call(7).pair("cuts.nobody", "method").flags(Flags::WAIT),
        call(8).pair("cuts.object", "method").flags(more),
        Draft::new(Kind::CallPiece, 8)
            .payload(Encoding::RAW, b"piece")
            .flags(more),
        publish(9).flags(more),
        Draft::new(Kind::PublishPiece, 9).payload(Encoding::RAW, b"8"),
        Draft::new(Kind::Watch, 10).aux(3),
        Draft::new(Kind::Will, 11)
            .pair("cuts.will", "news")
            .payload(Encoding::JSON, b"1"),
        publish(12),
        Draft::new(Kind::Ping, 13).payload(Encoding::RAW, b"12345678"),
        Draft::new(Kind::Goodbye, 0),
    ];
    for draft in frames {
        draft.encode(&mut bytes);
        ends.push((bytes.len(), draft.kind));
    }
    (bytes, ends)
}

/// What a sender cut at this byte has published on `cuts news`: whole events, and ones that end halfway.
fn published(ends: &[(usize, Kind)], cut: usize) -> (u64, u64) {
    let sent: Vec<Kind> = ends
        .iter()
        .take_while(|(end, _)| *end <= cut)
        .map(|(_, kind)| *kind)
        .collect();
    let count = |wanted| sent.iter().filter(|kind| **kind == wanted).count() as u64;
    // The third publish is in two pieces, and the fourth comes after both.
    let (first_parts, pieces) = (count(Kind::Publish), count(Kind::PublishPiece));
    let halves = u64::from(first_parts == 3 && pieces == 0);
    (first_parts - halves, halves)
}

/// The bytes at which senders are cut: each one once, and again around the end of every frame.
fn cuts() -> Vec<usize> {
    let (bytes, ends) = life();
    let near = |cut: &usize| ends.iter().any(|(end, _)| end.abs_diff(*cut) <= 1);
    let around: Vec<usize> = (0..=bytes.len()).filter(near).collect();
    (0..=bytes.len()).chain(around.repeat(5)).collect()
}

fn address(rig: &Rig) -> String {
    match &rig.endpoints[1] {
        Endpoint::Tcp(address) => address.clone(),
        other => panic!("{other}"),
    }
}

#[actix::test]
async fn a_sender_cut_at_any_byte_leaves_nothing_behind() {
    let rig = Rig::start_on(&["unix:", "tcp:127.0.0.1:0"], &[]);
    let watcher = rig.client().await;
    let mut events = watcher.subscribe("cuts", "news").buffer(64 << 20).await.unwrap();
    let (bytes, ends) = life();
    let (mut whole, mut halves) = (0, 0);
    for cut in cuts() {
        let mut stream = UnixStream::connect(rig.socket()).unwrap();
        stream.write_all(&bytes[..cut]).unwrap();
        drop(stream);
        let (more, half) = published(&ends, cut);
        (whole, halves) = (whole + more, halves + half);
    }
    let (mut heard, mut missed) = (0, 0);
    while heard < whole || missed < halves {
        match events.next_update().await.unwrap() {
            Update::Event(event) => {
                assert!(!event.interrupted);
                let number: u64 = event.decode().unwrap();
                assert!([17, 178].contains(&number), "{number}");
                heard += 1;
                missed += event.missed;
            }
            Update::Missed(count) => missed += count,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((heard, missed), (whole, halves));
    eprintln!(
        "cuts: {} senders cut; {heard} whole events heard, {missed} halves told",
        cuts().len()
    );
    drop(events);
    nothing_is_left(rig, watcher).await;
}

/// Over TCP, where the end is a reset that may overtake what was sent.
#[actix::test]
async fn a_sender_reset_at_any_byte_leaves_nothing_behind() {
    let rig = Rig::start_on(&["unix:", "tcp:127.0.0.1:0"], &[]);
    let watcher = rig.client().await;
    let (bytes, _) = life();
    for cut in cuts() {
        let mut stream = TcpStream::connect(address(&rig)).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        stream.write_all(&bytes[..cut]).unwrap();
        drop(stream);
    }
    nothing_is_left(rig, watcher).await;
}

async fn nothing_is_left(rig: Rig, watcher: IpcClient) {
    // The last of the senders may still be on its way out.
    let list = loop {
        let list = watcher.list().await.unwrap().to_string();
        if !list.contains("cuts.object") && !list.contains("\"cut\"") {
            break list;
        }
    };
    assert!(list.contains("sys.broker"), "{list}");
    watcher.close().await;
    rig.is_as_before().await;
    rig.stop();
}
