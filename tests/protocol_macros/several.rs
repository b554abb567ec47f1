//! Several protocols on one connection: one sender, one receiver, registries.

use super::serve;
use crate::broker::Place;
use actix_ipc::protocol::{Dispatch, ProtocolSender, Result, protocol, protocol_handler, protocol_sender};
use actix_ipc::{registry, registry_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

protocol! {
    /// For everybody.
    pub mod app {
        add { number: u64 } return u64;
        ping return String;
    }
}

/// Another place for protocols.
pub(crate) mod inner {
    actix_ipc::protocol::protocol! {
        /// For those in charge.
        pub mod admin {
            reset;
            ping return String;
            total return u64;
        }
    }
}

use inner::admin;

/// One handler of both.
#[derive(Debug, Default)]
pub(crate) struct Handler {
    total: AtomicU64,
}

impl app::Receive for Handler {
    async fn add(&self, number: u64) -> Result<u64> {
        Ok(self.total.fetch_add(number, Ordering::Relaxed) + number)
    }

    async fn ping(&self) -> Result<String> {
        Ok("app".to_owned())
    }
}

impl admin::Receive for Handler {
    async fn reset(&self) -> Result<()> {
        self.total.store(0, Ordering::Relaxed);
        Ok(())
    }

    async fn ping(&self) -> Result<String> {
        Ok("admin".to_owned())
    }

    async fn total(&self) -> Result<u64> {
        Ok(self.total.load(Ordering::Relaxed))
    }
}

protocol_sender!(pub(crate) BothSender impl [app, inner::admin]);
protocol_handler!(pub(crate) BothReceiver impl [app, inner::admin] with Handler);
protocol_handler!(
    /// For any handler.
    Any impl [app, admin]
);

/// Both protocols answer, whatever joins them.
async fn both(answers: impl Dispatch) {
    let place = Place::new();
    let broker = place.start();
    let (served, both): (_, BothSender) = serve(&broker, answers).await;
    assert_eq!(both.add(3).await.expect("answered"), 3);
    assert_eq!(both.total().await.expect("answered"), 3);
    both.reset().await.expect("sent");
    assert_eq!(both.app().add(1).await.expect("answered"), 1);
    assert_eq!(both.app().ping().await.expect("answered"), "app");
    assert_eq!(both.admin().ping().await.expect("answered"), "admin");
    assert_eq!(app::Commands::ping(&both).await.expect("answered"), "app");
    assert_eq!(BothSender::protocols(), [&app::PROTOCOL, &admin::PROTOCOL]);
    let alone: admin::Sender = served
        .caller
        .protocol("served")
        .await
        .expect("it is served as well");
    assert_eq!(alone.total().await.expect("answered"), 1);
}

#[tokio::test]
async fn one_receiver_of_one_handler() {
    both(BothReceiver::new(Handler::default())).await;
}

#[tokio::test]
async fn one_receiver_of_any_handler() {
    let any = AnyReceiver::new(Arc::new(Handler::default()));
    assert_eq!(any.handler().total.load(Ordering::Relaxed), 0);
    both(any.clone()).await;
    assert_eq!(any.handler().total.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_registry_of_one_shared_handler() {
    both(registry_for!(Handler::default(), [app, inner::admin])).await;
}

#[tokio::test]
async fn a_registry_of_a_handler_for_each() {
    let shared = Arc::new(Handler::default());
    let registry = registry! {
        app => Arc::clone(&shared),
        inner::admin => shared,
    };
    assert_eq!(registry.list_protocols(), [&app::PROTOCOL, &admin::PROTOCOL]);
    both(registry).await;
}

#[tokio::test]
async fn one_handler_shared_by_hand() {
    let shared = Arc::new(Handler::default());
    let builder = actix_ipc::protocol::ProtocolRegistry::builder();
    let registry = builder
        .with(app::Receiver::from(Arc::clone(&shared)))
        .with(admin::Receiver::from(shared))
        .build();
    both(registry).await;
}
