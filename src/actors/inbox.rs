//! Where what others have for a peer waits until the peer takes it.
//!
//! Owns the queue of a connection, which lies in its [`Peer`](super::peer::Peer), and the waker of its task. A channel of its own, as
//! actix has it, costs four allocations of an idle connection and two of every delivery; this one costs neither, and what travels
//! is the same typed message. What may wait is bounded by those who send: they charge the peer's account before they post. Knows
//! no actor and no socket. Called by whoever delivers, and by the connection's context.

use super::messages::Deliver;
use crate::sync::slips::{self, Slip};
use crate::sync::{Mutex, MutexGuard};
use std::cell::Cell;
use std::fmt;
use std::sync::PoisonError;
use std::task::Waker;

/// The largest list that is kept for others, in deliveries.
const KEPT_MAX: usize = 128;
/// Lists that are kept; more are in use at once only beside as many busy peers.
const SPARE_MAX: usize = 16;

thread_local! {
    /// Lists that were emptied on this thread, for the next queues that fill: an idle peer has none of its own.
    static SPARE: Cell<Vec<Vec<Deliver>>> = const { Cell::new(Vec::new()) };
}

/// Takes deliveries for one peer. Must not block and must not panic.
pub trait Inbox: Send + Sync {
    /// Queues the delivery; a closed inbox drops it.
    fn post(&self, delivery: Deliver);
}

/// Where a peer's deliveries go.
pub enum Post {
    /// They wait in the peer.
    Kept(Queue),
    /// Somebody else takes them: another actor's mailbox, or a simulator's queue.
    Passed(Box<dyn Inbox>),
}

impl Inbox for Post {
    fn post(&self, delivery: Deliver) {
        match self {
            Self::Kept(queue) => queue.post(delivery),
            Self::Passed(inbox) => inbox.post(delivery),
        }
    }
}

impl From<Box<dyn Inbox>> for Post {
    fn from(inbox: Box<dyn Inbox>) -> Self {
        Self::Passed(inbox)
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(queue) => queue.fmt(f),
            Self::Passed(_) => f.write_str("Passed"),
        }
    }
}

/// Deliveries in the order in which they were posted, and who is to be woken for them.
#[derive(Debug)]
pub struct Queue(Mutex<State>);

#[derive(Debug)]
enum State {
    Open {
        waiting: Vec<Deliver>,
        /// The task, while it does not know of what is posted next.
        sleeper: Option<Waker>,
    },
    /// Nobody takes anything any more.
    Closed,
}

impl Queue {
    /// An empty queue of a task that has to be woken.
    #[must_use]
    pub fn new(task: Waker) -> Self {
        Self(Mutex::new(State::Open {
            waiting: Vec::new(),
            sleeper: Some(task),
        }))
    }

    /// Takes what waits, in order. `None`: nothing does, and `task` is woken when something is posted.
    pub fn take(&self, task: &Waker) -> Option<Vec<Deliver>> {
        let mut state = self.lock();
        let nothing = state.is_empty();
        if slips::is(Slip::InboxLooksFirst) {
            drop(state);
            state = self.lock();
        }
        let State::Open { waiting, sleeper } = &mut *state else {
            return None;
        };
        if nothing {
            let known = sleeper.as_ref().is_some_and(|sleeper| sleeper.will_wake(task));
            let before = if known {
                None
            } else {
                sleeper.replace(task.clone())
            };
            drop(state);
            drop(before);
            return None;
        }
        // It is awake, and looks again before it sleeps.
        let awake = sleeper.take();
        let waiting = std::mem::take(waiting);
        drop(state);
        drop(awake);
        Some(waiting)
    }

    /// Takes nothing more; what waits is dropped, and so answered.
    pub fn close(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Closed);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn is_empty(&self) -> bool {
        match self {
            Self::Open { waiting, .. } => waiting.is_empty(),
            Self::Closed => true,
        }
    }
}

impl Inbox for Queue {
    fn post(&self, delivery: Deliver) {
        let mut state = self.lock();
        let State::Open { waiting, sleeper } = &mut *state else {
            drop(state);
            // Outside of the lock: what is dropped may be answered, and the answer may be for this peer.
            return drop(delivery);
        };
        if waiting.capacity() == 0 {
            *waiting = spare();
        }
        waiting.push(delivery);
        let sleeper = sleeper.take();
        drop(state);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}

/// A list that is empty, with room if this thread has one.
fn spare() -> Vec<Deliver> {
    // While a thread ends it has none: what it still holds may be dropped, and answered, after its lists.
    let spare = SPARE.try_with(|spare| {
        let mut lists = spare.take();
        let list = lists.pop();
        spare.set(lists);
        list
    });
    spare.ok().flatten().unwrap_or_default()
}

/// Keeps the room of a list whose deliveries were handled.
pub(super) fn keep(mut list: Vec<Deliver>) {
    list.clear();
    if list.capacity() > KEPT_MAX {
        return;
    }
    let _ = SPARE.try_with(|spare| {
        let mut lists = spare.take();
        if lists.len() < SPARE_MAX {
            lists.push(list);
        }
        spare.set(lists);
    });
}

/// Drops what it is given: for tests of what happens elsewhere.
#[cfg(test)]
pub(crate) struct Deaf;

#[cfg(test)]
impl Inbox for Deaf {
    fn post(&self, _: Deliver) {}
}

#[cfg(test)]
#[cfg(not(feature = "models"))]
mod tests {
    use super::*;
    use crate::actors::messages::Control;
    use crate::message::Ticket;
    use futures::task::{ArcWake, waker};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl ArcWake for Woken {
        fn wake_by_ref(woken: &Arc<Self>) {
            woken.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn cancel(number: u64) -> Deliver {
        Deliver::Control(Control::Cancel(Ticket(number)))
    }

    fn numbers(list: Option<Vec<Deliver>>) -> Vec<u64> {
        let number = |delivery| match delivery {
            Deliver::Control(Control::Cancel(ticket)) => ticket.0,
            other => panic!("{other:?}"),
        };
        list.into_iter().flatten().map(number).collect()
    }

    #[test]
    fn what_is_posted_comes_in_order_and_wakes_once_until_it_is_taken() {
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let woken = || (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst));
        let queue = Queue::new(waker(first.clone()));
        queue.post(cancel(1));
        queue.post(cancel(2));
        assert_eq!(woken(), (1, 0), "its task is told with the first one");
        assert_eq!(numbers(queue.take(&waker(first.clone()))), [1, 2]);
        queue.post(cancel(3));
        assert_eq!(woken(), (1, 0), "it is awake until it has found nothing");
        assert_eq!(numbers(queue.take(&waker(first.clone()))), [3]);
        assert!(queue.take(&waker(first.clone())).is_none());
        assert!(
            queue.take(&waker(second.clone())).is_none(),
            "it sleeps elsewhere"
        );
        queue.post(cancel(4));
        assert_eq!(woken(), (1, 1));
        queue.close();
        queue.post(cancel(5));
        assert!(queue.take(&waker(first.clone())).is_none());
        assert_eq!(woken(), (1, 1), "nobody is woken for what is dropped");
    }

    #[test]
    fn what_is_dropped_may_post_to_the_same_queue() {
        use crate::actors::messages::{Route, Routes};
        use crate::actors::peer::{Account, Peer};
        use crate::config::Limits;
        use crate::message::{CallId, Origin, PeerId};
        use crate::policy::Principal;

        let woken = Arc::new(Woken::default());
        let origin = Origin {
            peer: PeerId(1),
            uid: 0,
            pid: 0,
        };
        let account = Account::new(Limits::default().outbox_bytes, 1);
        let queue = Queue::new(waker(woken));
        let peer = Peer::with_principal(
            origin,
            Arc::new(Principal::default()),
            "",
            0,
            account,
            Post::Kept(queue),
        );
        let routes = || {
            let route = Route {
                call: CallId(1),
                ticket: Ticket(1),
                callee: peer.clone(),
            };
            Deliver::Routed(Routes(vec![route]))
        };
        peer.post(routes());
        peer.close_queue();
        peer.post(routes());
        assert_eq!(Arc::strong_count(&peer), 1, "nothing holds it any more");
    }
}
