//! What the label bus promises to programs: who gets a message, what its sender is told, and what a lost host means.
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

#[path = "bus/delivery.rs"]
mod delivery;
#[path = "bus/joining.rs"]
mod joining;
#[path = "support/place.rs"]
mod place;
#[path = "bus/travel.rs"]
mod travel;

use actix_ipc::actors::{Broker, BrokerHandle, BusOptions};
use actix_ipc::bus::{
    EndpointReceiver, EndpointSender, JoinError, Label, Message, MessageBox, Options, Selector, join_async,
};
use actix_ipc::config::Limits;
use actix_ipc::transport::Endpoint;
use std::time::Duration;

/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_secs(20);

/// A bus of this test's own.
pub struct Bus {
    folder: tempfile::TempDir,
    pub broker: Option<BrokerHandle>,
}

impl Bus {
    pub fn start() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bus = Self { folder, broker: None };
        bus.host(limits);
        bus
    }

    pub fn host(&mut self, limits: Limits) {
        let broker = Broker::builder().limits(limits).listen(self.endpoint());
        self.broker = Some(broker.bus(BusOptions::new(b"secret")).start().unwrap());
    }

    pub fn endpoint(&self) -> Endpoint {
        place::endpoint_in(self.folder.path())
    }

    pub fn options(&self, label: Label) -> Options {
        Options::new("", label, "secret").at(self.endpoint())
    }

    pub async fn join<T: MessageBox, R: MessageBox>(
        &self,
        label: Label,
    ) -> (EndpointSender<T>, EndpointReceiver<R>) {
        self.try_join(self.options(label)).await.unwrap()
    }

    pub async fn try_join<T: MessageBox, R: MessageBox>(
        &self,
        options: Options,
    ) -> Result<(EndpointSender<T>, EndpointReceiver<R>), JoinError> {
        join_async(options, Some(LONG)).await
    }
}

pub fn to(label: &str, payload: &str) -> Message<String> {
    Message::new(Selector::unicast(label), payload.to_owned())
}

pub async fn text(receiver: &EndpointReceiver<String>) -> String {
    receiver.recv_async().await.unwrap().payload
}
