//! What is queued for a peer, and what it is owed.
//!
//! Owns the counters that senders add to before they post and the peer's outbox subtracts from, so that what may wait is bounded where it
//! is sent. Lies in every [`Peer`](super::peer::Peer); an idle connection should hold little, so small things share words. Knows no queue.

use super::accounts::OverShare;
use super::deliver::{self, Class, Room, Verdict};
use super::idle::Idle;
use super::memory::Memory;
use super::regions::SEATS;
use crate::config::raise;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use crate::sync::slips::{self, Slip};
use crate::transport::dialect::Dialect;

/// What is queued for a peer and what it is owed. Senders add before they post; the peer's outbox subtracts.
#[derive(Debug)]
pub struct Account {
    /// What the broker keeps for this peer, charged to its process.
    pub memory: Memory,
    queued: AtomicUsize,
    /// What is on its way to the socket, or is the broker's own: counted against the memory only.
    backlog: AtomicUsize,
    events: AtomicUsize,
    /// Since when these are few.
    pub idle: Idle,
    /// Calls that wait for this peer's answer: the load that "least busy" compares.
    load: AtomicU32,
    granted: AtomicUsize,
    /// Four bytes, as those around it: an idle connection should hold little.
    grant_step: u32,
    /// What its [`Room`] is made of.
    outbox_bytes: u32,
    tell_drained: AtomicBool,
    /// The peer is being closed: what it asked for is no longer worth doing.
    closed: AtomicBool,
    /// Attachments that one frame to the peer may carry (a frame cannot say more), and above [`FORMAT_AT`] what it speaks. Here, beside
    /// other small things, both cost nothing.
    attachments: u8,
    /// Of its [`SEATS`] so many are taken; [`NO_SEATS`]: it does not take large payloads as regions.
    seats: AtomicU8,
}

impl Account {
    /// An empty account of a peer whose queue has so many bytes (4 GiB at most); credit is returned in steps of `grant_step` bytes.
    #[must_use]
    pub const fn new(outbox_bytes: usize, grant_step: usize) -> Self {
        Self {
            memory: Memory::unlimited(),
            queued: AtomicUsize::new(0),
            backlog: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            idle: Idle::new(),
            load: AtomicU32::new(0),
            granted: AtomicUsize::new(0),
            grant_step: within(grant_step),
            outbox_bytes: within(outbox_bytes),
            tell_drained: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            attachments: 0,
            seats: AtomicU8::new(NO_SEATS),
        }
    }

    /// The same, with what it makes the broker keep charged to its process.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// The same of a peer that has said whether it takes regions.
    #[must_use]
    pub fn with_regions(mut self, taken: bool) -> Self {
        self.seats = AtomicU8::new(if taken { 0 } else { NO_SEATS });
        self
    }

    /// A place for one more region on its way to the peer, if it takes any.
    pub fn take_seat(&self) -> bool {
        let more = |taken: u8| (taken < SEATS).then_some(taken.saturating_add(1));
        self.attachments > 0
            && self
                .seats
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
                .is_ok()
    }

    /// A region was sent on, or does not come.
    pub fn leave_seat(&self) {
        let fewer = |taken: u8| taken.checked_sub(1);
        let left = self
            .seats
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer);
        debug_assert!(left.is_ok(), "a seat was left that nobody had taken");
    }

    /// How many regions are on their way to the peer.
    #[must_use]
    pub fn seats_taken(&self) -> u8 {
        match self.seats.load(Ordering::Acquire) {
            NO_SEATS => 0,
            taken => taken,
        }
    }

    /// The limits of the peer's queue.
    #[must_use]
    pub const fn room(&self) -> Room {
        Room::of(self.outbox_bytes as usize)
    }

    /// Bytes of events that are queued.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events.load(Ordering::SeqCst)
    }

    /// All bytes that are queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// Charges an answer or a call of `bytes`, if it fits.
    pub fn admit(&self, class: Class, bytes: usize) -> Verdict {
        let (queued, charge) = (self.queued(), deliver::charge(bytes));
        let verdict = deliver::decide(class, &self.room(), queued, 0);
        if verdict != Verdict::Delivered {
            return verdict;
        }
        if !self.covers(queued.saturating_add(charge)) {
            return Verdict::Overflow;
        }
        self.queued.fetch_add(charge, Ordering::AcqRel);
        verdict
    }

    /// Charges messages of `each` bytes, as many of `count` as fit. Returns how many those are.
    pub fn admit_run(&self, each: usize, count: u32) -> u32 {
        let (queued, charge) = (self.queued(), deliver::charge(each));
        let room = self.room().bytes.saturating_sub(queued);
        let fit = u32::try_from(room.div_ceil(charge))
            .unwrap_or(u32::MAX)
            .min(count);
        let bytes = charge.saturating_mul(fit as usize);
        if fit == 0 || !self.covers(queued.saturating_add(bytes)) {
            return 0;
        }
        self.queued.fetch_add(bytes, Ordering::AcqRel);
        fit
    }

    /// Whether the peer's process has memory for so many queued bytes, beside what is on its way to the socket.
    pub fn covers(&self, queued: usize) -> bool {
        let backlog = self.backlog();
        self.memory.queue().cover(queued.saturating_add(backlog)).is_ok()
    }

    /// What is on its way to the socket, or is the broker's own.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Why nothing more fits, for whoever wanted to send.
    #[must_use]
    pub fn why_full(&self) -> String {
        let (key, what) = if self.queued() >= self.outbox_bytes as usize {
            ("outbox_bytes", "its queue is full")
        } else {
            (
                "memory_bytes_total",
                "its process has used up its share of the broker's memory",
            )
        };
        format!(
            "{what} (limits.{key}); try later, let it read faster, or {}",
            raise(key)
        )
    }

    /// Nothing waits to be written: memory that was taken for it goes back.
    pub fn all_written(&self) {
        if self.memory.queue().is_reserved() {
            self.backlog.store(0, Ordering::Relaxed);
            self.memory.queue().settle(self.queued());
        }
    }

    /// The peer's connection tells what it holds beside the queue, after each write that was short and when all is written.
    ///
    /// # Errors
    /// [`OverShare`] when its process has no memory for that.
    pub fn settle(&self, backlog: usize) -> Result<(), OverShare> {
        self.backlog.store(backlog, Ordering::Relaxed);
        let needed = self.queued().saturating_add(backlog);
        self.memory.queue().settle(needed);
        self.memory.queue().cover(needed)
    }

    /// Charges events that were decided on by [`deliver::decide`].
    pub fn charge_events(&self, bytes: usize) {
        self.events.fetch_add(bytes, Ordering::AcqRel);
        self.queued.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives back what an answer or a call was charged.
    pub fn release(&self, bytes: usize) {
        subtract(&self.queued, bytes);
    }

    /// Gives back what events were charged. `true` when TopicHub wants to know that there is room again.
    pub fn release_events(&self, bytes: usize) -> bool {
        subtract(&self.queued, bytes);
        subtract(&self.events, bytes);
        self.events() <= self.room().resume() && self.tell_drained.swap(false, Ordering::SeqCst)
    }

    /// The first half of [`Self::release_events`]: another thread comes between it and the second.
    #[cfg(test)]
    pub(super) fn begin_release(&self, bytes: usize) {
        subtract(&self.queued, bytes);
        subtract(&self.events, bytes);
    }

    /// Whether so few events are queued that the peer has as good as nothing to do.
    #[must_use]
    pub fn has_little(&self) -> bool {
        self.events() < self.room().little()
    }

    /// Asks for one `true` from [`Self::release_events`]. `false`: there is room already, and nothing is told, also where it was asked
    /// before: who asks does what it would do when it is told.
    pub fn ask_drained(&self) -> bool {
        self.tell_drained.store(true, Ordering::SeqCst);
        if slips::is(Slip::DrainedLooksOnce) {
            return true;
        }
        !(self.events() <= self.room().resume() && self.tell_drained.swap(false, Ordering::SeqCst))
    }

    /// From now on what the peer still asks is not worth doing.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the peer is being closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Calls that wait for this peer's answer.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// One more call is on its way to this peer.
    pub fn add_load(&self) {
        self.load.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells how many calls wait now.
    pub fn set_load(&self, load: usize) {
        self.load
            .store(u32::try_from(load).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Publish credit that is to be returned and was not taken yet, in bytes.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.granted.load(Ordering::Acquire)
    }

    /// Notes publish credit that is to be returned. `true`: enough has come together now.
    pub(super) fn add_grant(&self, bytes: usize) -> bool {
        let before = self.granted.fetch_add(bytes, Ordering::AcqRel);
        let step = self.grant_step as usize;
        before < step && before.saturating_add(bytes) >= step
    }

    /// Attachments that one frame to the peer may carry.
    pub(super) fn attachments(&self) -> u32 {
        u32::from(self.attachments & ATTACHMENTS)
    }

    pub(super) fn with_attachments(mut self, most: u32) -> Self {
        let most = u8::try_from(most).map_or(ATTACHMENTS, |most| most.min(ATTACHMENTS));
        self.attachments = self.attachments & !ATTACHMENTS | most;
        self
    }

    /// The older format that the peer speaks.
    pub(super) const fn dialect(&self) -> Option<Dialect> {
        match self.attachments >> FORMAT_AT {
            1 => Some(Dialect::IpcBroker),
            2 => Some(Dialect::IpcServer),
            _ => None,
        }
    }

    pub(super) fn with_dialect(mut self, dialect: Option<Dialect>) -> Self {
        let number = match dialect {
            None => 0_u8,
            Some(Dialect::IpcBroker) => 1,
            Some(Dialect::IpcServer) => 2,
        };
        self.attachments = self.attachments & ATTACHMENTS | number << FORMAT_AT;
        self
    }

    /// Takes the publish credit that is to be returned on the wire.
    pub fn take_grant(&self) -> usize {
        self.granted.swap(0, Ordering::AcqRel)
    }
}

/// The bits above this one say what a peer speaks.
const FORMAT_AT: u8 = 6;
/// The bits below it are attachments: 63, and the settings allow 16.
const ATTACHMENTS: u8 = (1 << FORMAT_AT) - 1;

/// The mark of a peer that takes no regions: more than can be taken.
const NO_SEATS: u8 = u8::MAX;

const fn within(bytes: usize) -> u32 {
    if bytes > u32::MAX as usize {
        u32::MAX
    } else {
        bytes as u32
    }
}

/// Subtracts without wrapping: an account that is released twice must not lock its peer for ever.
fn subtract(counter: &AtomicUsize, bytes: usize) {
    let before = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |before| {
        Some(before.saturating_sub(bytes))
    });
    debug_assert!(
        before.is_ok_and(|before| before >= bytes),
        "released {bytes} of {before:?}"
    );
}
