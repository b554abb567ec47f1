//! Two programs without a broker between them, over every transport: calls both ways, commands without an answer, every failure, and
//! every end.
//!
//! How it works: a protocol is written by hand (`peers/calc.rs`), the server and its clients are in this process, and each case runs
//! over a Unix socket, TCP, and memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "protocol_peers/access.rs"]
mod access;
#[path = "protocol_peers/both_ways.rs"]
mod both_ways;
#[path = "peers/calc.rs"]
mod calc;
#[path = "protocol_peers/commands.rs"]
mod commands;
#[path = "protocol_peers/ends.rs"]
mod ends;
#[path = "protocol_peers/pool.rs"]
mod pool;
#[path = "protocol_peers/waiting.rs"]
mod waiting;

use actix_ipc::Endpoint;
use actix_ipc::protocol::{RpcClient, RpcServer};
use calc::{Answers, Calc, Receiver, within};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Endpoints that nobody else uses, one of each kind.
struct Places {
    endpoints: Vec<Endpoint>,
    _folder: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut endpoints = vec![
            Endpoint::Tcp("127.0.0.1:0".into()),
            Endpoint::Memory(format!("peers-{}-{number}", std::process::id())),
        ];
        if cfg!(unix) {
            endpoints.push(Endpoint::Unix(folder.path().join("s")));
        }
        if cfg!(windows) {
            endpoints.push(Endpoint::Pipe(format!("peers-{}-{number}", std::process::id())));
        }
        Self {
            endpoints,
            _folder: folder,
        }
    }
}

async fn connect(server: &RpcServer) -> RpcClient<Calc> {
    let connecting = RpcClient::connect(server.endpoint().clone(), Receiver(Answers::new(false)));
    within("connecting", connecting).await.unwrap()
}
