//! Who is there: waiting for names, watching them come and go, asking what is registered.
//!
//! Owns the requests of that kind and their answers' types.

use super::exchange::Exchange;
use super::handle::{IpcClient, Lease};
use super::lasting::Fact;
use super::names::Key;
use super::outgoing::Outgoing;
use super::queue::{Item, Queue};
use super::request::Answer;
use crate::error::{CallError, ErrorCode};
use crate::message::{Draft, Encoding, Kind, Origin, Pattern};
use futures::Stream;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Notices that wait for a reader who does not read.
const NOTICES_MAX: usize = 64 * 1024;

/// A change that a [`Watch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A name is registered; by whom. Also told once for each that was there before the watch.
    NameAppeared {
        /// The object's name.
        name: String,
        /// Its owner.
        owner: Origin,
    },
    /// A name is free again. Told before anybody else can take it.
    NameVanished {
        /// The object's name.
        name: String,
        /// Who had it.
        owner: Origin,
    },
    /// A connection is there. Also told once for each that was there before the watch.
    ConnectionAppeared {
        /// The name that its program declares, or nothing.
        name: String,
        /// The connection.
        peer: Origin,
    },
    /// A connection has ended.
    ConnectionVanished {
        /// The name that its program declared, or nothing.
        name: String,
        /// The connection.
        peer: Origin,
    },
    /// The connection to the broker was lost: forget what was told. What is there is told again after this.
    Interrupted,
    /// So many notices were not taken in time.
    Missed(u64),
}

impl Notice {
    pub(crate) fn new(aux: u32, name: String, origin: Origin) -> Option<Self> {
        match aux {
            1 => Some(Self::NameAppeared { name, owner: origin }),
            2 => Some(Self::NameVanished { name, owner: origin }),
            3 => Some(Self::ConnectionAppeared { name, peer: origin }),
            4 => Some(Self::ConnectionVanished { name, peer: origin }),
            _ => None,
        }
    }
}

/// What a [`Watch`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchScope {
    /// Names of objects.
    Names,
    /// Connections.
    Connections,
    /// Both.
    Both,
}

/// The stream of [`Notice`]s; ends when the client is closed. Dropping it ends the watch. Up to 65,536 notices wait
/// unread; more are counted. Reading is cancel safe.
#[derive(Debug)]
#[must_use = "dropping a watch ends it"]
pub struct Watch {
    queue: Arc<Queue<Notice>>,
    _lease: Lease,
}

impl Watch {
    /// The next notice; `None` at the end.
    pub async fn next(&mut self) -> Option<Notice> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Watch {
    type Item = Notice;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.queue.poll(cx).map(|item| {
            item.map(|item| match item {
                Item::Next(notice) => notice,
                Item::Missed(count) => Notice::Missed(count),
            })
        })
    }
}

impl IpcClient {
    /// Ready when `name` is registered. Waits also for a connection. Cancel safe.
    ///
    /// # Errors
    /// Invalid for a name that is none, TooMany at the broker's limit, NotConnected when the client is closed.
    pub async fn wait_for_object(&self, name: &str) -> Result<(), CallError> {
        self.wait(&[name], None).await
    }

    /// The same for at most `timeout`.
    ///
    /// # Errors
    /// Also Deadline after `timeout` (one to two seconds later when the broker is stopped).
    pub async fn wait_for_object_timeout(&self, name: &str, timeout: Duration) -> Result<(), CallError> {
        self.wait(&[name], Some(timeout)).await
    }

    /// Ready when all of `names` are registered at once. Cancel safe.
    ///
    /// # Errors
    /// As [`wait_for_object`](Self::wait_for_object).
    pub async fn wait_for_objects<S: AsRef<str>>(&self, names: impl AsRef<[S]>) -> Result<(), CallError> {
        let names: Vec<&str> = names.as_ref().iter().map(AsRef::as_ref).collect();
        self.wait(&names, None).await
    }

    /// The same for at most `timeout`.
    ///
    /// # Errors
    /// As [`wait_for_object_timeout`](Self::wait_for_object_timeout).
    pub async fn wait_for_objects_timeout<S: AsRef<str>>(
        &self,
        names: impl AsRef<[S]>,
        timeout: Duration,
    ) -> Result<(), CallError> {
        let names: Vec<&str> = names.as_ref().iter().map(AsRef::as_ref).collect();
        self.wait(&names, Some(timeout)).await
    }

    async fn wait(&self, names: &[&str], timeout: Option<Duration>) -> Result<(), CallError> {
        let mut payload = Vec::new();
        for name in names {
            let key = Key::single(name)?;
            let name = key.as_bytes();
            payload.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            payload.extend_from_slice(name);
        }
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let frame = |id| {
            Draft::new(Kind::Wait, id)
                .payload(Encoding::RAW, &payload)
                .to_vec()
        };
        self.handle.ask(Fact::Wait { until }, frame).await.map(|_| ())
    }

    /// Watches names, connections or both: first what is there, then every change.
    ///
    /// # Errors
    /// TooMany at the broker's limit, NotConnected when the client is closed.
    pub async fn watch(&self, scope: WatchScope) -> Result<Watch, CallError> {
        self.watch_key(scope, &[]).await
    }

    /// Watches the names (of objects, or declared by connections) that match a pattern.
    ///
    /// # Errors
    /// As [`watch`](Self::watch), and Invalid for a text that is no pattern.
    pub async fn watch_pattern(&self, scope: WatchScope, pattern: &str) -> Result<Watch, CallError> {
        let pattern = Pattern::new(pattern).map_err(|error| super::call::invalid(error.to_string()))?;
        self.watch_key(scope, pattern.as_str().as_bytes()).await
    }

    async fn watch_key(&self, scope: WatchScope, key: &[u8]) -> Result<Watch, CallError> {
        let queue = Arc::new(Queue::new(NOTICES_MAX));
        let aux = match scope {
            WatchScope::Names => 1,
            WatchScope::Connections => 2,
            WatchScope::Both => 3,
        };
        let frame = |id| Draft::new(Kind::Watch, id).aux(aux).key(key).to_vec();
        let (lease, _) = self.handle.ask(Fact::Watch(Arc::clone(&queue)), frame).await?;
        Ok(Watch { queue, _lease: lease })
    }

    /// What is registered and who is connected, as the broker's JSON.
    ///
    /// # Errors
    /// NotConnected, BrokerGone or Deadline.
    pub async fn list(&self) -> Result<Value, CallError> {
        self.query(Outgoing::plain(Kind::List, Key::EMPTY)).await
    }

    /// One object's owner and description, as the broker's JSON.
    ///
    /// # Errors
    /// NoSuchObject, and as [`list`](Self::list).
    pub async fn describe(&self, name: &str) -> Result<Value, CallError> {
        self.query(Outgoing::plain(Kind::Describe, Key::single(name)?))
            .await
    }

    async fn query(&self, outgoing: Outgoing) -> Result<Value, CallError> {
        let mut exchange = Exchange::new(Arc::clone(&self.handle), Ok(outgoing));
        match std::future::poll_fn(|cx| exchange.poll_answer(cx)).await? {
            Answer::Reply(reply) => {
                let decoded: Result<Value, _> = reply.payload.decode();
                decoded.map_err(|error| CallError::new(ErrorCode::Encoding, error.to_string()))
            }
            Answer::Number(_) => Ok(Value::Null),
        }
    }

    /// Asks the broker for a sign of life and returns how long it took.
    ///
    /// # Errors
    /// NotConnected, BrokerGone or Deadline.
    pub async fn ping(&self) -> Result<Duration, CallError> {
        ping(self).await
    }
}

/// Sends a request that is answered with Done.
pub(crate) async fn acknowledge(client: &IpcClient, outgoing: Outgoing) -> Result<(), CallError> {
    let mut exchange = Exchange::new(Arc::clone(&client.handle), Ok(outgoing));
    std::future::poll_fn(|cx| exchange.poll_answer(cx))
        .await
        .map(|_| ())
}

pub(crate) async fn ping(client: &IpcClient) -> Result<Duration, CallError> {
    let start = Instant::now();
    acknowledge(client, Outgoing::plain(Kind::Ping, Key::EMPTY)).await?;
    Ok(start.elapsed())
}
