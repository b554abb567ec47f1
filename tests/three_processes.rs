//! Ten thousand calls and ten thousand events between two processes through a third one, the broker, and none of them is lost.
//!
//! How it works: the two are this test's own executable, which runs the test `other_process` in the role that its environment says.
//! The broker listens where clients of this platform look first: on a Unix socket, or on a Windows pipe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(feature = "cli")]

#[path = "support/mod.rs"]
mod support;

use actix_ipc::client::{ADDRESS_VARIABLE, IpcClient, Methods};
use futures::{StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{Broker, Process, this_program};

const ROLE: &str = "THREE_PROCESSES_ROLE";
const CALLS: u64 = 10_000;
const EVENTS: u64 = 10_000;
/// Calls that are open at once.
const OPEN: usize = 64;
/// Longer than the events take on any machine.
const LONG: Duration = Duration::from_secs(600);

/// Starts the other executable in this role.
fn start(role: &str, broker: &Broker) -> Process {
    let mut command = this_program("other_process");
    command.env(ROLE, role).env(ADDRESS_VARIABLE, broker.endpoint());
    Process::spawn(&mut command)
}

/// Does nothing by itself: it is the other processes of the test below.
#[test]
fn other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    actix::System::new().block_on(async {
        let client = IpcClient::connect().await.unwrap();
        match role.as_str() {
            "worker" => worker(client).await,
            "caller" => caller(client).await,
            other => panic!("no role {other}"),
        }
    });
}

/// Doubles numbers, publishes as many events as it is asked for, and says how often it was called.
async fn worker(client: IpcClient) {
    let answered = Arc::new(AtomicU64::new(0));
    let count = answered.clone();
    let publisher = client.clone();
    let methods = Methods::new()
        .method("double", move |n: u64, _| {
            answered.fetch_add(1, Ordering::Relaxed);
            async move { Ok(2 * n) }
        })
        .method("answered", move |(): (), _| {
            let answered = count.load(Ordering::Relaxed);
            async move { Ok(answered) }
        })
        .method("publish", move |events: u64, _| {
            let publisher = publisher.clone();
            async move {
                for n in 0..events {
                    publisher.publish("numbers", "next", &n).await.unwrap();
                }
                publisher.flush().await.unwrap();
                Ok(events)
            }
        });
    let _numbers = client.register("numbers", methods).await.unwrap();
    println!("ready");
    client.closed().await;
}

async fn caller(client: IpcClient) {
    let answers = stream::iter(0..CALLS).map(|n| {
        let client = client.clone();
        async move {
            let answer: u64 = client.remote_call("numbers", "double", n).await.unwrap();
            assert_eq!(answer, 2 * n);
        }
    });
    let answers = answers.buffer_unordered(OPEN).count().await;
    println!("{answers} answers");

    // All of them together are smaller than what may wait for one subscriber, so that nothing is missed however slow it is.
    let mut events = client.subscribe("numbers", "next").await.unwrap();
    let publishing = client.call("numbers", "publish").deadline(LONG);
    let published = publishing.send::<_, u64>(&EVENTS);
    let hearing = async {
        for expected in 0..EVENTS {
            let event = events.next().await.unwrap();
            assert_eq!((event.decode::<u64>().unwrap(), event.missed), (expected, 0));
        }
    };
    let (published, ()) = futures::join!(published, hearing);
    println!("{} events", published.unwrap());
    let answered: u64 = client.remote_call("numbers", "answered", ()).await.unwrap();
    println!("{answered} calls");
    client.close().await;
}

#[test]
fn ten_thousand_calls_and_events_and_none_is_lost() {
    let broker = Broker::start();
    let worker = start("worker", &broker);
    worker.wait_for("ready");
    let caller = start("caller", &broker);
    caller.wait_for(&format!("{CALLS} answers"));
    caller.wait_for(&format!("{EVENTS} events"));
    caller.wait_for(&format!("{CALLS} calls"));
    caller.end().success();
    drop(worker);
}
