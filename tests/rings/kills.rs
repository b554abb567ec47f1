//! `kill -9` of a broker and of a client in full traffic over shared memory, in real processes.
//!
//! The killed client is this test program once more, told by a variable to serve.

use crate::support::{Broker, Process, this_program};
use crate::until::{PATIENCE, until, until_with_others};
use actix_ipc::client::{Methods, SharedMemory, blocking};
use actix_ipc::{Endpoint, ErrorCode, IpcClient};
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ENDPOINT: &str = "ACTIX_IPC_TEST_RING_ENDPOINT";

/// Does nothing by itself: it is the worker of the test below, which names an endpoint.
#[test]
fn as_the_worker() {
    let Ok(endpoint) = std::env::var(ENDPOINT) else {
        return;
    };
    let builder = IpcClient::builder()
        .endpoint(endpoint.parse().unwrap())
        .shared_memory(SharedMemory::AtOnce);
    let client = blocking::Client::connect_with(builder).unwrap();
    let methods = Methods::new().method("echo", |text: String, _| async { Ok(text) });
    let _registration = client.register("victim", methods).unwrap();
    eprintln!("serving");
    let _ = client.serve();
}

/// Maps of a process that are rings.
fn rings(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines()
        .filter(|line| line.contains("actix-ipc-ring"))
        .count()
}

async fn client(endpoint: &Endpoint) -> IpcClient {
    let builder = IpcClient::builder()
        .endpoint(endpoint.clone())
        .shared_memory(SharedMemory::AtOnce);
    let client = builder.connect().await.unwrap();
    client.ping().await.unwrap();
    client
}

#[actix::test]
async fn a_killed_client_leaves_nothing_and_stops_nobody() {
    let broker = Broker::start();
    let endpoint: Endpoint = broker.endpoint().parse().unwrap();
    let caller = client(&endpoint).await;
    for _ in 0..5 {
        let mut command = this_program("kills::as_the_worker");
        let mut worker = Process::spawn(command.env(ENDPOINT, endpoint.to_string()));
        worker.wait_for_error_line("serving");
        assert_eq!(rings(broker.process.id()), 2);
        let done = AtomicUsize::new(0);
        let text = "x".repeat(3_000);
        let calls = join_all((0..50).map(|_| async {
            loop {
                let result = caller.remote_call::<_, String>("victim", "echo", &text).await;
                if let Err(error) = result {
                    return error;
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let kill = async {
            let enough = async {
                while done.load(Ordering::SeqCst) < 500 {
                    caller.ping().await.unwrap();
                }
            };
            tokio::time::timeout(PATIENCE, enough)
                .await
                .expect("calls are answered");
            worker.kill();
        };
        let (errors, ()) = futures::join!(calls, kill);
        for error in errors {
            let gone = error.code == ErrorCode::CalleeGone && error.may_have_run;
            let nobody = error.code == ErrorCode::NoSuchObject && !error.may_have_run;
            let never = error.code == ErrorCode::CalleeGone;
            assert!(gone || nobody || never, "{error:?}");
        }
        until("the memory is gone", || rings(broker.process.id()) == 1);
        caller.ping().await.unwrap();
    }
    caller.close().await;
    until("the memory is gone", || rings(broker.process.id()) == 0);
}

#[actix::test]
async fn callers_of_a_killed_broker_are_told_the_truth_and_come_back() {
    let mut broker = Broker::start();
    let endpoint: Endpoint = broker.endpoint().parse().unwrap();
    let (caller, callee) = (client(&endpoint).await, client(&endpoint).await);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let methods = Methods::new().method("echo", move |text: String, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(text) }
    });
    let _registration = callee.register("echo", methods).await.unwrap();
    for _ in 0..3 {
        let before = ran.load(Ordering::SeqCst);
        let done = AtomicUsize::new(0);
        let text = "x".repeat(3_000);
        let calls = join_all((0..50).map(|_| async {
            loop {
                let result = caller.remote_call::<_, String>("echo", "echo", &text).await;
                if let Err(error) = result {
                    return error;
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let kill = async {
            until_with_others("calls are answered", || done.load(Ordering::SeqCst) >= 500).await;
            broker.process.kill();
        };
        let (errors, ()) = futures::join!(calls, kill);
        let certainly_not = errors.iter().filter(|error| !error.may_have_run).count();
        for error in &errors {
            let told = [ErrorCode::BrokerGone, ErrorCode::NotConnected];
            assert!(told.contains(&error.code), "{error:?}");
        }
        // Each that ran is one that was answered or one that may have run.
        let more = ran.load(Ordering::SeqCst) - before;
        assert!(more <= done.load(Ordering::SeqCst) + errors.len() - certainly_not);
        broker = broker.restart();

        let back = async {
            while caller
                .remote_call::<_, String>("echo", "echo", "again")
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, back)
            .await
            .expect("both have come back");
        assert_eq!(rings(broker.process.id()), 2, "both have memory again");
    }
    caller.close().await;
    callee.close().await;
    until("the memory is gone", || rings(broker.process.id()) == 0);
}
