//! What did not arrive: the reports to an endpoint of its own messages.
//!
//! Owns the reader's end of a bounded queue; what does not fit is counted and told. Made by `endpoint`.

use super::seat::Seat;
use crate::client::Undelivered;
use crate::client::queue::Item;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One entry of [`Reports`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// A message did not reach all whom it was for.
    Undelivered(Undelivered),
    /// So many more did not, before the next entry: the queue of 1,024 was full because nobody read it.
    Missed(u64),
}

impl From<Item<Undelivered>> for Report {
    fn from(item: Item<Undelivered>) -> Self {
        match item {
            Item::Next(undelivered) => Self::Undelivered(undelivered),
            Item::Missed(count) => Self::Missed(count),
        }
    }
}

/// The messages of an endpoint that did not arrive. Made by [`EndpointSender::undelivered`](super::EndpointSender::undelivered). It keeps
/// the endpoint on the bus.
#[derive(Debug)]
pub struct Reports {
    seat: Arc<Seat>,
}

impl Reports {
    pub(crate) const fn new(seat: Arc<Seat>) -> Self {
        Self { seat }
    }

    /// The next one that is there.
    #[must_use]
    pub fn try_next(&self) -> Option<Report> {
        self.seat.joined()?.port.reports.try_next().map(Report::from)
    }

    /// The next one. `None` once the endpoint is no longer on the bus and all that it lost has been told; only what a confirmation
    /// that is under way gives up later comes behind that. Cancel safe.
    pub async fn next(&self) -> Option<Report> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Report>> {
        match self.seat.joined() {
            Some(joined) => joined.port.reports.poll(cx).map(|item| item.map(Report::from)),
            None => Poll::Ready(None),
        }
    }
}
