//! Reading and writing of one connection: what its actor's context drives.
//!
//! Owns the stream, what a short write left over, and the connection's one timer. It moves bytes between the stream and the
//! connection's [`life`](super::life), and knows no frame. Buffers are shared by the arbiter: an idle connection has none.

use super::life::{Handles, Over};
use super::outbox::WriteBuf;
use super::pace::{Pace, defer};
use super::sending::Sending;
use super::{Connection, ring};
use crate::actors::core::Shared;
use crate::actors::supervise::guard;
use crate::error::CloseReason;
use crate::message::Attachment;
use crate::transport::Stream;
use crate::transport::dialect::Gateway;
use bytes::Bytes;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

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
    /// What a write left over, and descriptors on their way; nothing while everything is written.
    pub(super) sending: Option<Box<Sending>>,
    pub(super) write_blocked: bool,
    end_of_file: bool,
    pace: Pace,
    pub(super) ring: ring::Ring,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// What few connections have, or each only at first.
    pub(super) rare: Option<Box<Rare>>,
}

/// In a box of its own, so that the others do not keep room for it.
#[derive(Default)]
pub(super) struct Rare {
    /// Until the welcome: the broker begins to stop.
    stopped: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The peer speaks an older format.
    pub(super) gateway: Option<Gateway>,
    /// Bytes of answers to its own requests that the socket has not taken.
    pub(super) answers: usize,
    /// The most that the next read of it may bring, in bytes.
    pub(super) bite: usize,
}

impl Io {
    pub(super) fn new(stream: Stream, shared: Arc<Shared>, process: u64) -> Self {
        let stopped = async move {
            let rung = shared.stop_rung.notified();
            if !shared.stopping.load(Ordering::Acquire) {
                rung.await;
            }
        };
        Self {
            stream,
            sending: None,
            write_blocked: false,
            end_of_file: false,
            pace: Pace::new(process),
            ring: ring::Ring::default(),
            timer: None,
            rare: Some(Box::new(Rare {
                stopped: Some(Box::pin(stopped)),
                gateway: None,
                answers: 0,
                bite: 0,
            })),
        }
    }
}

impl Connection {
    /// Drives the I/O; its context calls it in every turn, after the deliveries. Ready: the connection is over.
    pub(super) fn poll_io(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        guard(|| self.drive(cx)).unwrap_or_else(|panic| {
            self.life.panicked(&panic);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Ready: the connection is over.
    fn drive(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            if self.flush(cx).is_err() {
                return Poll::Ready(());
            }
            if self.has_ended(cx) {
                // The goodbye is written; whether the peer hears the end of file is its business.
                let _ = self.io.stream.shutdown_write();
                return Poll::Ready(());
            }
            match self.read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Over)) => return Poll::Ready(()),
                Poll::Pending => return self.rest(cx),
            }
            // Others have something to say: one read, then they. When it has emptied the socket, as most do, there is nothing to come
            // back for, and the rest of this turn is done now.
            if self.io.pace.measure().is_some() && self.io.stream.poll_read_ready(cx).is_ready() {
                break;
            }
        }
        defer(cx);
        // A peer that never stops sending must not put its own deadlines off.
        self.poll_timer(cx)
    }

    /// Nothing to read now: arms the timer, and writes what it may have caused.
    fn rest(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.poll_stopped(cx);
        self.life.settle();
        if self.poll_timer(cx).is_ready() {
            return Poll::Ready(());
        }
        if (self.life.has_output() || self.io.has_unsent()) && !self.io.write_blocked {
            cx.waker().wake_by_ref();
        }
        if self.has_ended(cx) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Whether its last byte is written, where the stream says so also by the system; its limit in time ends the waiting for that.
    fn has_ended(&self, cx: &mut TaskContext<'_>) -> bool {
        self.life.is_over() && !self.io.has_unsent() && self.io.stream.poll_written(cx).is_ready()
    }

    /// A connection that is not welcomed yet ends with the broker; others are told by Registry.
    fn poll_stopped(&mut self, cx: &mut TaskContext<'_>) {
        let Some(rare) = &mut self.io.rare else { return };
        let Some(stopped) = &mut rare.stopped else { return };
        if !self.life.is_stranger() {
            // With the handshake go its limit in time and the timer for it.
            rare.stopped = None;
            self.io.rare.take_if(|rare| rare.gateway.is_none());
            self.io.timer = None;
        } else if stopped.as_mut().poll(cx).is_ready() {
            rare.stopped = None;
            self.life.stopping();
        }
    }

    fn read(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Over>> {
        if self.io.end_of_file || !self.life.may_read() || !self.may_understand() {
            return Poll::Pending;
        }
        if self.catch_up(cx) {
            return Poll::Ready(Ok(()));
        }
        if self.life.poll_gate(cx).is_pending() {
            return Poll::Pending;
        }
        match self.io.stream.poll_read_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(self.failed(&error)),
            Poll::Ready(Ok(())) => {}
        }
        let mut buffer = READ.take().unwrap_or_else(|| vec![0; READ_BUFFER].into());
        let mut attachments = Vec::new();
        let from_ring = self.io.stream.reads_from_ring();
        let most = self.bite(self.io.pace.most(from_ring, buffer.len()));
        let room = buffer.get_mut(..most).unwrap_or_default();
        let read = self.io.stream.try_read(room, &mut attachments);
        let result = match read {
            Ok(0) => self.end_of_file(),
            Ok(count) => {
                self.life.rooms.shared.metrics.bytes_in.add(count as u64);
                if let Some(me) = &self.life.me {
                    me.traffic().read(count);
                }
                let bytes = buffer.get(..count).unwrap_or_default();
                if self.life.is_stranger() {
                    self.life.certify(self.io.stream.proven_name());
                    self.life.identify(|| self.io.stream.named_now());
                }
                let with_attachments = !attachments.is_empty();
                let frames = self.received(bytes, attachments, cx);
                self.bitten(count, most);
                self.io
                    .pace
                    .has_read(self.life.rooms.shared.now(), frames, self.life.brought_messages);
                if from_ring {
                    self.io
                        .pace
                        .has_read_ring(frames, count >= most, self.life.brought_bulk, buffer.len());
                }
                if self.life.handles == Handles::Agreed {
                    // Before the welcome is written, which is the first to go that way.
                    self.life.handles = Handles::Settled;
                    self.io.stream.carry_handles();
                }
                if let Some(step) = self.life.ring_step.take() {
                    self.ring_step(step, with_attachments);
                }
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => self.failed(&error),
        };
        READ.set(Some(buffer));
        Poll::Ready(result)
    }

    /// What came is no peer's that keeps the rules, or nothing comes any more.
    fn failed(&mut self, error: &Error) -> Result<(), Over> {
        if error.kind() != ErrorKind::InvalidData {
            return Err(Over);
        }
        self.life.close(CloseReason::Protocol, &error.to_string());
        Ok(())
    }

    fn end_of_file(&mut self) -> Result<(), Over> {
        self.io.end_of_file = true;
        let closed = self.io.stream.is_closed();
        self.life.end_of_file(closed)
    }

    /// Writes until the queue is empty or the socket full.
    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<(), Over> {
        loop {
            if self.io.write_blocked {
                match self.io.stream.poll_write_ready(cx) {
                    Poll::Pending => {
                        self.take_credit(cx);
                        // What came since then waits for longer than its batch is to live.
                        self.blocked();
                        return Ok(());
                    }
                    Poll::Ready(Err(error)) => {
                        let _ = self.failed(&error);
                        return Err(Over);
                    }
                    Poll::Ready(Ok(())) => self.io.write_blocked = false,
                }
            }
            if self.io.has_unsent() {
                self.flush_unsent()?;
            } else if self.io.ring.moves() {
                self.io.stream.write_to_ring();
            } else if !self.life.has_output() {
                self.life.all_written();
                self.io.forget_sent();
                return Ok(());
            } else {
                self.flush_outbox(cx)?;
            }
            let sending = self.io.sending.as_mut();
            if let Some(why) = sending.and_then(|sending| sending.rejected.take()) {
                self.give_up(&why);
            }
            if self.io.write_blocked {
                self.blocked();
            }
        }
    }

    fn blocked(&mut self) {
        let unsent = self.unsent();
        self.life.blocked(unsent);
    }

    /// Bytes that earlier writes left over.
    pub(super) fn unsent(&self) -> usize {
        let sending = self.io.sending.as_ref();
        sending.map_or(0, |sending| sending.bytes.iter().map(Bytes::len).sum())
    }

    fn flush_unsent(&mut self) -> Result<(), Over> {
        let Some(sending) = &mut self.io.sending else {
            return Ok(());
        };
        let unsent = std::mem::take(&mut sending.bytes);
        let attachments = std::mem::take(&mut sending.unsent);
        let slices: Vec<IoSlice<'_>> = unsent
            .iter()
            .take(SLICES_MAX)
            .map(|bytes| IoSlice::new(bytes))
            .collect();
        let written = self.write(&slices, &attachments);
        drop(slices);
        let sending = self.io.sending.get_or_insert_default();
        sending.bytes = unsent;
        if !matches!(written, Ok(1..)) {
            sending.unsent = attachments;
        }
        let mut written = written?;
        while let Some(front) = sending.bytes.front_mut() {
            if written < front.len() {
                let _ = front.split_to(written);
                break;
            }
            written = written.saturating_sub(front.len());
            sending.bytes.pop_front();
        }
        Ok(())
    }

    fn flush_outbox(&mut self, cx: &TaskContext<'_>) -> Result<(), Over> {
        let mut buffer = WRITE.take().unwrap_or_default();
        buffer.clear();
        self.life.fill(WRITE_MAX, &mut buffer);
        if self.translate(&buffer, cx) {
            buffer.clear();
            WRITE.set(Some(buffer));
            return Ok(());
        }
        let slices = slices(&buffer);
        let result = self.write(&slices, &buffer.attachments);
        if buffer.last_on_socket {
            self.io.ring.last_on_socket();
        }
        if let Ok(written) = result
            && written < buffer.len()
        {
            let sending = self.io.sending.get_or_insert_default();
            sending.bytes = left_over(&slices, &buffer, written);
            if written == 0 {
                sending.unsent.clone_from(&buffer.attachments);
                sending.subject = buffer.subject;
            }
        }
        drop(slices);
        // Payloads and descriptors that are written must not live on in the arbiter's buffer.
        buffer.clear();
        WRITE.set(Some(buffer));
        result.map(|_| ())
    }

    /// Writes once; a full socket counts as zero bytes and is noted.
    fn write(&mut self, slices: &[IoSlice<'_>], attachments: &[Attachment]) -> Result<usize, Over> {
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        match self
            .io
            .stream
            .try_write(slices.get(..SLICES_MAX).unwrap_or(slices), attachments)
        {
            Ok(written) => {
                self.life.rooms.shared.metrics.bytes_out.add(written as u64);
                // The welcome is not counted: whoever says nothing more needs no place for numbers.
                if let Some(me) = self.life.me.as_ref().filter(|me| me.has_traffic()) {
                    me.traffic().wrote(written);
                }
                self.io.wrote(&self.life.rooms.shared, attachments);
                self.io.write_blocked = written < wanted && slices.len() <= SLICES_MAX;
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.io.write_blocked = true;
                let obstacle = self.io.stream.obstacle();
                let sending = self.io.sending.get_or_insert_default();
                sending.blocked(&self.life.rooms.shared, obstacle);
                Ok(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error)
                if !attachments.is_empty()
                    && matches!(
                        error.kind(),
                        ErrorKind::InvalidInput | ErrorKind::PermissionDenied
                    ) =>
            {
                // It is about what is attached, and so the sender's fault; the receiver has seen nothing of it.
                self.io.sending.get_or_insert_default().rejected = Some(error.to_string());
                Ok(0)
            }
            Err(error) => {
                // Nothing can be written, a goodbye neither; the reason is told to the log.
                let _ = self.failed(&error);
                Err(Over)
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let deadlines = [
                self.life.next_deadline(),
                self.sending_deadline(),
                self.gateway_deadline(),
            ];
            let Some(next) = deadlines.into_iter().flatten().min() else {
                // It is kept until it fires, for nothing: to arm one again for the next call wakes the reactor with a system call.
                if self.io.timer.take_if(|timer| timer.is_elapsed()).is_some() {
                    self.life.rest();
                }
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
            if self.life.time_passed().is_err() {
                return Poll::Ready(());
            }
            self.sending_expired();
            self.gateway_time_passed(cx);
        }
    }
}

/// The buffer as slices, in the order in which they are written.
pub(super) fn slices(buffer: &WriteBuf) -> Vec<IoSlice<'_>> {
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
