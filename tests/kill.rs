//! A worker and the broker are killed (`kill -9`; on Windows `TerminateProcess`), in real processes: nobody hangs, everybody comes back.
//!
//! How it works: the worker is this test program once more, told by a variable to serve (see [`as_the_worker`]). The broker is the real
//! binary, killed and started again on the same endpoint. Times are asserted at ten times what is promised, because machines are noisy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

mod support;

use actix_ipc::client::{ConnectionEvent, Methods, blocking};
use actix_ipc::{CallError, Endpoint, ErrorCode, IpcClient};
use futures::future::{join_all, pending};
use std::time::{Duration, Instant};
use support::{Broker, Process, this_program};

const ENDPOINT: &str = "ACTIX_IPC_TEST_WORKER_ENDPOINT";

/// Does nothing by itself: it is the worker of the tests below, which name an endpoint.
#[test]
fn as_the_worker() {
    let Ok(endpoint) = std::env::var(ENDPOINT) else {
        return;
    };
    let client = blocking::Client::connect_to(endpoint.parse().unwrap()).unwrap();
    let methods = Methods::new()
        .method("hang", |(): (), _| async { Ok(pending::<()>().await) })
        .method("pid", |(): (), _| async { Ok(std::process::id()) });
    let registration = client.register("victim", methods);
    assert!(registration.is_ok(), "{registration:?}");
    eprintln!("serving");
    let _ = client.serve();
}

fn start_worker(endpoint: &Endpoint) -> Process {
    let worker = Process::spawn(this_program("as_the_worker").env(ENDPOINT, endpoint.to_string()));
    worker.wait_for_error_line("serving");
    worker
}

#[actix::test]
async fn callers_of_a_killed_worker_have_their_errors_at_once() {
    let broker = Broker::start();
    let endpoint: Endpoint = broker.endpoint().parse().unwrap();
    let mut worker = start_worker(&endpoint);
    let client = IpcClient::connect_to(endpoint).await.unwrap();
    let calls = join_all((0..1_000).map(|_| client.remote_call::<_, ()>("victim", "hang", ())));
    let mut calls = std::pin::pin!(calls);
    assert!(futures::poll!(&mut calls).is_pending());
    // All of them are with the broker once it has answered this, and Registry takes them in order.
    client.ping().await.unwrap();
    client.describe("victim").await.unwrap();
    let at = Instant::now();
    worker.kill();
    for result in calls.await {
        let error = result.unwrap_err();
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::CalleeGone, true),
            "{error}"
        );
    }
    assert!(
        at.elapsed() < Duration::from_secs(5),
        "{:?} for a promise of 100 ms",
        at.elapsed()
    );
    let error = client
        .remote_call::<_, ()>("victim", "hang", ())
        .await
        .unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NoSuchObject, false));
}

fn broker_at(endpoint: &Endpoint) -> Process {
    let mut command = support::broker_command();
    command.arg("--listen").arg(endpoint.to_string());
    let broker = Process::spawn(&mut command);
    assert!(broker.line().starts_with("listening on"));
    broker
}

async fn reconnected(events: &mut actix_ipc::client::ConnectionEvents) {
    loop {
        if let ConnectionEvent::Reconnected { restored, lost, .. } = events.next().await.unwrap() {
            assert!(lost.is_empty(), "lost {lost:?}, restored {restored:?}");
            return;
        }
    }
}

#[actix::test]
async fn clients_of_a_killed_broker_are_back_with_what_they_had() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint: Endpoint = support::endpoint_in(folder.path()).parse().unwrap();
    let mut broker = broker_at(&endpoint);
    let (worker, caller) = (
        IpcClient::connect_to(endpoint.clone()).await.unwrap(),
        IpcClient::connect_to(endpoint.clone()).await.unwrap(),
    );
    let methods = || {
        Methods::new()
            .method("hang", |(): (), _| async { Ok(pending::<()>().await) })
            .method("double", |n: i64, _| async move { Ok(n * 2) })
    };
    let _first = worker.register("first", methods()).await.unwrap();
    let _second = worker.register("second", methods()).await.unwrap();
    let mut news = caller.subscribe("news", "*").pattern().await.unwrap();
    let (mut of_worker, mut of_caller) = (worker.connection_events(), caller.connection_events());
    for _ in 0..3 {
        let hanging = join_all((0..200).map(|_| caller.remote_call::<_, ()>("first", "hang", ())));
        let mut hanging = std::pin::pin!(hanging);
        assert!(futures::poll!(&mut hanging).is_pending());
        caller.ping().await.unwrap();
        broker.kill();
        for result in hanging.await {
            let error: CallError = result.unwrap_err();
            assert_eq!(
                (error.code, error.may_have_run),
                (ErrorCode::BrokerGone, true),
                "{error}"
            );
        }
        let down = caller
            .remote_call::<_, i64>("first", "double", 1)
            .await
            .unwrap_err();
        assert!(
            matches!(down.code, ErrorCode::NotConnected | ErrorCode::BrokerGone),
            "{down}"
        );
        broker = broker_at(&endpoint);
        let at = Instant::now();
        reconnected(&mut of_worker).await;
        reconnected(&mut of_caller).await;
        assert!(
            at.elapsed() < Duration::from_secs(20),
            "{:?} for a promise of 2 s",
            at.elapsed()
        );
        for object in ["first", "second"] {
            assert_eq!(
                caller.remote_call::<_, i64>(object, "double", 21).await.unwrap(),
                42
            );
        }
        assert_eq!(
            worker
                .publish("news", "today", "back")
                .acknowledged()
                .await
                .unwrap(),
            1
        );
        assert_eq!(news.next().await.unwrap().decode::<String>().unwrap(), "back");
    }
}
