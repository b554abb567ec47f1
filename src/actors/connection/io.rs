//! Reading and writing of one connection: a single item of its actor's context.
//!
//! Owns the stream, what a short write left over, and the connection's one timer. It moves bytes between the stream, the decoder
//! and the outbox, and knows no frame. Buffers are shared by the arbiter: an idle connection has none.

use super::outbox::WriteBuf;
use super::{Connection, Phase, stop};
use crate::actors::core::Shared;
use crate::actors::supervise::guard;
use crate::error::CloseReason;
use crate::message::Attachment;
use crate::message::handshake::PREFACE;
use crate::transport::Stream;
use actix::{ActorFuture, Context};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

/// The shared read buffer of an arbiter: the most that one batch can be made of, but for large frames.
const READ_BUFFER: usize = 128 * 1024;
/// What one write takes together, at most one large frame more.
const WRITE_MAX: usize = 128 * 1024;
/// Reads in one turn, before others on the arbiter get theirs.
const READS_PER_TURN: usize = 4;
/// Slices in one write.
const SLICES_MAX: usize = 64;

thread_local! {
    static READ: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static WRITE: Cell<Option<Box<WriteBuf>>> = const { Cell::new(None) };
}

/// The stream and what belongs to driving it.
pub(super) struct Io {
    pub(super) stream: Stream,
    unsent: VecDeque<Bytes>,
    write_blocked: bool,
    end_of_file: bool,
    /// Since when a started frame makes no progress.
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Until the welcome: the broker begins to stop.
    stopped: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Io {
    pub(super) fn new(stream: Stream, shared: Arc<Shared>) -> Self {
        let stopped = async move {
            let rung = shared.stop_rung.notified();
            if !shared.stopping.load(Ordering::Acquire) {
                rung.await;
            }
        };
        Self {
            stream,
            unsent: VecDeque::new(),
            write_blocked: false,
            end_of_file: false,
            waiting_since: None,
            timer: None,
            stopped: Some(Box::pin(stopped)),
        }
    }
}

/// The item that drives a connection's I/O. It ends by stopping the actor.
pub(super) struct Drive;

impl ActorFuture<Connection> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut Connection,
        ctx: &mut Context<Connection>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let end = guard(|| act.drive(ctx, cx)).unwrap_or_else(|panic| {
            act.panicked(&panic);
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        if end.is_ready() {
            stop(ctx);
        }
        end
    }
}

impl Connection {
    /// Ready: the connection is over.
    fn drive(&mut self, ctx: &Context<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            if self.flush(cx).is_err() {
                return Poll::Ready(());
            }
            if matches!(self.phase, Phase::Closing) && self.outbox.is_empty() && self.io.unsent.is_empty() {
                // The goodbye is written; whether the peer hears the end of file is its business.
                let _ = self.io.stream.shutdown_write();
                return Poll::Ready(());
            }
            match self.read(ctx, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(())) => return Poll::Ready(()),
                Poll::Pending => return self.rest(cx),
            }
        }
        cx.waker().wake_by_ref();
        // A peer that never stops sending must not put its own deadlines off.
        self.poll_timer(cx)
    }

    /// Nothing to read now: arms the timer, and writes what it may have caused.
    fn rest(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.poll_stopped(cx);
        self.end_of_linger();
        self.drain_if_idle();
        if self.poll_timer(cx).is_ready() {
            return Poll::Ready(());
        }
        if !self.outbox.is_empty() && !self.io.write_blocked {
            cx.waker().wake_by_ref();
        }
        if matches!(self.phase, Phase::Closing) && self.outbox.is_empty() && self.io.unsent.is_empty() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// A connection that is not welcomed yet ends with the broker; others are told by Registry.
    fn poll_stopped(&mut self, cx: &mut TaskContext<'_>) {
        let Some(stopped) = &mut self.io.stopped else {
            return;
        };
        if !matches!(self.phase, Phase::Preface(_) | Phase::Hello) {
            self.io.stopped = None;
        } else if stopped.as_mut().poll(cx).is_ready() {
            self.io.stopped = None;
            self.close(CloseReason::Draining, CloseReason::Draining.text());
        }
    }

    fn read(&mut self, ctx: &Context<Self>, cx: &mut TaskContext<'_>) -> Poll<Result<(), ()>> {
        if self.io.end_of_file || matches!(self.phase, Phase::Closing) {
            return Poll::Pending;
        }
        // Who does not read the answers to its own requests is not read either, until it does.
        if self.outbox.own_bytes() > self.core.shared.limits.outbox_bytes / 2 {
            return Poll::Pending;
        }
        if self.gate.poll_open(cx).is_pending() {
            return Poll::Pending;
        }
        match self.io.stream.poll_read_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
            Poll::Ready(Ok(())) => {}
        }
        let mut buffer = READ.take().unwrap_or_else(|| vec![0; READ_BUFFER].into());
        let mut attachments = Vec::new();
        let read = self.io.stream.try_read(&mut buffer, &mut attachments);
        let result = match read {
            Ok(0) => self.end_of_file(),
            Ok(count) => {
                self.core.shared.metrics.bytes_in.add(count as u64);
                self.received(buffer.get(..count).unwrap_or_default(), attachments, ctx);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(()),
        };
        READ.set(Some(buffer));
        Poll::Ready(result)
    }

    fn end_of_file(&mut self) -> Result<(), ()> {
        self.io.end_of_file = true;
        match self.phase {
            Phase::Ready(_) if !self.io.stream.is_closed() => {
                self.linger(false);
                Ok(())
            }
            Phase::Lingering(_) if !self.io.stream.is_closed() => Ok(()),
            _ => Err(()),
        }
    }

    fn received(&mut self, mut bytes: &[u8], attachments: Vec<Attachment>, ctx: &Context<Self>) {
        let read = bytes.len();
        if matches!(self.phase, Phase::Lingering(_)) {
            // It has said goodbye; only the end of file is still of interest.
            return;
        }
        if let Phase::Preface(seen) = self.phase {
            let (head, rest) = bytes
                .split_at_checked(PREFACE.len().saturating_sub(seen))
                .unwrap_or((bytes, &[]));
            if !PREFACE
                .get(seen..)
                .is_some_and(|expected| expected.starts_with(head))
            {
                // A stranger's protocol gets no byte from us.
                self.phase = Phase::Closing;
                return;
            }
            let seen = seen.saturating_add(head.len());
            self.phase = if seen == PREFACE.len() {
                Phase::Hello
            } else {
                Phase::Preface(seen)
            };
            bytes = rest;
        }
        let now = Instant::now();
        match self.decoder.decode(bytes) {
            Ok(mut batch) => {
                self.io.waiting_since = (self.decoder.buffered() > 0).then_some(now);
                if !attachments.is_empty() && !self.attach(&mut batch, attachments) {
                    return self.close(
                        CloseReason::Protocol,
                        "attachments came without a frame that declares them",
                    );
                }
                self.batch(now, batch, read, ctx);
            }
            Err(error) => self.close(CloseReason::Protocol, &error.to_string()),
        }
    }

    /// A frame with attachments ends its read, so they belong to the last frame that came.
    fn attach(&self, batch: &mut crate::message::Batch, attachments: Vec<Attachment>) -> bool {
        let Some(last) = batch.len().checked_sub(1) else {
            return false;
        };
        let declared = batch
            .header(last)
            .map_or(0, |header| usize::from(header.attachments));
        if declared != attachments.len() || !matches!(self.phase, Phase::Ready(_)) {
            return false;
        }
        batch.attach(last, attachments);
        true
    }

    /// Writes until the queue is empty or the socket full.
    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<(), ()> {
        loop {
            if self.io.write_blocked {
                match self.io.stream.poll_write_ready(cx) {
                    Poll::Pending => {
                        // What came since then waits for longer than its batch is to live.
                        self.outbox.compact();
                        return Ok(());
                    }
                    Poll::Ready(Err(_)) => return Err(()),
                    Poll::Ready(Ok(())) => self.io.write_blocked = false,
                }
            }
            if !self.io.unsent.is_empty() {
                self.flush_unsent()?;
            } else if self.outbox.is_empty() {
                return Ok(());
            } else {
                self.flush_outbox()?;
            }
            if self.io.write_blocked {
                self.outbox.compact();
            }
        }
    }

    fn flush_unsent(&mut self) -> Result<(), ()> {
        let unsent = std::mem::take(&mut self.io.unsent);
        let slices: Vec<IoSlice<'_>> = unsent
            .iter()
            .take(SLICES_MAX)
            .map(|bytes| IoSlice::new(bytes))
            .collect();
        let written = self.write(&slices, &[]);
        drop(slices);
        self.io.unsent = unsent;
        let mut written = written?;
        while let Some(front) = self.io.unsent.front_mut() {
            if written < front.len() {
                let _ = front.split_to(written);
                break;
            }
            written = written.saturating_sub(front.len());
            self.io.unsent.pop_front();
        }
        Ok(())
    }

    fn flush_outbox(&mut self) -> Result<(), ()> {
        let mut buffer = WRITE.take().unwrap_or_default();
        buffer.clear();
        let (first, events) = self.outbox.fill(Instant::now(), WRITE_MAX, &mut buffer);
        if let Phase::Ready(session) | Phase::Lingering(session) = &self.phase {
            let account = &session.me().account;
            account.release(first);
            if events > 0 && account.release_events(events) {
                self.core
                    .hub
                    .do_send(crate::actors::messages::Drained(session.me().id()));
            }
        }
        let slices = slices(&buffer);
        let result = self.write(&slices, &buffer.attachments);
        if let Ok(written) = result
            && written < buffer.len()
        {
            self.io.unsent = left_over(&slices, &buffer, written);
        }
        drop(slices);
        // Payloads and descriptors that are written must not live on in the arbiter's buffer.
        buffer.clear();
        WRITE.set(Some(buffer));
        result.map(|_| ())
    }

    /// Writes once; a full socket counts as zero bytes and is noted.
    fn write(&mut self, slices: &[IoSlice<'_>], attachments: &[Attachment]) -> Result<usize, ()> {
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        match self
            .io
            .stream
            .try_write(slices.get(..SLICES_MAX).unwrap_or(slices), attachments)
        {
            Ok(written) => {
                self.core.shared.metrics.bytes_out.add(written as u64);
                self.io.write_blocked = written < wanted && slices.len() <= SLICES_MAX;
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.io.write_blocked = true;
                Ok(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(_) => Err(()),
        }
    }

    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let Some(next) = self.next_deadline() else {
                self.io.timer = None;
                return Poll::Pending;
            };
            let timer = self
                .io
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next.into())));
            if timer.deadline() > next.into() || timer.is_elapsed() {
                timer.as_mut().reset(next.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if self.limit.is_some_and(|limit| limit <= now) {
                self.limit = None;
                if !self.overdue() {
                    return Poll::Ready(());
                }
            }
            if self.progress_deadline().is_some_and(|limit| limit <= now) {
                self.io.waiting_since = None;
                self.close(CloseReason::Timeout, "a started frame did not arrive in time");
            }
            self.with_session(|session, effects| session.expire(now, effects));
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let session = match &mut self.phase {
            Phase::Ready(session) | Phase::Lingering(session) => session.next_deadline(),
            Phase::Preface(_) | Phase::Hello | Phase::Closing => None,
        };
        [session, self.limit, self.progress_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn progress_deadline(&self) -> Option<Instant> {
        let patience = Duration::from_millis(u64::from(self.core.shared.limits.frame_progress_ms));
        self.io
            .waiting_since
            .and_then(|since| since.checked_add(patience))
    }
}

/// The buffer as slices, in the order in which they are written.
fn slices(buffer: &WriteBuf) -> Vec<IoSlice<'_>> {
    let mut slices = Vec::with_capacity(buffer.shared.len().saturating_mul(2).saturating_add(1));
    let mut from = 0_usize;
    for (at, shared) in &buffer.shared {
        slices.extend(
            buffer
                .copied
                .get(from..*at)
                .filter(|part| !part.is_empty())
                .map(IoSlice::new),
        );
        slices.push(IoSlice::new(shared));
        from = *at;
    }
    slices.extend(
        buffer
            .copied
            .get(from..)
            .filter(|part| !part.is_empty())
            .map(IoSlice::new),
    );
    slices
}

/// What a short write left: large payloads by reference, the rest copied, because the buffer is the arbiter's.
fn left_over(slices: &[IoSlice<'_>], buffer: &WriteBuf, mut written: usize) -> VecDeque<Bytes> {
    let mut left = VecDeque::new();
    for slice in slices {
        if written >= slice.len() {
            written = written.saturating_sub(slice.len());
            continue;
        }
        let rest = slice.get(written..).unwrap_or_default();
        written = 0;
        let owner = buffer
            .shared
            .iter()
            .find(|(_, bytes)| bytes.as_ptr_range().contains(&rest.as_ptr()));
        left.push_back(owner.map_or_else(
            || Bytes::copy_from_slice(rest),
            |(_, bytes)| bytes.slice_ref(rest),
        ));
    }
    left
}
