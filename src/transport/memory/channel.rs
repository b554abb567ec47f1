//! Two bounded byte channels that make a connection.
//!
//! Owns capacity, waking, attachments at their place in the bytes, and faults. It knows no name and no runtime. No
//! waker runs and no attachment is dropped while a channel is locked: either may come back here.

use super::{Faults, MemoryOptions};
use crate::message::Attachment;
use crate::transport::{lock, passing};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// One direction.
#[derive(Debug)]
struct Channel {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// How many bytes were read before the first of `bytes`.
    read: u64,
    /// Attachments with the number of the byte that they travel with, in order.
    attachments: VecDeque<(u64, Vec<Attachment>)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Nothing more is written.
    ended: bool,
    /// Nothing more is read.
    abandoned: bool,
}

/// One end of a connection inside this process.
#[derive(Debug)]
pub struct Stream {
    incoming: Arc<Channel>,
    outgoing: Arc<Channel>,
    faults: Faults,
    moved: AtomicU64,
}

/// The accepting end and the connecting end.
pub(super) fn pair(options: &MemoryOptions) -> (Stream, Stream) {
    let channel = || {
        Arc::new(Channel {
            capacity: options.capacity.max(1),
            state: Mutex::default(),
        })
    };
    let (up, down) = (channel(), channel());
    let end = |incoming: &Arc<Channel>, outgoing: &Arc<Channel>, faults: &Faults| Stream {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        faults: faults.clone(),
        moved: AtomicU64::new(0),
    };
    (end(&up, &down, &options.server), end(&down, &up, &options.client))
}

impl Stream {
    pub(in crate::transport) fn poll_read_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.incoming.state);
        if self.has_failed() || !state.bytes.is_empty() || state.ended {
            return Poll::Ready(Ok(()));
        }
        set(&mut state.reader, cx)
    }

    pub(in crate::transport) fn poll_write_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.outgoing.state);
        if self.has_failed() || state.bytes.len() < self.outgoing.capacity || state.ended || state.abandoned {
            return Poll::Ready(Ok(()));
        }
        set(&mut state.writer, cx)
    }

    pub(in crate::transport) fn try_read(
        &self,
        buffer: &mut [u8],
        attachments: &mut Vec<Attachment>,
    ) -> io::Result<usize> {
        let allowed = self.allowed(self.faults.max_read)?;
        let room = buffer.len().min(allowed);
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let mut state = lock(&self.incoming.state);
        if state.bytes.is_empty() {
            return if state.ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let read = state.take(buffer, attachments);
        let writer = state.writer.take();
        drop(state);
        wake(writer);
        self.moved.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    pub(in crate::transport) fn try_write(
        &self,
        slices: &[IoSlice<'_>],
        attachments: &[Attachment],
    ) -> io::Result<usize> {
        let allowed = self.allowed(self.faults.max_write)?;
        let mut state = lock(&self.outgoing.state);
        if state.ended || state.abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let space = self
            .outgoing
            .capacity
            .saturating_sub(state.bytes.len())
            .min(allowed);
        if space == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = state.put(slices, space, attachments);
        let reader = if written > 0 { state.reader.take() } else { None };
        drop(state);
        wake(reader);
        self.moved.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    pub(in crate::transport) fn is_closed(&self) -> bool {
        self.has_failed() || (lock(&self.outgoing.state).abandoned && lock(&self.incoming.state).ended)
    }

    pub(in crate::transport) fn shutdown_write(&self) -> io::Result<()> {
        self.outgoing.close(|state| state.ended = true);
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.faults
            .fail_after
            .is_some_and(|limit| self.moved.load(Ordering::Relaxed) >= limit)
    }

    /// Most bytes of the next operation, by the faults alone.
    fn allowed(&self, most: Option<usize>) -> io::Result<usize> {
        if self.has_failed() {
            self.close();
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "an injected fault ended the connection",
            ));
        }
        let moved = self.moved.load(Ordering::Relaxed);
        let left = self
            .faults
            .fail_after
            .map_or(u64::MAX, |limit| limit.saturating_sub(moved));
        Ok(most
            .unwrap_or(usize::MAX)
            .max(1)
            .min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    fn close(&self) {
        self.outgoing.close(|state| state.ended = true);
        self.incoming.close(|state| state.abandoned = true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

impl Channel {
    fn close(&self, how: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        how(&mut state);
        let wakers = (state.reader.take(), state.writer.take());
        let lost = if state.abandoned {
            state.bytes = VecDeque::new();
            std::mem::take(&mut state.attachments)
        } else {
            VecDeque::new()
        };
        drop(state);
        wake(wakers.0);
        wake(wakers.1);
        drop(lost);
    }
}

impl State {
    /// Reads up to the next byte that has attachments, or from it.
    fn take(&mut self, buffer: &mut [u8], attachments: &mut Vec<Attachment>) -> usize {
        if let Some((at, _)) = self.attachments.front()
            && *at == self.read
            && let Some((_, list)) = self.attachments.pop_front()
        {
            attachments.extend(list);
        }
        let until = self
            .attachments
            .front()
            .map_or(u64::MAX, |(at, _)| at.saturating_sub(self.read));
        let len = buffer
            .len()
            .min(self.bytes.len())
            .min(usize::try_from(until).unwrap_or(usize::MAX));
        let (front, back) = self.bytes.as_slices();
        let (first, second) = (len.min(front.len()), len.saturating_sub(front.len()));
        let (start, rest) = buffer.split_at_mut(first);
        start.copy_from_slice(front.get(..first).unwrap_or_default());
        for (place, byte) in rest.iter_mut().zip(back.iter().take(second)) {
            *place = *byte;
        }
        self.bytes.drain(..len);
        self.read = self.read.saturating_add(len as u64);
        len
    }

    fn put(&mut self, slices: &[IoSlice<'_>], mut space: usize, attachments: &[Attachment]) -> usize {
        let before = self.bytes.len();
        for slice in slices {
            let part = slice.get(..space).unwrap_or(slice);
            self.bytes.extend(part);
            space -= part.len();
        }
        let written = self.bytes.len() - before;
        if written > 0 && !attachments.is_empty() {
            let inside = attachments.iter().filter_map(passing::inside).collect();
            self.attachments
                .push_back((self.read.saturating_add(before as u64), inside));
        }
        written
    }
}

fn set(place: &mut Option<Waker>, cx: &Context<'_>) -> Poll<io::Result<()>> {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
    Poll::Pending
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
