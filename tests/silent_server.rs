//! Servers that accept and are no brokers: silent ones, slow ones, ones that never accept. A listening socket is not a broker that
//! lives, so a client's handshake ends by itself, and the next endpoint gets its turn.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what is not as expected fails the test"
)]
#![cfg(unix)]

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::{Broker, Endpoint, IpcClient};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// Ten times what is promised for a client whose only round fails.
const SOON: Duration = Duration::from_secs(10);

/// What a false server does with a connection.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// The kernel accepts, nobody else does.
    NeverAccepts,
    /// It accepts, reads and says nothing.
    Silent,
    /// It sends the beginning of a welcome, and then nothing.
    Stuck,
    /// It sends what the client sent.
    Echo,
}

const MANNERS: [Manner; 4] = [Manner::NeverAccepts, Manner::Silent, Manner::Stuck, Manner::Echo];

fn behave(manner: Manner, mut socket: impl Read + Write) {
    let mut buffer = [0; 64];
    if let Manner::Stuck = manner {
        socket.write_all(&[56, 0, 0, 0, 2]).unwrap();
    }
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        let heard = buffer.get(..count).unwrap_or_default();
        if let Manner::Echo = manner
            && socket.write_all(heard).is_err()
        {
            return;
        }
    }
}

/// A false server over a Unix socket and one over TCP.
fn servers(folder: &Path, manner: Manner) -> [Endpoint; 2] {
    let path = folder.join(format!("{manner:?}.sock"));
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = [
        Endpoint::Unix(path),
        Endpoint::Tcp(tcp.local_addr().unwrap().to_string()),
    ];
    std::thread::spawn(move || match manner {
        Manner::NeverAccepts => loop {
            std::thread::park();
        },
        _ => unix.incoming().flatten().for_each(|socket| {
            std::thread::spawn(move || behave(manner, socket));
        }),
    });
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
    endpoints
}

#[actix::test]
async fn the_handshake_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    for manner in MANNERS {
        for endpoint in servers(folder.path(), manner) {
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
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::builder()
        .listen(Endpoint::Unix(folder.path().join("broker.sock")))
        .start()
        .unwrap();
    for manner in MANNERS {
        let mut builder = IpcClient::builder().reconnect(false);
        for endpoint in servers(folder.path(), manner) {
            builder = builder.endpoint(endpoint);
        }
        let client = builder
            .endpoint(broker.endpoints()[0].clone())
            .connect()
            .await
            .unwrap();
        client.close().await;
    }
    broker.stop().await;
}

#[test]
fn a_blocking_client_is_no_more_patient() {
    let folder = tempfile::tempdir().unwrap();
    let [unix, _] = servers(folder.path(), Manner::Silent);
    let started = Instant::now();
    let error = actix_ipc::client::blocking::Client::connect_to(unix).unwrap_err();
    assert!(error.to_string().contains("no welcome within"), "{error}");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}
