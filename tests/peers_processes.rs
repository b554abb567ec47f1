//! Two programs without a broker, each a process of its own: what the other learns when one is killed, and a server that has no
//! descriptor left.
//!
//! How it works: the other process is this test's own executable, which runs the test `other_process` and does what its
//! environment says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/broker.rs"]
mod broker;
#[path = "peers/calc.rs"]
mod calc;
#[cfg(unix)]
#[path = "peers/raw.rs"]
mod raw;
mod support;

use actix_ipc::protocol::RpcClient;
use actix_ipc::{Endpoint, ErrorCode};
use broker::Place;
use calc::{Answers, Calc, Receiver, Service, within};
use futures::future::join_all;
use std::process::Command;
use std::sync::atomic::Ordering;
use support::{Process, this_program};

const ROLE: &str = "PEERS_ROLE";
const PLACE: &str = "PEERS_PLACE";

/// Starts the other process and waits until it says that it is ready.
fn start(role: &str, place: &Endpoint) -> Process {
    start_with(role, place, |_| {})
}

fn start_with(role: &str, place: &Endpoint, change: impl FnOnce(&mut Command)) -> Process {
    let mut command = this_program("other_process");
    command.env(ROLE, role).env(PLACE, place.to_string());
    change(&mut command);
    let process = Process::spawn(&mut command);
    process.wait_for("ready");
    process
}

/// Does nothing by itself: it is the other process of the tests below.
#[test]
fn other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let endpoint: Endpoint = std::env::var(PLACE).unwrap().parse().unwrap();
    actix::System::new().block_on(async {
        match role.as_str() {
            "server" => {
                let _server = Service::new(false).bind(endpoint).await;
                println!("ready");
                std::future::pending::<()>().await;
            }
            "client" => {
                let receiver = Receiver(Answers::new(false));
                let client = RpcClient::<Calc>::connect(endpoint, receiver).await.unwrap();
                let calls = (0..10).map(|_| client.sender.wait());
                println!("ready");
                join_all(calls).await;
            }
            other => panic!("no role {other}"),
        }
    });
}

#[actix::test]
async fn a_killed_server_ends_every_call_and_the_next_one_takes_its_place() {
    let home = Place::new();
    let place = home.endpoint();
    let mut server = start("server", &place);
    let builder = RpcClient::<Calc>::builder();
    let connecting = builder.connect(place.clone(), ());
    let client = within("connecting", connecting).await.unwrap();
    assert_eq!(client.sender.echo("there").await.unwrap(), "there");
    let calls = (0..10).map(|_| {
        let sender = client.clone_sender();
        actix_rt::spawn(async move { sender.wait().await })
    });
    let calls: Vec<_> = calls.collect();
    // One that is answered behind them says that they are sent; it is kept back with them, and cut off as well.
    let last = Calc(client.sender.0.clone());
    let last = actix_rt::spawn(async move { last.echo("behind").await });
    tokio::task::yield_now().await;
    server.kill();
    for call in calls
        .into_iter()
        .chain([actix_rt::spawn(async move { last.await.unwrap().map(drop) })])
    {
        let error = within("a call to a killed server", call)
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::BrokerGone, "{error}");
    }
    let _next = start("server", &place);
    let answered = async {
        loop {
            match client.sender.echo("again").await {
                Ok(text) => break text,
                Err(error) => assert!(
                    !error.may_have_run || error.code == ErrorCode::BrokerGone,
                    "{error}"
                ),
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(within("the reconnection", answered).await, "again");
}

#[actix::test]
async fn a_killed_client_ends_its_handlers_and_is_told_of() {
    let home = Place::new();
    let place = home.endpoint();
    let service = Service::new(false);
    let _server = service.bind(place.clone()).await;
    let client = actix_rt::task::spawn_blocking(move || start("client", &place));
    let mut client = within("the client", client).await.unwrap();
    let (peer, back) = service.client(0).await;
    service.answers.waited(1).await;
    let waiting = actix_rt::spawn(async move { back.wait().await });
    tokio::task::yield_now().await;
    client.kill();
    assert_eq!(service.ended(1).await, [peer.id]);
    let error = within("a call to a killed client", waiting)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::BrokerGone);
    assert_eq!(service.answers.dropped.load(Ordering::SeqCst), 1);
}

#[cfg(unix)]
#[actix::test]
async fn a_server_without_a_descriptor_left_says_so_and_goes_on() {
    use actix_ipc::error::CloseReason;
    use raw::Raw;

    let home = Place::new();
    let place = home.endpoint();
    let starting = place.clone();
    let few = |command: &mut Command| support::through_shell(command, "ulimit -n 40");
    let server = actix_rt::task::spawn_blocking(move || start_with("server", &starting, few));
    let _server = within("the server", server).await.unwrap();
    let first = RpcClient::<Calc>::connect(place.clone(), ()).await.unwrap();
    let there = place.clone();
    let crowd = actix_rt::task::spawn_blocking(move || {
        let mut crowd: Vec<Raw> = (0..60).map(|_| Raw::connect(&there)).collect();
        // Those behind the limit are told; the others wait to be met.
        let refused = crowd.last_mut().unwrap().goodbye();
        assert_eq!(refused, Some(CloseReason::TooMany));
    });
    within("the crowd", crowd).await.unwrap();
    assert_eq!(
        first.sender.echo("still").await.unwrap(),
        "still",
        "who is in stays in"
    );
    let again = RpcClient::<Calc>::builder().wait(calc::PATIENCE);
    let again = within("a place", again.connect(place, ())).await.unwrap();
    assert_eq!(again.sender.echo("in").await.unwrap(), "in");
}
