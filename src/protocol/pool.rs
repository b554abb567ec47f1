//! One connection for all who call the same server.
//!
//! Owns the table of connections by endpoint and sender type. A connection that has ended is dialled again by the next who asks;
//! one that is only away comes back by itself.

use super::caller::{Caller, ProtocolSender};
use super::client::{RpcClient, RpcClientBuilder};
use crate::client::{ConnectError, IpcClient};
use crate::transport::Endpoint;
use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections to servers, one for each endpoint and sender type. Cloning shares them. They last as long as the pool or a sender does.
#[derive(Clone, Default)]
pub struct RpcPool {
    table: Arc<Mutex<HashMap<(Endpoint, TypeId), Slot>>>,
}

/// One connection, or the attempt to make it, which others wait for.
type Slot = Arc<tokio::sync::Mutex<Option<IpcClient>>>;

impl RpcPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sender for the server at `endpoint`. The first who asks connects; others meanwhile wait for that, and those who come later get
    /// the same connection. Clients of a pool answer no calls. Cancel safe: the next who waits goes on.
    ///
    /// # Errors
    /// As [`RpcClient::connect`]; who asks next tries again.
    pub async fn client<S: ProtocolSender>(&self, endpoint: Endpoint) -> Result<S, ConnectError> {
        self.client_with(RpcClient::builder(), endpoint).await
    }

    /// The same with options, which count when there is no connection yet.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub async fn client_with<S: ProtocolSender>(
        &self,
        builder: RpcClientBuilder<S>,
        endpoint: Endpoint,
    ) -> Result<S, ConnectError> {
        let slot = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody waits for and that have ended make room.
            table.retain(|_, slot| {
                let ended = slot
                    .try_lock()
                    .is_ok_and(|slot| slot.as_ref().is_none_or(IpcClient::has_ended));
                !ended || Arc::strong_count(slot) > 1
            });
            let key = (endpoint.clone(), TypeId::of::<S>());
            Arc::clone(table.entry(key).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.has_ended()) {
            return Ok(S::new(Caller::new(client.clone(), None)));
        }
        let client = builder.connect(endpoint, ()).await?;
        *slot = Some(client.sender.caller().client().clone());
        Ok(client.sender)
    }

    /// How many connections it keeps, ended ones included until somebody asks for one again.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it keeps none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for RpcPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcPool")
            .field("connections", &self.len())
            .finish()
    }
}
