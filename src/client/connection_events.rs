//! What a program is told of its connection: that it was lost, and what came back with the next one.
//!
//! Owns the events and their distribution to those who listen; each is told once per event.

use super::queue::{Item, Queue};
use crate::error::CallError;
use crate::message::Epoch;
use futures::Stream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

/// Connection events that wait for a reader who does not read.
const QUEUE_MAX: usize = 256;

/// Something that happened to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The connection ended. Every open call has ended with [`BrokerGone`](crate::error::ErrorCode::BrokerGone); the
    /// library is trying to connect again, unless that was turned off. Not told when the program closed the client.
    Lost {
        /// Why, in a sentence.
        reason: String,
    },
    /// A new connection is there, and every registration, subscription and watch was asked for again.
    Reconnected {
        /// Which life of the broker it is.
        epoch: Epoch,
        /// The same broker process as before; otherwise it has started anew and its retained values are gone.
        same_broker: bool,
        /// How many registrations, subscriptions and watches are in force again.
        restored: usize,
        /// Those that are not: what it was, and the broker's reason.
        lost: Vec<(String, CallError)>,
    },
    /// There is no connection and there will be none.
    Closed {
        /// Why, in a sentence.
        reason: String,
    },
    /// So many events were not taken in time.
    Missed(u64),
}

/// Those who listen.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Vec<Weak<Queue<ConnectionEvent>>>>);

impl Watchers {
    pub(crate) fn tell(&self, event: &ConnectionEvent) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|watcher| watcher.strong_count() > 0);
        let listening: Vec<_> = list.iter().filter_map(Weak::upgrade).collect();
        drop(list);
        for queue in listening {
            queue.push(event.clone());
            if matches!(event, ConnectionEvent::Closed { .. }) {
                queue.close();
            }
        }
    }

    pub(crate) fn listen(&self) -> ConnectionEvents {
        let queue = Arc::new(Queue::new(QUEUE_MAX));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&queue));
        ConnectionEvents { queue }
    }
}

/// The stream of [`ConnectionEvent`]s from the moment it was made. It ends after [`ConnectionEvent::Closed`]. Up to 256
/// events wait; more are counted. Cancel safe.
#[derive(Debug)]
pub struct ConnectionEvents {
    queue: Arc<Queue<ConnectionEvent>>,
}

impl ConnectionEvents {
    /// A stream that has ended, for a client that is closed already.
    pub(crate) fn ended(reason: String) -> Self {
        let queue = Arc::new(Queue::new(QUEUE_MAX));
        queue.push(ConnectionEvent::Closed { reason });
        queue.close();
        Self { queue }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for ConnectionEvents {
    type Item = ConnectionEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        self.queue.poll(cx).map(|item| {
            item.map(|item| match item {
                Item::Next(event) => event,
                Item::Missed(count) => ConnectionEvent::Missed(count),
            })
        })
    }
}
