//! Clients of ipc-broker 1.1.5 and of ipc-server 0.1.10 on our broker, in raw bytes, beside clients in our own frames.
//!
//! `old.rs` is both formats; the published programs themselves run in `compat/`. What is malformed is in `tests/malformed`.
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

mod calls;
mod ends;
mod events;
mod limits;
mod memory;
mod messages;
mod old;
#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/running.rs"]
mod running;
mod strangers;
#[path = "../support/until.rs"]
mod until;

#[cfg(feature = "cli")]
#[path = "../support/mod.rs"]
mod support;

use actix_ipc::Endpoint;
use actix_ipc::actors::Broker;
use actix_ipc::config::Limits;
use actix_ipc::message::{Draft, Encoding};
use old::{Format, Old};
use raw::{Got, Raw};
use running::Running;
use serde_json::Value;

/// A broker on TCP, and on a Unix socket or, on Windows, a pipe.
pub struct Scene {
    pub running: Running,
}

impl Scene {
    pub fn start() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self {
            running: Running::built(move || {
                let tcp = "tcp:127.0.0.1:0".parse().unwrap();
                Broker::builder().limits(limits).listen(tcp)
            }),
        }
    }

    pub fn endpoints(&self) -> Vec<Endpoint> {
        let all = self.running.handle.endpoints().to_vec();
        assert_eq!(all.len(), 2);
        all
    }

    /// For many who connect at once and wait: on Windows the pipe alone, because Wine looks at everything that is open to say whose one of
    /// sixty TCP connections is, 0.4 s for each, and the last of them would wait longer than its patience.
    pub fn crowded(&self) -> Vec<Endpoint> {
        self.endpoints().split_off(usize::from(cfg!(windows)))
    }

    /// Over the last endpoint: the Unix socket, or the pipe.
    pub fn old(&self, format: Format) -> Old {
        Old::connect(format, &self.endpoints()[1])
    }

    /// One that can end one direction alone: over TCP where the other endpoint is a pipe, which cannot.
    pub fn ending_by_halves(&self, format: Format) -> Old {
        Old::connect(format, &self.endpoints()[usize::from(cfg!(unix))])
    }

    pub fn native(&self) -> Raw {
        self.running.connect()
    }

    pub fn stop(self) {
        self.running.stop();
    }
}

/// Answers a call with JSON.
pub fn reply_json(worker: &mut Raw, call: &Got, value: &Value) {
    let text = value.to_string();
    worker
        .send(&Draft::new(actix_ipc::message::Kind::Reply, call.id).payload(Encoding::JSON, text.as_bytes()));
}

/// Calls with JSON, and waits.
pub fn call_json(caller: &mut Raw, object: &str, method: &str, args: &Value) -> Got {
    let id = caller.id();
    let text = args.to_string();
    let call = Draft::new(actix_ipc::message::Kind::Call, id).pair(object, method);
    caller.ask(&call.payload(Encoding::JSON, text.as_bytes()))
}
