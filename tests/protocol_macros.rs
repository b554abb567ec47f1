//! What the macros of typed protocols make, through a real broker: every form of a command, senders and receivers of several
//! protocols, registries. The crate's lints are those of a strict program.
#![deny(warnings, missing_docs, clippy::all)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what is not as expected fails the test"
)]

#[path = "protocol_macros/actors.rs"]
mod actors;
#[path = "support/broker.rs"]
mod broker;
#[path = "protocol_macros/forms.rs"]
mod forms;
#[path = "protocol_macros/names.rs"]
mod names;
#[path = "protocol_macros/several.rs"]
mod several;
#[path = "protocol_macros/streams.rs"]
mod streams;

use actix_ipc::client::{IpcClient, Registration};
use actix_ipc::protocol::{Dispatch, ProtocolSender};
use broker::TestBroker;

/// What a test needs to stay alive: the program that answers.
#[derive(Debug)]
struct Served {
    _registration: Registration,
    _worker: IpcClient,
    caller: IpcClient,
}

/// Serves an object by these answers, and gives who calls it.
async fn serve<S: ProtocolSender>(broker: &TestBroker, answers: impl Dispatch) -> (Served, S) {
    let worker = broker.client().await;
    let registration = worker.add_protocol("served", answers).await.expect("registered");
    let caller = broker.client().await;
    let sender = caller.protocol("served").await.expect("the protocol is served");
    let served = Served {
        _registration: registration,
        _worker: worker,
        caller,
    };
    (served, sender)
}
