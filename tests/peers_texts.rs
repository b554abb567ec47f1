//! What is said when something goes wrong between two programs without a broker: each text names what is there, and no broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "peers/calc.rs"]
mod calc;
#[path = "support/sockets.rs"]
mod sockets;

use actix_ipc::client::{ConnectionEvent, IpcClient, WorkerBuilder};
use actix_ipc::protocol::{RpcClient, RpcLimits, RpcServer};
use actix_ipc::{Endpoint, ErrorCode};
use calc::{Answers, Calc, Receiver, Service, within};
use std::sync::Arc;
use std::time::Duration;

fn memory(name: &str) -> Endpoint {
    Endpoint::Memory(format!("texts-{name}-{}", std::process::id()))
}

/// What holds for all texts of two programs.
#[track_caller]
fn is_plain(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    for word in ["broker", " limits.", "(limits.", "finished"] {
        assert!(!text.contains(word), "`{word}` is said: {text}");
    }
}

#[actix::test]
async fn limits_of_two_programs_are_named_as_their_limits() {
    let limits = RpcLimits::default()
        .frame_bytes(2_000)
        .message_bytes(4_000)
        .open_calls(1);
    let service = Service::new(false);
    let builder = RpcServer::builder().limits(limits);
    let server = service.bind_with(builder, memory("limits")).await;
    let connecting = RpcClient::connect(server.endpoint().clone(), Receiver(Answers::new(false)));
    let client: RpcClient<Calc> = within("connecting", connecting).await.unwrap();
    let (_, back) = service.client(0).await;
    for way in [&client.sender, &back] {
        let large = way.echo(&"x".repeat(5_000)).await.unwrap_err();
        assert_eq!(large.code, ErrorCode::TooLarge);
        is_plain(
            &large.to_string(),
            &["4000", "the peer", "RpcLimits::message_bytes"],
        );
        let whole = way.note(1, 3_000).await.unwrap_err();
        assert_eq!(whole.code, ErrorCode::TooLarge);
        is_plain(&whole.to_string(), &["2000", "RpcLimits::frame_bytes"]);
    }
    let (waiting, answers) = (client.clone_sender(), Arc::clone(&service.answers));
    let waiting = actix_rt::spawn(async move { waiting.wait().await });
    answers.waited(1).await;
    let many = client.sender.echo("one more").await.unwrap_err();
    assert_eq!((many.code, many.may_have_run), (ErrorCode::TooMany, false));
    is_plain(&many.to_string(), &["1 calls are open", "RpcLimits::open_calls"]);
    answers.gate.add_permits(1);
    within("the open call", waiting).await.unwrap().unwrap();
}

#[actix::test]
async fn the_end_of_a_connection_is_told_by_who_ended_it() {
    let service = Service::new(false);
    let server = service.bind(memory("ends")).await;
    let builder = RpcClient::<Calc>::builder().reconnect(false);
    let connecting = builder.connect(server.endpoint().clone(), ());
    let client = within("connecting", connecting).await.unwrap();
    let mut events = client.connection_events();
    within("the shutdown", server.shutdown()).await;
    loop {
        match within("the end", events.next()).await {
            Some(ConnectionEvent::Lost { reason }) => {
                is_plain(&reason, &["the peer ended it in order"]);
                break;
            }
            Some(_) => {}
            None => panic!("the end is not told"),
        }
    }
    let closed = within("the end", client.closed()).await;
    is_plain(&closed.to_string(), &["the peer ended it in order"]);
    let late = client.sender.echo("late").await.unwrap_err();
    assert_eq!((late.code, late.may_have_run), (ErrorCode::NotConnected, false));
    is_plain(&late.to_string(), &["in order"]);
}

#[actix::test]
async fn who_is_there_and_does_not_answer_is_told_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let patient = || RpcClient::<Calc>::builder().connect_timeout(Duration::from_millis(50));
    let endpoint = if cfg!(unix) {
        Endpoint::Unix(folder.path().join("s"))
    } else {
        Endpoint::Pipe(format!("texts-nobody-{}", std::process::id()))
    };
    let nobody = patient().connect(endpoint, ()).await.unwrap_err();
    is_plain(&nobody.to_string(), &["no server was reached"]);
    // The system takes the connection, as it does for a process that is stopped; nobody reads.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    sockets::is_known(&listener);
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap().to_string());
    let silent = patient().connect(endpoint.clone(), ()).await.unwrap_err();
    is_plain(
        &silent.to_string(),
        &["no server answered", "stopped or busy", "not an RpcServer"],
    );
    assert!(silent.unanswered && !nobody.unanswered);
    let broker = IpcClient::builder().endpoint(endpoint).connect();
    let silent = within("a silent broker", broker).await.unwrap_err().to_string();
    assert!(
        silent.contains("no broker answered") && !silent.contains("start one"),
        "{silent}"
    );
}

#[actix::test]
async fn a_worker_that_is_sent_to_a_server_without_a_broker_ends_and_says_so() {
    let service = Service::new(false);
    let server = service.bind(memory("worker")).await;
    let worker = WorkerBuilder::new()
        .endpoint(server.endpoint().clone())
        .add_protocol("calc", Receiver(Answers::new(false)))
        .spawn();
    let error = within("the worker", worker).await.unwrap_err().to_string();
    assert!(
        error.contains("RpcServer") && error.contains("RpcClient"),
        "{error}"
    );
}

/// A program that takes all names of the module still writes the standard library's `Result`.
mod all_names {
    #[allow(unused_imports, reason = "that it may stand here is what is tested")]
    use actix_ipc::protocol::*;

    pub fn parsed(text: &str) -> Result<u8, std::num::ParseIntError> {
        text.parse()
    }

    pub fn handled(text: &str) -> Result<u8> {
        Ok(parsed(text)?)
    }
}

#[test]
fn all_names_of_the_module_may_be_taken() {
    assert_eq!(all_names::handled("7").unwrap(), 7);
    assert!(all_names::handled("x").unwrap_err().to_string().contains("digit"));
}
