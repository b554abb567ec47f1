//! Protocols put together at run time.
//!
//! Owns the table from protocols to what answers them. Built by [`registry!`](crate::registry!) and by programs, asked by the serving side.

use super::dispatch::{Dispatch, Request};
use super::info::ProtocolInfo;
use crate::client::{HandlerError, Response};
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;

/// Several protocols, each with what answers it. Cloning shares them.
#[derive(Clone, Default)]
pub struct ProtocolRegistry {
    entries: Arc<[(&'static ProtocolInfo, Arc<dyn Dispatch>)]>,
}

/// A registry in the making.
#[derive(Default)]
pub struct ProtocolRegistryBuilder {
    entries: Vec<(&'static ProtocolInfo, Arc<dyn Dispatch>)>,
}

impl ProtocolRegistry {
    /// An empty registry, to be filled.
    #[must_use]
    pub fn builder() -> ProtocolRegistryBuilder {
        ProtocolRegistryBuilder::default()
    }

    /// The protocols in it, in the order in which they were added.
    #[must_use]
    pub fn list_protocols(&self) -> Vec<&'static ProtocolInfo> {
        self.entries.iter().map(|(info, _)| *info).collect()
    }
}

impl ProtocolRegistryBuilder {
    /// Adds what answers some protocols. Two versions of one protocol may be served beside each other; of two that have the same
    /// number the first answers.
    #[must_use]
    pub fn with(mut self, answers: impl Dispatch) -> Self {
        let answers: Arc<dyn Dispatch> = Arc::new(answers);
        let protocols = answers.protocols();
        self.entries
            .extend(protocols.into_iter().map(|info| (info, Arc::clone(&answers))));
        self
    }

    /// The registry.
    #[must_use]
    pub fn build(self) -> ProtocolRegistry {
        ProtocolRegistry {
            entries: self.entries.into(),
        }
    }
}

/// A registry of protocols, each with its own handler: a type that implements the `Receive` of the protocol's module.
///
/// ```
/// # mod handlers {
/// actix_ipc::protocol::protocol! { pub mod clock { now return u64 } }
/// actix_ipc::protocol::protocol! { pub mod echo { say { text: String } return String } }
/// # pub struct Clock;
/// # impl clock::Receive for Clock { async fn now(&self) -> actix_ipc::protocol::Result<u64> { Ok(0) } }
/// # pub struct Echo;
/// # impl echo::Receive for Echo {
/// #     async fn say(&self, text: String) -> actix_ipc::protocol::Result<String> { Ok(text) }
/// # }
/// # }
/// # use handlers::*;
/// let served = actix_ipc::registry! {
///     clock => Clock,
///     echo => Echo,
/// };
/// assert_eq!(served.list_protocols().len(), 2);
/// ```
#[macro_export]
macro_rules! registry {
    ($($first:ident $(:: $rest:ident)* => $handler:expr),* $(,)?) => {
        $crate::protocol::ProtocolRegistry::builder()
            $(.with($first $(:: $rest)* ::Receiver::new($handler)))*
            .build()
    };
}

/// A registry of several protocols that one handler answers: `registry_for!(handler, [clock, echo])`.
#[macro_export]
macro_rules! registry_for {
    ($handler:expr, [$($first:ident $(:: $rest:ident)*),+ $(,)?]) => {{
        let handler = ::std::sync::Arc::new($handler);
        $crate::protocol::ProtocolRegistry::builder()
            $(.with($first $(:: $rest)* ::Receiver::from(::std::sync::Arc::clone(&handler))))+
            .build()
    }};
}

impl Dispatch for ProtocolRegistry {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        self.list_protocols()
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        let id = request.protocol();
        match self.entries.iter().find(|(info, _)| info.id == id) {
            Some((_, answers)) => answers.dispatch(request),
            None => Box::pin(std::future::ready(Err(request.unknown(&self.list_protocols())))),
        }
    }
}

impl fmt::Debug for ProtocolRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|(info, _)| info))
            .finish()
    }
}

impl fmt::Debug for ProtocolRegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|(info, _)| info))
            .finish()
    }
}
