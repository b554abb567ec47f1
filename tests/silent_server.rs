//! Servers that accept and are no brokers: silent ones, slow ones, ones that never accept. A listening socket is not a broker that
//! lives, so a client's handshake ends by itself, and the next endpoint gets its turn.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/sockets.rs"]
mod sockets;

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::transport::{Listener, Stream};
use actix_ipc::{Endpoint, IpcClient};
use broker::Place;
use std::future::{pending, poll_fn};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Ten times what is promised for a client whose only round fails.
const SOON: Duration = Duration::from_secs(10);

/// What a false server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// The system accepts, nobody else does.
    NeverAccepts,
    /// It accepts, reads and says nothing.
    Silent,
    /// It sends the beginning of a welcome, and then nothing.
    Stuck,
    /// It sends what the client sent.
    Echo,
}

const MANNERS: [Manner; 4] = [Manner::NeverAccepts, Manner::Silent, Manner::Stuck, Manner::Echo];
/// The beginning of a welcome.
const BEGINNING: [u8; 5] = [56, 0, 0, 0, 2];

fn behave(manner: Manner, mut socket: impl Read + Write) {
    let mut buffer = [0; 64];
    if manner == Manner::Stuck {
        socket.write_all(&BEGINNING).unwrap();
    }
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        let heard = buffer.get(..count).unwrap_or_default();
        if manner == Manner::Echo && socket.write_all(heard).is_err() {
            return;
        }
    }
}

/// The same with a connection of this platform's own kind.
async fn behave_here(manner: Manner, stream: Stream) {
    let say = async |mut bytes: &[u8]| {
        while !bytes.is_empty() {
            poll_fn(|cx| stream.poll_write_ready(cx)).await?;
            match stream.try_write(&[IoSlice::new(bytes)], &[]) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    if manner == Manner::Stuck && say(&BEGINNING).await.is_err() {
        return;
    }
    let mut buffer = [0; 64];
    while poll_fn(|cx| stream.poll_read_ready(cx)).await.is_ok() {
        let heard = match stream.try_read(&mut buffer, &mut Vec::new()) {
            Ok(count @ 1..) => buffer.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => return,
        };
        if manner == Manner::Echo && say(heard).await.is_err() {
            return;
        }
    }
}

/// A false server on a Unix socket, elsewhere on a pipe; on a thread that nobody ends.
fn serve_here(endpoint: Endpoint, manner: Manner) {
    let (listens, listening) = channel();
    std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let mut listener = Listener::bind(&endpoint).unwrap();
            listens.send(()).unwrap();
            if manner == Manner::NeverAccepts {
                pending::<()>().await;
            }
            while let Ok(accepted) = poll_fn(|cx| listener.poll_accept(cx)).await {
                actix::spawn(behave_here(manner, accepted.socket.register().unwrap()));
            }
        });
    });
    listening.recv().unwrap();
}

/// A false server of this platform's own kind, and one over TCP.
fn servers(place: &Place, manner: Manner) -> [Endpoint; 2] {
    serve_here(place.endpoint(), manner);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    sockets::is_known(&tcp);
    let address = tcp.local_addr().unwrap();
    std::thread::spawn(move || match manner {
        Manner::NeverAccepts => loop {
            // The socket stays open.
            let _ = tcp.local_addr();
            std::thread::park();
        },
        _ => tcp.incoming().flatten().for_each(|socket| {
            std::thread::spawn(move || behave(manner, socket));
        }),
    });
    [place.endpoint(), Endpoint::Tcp(address.to_string())]
}

#[actix::test]
async fn the_handshake_ends_by_itself() {
    for manner in MANNERS {
        let place = Place::new();
        for endpoint in servers(&place, manner) {
            let started = Instant::now();
            let builder = IpcClient::builder().endpoint(endpoint.clone()).reconnect(false);
            let error = builder.connect().await.unwrap_err();
            let took = started.elapsed();
            assert!(took < SOON, "{manner:?} at {endpoint}: {took:?}");
            let text = error.to_string();
            let expected = match manner {
                // It comes back as a frame that no broker sends.
                Manner::Echo => "is not a broker's",
                _ => "no welcome within",
            };
            assert!(
                text.contains(expected) && text.contains(&endpoint.to_string()),
                "{manner:?}: {text}"
            );
        }
    }
    assert_eq!(
        PREFACE[0], 0xac,
        "an echoed preface is a length of more than any frame"
    );
}

#[actix::test]
async fn the_next_endpoint_has_its_turn() {
    let there = Place::new();
    let broker = there.start();
    for manner in MANNERS {
        let place = Place::new();
        let mut builder = IpcClient::builder().reconnect(false);
        for endpoint in servers(&place, manner) {
            builder = builder.endpoint(endpoint);
        }
        let client = builder.endpoint(there.endpoint()).connect().await.unwrap();
        client.close().await;
    }
    broker.stop().await;
}

#[test]
fn a_blocking_client_is_no_more_patient() {
    let place = Place::new();
    let [here, _] = servers(&place, Manner::Silent);
    let started = Instant::now();
    let error = actix_ipc::client::blocking::Client::connect_to(here).unwrap_err();
    assert!(error.to_string().contains("no welcome within"), "{error}");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}
