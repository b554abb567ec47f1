//! A broker in a thread of its own, for tests of the client library.
//!
//! Owns the temporary folder with the socket, starting again at the same place, and two ways to end: in order, and at
//! once as a crash would. After either the leak guard looks at what is left.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
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
mod place;

use actix_ipc::actors::{Broker, BrokerHandle};
use actix_ipc::client::IpcClient;
use actix_ipc::config::Limits;
use actix_ipc::transport::Endpoint;
use std::thread::JoinHandle;

/// A running broker.
pub struct TestBroker {
    pub endpoint: Endpoint,
    pub handle: BrokerHandle,
    crash: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A place for a broker's socket.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        place::endpoint_in(self.folder.path())
    }

    pub fn start(&self) -> TestBroker {
        TestBroker::start(self.endpoint(), Limits::default())
    }

    pub fn start_with(&self, limits: Limits) -> TestBroker {
        TestBroker::start(self.endpoint(), limits)
    }
}

impl TestBroker {
    pub fn start(endpoint: Endpoint, limits: Limits) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (crash, crashed) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let handle = Broker::builder().limits(limits).listen(endpoint).start().unwrap();
                sender.send(handle.clone()).unwrap();
                let ended = Box::pin(handle.ended());
                futures::future::select(ended, crashed).await;
            });
        });
        let handle = receiver.recv().unwrap();
        let endpoint = handle.endpoints()[0].clone();
        Self {
            endpoint,
            handle,
            crash: Some(crash),
            thread: Some(thread),
        }
    }

    pub async fn client(&self) -> IpcClient {
        IpcClient::connect_to(self.endpoint.clone()).await.unwrap()
    }

    pub async fn named(&self, name: &str) -> IpcClient {
        IpcClient::builder()
            .endpoint(self.endpoint.clone())
            .name(name)
            .connect()
            .await
            .unwrap()
    }

    /// Ends at once: no goodbye, nothing flushed.
    pub fn crash(mut self) {
        self.crash.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap();
        guard::ended(&self.handle);
    }

    /// Ends in order.
    pub async fn stop(mut self) {
        self.handle.stop().await;
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap())
            .await
            .unwrap();
        guard::ended(&self.handle);
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(crash) = self.crash.take() {
            let _ = crash.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            if !std::thread::panicking() {
                guard::ended(&self.handle);
            }
        }
    }
}
