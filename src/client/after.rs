//! What a step under the connection's lock has found out and tells when the lock is released.
//!
//! Owns the wakers, answers and notices of one step, in their order, and what is dropped behind them. Wakers and channels belong to executors
//! that the library does not know, attachments to programs; what they do when they are woken or dropped must not find the lock held.

use super::dead::Dead;
use super::lasting::Held;
use super::port::Port;
use super::presence::Notice;
use super::queue::Queue;
use super::undelivered::Undelivered;
use crate::error::CallError;
use crate::text;
use std::sync::Arc;
use std::task::Waker;
use tokio::sync::{oneshot, watch};

/// Who waits for the broker's first answer to something lasting.
pub(crate) type First = oneshot::Sender<Result<u32, CallError>>;

/// Places of a batch for which memory is kept between two batches.
const CALLS_KEPT: usize = 1024;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct After {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) dead: Dead,
    /// The broker's next byte is in shared memory; for who reads.
    pub(crate) moved: bool,
    /// Others on the thread are to have their turn before the next read; for who reads.
    pub(crate) enough: bool,
    told: Vec<Told>,
    /// Memory for the places of calls in a batch, empty.
    calls: Vec<usize>,
}

#[derive(Debug)]
enum Told {
    Answer(First, Result<u32, CallError>),
    Standing(Arc<watch::Sender<Held>>, Held),
    Notice(Arc<Queue<Notice>>, Notice),
    NoMore(Arc<Queue<Notice>>),
    /// For the log: a registration ended, and why.
    Replaced(Arc<str>, String),
}

impl After {
    /// An empty list for the places of the frames in a batch that concern calls to this client.
    pub(crate) fn take_calls(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.calls)
    }

    /// The list is used again, unless a rare batch has made it large.
    pub(crate) fn keep_calls(&mut self, mut calls: Vec<usize>) {
        if calls.capacity() <= CALLS_KEPT {
            calls.clear();
            self.calls = calls;
        }
    }

    /// The answer to who asked for something lasting.
    pub(crate) fn answer(&mut self, first: First, result: Result<u32, CallError>) {
        self.told.push(Told::Answer(first, result));
    }

    /// What a registration holds now.
    pub(crate) fn standing(&mut self, of: &Arc<watch::Sender<Held>>, now: Held) {
        self.told.push(Told::Standing(Arc::clone(of), now));
    }

    /// A change for a watch.
    pub(crate) fn notice(&mut self, to: &Arc<Queue<Notice>>, notice: Notice) {
        self.told.push(Told::Notice(Arc::clone(to), notice));
    }

    /// What became of a message, to the endpoint that sent it. It lies there at once: who sees the end of the endpoint finds all that
    /// was lost before.
    pub(crate) fn undelivered(&mut self, to: &Port, what: Undelivered) {
        self.wakers.extend(to.reports.add(what));
    }

    /// A registration has ended, which the program may not be looking at.
    pub(crate) fn replaced(&mut self, object: &Arc<str>, reason: String) {
        self.told.push(Told::Replaced(Arc::clone(object), reason));
    }

    /// The end of a watch.
    pub(crate) fn no_more(&mut self, to: &Arc<Queue<Notice>>) {
        self.told.push(Told::NoMore(Arc::clone(to)));
    }

    /// Wakes, tells and drops; never under the lock. Empty afterwards, to be used again.
    pub(crate) fn perform(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
        for told in self.told.drain(..) {
            match told {
                // Whoever asked and went away has given it up by its own means.
                Told::Answer(first, result) => drop(first.send(result)),
                Told::Standing(of, now) => drop(of.send_replace(now)),
                Told::Notice(to, notice) => to.push(notice),
                Told::NoMore(to) => to.close(),
                Told::Replaced(object, reason) => {
                    let (object, reason) = (text::name(&object), text::text(&reason));
                    tracing::warn!(%object, %reason, "a registration ended");
                }
            }
        }
        // Last: nobody waits for it.
        self.dead.clear();
    }
}
