//! A broker in a thread of its own, for tests that speak to it in raw frames.
//!
//! Owns the thread, the folder of its socket and how it ends. However that is, the leak guard looks at what is left; dropping it
//! without `stop` drains it. Expects the raw client beside it, as `crate::raw`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

#[path = "guard.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each harness brings its own, and a test may use two"
)]
mod guard;
#[path = "place.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each harness brings its own, and a test may use two"
)]
mod places;

use crate::raw::Raw;
use actix_ipc::actors::{Broker, BrokerBuilder, BrokerHandle, EndReason};
use actix_ipc::config::Limits;
use actix_ipc::transport::Endpoint;
pub use places::endpoint_in;
use std::path::PathBuf;

pub struct Running {
    pub handle: BrokerHandle,
    thread: Option<std::thread::JoinHandle<EndReason>>,
    /// Its Unix socket; on Windows its pipe, or the address, `127.0.0.1:port`.
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Running {
    /// With everything on one arbiter, as by default.
    pub fn start(limits: Limits) -> Self {
        Self::with_arbiters(0, limits)
    }

    /// With connections on so many threads of their own.
    pub fn with_arbiters(arbiters: usize, limits: Limits) -> Self {
        Self::built(move || Broker::builder().limits(limits).arbiters(arbiters))
    }

    /// As the builder says, which is made on the broker's thread.
    pub fn built(builder: impl FnOnce() -> BrokerBuilder + Send + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint = endpoint_in(folder.path());
        Self::on(folder, endpoint, builder)
    }

    /// With clients that can end one direction alone: over TCP where there are no Unix sockets, because a pipe cannot.
    pub fn ending_by_halves(arbiters: usize, limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint = match endpoint_in(folder.path()) {
            Endpoint::Pipe(_) => Endpoint::Tcp("127.0.0.1:0".to_owned()),
            endpoint => endpoint,
        };
        Self::on(folder, endpoint, move || {
            Broker::builder().limits(limits).arbiters(arbiters)
        })
    }

    fn on(
        folder: tempfile::TempDir,
        endpoint: Endpoint,
        builder: impl FnOnce() -> BrokerBuilder + Send + 'static,
    ) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let handle = builder().listen(endpoint).start().expect("a broker");
                sender.send(handle.clone()).expect("the test waits");
                handle.ended().await
            })
        });
        let handle: BrokerHandle = receiver.recv().expect("the broker starts");
        Self {
            path: handle.endpoints().last().map(place).expect("an endpoint"),
            handle,
            thread: Some(thread),
            _folder: folder,
        }
    }

    pub fn connect(&self) -> Raw {
        Raw::connect(&self.path)
    }

    pub fn connect_as(&self, name: &str) -> Raw {
        Raw::connect_as(&self.path, name)
    }

    /// So many connections.
    pub fn connect_all<const N: usize>(&self) -> [Raw; N] {
        std::array::from_fn(|_| self.connect())
    }

    /// Asks it to drain and waits until it has ended.
    pub fn stop(self) -> EndReason {
        self.begin_stop();
        self.ended()
    }

    /// Asks it to drain. Once this returns, the request lies in the broker's mailbox.
    pub fn begin_stop(&self) {
        // The request is sent by the first poll.
        let mut stop = std::pin::pin!(self.handle.stop());
        let _ = futures::FutureExt::now_or_never(stop.as_mut());
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> EndReason {
        self.join().expect("nobody else waits")
    }

    fn join(&mut self) -> Option<EndReason> {
        let reason = self.thread.take()?.join().expect("the broker does not panic");
        guard::ended(&self.handle);
        Some(reason)
    }
}

/// Where a raw client connects to an endpoint.
pub fn place(endpoint: &Endpoint) -> PathBuf {
    match endpoint {
        Endpoint::Unix(path) => path.clone(),
        Endpoint::Tcp(address) => PathBuf::from(address),
        #[cfg(windows)]
        Endpoint::Pipe(name) => crate::raw::pipe::path(name).into(),
        other => panic!("{other}"),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.thread.is_some() {
            self.begin_stop();
            self.join();
        }
    }
}
