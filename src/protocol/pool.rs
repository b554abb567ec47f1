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

/// Connections to servers, one for each endpoint and sender type. Cloning shares them. They last as long as the pool or a sender does;
/// one that is away and that no sender uses is forgotten when the pool is next asked for anything.
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
            forget(&mut table);
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

    /// Forgets the connections to this endpoint, of all sender types: who asks next connects anew. Those who have senders keep them.
    pub fn remove(&self, endpoint: &Endpoint) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|(own, _), _| own != endpoint);
    }

    /// How many connections it keeps: those that are made right now, that are there, or that are away and used by somebody.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut table);
        table.len()
    }

    /// Whether it keeps none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Those that have ended make room, and those that are away and that nobody uses: they would be dialled for ever.
fn forget(table: &mut HashMap<(Endpoint, TypeId), Slot>) {
    table.retain(|_, slot| {
        let over = slot.try_lock().is_ok_and(|slot| {
            slot.as_ref().is_none_or(|client| {
                let unused = Arc::strong_count(&client.handle) == 1;
                client.has_ended() || (unused && !client.is_connected())
            })
        });
        !over || Arc::strong_count(slot) > 1
    });
}

impl fmt::Debug for RpcPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcPool")
            .field("connections", &self.len())
            .finish()
    }
}
