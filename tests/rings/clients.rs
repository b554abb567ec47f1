//! The client library over shared memory: what it carries, what it does without, and that it comes back to it.

use crate::broker::Place;
use crate::descriptors::{pipes, same};
use crate::until::until;
use actix_ipc::client::{Handler, HandlerError, IncomingCall, IpcClient, Response, SharedMemory};
use actix_ipc::config::Limits;
use actix_ipc::message::{Attachments, Encoding, Payload};
use actix_ipc::transport::Endpoint;
use async_trait::async_trait;
use futures::future::join_all;

const LEAST: usize = 64 * 1024;

/// Sends back what came.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let attachments = call.context.attachments.clone();
        Ok(Response::payload(call.payload).with_attachments(attachments))
    }
}

async fn client(endpoint: &Endpoint, when: SharedMemory) -> IpcClient {
    let builder = IpcClient::builder()
        .endpoint(endpoint.clone())
        .shared_memory(when);
    let client = builder.connect().await.unwrap();
    // Answered behind what the broker says to the asking.
    client.ping().await.unwrap();
    client
}

async fn echo(client: &IpcClient, payload: Payload, attachments: Attachments) -> (Payload, Attachments) {
    let call = client.call("echo", "m").attachments(attachments);
    let reply = call.send_payload(payload).with_metadata().await.unwrap();
    (reply.payload, reply.attachments)
}

fn bytes(count: usize) -> Payload {
    Payload {
        encoding: Encoding::RAW,
        bytes: (0..count).map(|at| at as u8).collect::<Vec<_>>().into(),
    }
}

#[actix::test]
async fn payloads_and_descriptors_of_every_size_arrive_whole() {
    let place = Place::new();
    let broker = place.start_with(Limits {
        ring_bytes: LEAST,
        frame_bytes: 1 << 20,
        ..Limits::default()
    });
    for (caller, callee) in [
        (SharedMemory::AtOnce, SharedMemory::AtOnce),
        (SharedMemory::AtOnce, SharedMemory::Never),
        (SharedMemory::Never, SharedMemory::AtOnce),
    ] {
        let caller = client(&broker.endpoint, caller).await;
        let callee = client(&broker.endpoint, callee).await;
        let registration = callee.register("echo", Echo).await.unwrap();
        assert!(broker.handle.metrics().rings > 0);
        // Smaller than the memory, as large as it, larger, and larger than a frame.
        for size in [0, 1, LEAST - 100, LEAST, LEAST + 1, 1 << 20, 5 << 20] {
            for count in [0, 1, 16] {
                let (writers, readers) = pipes(count);
                let attached = writers.into_iter().fold(Attachments::new(), Attachments::with);
                let (payload, came) = echo(&caller, bytes(size), attached).await;
                assert!(payload == bytes(size), "{size} bytes, {count} descriptors");
                let came = came.iter().map(|one| {
                    let one = one.downcast_ref::<rustix::fd::OwnedFd>().unwrap();
                    one.try_clone().unwrap()
                });
                let came: Vec<_> = came.collect();
                // The test's own copies close the pipes only together with the clients' ones.
                assert_eq!(came.len(), count);
                drop((came, readers));
            }
        }
        // Many at once, of which each has its own.
        let all = join_all((0..32).map(|_| async {
            let (writers, readers) = pipes(2);
            let attached = writers.into_iter().fold(Attachments::new(), Attachments::with);
            let (_, came) = echo(&caller, bytes(1_000), attached).await;
            let came: Vec<_> = came
                .iter()
                .map(|one| {
                    let one = one.downcast_ref::<rustix::fd::OwnedFd>().unwrap();
                    one.try_clone().unwrap()
                })
                .collect();
            (came, readers)
        }));
        for (came, readers) in all.await {
            same(came, readers);
        }
        drop(registration);
        caller.close().await;
        callee.close().await;
        until("all memory is given back", || {
            broker.handle.levels().ring_bytes == 0
        });
    }
}

#[actix::test]
async fn who_gets_none_works_without() {
    for limits in [
        Limits {
            ring_bytes: 0,
            ..Limits::default()
        },
        Limits {
            ring_bytes_total: 0,
            ..Limits::default()
        },
    ] {
        let place = Place::new();
        let broker = place.start_with(limits);
        let [one, other] = [
            client(&broker.endpoint, SharedMemory::AtOnce).await,
            client(&broker.endpoint, SharedMemory::AtOnce).await,
        ];
        let _registration = one.register("echo", Echo).await.unwrap();
        let (payload, _) = echo(&other, bytes(100_000), Attachments::new()).await;
        assert!(payload == bytes(100_000));
        let metrics = broker.handle.metrics();
        let refused = if broker.handle.levels().ring_bytes == 0 && metrics.rings_refused > 0 {
            2
        } else {
            0
        };
        assert_eq!((metrics.rings, metrics.rings_refused), (0, refused));
    }
}

#[actix::test]
async fn a_busy_client_goes_to_memory_by_itself_and_a_quiet_one_does_not() {
    let place = Place::new();
    let broker = place.start();
    let quiet = client(&broker.endpoint, SharedMemory::default()).await;
    let never = client(&broker.endpoint, SharedMemory::Never).await;
    for _ in 0..4 {
        join_all((0..500).map(|_| never.ping())).await;
    }
    assert_eq!(broker.handle.metrics().rings, 0);
    let busy = client(&broker.endpoint, SharedMemory::default()).await;
    let _registration = quiet.register("echo", Echo).await.unwrap();
    while broker.handle.metrics().rings == 0 {
        echo(&busy, bytes(600_000), Attachments::new()).await;
    }
    quiet.ping().await.unwrap();
}

#[actix::test]
async fn busy_clients_that_get_no_memory_any_more_work_beside_those_that_have_it() {
    const CLIENTS: usize = 12;
    /// Of which this process gets half: two clients have memory.
    const TOTAL: usize = 2 * 2 * 2 * LEAST;
    let place = Place::new();
    let broker = place.start_with(Limits {
        ring_bytes: LEAST,
        ring_bytes_total: TOTAL,
        outbox_bytes: 64 << 20,
        ..Limits::default()
    });
    let worker = client(&broker.endpoint, SharedMemory::Never).await;
    let _registration = worker.register("echo", Echo).await.unwrap();
    let clients = join_all((0..CLIENTS).map(|_| client(&broker.endpoint, SharedMemory::default()))).await;
    // All become busy at the same time, and go on through the moments at which some of them get memory and others are refused.
    let (mut rounds, mut settled) = (0, 0);
    while settled < 2 {
        let calls = clients.iter().enumerate().map(|(number, client)| async move {
            for size in [number, 100 + number, LEAST - 10 + number, 3 * LEAST + number] {
                let all =
                    join_all((0..8).map(|one| echo(client, bytes(size + one), Attachments::new()))).await;
                for (one, (payload, _)) in all.into_iter().enumerate() {
                    assert!(
                        payload == bytes(size + one),
                        "client {number}, {size} + {one} bytes"
                    );
                }
            }
        });
        join_all(calls).await;
        let metrics = broker.handle.metrics();
        assert!(metrics.rings <= 2 && broker.handle.levels().ring_bytes <= TOTAL / 2);
        settled += usize::from(metrics.rings_refused == (CLIENTS - 2) as u64);
        rounds += 1;
    }
    assert_eq!(broker.handle.metrics().rings, 2, "after {rounds} rounds");
    // Who ends gives its memory to who comes.
    join_all(
        clients
            .into_iter()
            .map(|client| async move { client.close().await }),
    )
    .await;
    until("all memory is given back", || {
        broker.handle.levels().ring_bytes == 0
    });
    let next = client(&broker.endpoint, SharedMemory::AtOnce).await;
    assert_eq!(broker.handle.metrics().rings, 1);
    assert!(echo(&next, bytes(LEAST), Attachments::new()).await.0 == bytes(LEAST));
}

#[actix::test]
async fn whoever_comes_back_gets_memory_again() {
    let place = Place::new();
    let broker = place.start();
    let client = client(&broker.endpoint, SharedMemory::AtOnce).await;
    assert_eq!(broker.handle.metrics().rings, 1);
    let mut events = client.connection_events();
    broker.crash();
    let broker = place.start();
    while client.ping().await.is_err() {
        // Until it is connected again.
        let _ = events.next().await;
    }
    client.ping().await.unwrap();
    assert_eq!(
        (
            broker.handle.metrics().rings,
            broker.handle.metrics().rings_refused
        ),
        (1, 0)
    );
}
