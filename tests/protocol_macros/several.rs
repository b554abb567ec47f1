//! Several protocols on one connection: one sender, one receiver, registries.

use crate::ways::{WAYS, serve};
use actix_ipc::protocol::{
    Dispatch, ProtocolRegistry, ProtocolSender, RegistryError, Result, protocol, protocol_handler,
    protocol_sender,
};
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
async fn both<D: Dispatch>(answers: impl Fn() -> D) {
    for way in WAYS {
        let (served, both): (_, BothSender) = serve(way, answers()).await;
        assert_eq!(both.add(3).await.expect("answered"), 3);
        assert_eq!(both.total().await.expect("answered"), 3);
        both.reset().await.expect("sent");
        assert_eq!(both.total().await.expect("answered"), 0);
        assert_eq!(both.app().add(1).await.expect("answered"), 1);
        assert_eq!(both.app().ping().await.expect("answered"), "app");
        assert_eq!(both.admin().ping().await.expect("answered"), "admin");
        assert_eq!(app::Commands::ping(&both).await.expect("answered"), "app");
        assert_eq!(BothSender::protocols(), [&app::PROTOCOL, &admin::PROTOCOL]);
        if let Some(caller) = &served.caller {
            let alone: admin::Sender = caller.protocol("served").await.expect("it is served as well");
            assert_eq!(alone.total().await.expect("answered"), 1);
        }
    }
}

#[tokio::test]
async fn one_receiver_of_one_handler() {
    both(|| BothReceiver::new(Handler::default())).await;
}

#[tokio::test]
async fn one_receiver_of_any_handler() {
    let any = AnyReceiver::new(Arc::new(Handler::default()));
    assert_eq!(any.clone().handler().total.load(Ordering::Relaxed), 0);
    both(|| AnyReceiver::new(Handler::default())).await;
}

#[tokio::test]
async fn a_registry_of_one_shared_handler() {
    both(|| registry_for!(Handler::default(), [app, inner::admin])).await;
}

#[tokio::test]
async fn a_registry_of_a_handler_for_each() {
    both(|| {
        let shared = Arc::new(Handler::default());
        let registry = registry! {
            app => Arc::clone(&shared),
            inner::admin => shared,
        };
        assert_eq!(registry.list_protocols(), [&app::PROTOCOL, &admin::PROTOCOL]);
        registry
    })
    .await;
}

#[tokio::test]
async fn one_handler_shared_by_hand() {
    both(|| {
        let shared = Arc::new(Handler::default());
        ProtocolRegistry::builder()
            .with(app::Receiver::from(Arc::clone(&shared)))
            .with(admin::Receiver::from(shared))
            .build()
    })
    .await;
}

#[tokio::test]
async fn protocols_registered_by_number_and_by_type() {
    both(|| {
        let shared = Arc::new(Handler::default());
        ProtocolRegistry::builder()
            .register(
                app::PROTOCOL_ID,
                app::PROTOCOL_NAME,
                app::Receiver::from(Arc::clone(&shared)),
            )
            .register_auto::<admin::ProtocolMarker, _>(admin::ReceiverWrapper::from(shared))
            .build()
    })
    .await;
}

#[test]
fn what_does_not_answer_a_protocol_is_not_registered_for_it() {
    let wrong = ProtocolRegistry::builder()
        .register_auto::<admin::ProtocolMarker, _>(app::Receiver::new(Handler::default()));
    let error = wrong.try_build().expect_err("app does not answer admin");
    assert!(matches!(error, RegistryError::NotAnswered(_)), "{error}");
    assert!(error.to_string().starts_with("admin ("), "{error}");
}
