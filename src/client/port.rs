//! What one endpoint of the label bus has received and its program has not taken, and what it is told of its own messages.
//!
//! Owns the order of messages, and the reader's end: whole runs of frames lie here by reference to the batch they came in, and are read
//! one after the other. Also what the broker has to be told was taken. Knows no lock of the connection and no type of a message.

use super::after::After;
use super::event_queue::Run;
use super::queue::Queue;
use super::undelivered::Undelivered;
use super::waiters::{Place, Waiters};
use crate::error::CallError;
use crate::message::frame::FrameView;
use crate::message::{Attachment, Batch};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

/// Messages whose fate may wait to be asked for; beyond it they are only counted.
const REPORTS: usize = 1024;
/// What may wait to be taken, in bytes: more than any broker queues for a connection. One that sends more ignores its windows.
const UNREAD_MAX: usize = 256 * 1024 * 1024;

/// One endpoint, as the socket's task and the program see it.
#[derive(Debug)]
pub(crate) struct Port {
    inbox: Mutex<Inbox>,
    /// Something lies in the inbox.
    filled: AtomicBool,
    pub(crate) reports: Queue<Undelivered>,
    ended: OnceLock<CallError>,
}

#[derive(Debug, Default)]
struct Inbox {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    waiters: Waiters,
    /// The program takes nothing any more.
    deaf: bool,
}

/// The place of a frame, and what travels with it.
pub(crate) type Given = (usize, Vec<Attachment>);

/// Messages that follow each other in a batch.
#[derive(Debug)]
struct Chunk {
    batch: Arc<Batch>,
    /// The frame at which they begin.
    first: usize,
    next: usize,
    count: usize,
    /// What travels with them, each with how far behind the first it is.
    given: VecDeque<Given>,
    /// Over which connection they came.
    life: u64,
}

impl Default for Port {
    fn default() -> Self {
        Self {
            inbox: Mutex::default(),
            filled: AtomicBool::new(false),
            reports: Queue::new(REPORTS),
            ended: OnceLock::new(),
        }
    }
}

impl Port {
    /// Adds whole Message frames of a batch, which follow each other, with those of `given` that are theirs. `false`: more than any
    /// broker may send.
    pub(crate) fn push(
        &self,
        batch: &Arc<Batch>,
        run: Run,
        given: &mut VecDeque<Given>,
        life: u64,
        after: &mut After,
    ) -> bool {
        let Run { first, count, bytes } = run;
        let mut inbox = self.lock();
        if inbox.deaf {
            return true;
        }
        // What is a small part of its buffer must not keep the whole of it.
        let end = first.saturating_add(count);
        let mut theirs = VecDeque::new();
        while let Some((at, list)) = pop_below(given, end) {
            match at.checked_sub(first) {
                Some(behind) => theirs.push_back((behind, list)),
                // What came for an endpoint that is gone was left, and is nobody's.
                None => after.dead.bury(list),
            }
        }
        let (batch, first) = match bytes < batch.buffer_len() / 4 {
            true => (Arc::new(batch.extract(first..end)), 0),
            false => (Arc::clone(batch), first),
        };
        inbox.bytes = inbox.bytes.saturating_add(bytes);
        inbox.chunks.push_back(Chunk {
            batch,
            first,
            next: first,
            count,
            given: theirs,
            life,
        });
        inbox.waiters.drain(&mut after.wakers);
        self.filled.store(true, Ordering::Release);
        inbox.bytes <= UNREAD_MAX
    }

    /// The endpoint is no longer on the bus, for this reason; the first one counts. What became of its messages is told before.
    pub(crate) fn end(&self, error: CallError, woken: &mut Vec<Waker>) {
        let _ = self.ended.set(error);
        woken.extend(self.reports.finish());
        self.lock().waiters.drain(woken);
    }

    /// Why it is no longer on the bus.
    pub(crate) fn ended(&self) -> Option<&CallError> {
        self.ended.get()
    }

    /// Who has waited does so no more, or looks again.
    pub(crate) fn leave(&self, place: &mut Option<Place>) {
        if place.is_some() {
            let waker = self.lock().waiters.leave(place);
            drop(waker);
        }
    }

    /// The program takes nothing any more: forgets what is there, and what comes.
    pub(crate) fn deafen(&self) {
        let mut inbox = self.lock();
        inbox.deaf = true;
        let chunks = std::mem::take(&mut inbox.chunks);
        drop(inbox);
        drop(chunks);
    }

    pub(crate) fn is_deaf(&self) -> bool {
        self.lock().deaf
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next report that is there; those that did not fit are left out.
    #[cfg(test)]
    pub(crate) fn try_report(&self) -> Option<Undelivered> {
        match self.reports.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(super::queue::Item::Next(undelivered))) => Some(undelivered),
            _ => None,
        }
    }
}

/// The first of them, if its place is below `end`.
fn pop_below(given: &mut VecDeque<Given>, end: usize) -> Option<Given> {
    given.front().filter(|(at, _)| *at < end)?;
    given.pop_front()
}

/// The reader's end of a port.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    current: Option<Chunk>,
    taken: VecDeque<Chunk>,
    /// What was taken and not told: how many, and their bytes on the wire.
    untold: u32,
    untold_bytes: usize,
    /// Over which connection they came.
    life: u64,
}

/// What is to be told to the broker: so many were taken of what came over this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) count: u32,
    pub(crate) life: u64,
}

impl Reader {
    /// Reads the next message that is here with `read`, which may refuse it; it is taken in any case.
    pub(crate) fn next<T>(
        &mut self,
        port: &Port,
        read: impl FnOnce(&FrameView<'_>, Vec<Attachment>) -> T,
    ) -> Option<T> {
        loop {
            if let Some(chunk) = self.current.as_mut().filter(|chunk| chunk.count > 0) {
                let index = chunk.next;
                (chunk.next, chunk.count) = (index.wrapping_add(1), chunk.count.wrapping_sub(1));
                if self.life != chunk.life {
                    (self.life, self.untold, self.untold_bytes) = (chunk.life, 0, 0);
                }
                self.untold = self.untold.saturating_add(1);
                let Some(view) = chunk.batch.view(index) else {
                    continue;
                };
                self.untold_bytes = self.untold_bytes.saturating_add(view.header.wire_len());
                let behind = index.saturating_sub(chunk.first);
                let mut own = Vec::new();
                while let Some((at, list)) = pop_below(&mut chunk.given, behind.saturating_add(1)) {
                    if at == behind {
                        own = list;
                    }
                }
                return Some(read(&view, own));
            }
            self.current = self.taken.pop_front();
            if self.current.is_none() && !self.take_more(port) {
                return None;
            }
        }
    }

    /// Takes all that has come meanwhile.
    fn take_more(&mut self, port: &Port) -> bool {
        if !port.filled.load(Ordering::Acquire) {
            return false;
        }
        let mut inbox = port.lock();
        port.filled.store(false, Ordering::Relaxed);
        std::mem::swap(&mut inbox.chunks, &mut self.taken);
        inbox.bytes = 0;
        !self.taken.is_empty()
    }

    /// What is to be told now: when `part` bytes have come together, or nothing more is here to be taken.
    pub(crate) fn tell(&mut self, port: &Port, part: usize) -> Option<Taken> {
        if self.untold == 0 || self.untold_bytes < part && !self.is_empty(port) {
            return None;
        }
        self.untold_bytes = 0;
        Some(Taken {
            count: std::mem::take(&mut self.untold),
            life: self.life,
        })
    }

    /// What is to be told at the end, however little it is.
    pub(crate) fn tell_rest(&mut self) -> Option<Taken> {
        let count = std::mem::take(&mut self.untold);
        let life = self.life;
        (count > 0).then_some(Taken { count, life })
    }

    fn is_empty(&self, port: &Port) -> bool {
        self.is_through() && !port.filled.load(Ordering::Acquire)
    }

    /// Whether all that was brought here is read.
    fn is_through(&self) -> bool {
        let here = self.current.as_ref().is_some_and(|chunk| chunk.count > 0);
        !here && self.taken.is_empty()
    }

    /// Waits for a message, at `place` among those who do. Ready when there may be one, or the endpoint has ended.
    pub(crate) fn poll_more(&self, port: &Port, place: &mut Option<Place>, cx: &Context<'_>) -> Poll<()> {
        let mut inbox = port.lock();
        // Somebody else may have brought some here and taken one.
        if !self.is_through() || !inbox.chunks.is_empty() || port.ended().is_some() {
            return Poll::Ready(());
        }
        let before = inbox.waiters.wait(place, cx.waker());
        drop(inbox);
        drop(before);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Draft, Encoding, Kind};

    fn batch(ids: std::ops::Range<u32>) -> Arc<Batch> {
        let mut bytes = Vec::new();
        for aux in ids {
            let draft = Draft::new(Kind::Message, 1).aux(aux);
            draft.payload(Encoding::POSTCARD, &[0; 40]).encode(&mut bytes);
        }
        Arc::new(Batch::from_bytes(bytes.into(), 1000).unwrap())
    }

    fn push(port: &Port, ids: std::ops::Range<u32>, life: u64) -> usize {
        let mut after = After::default();
        let run = Run {
            first: 0,
            count: ids.len(),
            bytes: ids.len() * 64,
        };
        let mut given = VecDeque::new();
        assert!(port.push(&batch(ids), run, &mut given, life, &mut after));
        after.wakers.len()
    }

    fn next(reader: &mut Reader, port: &Port) -> Option<u32> {
        reader.next(port, |view, _| view.header.aux)
    }

    #[test]
    fn messages_are_read_in_order_and_told_when_none_is_left_or_enough_were_taken() {
        let (port, mut reader) = (Port::default(), Reader::default());
        let cx = Context::from_waker(futures::task::noop_waker_ref());
        assert_eq!(next(&mut reader, &port), None);
        let mut place = None;
        for _ in 0..2 {
            assert!(reader.poll_more(&port, &mut place, &cx).is_pending());
        }
        assert_eq!(push(&port, 0..3, 1), 1, "one waker for one task");
        push(&port, 3..5, 1);
        let mut seen = Vec::new();
        let mut told = Vec::new();
        while let Some(aux) = next(&mut reader, &port) {
            seen.push(aux);
            told.extend(reader.tell(&port, 128).map(|taken| (aux, taken.count)));
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(
            told,
            [(1, 2), (3, 2), (4, 1)],
            "two are 128 bytes; behind the last none is left"
        );
        assert_eq!(reader.tell(&port, 0), None);
    }

    #[test]
    fn nobody_sleeps_beside_a_message_that_another_one_has_brought_here() {
        let (port, mut reader) = (Port::default(), Reader::default());
        let cx = Context::from_waker(Waker::noop());
        // One finds nothing; two come, and another one takes the first.
        assert_eq!(next(&mut reader, &port), None);
        push(&port, 0..2, 1);
        assert_eq!(next(&mut reader, &port), Some(0));
        assert!(reader.poll_more(&port, &mut None, &cx).is_ready());
        push(&port, 2..3, 1);
        assert_eq!(next(&mut reader, &port), Some(1));
        assert!(reader.poll_more(&port, &mut None, &cx).is_ready());
        assert_eq!(next(&mut reader, &port), Some(2));
        assert!(reader.poll_more(&port, &mut None, &cx).is_pending());
    }

    #[test]
    fn who_waits_no_more_leaves_nothing_behind() {
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let (port, reader) = (Port::default(), Reader::default());
        for _ in 0..100 {
            let (waker, mut place) = (Waker::from(Arc::new(Task)), None);
            let waits = reader.poll_more(&port, &mut place, &Context::from_waker(&waker));
            assert!(waits.is_pending());
            port.leave(&mut place);
        }
        assert!(port.lock().waiters.is_empty());
    }

    #[test]
    fn what_travelled_with_a_message_for_nobody_is_given_to_no_other() {
        let gone = Port::default();
        gone.deafen();
        let (port, mut reader) = (Port::default(), Reader::default());
        let batch = batch(0..4);
        let carried = |what: u8| vec![Arc::new(what) as Attachment];
        let mut given: VecDeque<Given> = [(0, carried(0)), (1, carried(1)), (3, carried(3))].into();
        for (to, first, count) in [(&gone, 0, 2), (&port, 2, 2)] {
            let bytes = count * 64;
            let run = Run { first, count, bytes };
            assert!(to.push(&batch, run, &mut given, 1, &mut After::default()));
        }
        assert!(given.is_empty());
        let mut seen = Vec::new();
        while let Some(got) = reader.next(&port, |view, list| {
            let carried = list.iter().filter_map(|it| it.downcast_ref::<u8>().copied());
            (view.header.aux, carried.collect::<Vec<u8>>())
        }) {
            seen.push(got);
        }
        assert_eq!(seen, [(2, vec![]), (3, vec![3])]);
    }

    #[test]
    fn what_came_over_an_earlier_connection_is_not_told_on_the_next() {
        let (port, mut reader) = (Port::default(), Reader::default());
        push(&port, 0..2, 1);
        push(&port, 2..3, 2);
        for expected in [None, None, Some(Taken { count: 1, life: 2 })] {
            assert!(next(&mut reader, &port).is_some());
            assert_eq!(reader.tell(&port, 1000), expected);
        }
    }

    #[test]
    fn an_end_is_seen_behind_the_last_message_and_nothing_is_kept_for_the_deaf() {
        let (port, mut reader) = (Port::default(), Reader::default());
        push(&port, 0..1, 1);
        port.end(
            CallError::from(crate::error::ErrorCode::Draining),
            &mut Vec::new(),
        );
        assert_eq!(next(&mut reader, &port), Some(0));
        let cx = Context::from_waker(Waker::noop());
        assert!(reader.poll_more(&port, &mut None, &cx).is_ready() && port.ended().is_some());
        port.deafen();
        push(&port, 1..2, 1);
        assert_eq!(next(&mut reader, &port), None);
    }
}
