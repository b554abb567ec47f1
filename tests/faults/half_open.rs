//! Half-open TCP: something between client and broker stops relaying and swallows the end. Both sides find it, and calls end anyway.
//!
//! How it works: a proxy in this process relays between the client and the broker until it is frozen. From then on it takes every byte
//! and every end of a connection and passes nothing on; both kernels see a peer that is alive and acknowledges.

use crate::rig::Rig;
use actix_ipc::client::{ConnectionEvent, Methods};
use actix_ipc::{Endpoint, ErrorCode, IpcClient};
use futures::future::{join_all, pending};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The interval of the tests; the promise is four of them.
const KEEPALIVE: Duration = Duration::from_millis(200);

struct Proxy {
    address: String,
    frozen: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of a broker's TCP endpoint.
    fn to(endpoint: &Endpoint) -> Self {
        let Endpoint::Tcp(target) = endpoint.clone() else {
            panic!("{endpoint} is not TCP");
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let frozen = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&frozen);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let broker = TcpStream::connect(&target).unwrap();
                relay(
                    client.try_clone().unwrap(),
                    broker.try_clone().unwrap(),
                    Arc::clone(&flag),
                );
                relay(broker, client, Arc::clone(&flag));
            }
        });
        Self { address, frozen }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.address.clone())
    }

    fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }
}

/// Passes bytes and the end on in one direction. What meets a frozen proxy is lost for good, and so is its connection.
fn relay(mut from: TcpStream, mut to: TcpStream, frozen: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        let mut cut = false;
        loop {
            let count = from.read(&mut buffer).unwrap_or(0);
            cut |= frozen.load(Ordering::SeqCst);
            if count == 0 {
                if cut {
                    // Nobody is told. The sockets stay open until the test's process ends.
                    std::mem::forget((from, to));
                    return;
                }
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            if !cut && to.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
}

fn rig(keepalive: Duration) -> Rig {
    let keepalive = u64::try_from(keepalive.as_millis()).unwrap();
    Rig::start_on(&["unix:", "tcp:127.0.0.1:0"], &[("keepalive_ms", keepalive)])
}

async fn connect(endpoint: Endpoint, keepalive: Duration) -> IpcClient {
    let builder = IpcClient::builder().endpoint(endpoint).keepalive(keepalive);
    builder.connect_wait(Duration::from_secs(30)).await.unwrap()
}

#[actix::test]
async fn a_connection_that_nobody_relays_is_found_by_both_sides() {
    let rig = rig(KEEPALIVE);
    let proxy = Proxy::to(&rig.endpoints[1]);
    let far = connect(proxy.endpoint(), KEEPALIVE).await;
    let methods = Methods::new()
        .method("hang", |(): (), _| async { Ok(pending::<()>().await) })
        .method("double", |n: i64, _| async move { Ok(n * 2) });
    let _registration = far.register("far", methods).await.unwrap();
    let near = rig.client().await;
    let mut told = far.connection_events();
    let calls = join_all((0..50).map(|_| near.remote_call::<_, ()>("far", "hang", ())));
    let mut calls = std::pin::pin!(calls);
    assert!(futures::poll!(&mut calls).is_pending());
    near.describe("far").await.unwrap();
    let at = Instant::now();
    proxy.freeze(true);
    for result in calls.await {
        let error = result.unwrap_err();
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::CalleeGone, true),
            "{error}"
        );
    }
    let broker = at.elapsed();
    let Some(ConnectionEvent::Lost { reason }) = told.next().await else {
        panic!("the client is not told");
    };
    assert!(reason.contains("no sign"), "{reason}");
    let client = at.elapsed();
    eprintln!(
        "half-open: found by the broker after {broker:?}, by the client after {client:?}; promised {:?}",
        KEEPALIVE * 4
    );
    assert!(broker.max(client) < KEEPALIVE * 40, "{broker:?}, {client:?}");
    assert_eq!(Rig::metric(&near, "vanished").await, 1);
    proxy.freeze(false);
    loop {
        match told.next().await.unwrap() {
            ConnectionEvent::Reconnected {
                restored,
                lost,
                same_broker,
                ..
            } => {
                assert_eq!((restored, lost.len(), same_broker), (1, 0, true));
                break;
            }
            other => assert!(matches!(other, ConnectionEvent::Lost { .. }), "{other:?}"),
        }
    }
    assert_eq!(near.remote_call::<_, i64>("far", "double", 21).await.unwrap(), 42);
}

#[actix::test]
async fn calls_over_a_half_open_connection_end_by_their_deadline() {
    let rig = rig(Duration::from_secs(15));
    let proxy = Proxy::to(&rig.endpoints[1]);
    let far = connect(proxy.endpoint(), Duration::from_secs(15)).await;
    let near = rig.client().await;
    let methods = Methods::new().method("double", |n: i64, _| async move { Ok(n * 2) });
    let _registration = near.register("near", methods).await.unwrap();
    assert_eq!(far.remote_call::<_, i64>("near", "double", 4).await.unwrap(), 8);
    proxy.freeze(true);
    let at = Instant::now();
    let call = far.call("near", "double").deadline(Duration::from_millis(300));
    let error = call.send::<_, i64>(&1).await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::Deadline, true),
        "{error}"
    );
    assert!(
        at.elapsed() < Duration::from_secs(15),
        "{:?} for a promise of 1.6 s",
        at.elapsed()
    );
}

#[actix::test]
async fn a_peer_that_only_answers_questions_stays() {
    let every = Duration::from_millis(30);
    let rig = rig(every);
    let quiet = connect(rig.endpoints[1].clone(), Duration::from_secs(15)).await;
    let asking = connect(rig.endpoints[1].clone(), every).await;
    let near = rig.client().await;
    let peer = (quiet.peer_id(), asking.peer_id());
    let at = Instant::now();
    let before = Rig::metric(&near, "bytes_in").await;
    // Ten times as long as it takes to give a silent peer up.
    let mut intervals = tokio::time::interval(every);
    while at.elapsed() < every * 40 {
        intervals.tick().await;
    }
    let heard = Rig::metric(&near, "bytes_in").await - before;
    // A Pong of the quiet one has 24 bytes; the questions of the other one as many. The one who looks on sends less than 250.
    assert!(heard > 24 * 20 + 250, "{heard} bytes: nobody was asked");
    assert_eq!(Rig::metric(&near, "vanished").await, 0);
    assert_eq!((quiet.peer_id(), asking.peer_id()), peer);
    assert!(quiet.is_connected() && asking.is_connected());
}
