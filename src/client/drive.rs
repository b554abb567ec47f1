//! One connection at work: the future that reads and writes it.
//!
//! Owns the order of work in a turn: read, hand out, write, and sleep only when both directions are through. It is the
//! only reader of its stream and its writer of last resort (see [`super::outbox`]). Spawned by [`super::socket`]
//! inside the socket's actor.

use super::after::After;
use super::builder::SharedMemory;
use super::busy::Busy;
use super::inbound::{self, Ended};
use super::link::Link;
use super::outbox::Claim;
use super::peer::Role;
use super::shared::{Shared, Wrote};
use crate::error::CloseReason;
use crate::message::arrivals::Arrivals;
use crate::message::{Attachment, Batch, Decoder, Draft, Kind};
use crate::sync::slips::{self, Slip};
use crate::transport::Stream;
use crate::transport::keepalive::{Due, Keepalive};
use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep};

/// What one read brings at most, in bytes: what is read is handed out while it is in the cache.
const READ_MOST: usize = 32 * 1024;
/// The same for large messages, and the read buffer that all sockets of one thread share: each read wakes the program, which has little
/// to do where a read brings one message or two.
const READ_BUFFER: usize = 128 * 1024;
/// A read that brought fewer messages than this, and could have been larger, was too small.
const FEW: usize = 16;
/// Reads in one turn before other tasks of the thread run.
const READS: usize = 8;
/// A read of so many bytes has brought enough for others to do: they run before the next. Programs then take their events in
/// turn with the reading, and neither queues them up nor loses them.
const READ_ENOUGH: usize = READ_MOST / 2;

/// Attachments that may wait for their frames, and how long, as the broker does it by default.
const ARRIVALS_MAX: usize = 64;
const ARRIVAL_WAIT: Duration = Duration::from_secs(10);
/// How long the broker's last words are waited for after a failed write, which the end of the socket follows at once.
const LAST_WORDS: Duration = Duration::from_secs(1);
const UNCLAIMED: &str = "sent attachments without frames that take them";
const MISSING: &str = "sent a frame without the attachments that it declares";
const BEHIND_LAST: &str =
    "the broker sent more on the socket behind the Ring that was to be its last frame there";

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);
}

/// See the module's documentation. Ends with the reason of the connection's end.
pub(crate) struct Drive {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    decoder: Decoder,
    /// What came with the last read.
    attachments: Vec<Attachment>,
    /// What waits for its frame.
    arrivals: Arrivals,
    after: After,
    /// With how long it was to be.
    tick: Option<(Duration, Pin<Box<Sleep>>)>,
    busy: Busy,
    /// The last read brought enough for this turn.
    enough: bool,
    /// What the next read brings at most, in bytes.
    most: usize,
    /// Handlers have had the thread for as long as they may.
    worked: bool,
    /// Where the system does not tell that the broker has gone.
    keepalive: Option<(Keepalive, Pin<Box<Sleep>>)>,
    /// A write has failed for this reason: only the broker's last words are read, until the time is up.
    failed: Option<(Ended, Pin<Box<Sleep>>)>,
}

impl Drive {
    pub(crate) fn new(shared: Arc<Shared>, link: Link) -> Self {
        let Link { stream, decoder, .. } = link;
        let every = shared.options.keepalive;
        let watches = shared.options.shared_memory == SharedMemory::WhenBusy;
        let keepalive = stream
            .can_be_half_open()
            .then(|| Keepalive::new(every, Instant::now()))
            .flatten()
            .map(|keepalive| (keepalive, Box::pin(sleep(every))));
        Self {
            shared,
            stream,
            decoder,
            attachments: Vec::new(),
            arrivals: Arrivals::default(),
            after: After::default(),
            tick: None,
            enough: false,
            most: READ_MOST,
            worked: false,
            busy: Busy::new(watches, Instant::now()),
            keepalive,
            failed: None,
        }
    }

    fn role(&self) -> Role {
        self.shared.options.role()
    }

    /// Reads once. Ready when something was read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if let Err(error) = ready!(self.stream.poll_read_ready(cx)) {
            return Poll::Ready(Err(lost(self.role(), &error)));
        }
        let role = self.role();
        let (stream, decoder, attachments) = (&self.stream, &mut self.decoder, &mut self.attachments);
        let (mut taken, most) = (0_usize, self.most);
        let read = BUFFER.with_borrow_mut(|buffer| {
            match stream.try_read(buffer.get_mut(..most).unwrap_or_default(), attachments) {
                Ok(0) => {
                    let text = format!("{} closed the connection", role.other());
                    Err(Ended::new(CloseReason::Lost, text))
                }
                Ok(count) => {
                    taken = count;
                    decoder
                        .decode(buffer.get(..count).unwrap_or_default())
                        .map(Some)
                        .map_err(|error| Ended::new(CloseReason::Protocol, error.to_string()))
                }
                Err(error) if is_again(&error) => Ok(None),
                Err(error) => Err(lost(role, &error)),
            }
        });
        let with_attachments = !self.attachments.is_empty();
        self.did(taken);
        self.enough = taken >= READ_ENOUGH;
        let read = match self.arrive() {
            Ok(()) => read,
            Err(ended) => Err(ended),
        };
        if let (Ok(Some(_)), Some((keepalive, _))) = (&read, &mut self.keepalive) {
            keepalive.heard();
        }
        if let Ok(Some(batch)) = &read {
            self.most = next_most(self.most, taken, batch);
        }
        match read {
            Ok(Some(batch)) if batch.is_empty() => Poll::Ready(Ok(())),
            Ok(Some(mut batch)) => {
                if self.arrivals.oldest().is_some() && !self.arrivals.attach(&mut batch) {
                    return Poll::Ready(Err(wrong(role, MISSING)));
                }
                let ended = inbound::dispatch(&self.shared, batch, &mut self.after);
                let moved = std::mem::take(&mut self.after.moved);
                self.worked = std::mem::take(&mut self.after.enough);
                self.enough |= self.worked;
                let ended = ended.or_else(|| moved.then(|| self.follow(with_attachments)).flatten());
                Poll::Ready(ended.map_or(Ok(()), Err))
            }
            Ok(None) => {
                // It was not ready after all; asking again registers the task.
                match self.stream.poll_read_ready(cx) {
                    Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(lost(role, &error))),
                    Poll::Pending => Poll::Pending,
                }
            }
            Err(ended) => Poll::Ready(Err(ended)),
        }
    }

    /// The broker has written its last frame to the socket. One read brings it together with what was sent at once behind it for the
    /// first frame in the memory: attachments, and the byte that they travel with.
    fn follow(&mut self, with_attachments: bool) -> Option<Ended> {
        let left = self.decoder.buffered();
        let early = with_attachments && left == 1;
        if left > 0 && !early {
            return Some(Ended::new(CloseReason::Protocol, BEHIND_LAST));
        }
        self.decoder.forget_partial();
        self.stream.read_from_ring(early);
        None
    }

    /// A read or a write took so many bytes.
    fn did(&mut self, bytes: usize) {
        if self.busy.did(bytes, Instant::now) {
            self.shared.lock().ask_for_ring();
        }
    }

    /// Takes in what came with a read: it waits for the frame that declares it.
    fn arrive(&mut self) -> Result<(), Ended> {
        if self.attachments.is_empty() && self.arrivals.oldest().is_none() {
            return Ok(());
        }
        let now = Instant::now();
        for attachment in self.attachments.drain(..) {
            self.arrivals.push(now, Ok(attachment));
        }
        let late = self
            .arrivals
            .oldest()
            .is_some_and(|came| now.saturating_duration_since(came) > ARRIVAL_WAIT);
        if late || self.arrivals.len() > ARRIVALS_MAX {
            return Err(wrong(self.role(), UNCLAIMED));
        }
        Ok(())
    }

    /// Writes once. Ready when something was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            let (claim, mut blocked) = self.claim();
            if let Some(claim) = claim {
                self.did(claim.part().0.len());
                let wrote = self
                    .shared
                    .write(claim, &self.stream)
                    .map_err(|error| lost(self.role(), &error))?;
                if wrote == Wrote::All {
                    return Poll::Ready(Ok(()));
                }
                blocked = self.shared.lock().out.is_blocked();
            }
            if !blocked {
                return Poll::Pending;
            }
            ready!(self.stream.poll_write_ready(cx)).map_err(|error| lost(self.role(), &error))?;
            self.shared.lock().out.unblock();
        }
    }

    /// Takes what is to be written; there is room for more then. Besides: whether nothing may be written now.
    fn claim(&mut self) -> (Option<Claim>, bool) {
        let mut state = self.shared.lock();
        let blocked = state.out.is_blocked();
        let claim = match state.out.is_ready() {
            true => state.out.claim(),
            false => None,
        };
        state.tell_of_room(&mut self.after.wakers);
        drop(state);
        self.after.perform();
        (claim, blocked)
    }

    /// Keeps the timer running while something has a deadline.
    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let (ticking, every) = {
                let state = self.shared.lock();
                (state.ticking, state.tick)
            };
            match self.tick.as_mut() {
                None if !ticking => return Ok(()),
                None => self.tick = Some((every, Box::pin(sleep(every)))),
                Some((was, _)) if *was > every => self.tick = None,
                Some((_, tick)) => match tick.as_mut().poll(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(()) => {
                        self.tick = None;
                        self.shared.tick(Instant::now(), &mut self.after)?;
                        self.after.perform();
                    }
                },
            }
        }
    }

    /// Asks a broker that has been silent, or finds that it has gone.
    fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        while let Some((keepalive, timer)) = &mut self.keepalive
            && timer.as_mut().poll(cx).is_ready()
        {
            match keepalive.due(Instant::now()) {
                Due::Nothing => {}
                Due::Ask => {
                    // This task writes it in the same turn.
                    let _ = self.shared.lock().control(&Draft::new(Kind::Ping, 0));
                }
                Due::Lost => {
                    let silent = keepalive.patience();
                    return Err(Ended::new(
                        CloseReason::Lost,
                        format!(
                            "{} has given no sign for up to {silent:?}",
                            self.shared.options.role().other()
                        ),
                    ));
                }
            }
            timer.as_mut().reset(keepalive.next().into());
        }
        Ok(())
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.shared.lock().io_active = true;
        if let Some(failed) = self.failed.take() {
            return self.last_words(failed, cx);
        }
        // What begins to wait meanwhile wakes this task, or is seen when it would leave.
        let mut timers = true;
        for _ in 0..READS {
            if std::mem::take(&mut timers)
                && let Err(ended) = self.poll_tick(cx).and_then(|()| self.poll_keepalive(cx))
            {
                return Poll::Ready(ended);
            }
            let read = match self.poll_read(cx) {
                Poll::Ready(Err(ended)) => return Poll::Ready(ended),
                other => other.is_ready(),
            };
            let wrote = match self.poll_write(cx) {
                Poll::Ready(Err(ended)) => {
                    return self.last_words((ended, Box::pin(sleep(LAST_WORDS))), cx);
                }
                other => other.is_ready(),
            };
            if !read && !wrote {
                if self.leave() {
                    return Poll::Pending;
                }
                timers = true;
            }
            if std::mem::take(&mut self.enough) {
                break;
            }
        }
        self.shared.lock().io_active = false;
        if std::mem::take(&mut self.worked) {
            // Behind all other tasks that are ready, and behind a look at the other sockets and timers of this thread.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Sleeps, unless something was added meanwhile.
    fn leave(&self) -> bool {
        let mut state = self.shared.lock();
        // Or the next one is to come sooner than it was to be.
        let started = state.ticking && self.tick.as_ref().is_none_or(|(was, _)| *was > state.tick);
        let ready = state.out.is_ready() && !slips::is(Slip::SocketLooksOnce);
        if ready || started {
            return false;
        }
        state.io_active = false;
        true
    }

    /// A failed write says less than what the broker may have said before: its goodbye is in the socket, of which this thread's
    /// runtime may not have heard yet.
    fn last_words(&mut self, failed: (Ended, Pin<Box<Sleep>>), cx: &mut Context<'_>) -> Poll<Ended> {
        let (ended, mut until) = failed;
        for _ in 0..READS {
            if ended.reason != CloseReason::Lost || until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(ended);
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(said)) if said.reason != CloseReason::Lost => return Poll::Ready(said),
                Poll::Ready(Err(_)) => return Poll::Ready(ended),
                Poll::Pending => {
                    self.failed = Some((ended, until));
                    return Poll::Pending;
                }
            }
        }
        self.failed = Some((ended, until));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Future for Drive {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        this.shared.io.register(cx.waker());
        this.turn(cx)
    }
}

/// What the next read brings at most. Only messages of the label bus are read in larger parts: windows bound them to the end of the way,
/// and nothing drops them when many come at once, as a subscription may drop events.
fn next_most(most: usize, taken: usize, batch: &Batch) -> usize {
    let Some(first) = batch.header(0) else {
        return most;
    };
    if first.kind != Kind::Message || batch.len() >= FEW {
        READ_MOST
    } else if taken == most {
        most.saturating_mul(2).min(READ_BUFFER)
    } else {
        most
    }
}

fn is_again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn wrong(role: Role, what: &str) -> Ended {
    Ended::new(CloseReason::Protocol, format!("{} {what}", role.other()))
}

fn lost(role: Role, error: &io::Error) -> Ended {
    let reason = match error.kind() {
        // Of shared memory: what no broker writes there.
        io::ErrorKind::InvalidData => CloseReason::Protocol,
        _ => CloseReason::Lost,
    };
    Ended::new(
        reason,
        format!("the connection to {} failed: {error}", role.other()),
    )
}
