//! Attachments that are only passing through: what they are charged for, and where they are closed.
//!
//! Owns [`Passing`], the wrapper that a broker puts around an attachment between its receipt and the write that sends it
//! on, and the threads that close. Closing may hang (a file system in user space that does not answer), so it is never
//! done by the thread that serves connections. It knows no limit: what is charged gives itself back by being dropped. That
//! is at once while closing goes on; when many wait to be closed, not before it is done, so that those that hang in their
//! closing count as long as they do.

use super::lock;
use crate::message::Attachment;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads that close. One that hangs leaves the others.
const THREADS: usize = 4;
/// Attachments that may wait for them; far more than limits let a broker hold. Beyond that the dropping thread closes.
const WAITING_MAX: usize = 65_536;
/// As long as fewer wait, closing is taken for done: some times what one connection may have, so that threads that are late on a busy
/// machine cost nobody a refusal.
const UNCHARGED: usize = 256;
/// How long a thread stays that has nothing to close.
const LINGER: Duration = Duration::from_secs(1);
/// A thread that has just closed looks again after this, by itself: to wake one for each attachment takes more of the time of the thread
/// that serves connections than all else that it does for that attachment.
const NAP: Duration = Duration::from_millis(1);
/// When so many wait, one is woken all the same.
const SOON: usize = 16;

/// What gives itself back by being dropped.
pub type Charge = Box<dyn Any + Send + Sync>;

/// An attachment in the hands of a broker. Dropping it, or [`release`], gives the charge back and closes what is inside
/// elsewhere.
#[derive(Debug)]
pub struct Passing(Mutex<Option<Held>>);

struct Held {
    attachment: Attachment,
    charge: Option<Charge>,
    /// What else is given back with it.
    more: Option<Charge>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an attachment")
    }
}

impl Passing {
    /// Wraps an attachment. The result can be written to any stream as if it were the attachment itself.
    #[must_use]
    pub fn wrap(attachment: Attachment, charge: Charge) -> Attachment {
        let held = Held {
            attachment,
            charge: Some(charge),
            more: None,
        };
        Arc::new(Self(Mutex::new(Some(held))))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let held = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        held.into_iter().for_each(close);
    }
}

/// The same attachment for one more receiver, with a charge of its own. `None` once `attachment` was released.
#[must_use]
pub fn another(attachment: &Attachment, charge: Charge) -> Option<Attachment> {
    inside(attachment).map(|inside| Passing::wrap(inside, charge))
}

/// Charges more for an attachment: given back with what it was charged already. At once, once it was released, and for what is not
/// a [`Passing`].
pub fn charge_also(attachment: &Attachment, charge: Charge) {
    if let Some(passing) = attachment.downcast_ref::<Passing>()
        && let Some(held) = &mut *lock(&passing.0)
    {
        held.more = Some(charge);
    }
}

/// The same attachment with its charge in a place of its own: it is closed with that, whoever holds `attachment` still. `None` once
/// `attachment` was released.
#[must_use]
pub fn moved(attachment: &Attachment) -> Option<Attachment> {
    match attachment.downcast_ref::<Passing>() {
        Some(passing) => {
            let held = lock(&passing.0).take()?;
            Some(Arc::new(Passing(Mutex::new(Some(held)))))
        }
        None => Some(attachment.clone()),
    }
}

/// What is to be sent for `attachment`: what is inside a [`Passing`], or itself. `None` once it was released.
pub(super) fn inside(attachment: &Attachment) -> Option<Attachment> {
    match attachment.downcast_ref::<Passing>() {
        Some(passing) => lock(&passing.0).as_ref().map(|held| held.attachment.clone()),
        None => Some(attachment.clone()),
    }
}

/// Gives up an attachment that was sent, although others may hold it still. Nothing happens to one that is not a
/// [`Passing`].
pub fn release(attachment: &Attachment) {
    if let Some(passing) = attachment.downcast_ref::<Passing>() {
        let held = lock(&passing.0).take();
        held.into_iter().for_each(close);
    }
}

/// Whether there is a Unix socket among them.
#[must_use]
pub fn has_unix_socket(attachments: &[Attachment]) -> bool {
    let mut inside = attachments.iter().filter_map(inside);
    inside.any(|attachment| super::is_unix_socket(&attachment))
}

/// What waits to be closed, and the threads for it.
struct Closer {
    waiting: VecDeque<Held>,
    threads: usize,
    idle: usize,
    /// One of the others looks again within [`NAP`].
    naps: bool,
}

static CLOSER: Mutex<Closer> = Mutex::new(Closer {
    waiting: VecDeque::new(),
    threads: 0,
    idle: 0,
    naps: false,
});
static WORK: Condvar = Condvar::new();
/// Nobody notifies it.
static NAPS: Condvar = Condvar::new();

fn close(mut held: Held) {
    let mut closer = lock(&CLOSER);
    let given_back = closer.waiting.len() < UNCHARGED;
    let _given_back = (
        held.charge.take_if(|_| given_back),
        held.more.take_if(|_| given_back),
    );
    if closer.waiting.len() >= WAITING_MAX {
        drop(closer);
        drop(held);
        return;
    }
    closer.waiting.push_back(held);
    if !closer.naps || closer.waiting.len() >= SOON {
        summon(closer);
    }
}

/// Sees to it that somebody comes for what waits.
fn summon(mut closer: MutexGuard<'_, Closer>) {
    // One that was woken for an earlier attachment may hang in its closing, so it does not count twice.
    if closer.idle >= closer.waiting.len() {
        WORK.notify_one();
        return;
    }
    if closer.threads >= THREADS {
        return;
    }
    closer.threads += 1;
    drop(closer);
    let started = std::thread::Builder::new().name("closer".into()).spawn(work);
    if started.is_err() {
        let mut closer = lock(&CLOSER);
        closer.threads -= 1;
        // Without any thread nobody else would do it.
        let left = match closer.threads {
            0 => std::mem::take(&mut closer.waiting),
            _ => VecDeque::new(),
        };
        drop(closer);
        drop(left);
    }
}

fn work() {
    let mut closer = lock(&CLOSER);
    let mut worked = false;
    loop {
        if let Some(held) = closer.waiting.pop_front() {
            // Nobody was woken for what has come in the meantime, and this one may hang in its closing.
            if !std::mem::replace(&mut worked, true) && !closer.waiting.is_empty() {
                summon(closer);
            } else {
                drop(closer);
            }
            drop(held);
            closer = lock(&CLOSER);
            continue;
        }
        if std::mem::take(&mut worked) && !closer.naps {
            closer.naps = true;
            let (woken, _) = NAPS
                .wait_timeout(closer, NAP)
                .unwrap_or_else(PoisonError::into_inner);
            closer = woken;
            closer.naps = false;
            continue;
        }
        closer.idle += 1;
        let (woken, waited) = WORK
            .wait_timeout(closer, LINGER)
            .unwrap_or_else(PoisonError::into_inner);
        closer = woken;
        closer.idle -= 1;
        if waited.timed_out() && closer.waiting.is_empty() {
            closer.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Tells who drops it, and in which order.
    struct Told(&'static str, Sender<(&'static str, std::thread::ThreadId)>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.1.send((self.0, std::thread::current().id()));
        }
    }

    #[test]
    fn closed_elsewhere_and_given_back_at_once() {
        let (tell, drops) = channel();
        let told = |what| Told(what, tell.clone());
        let wrap = || Passing::wrap(Arc::new(told("closed")), Box::new(told("given back")));
        let here = std::thread::current().id();
        let ends: [&dyn Fn(); 2] = [&|| drop(wrap()), &|| {
            let passing = wrap();
            let kept = passing.clone();
            assert!(inside(&kept).is_some());
            release(&passing);
            assert!(inside(&kept).is_none(), "released for everybody");
        }];
        for end in ends {
            end();
            let mut both: Vec<_> = (0..2)
                .map(|_| drops.recv_timeout(Duration::from_secs(20)).unwrap())
                .collect();
            both.sort_unstable_by_key(|(what, _)| *what);
            let [("closed", closer), ("given back", giver)] = both[..] else {
                panic!("{both:?}")
            };
            assert!(closer != here && giver == here);
        }
        assert!(
            inside(&(Arc::new(7_u8) as Attachment)).is_some(),
            "others pass as they are"
        );
    }

    /// Hangs in its closing until it is told to go on.
    struct Hangs(Mutex<Receiver<()>>);

    impl Drop for Hangs {
        fn drop(&mut self) {
            let _ = lock(&self.0).recv_timeout(Duration::from_secs(20));
        }
    }

    #[test]
    fn one_that_hangs_leaves_those_that_come_behind_it() {
        let (tell, drops) = channel();
        // Whatever a thread does that has closed before: nap, wait, or be at its end.
        for round in 0..50 {
            drop(Passing::wrap(
                Arc::new(Told("before", tell.clone())),
                Box::new(()),
            ));
            if round % 2 == 0 {
                assert_eq!(drops.recv_timeout(Duration::from_secs(20)).unwrap().0, "before");
            }
            let (go_on, hanging) = channel();
            drop(Passing::wrap(Arc::new(Hangs(hanging.into())), Box::new(())));
            for _ in 0..3 {
                drop(Passing::wrap(
                    Arc::new(Told("behind", tell.clone())),
                    Box::new(()),
                ));
            }
            let mut behind = 0;
            while behind < 3 {
                let (what, _) = drops.recv_timeout(Duration::from_secs(10)).unwrap();
                behind += usize::from(what == "behind");
            }
            go_on.send(()).unwrap();
        }
    }

    #[test]
    fn two_that_hang_leave_nobody_behind() {
        let (tell, drops) = channel();
        let come = |attachment: Attachment| drop(Passing::wrap(attachment, Box::new(())));
        for _ in 0..3 {
            // Whoever closes this one naps behind it, so that nobody is woken for the next three.
            come(Arc::new(Told("before", tell.clone())));
            assert_eq!(drops.recv_timeout(Duration::from_secs(20)).unwrap().0, "before");
            let hanging = [(); 2].map(|()| channel());
            let go_on = hanging.map(|(go_on, hanging)| {
                come(Arc::new(Hangs(hanging.into())));
                go_on
            });
            come(Arc::new(Told("behind", tell.clone())));
            // The two hang for longer.
            let closed = drops.recv_timeout(Duration::from_secs(15));
            go_on.iter().for_each(|go_on| go_on.send(()).unwrap());
            assert_eq!(closed.unwrap().0, "behind");
        }
    }
}
