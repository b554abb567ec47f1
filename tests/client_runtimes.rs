//! A worker whose run-time ends before its registration does: its callers are told, at once and whether the call has run.
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

#[path = "support/broker.rs"]
mod broker;

use actix_ipc::client::{HandlerError, Methods};
use actix_ipc::error::ErrorCode;
use broker::Place;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Less than any deadline by far.
const SOON: Duration = Duration::from_secs(10);

async fn ended_under_a_call(threads: usize) {
    let place = Place::new();
    let broker = place.start();
    let (worker, caller) = (broker.client().await, broker.client().await);
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let object = Methods::new().method("stay", move |(): (), _| {
        let begun = begun.clone();
        async move {
            begun.send(()).unwrap();
            std::future::pending::<Result<(), HandlerError>>().await
        }
    });
    let made = std::thread::spawn(move || {
        let mut builder = match threads {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder
            .worker_threads(threads.max(1))
            .enable_all()
            .build()
            .unwrap();
        let registration = runtime.block_on(async { worker.register("o", object).await.unwrap() });
        // A current-thread run-time runs only while somebody blocks on it.
        if threads == 0 {
            let call = runtime.block_on(async { has_begun.recv().await });
            assert_eq!(call, Some(()));
        } else {
            assert_eq!(has_begun.blocking_recv(), Some(()));
        }
        runtime.shutdown_background();
        registration
    });
    let start = Instant::now();
    let running = caller.remote_call::<(), ()>("o", "stay", ());
    // The object may not be there yet.
    let running = async {
        caller.wait_for_object_timeout("o", SOON).await.unwrap();
        running.await.unwrap_err()
    };
    let error = running.await;
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::CalleeGone, true),
        "{error}"
    );
    let registration = tokio::task::spawn_blocking(move || made.join().unwrap())
        .await
        .unwrap();
    for _ in 0..3 {
        let error = caller.remote_call::<(), ()>("o", "stay", ()).await.unwrap_err();
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::CalleeGone, false),
            "{error}"
        );
    }
    assert!(start.elapsed() < SOON);
    drop(registration);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_of_several_threads_ends_under_its_calls() {
    ended_under_a_call(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_of_one_thread_ends_under_its_calls() {
    ended_under_a_call(0).await;
}
