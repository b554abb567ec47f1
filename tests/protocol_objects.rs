//! Protocols as objects of a broker: versions, names, mistakes, order, actors, and the real binaries.
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
#![cfg(all(feature = "protocol", feature = "cli"))]

#[path = "protocol_objects/actors.rs"]
mod actors;
#[path = "protocol_objects/binaries.rs"]
mod binaries;
#[path = "support/broker.rs"]
mod broker;
#[path = "protocols/calc.rs"]
mod calc;
#[path = "protocol_objects/failures.rs"]
mod failures;
#[path = "protocol_objects/json.rs"]
mod json;
#[path = "protocol_objects/order.rs"]
mod order;
#[path = "protocol_objects/programs.rs"]
mod programs;
#[path = "support/mod.rs"]
mod support;
#[path = "protocol_objects/versions.rs"]
mod versions;

use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::protocol::ProtocolRegistry;
use calc::{Desk, admin, calc_2};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// An error's code, whether the call may have run, and its text.
fn error<T: Debug>(result: Result<T, CallError>) -> (ErrorCode, bool, String) {
    let error = result.unwrap_err();
    (error.code, error.may_have_run, error.message)
}

fn all(desk: &Arc<Desk>) -> ProtocolRegistry {
    ProtocolRegistry::builder()
        .with(calc::calc(desk))
        .with(calc_2())
        .with(admin())
        .build()
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}
