//! A peer as the rest of the broker sees it.
//!
//! [`PeerRef`] is the only way to send to a peer: it holds the inbox, the account of what is queued there, and what
//! the peer can take. It does not know actix; an inbox is whatever takes a [`Deliver`] (the queue of a connection, an actor's mailbox,
//! or a simulator's queue).

use super::accounts::OverShare;
use super::credit::Window;
use super::deliver::{self, Class, Room, Verdict};
use super::idle::Idle;
use super::memory::Memory;
use super::messages::{Control, Deliver};
use super::observe::traffic::Traffic;
use super::regions::SEATS;
use crate::config::raise;
use crate::message::{Metadata, Origin, PeerId, metadata};
use crate::policy::Principal;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use crate::sync::slips::{self, Slip};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

pub use super::inbox::{Inbox, Post};
pub use super::reply::{ReplyTo, error_frame};

/// What every room may know of a peer, shared.
pub type PeerRef = Arc<Peer>;

/// One peer: a connection, or an actor of this process.
pub struct Peer {
    /// Who it is, as frames tell it.
    pub origin: Origin,
    /// The name it declared, if any.
    declared: Option<Box<Declared>>,
    /// Who it is, as the kernel or a proof says: what a policy speaks of.
    pub principal: Arc<Principal>,
    /// Its account.
    pub account: Account,
    inbox: Post,
}

/// A declared name.
struct Declared {
    name: Box<str>,
    /// The same as an encoded metadata entry, `sys.name`.
    meta: Box<[u8]>,
}

impl Declared {
    /// `None`: the name is empty.
    fn new(name: &str) -> Option<Box<Self>> {
        if name.is_empty() {
            return None;
        }
        let mut meta = Metadata::new();
        // A declared name is at most 255 bytes, so the entry fits.
        let _ = meta.insert(metadata::SYS_NAME, name);
        Some(Box::new(Self {
            name: name.into(),
            meta: meta.as_bytes().into(),
        }))
    }
}

/// What is queued for a peer and what it is owed. Senders add before they post; the peer's outbox subtracts.
#[derive(Debug)]
pub struct Account {
    /// What its [`Room`] is made of: an idle connection should hold little.
    outbox_bytes: usize,
    /// What the broker keeps for this peer, charged to its process.
    pub memory: Memory,
    queued: AtomicUsize,
    /// What is on its way to the socket, or is the broker's own: counted against the memory only.
    backlog: AtomicUsize,
    events: AtomicUsize,
    /// What went through it.
    pub traffic: Traffic,
    /// Since when these are few.
    pub idle: Idle,
    /// Calls that wait for this peer's answer: the load that "least busy" compares.
    load: AtomicU32,
    granted: AtomicUsize,
    /// Four bytes, because the small things beside it need the other four.
    grant_step: u32,
    tell_drained: AtomicBool,
    /// The peer is being closed: what it asked for is no longer worth doing.
    closed: AtomicBool,
    /// Attachments that one frame to the peer may carry; a frame cannot say more. Here, beside other small things, it costs nothing.
    attachments: u8,
    /// The peer is an actor of the broker's own process; here for the same reason.
    local: bool,
    /// It takes large payloads as regions.
    regions: bool,
    /// Of its [`SEATS`] so many are taken.
    seats: AtomicU8,
}

impl Account {
    /// An empty account of a peer whose queue has so many bytes; credit is returned in steps of `grant_step` bytes.
    #[must_use]
    pub const fn new(outbox_bytes: usize, grant_step: usize) -> Self {
        Self {
            outbox_bytes,
            memory: Memory::unlimited(),
            queued: AtomicUsize::new(0),
            backlog: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            traffic: Traffic::new(),
            idle: Idle::new(),
            load: AtomicU32::new(0),
            granted: AtomicUsize::new(0),
            grant_step: if grant_step > u32::MAX as usize {
                u32::MAX
            } else {
                grant_step as u32
            },
            tell_drained: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            attachments: 0,
            local: false,
            regions: false,
            seats: AtomicU8::new(0),
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
    pub const fn with_regions(mut self, taken: bool) -> Self {
        self.regions = taken;
        self
    }

    /// A place for one more region on its way to the peer, if it takes any.
    pub fn take_seat(&self) -> bool {
        let more = |taken: u8| (taken < SEATS).then_some(taken.saturating_add(1));
        self.regions
            && self.attachments > 0
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
        self.seats.load(Ordering::Acquire)
    }

    /// The limits of the peer's queue.
    #[must_use]
    pub const fn room(&self) -> Room {
        Room::of(self.outbox_bytes)
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
        let (key, what) = if self.queued() >= self.outbox_bytes {
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

    /// Whether so few events are queued that the peer has as good as nothing to do.
    #[must_use]
    pub fn has_little(&self) -> bool {
        self.events() < self.room().little()
    }

    /// Asks for one `true` from [`Self::release_events`]. `false`: there is room already.
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

    /// Takes the publish credit that is to be returned on the wire.
    pub fn take_grant(&self) -> usize {
        self.granted.swap(0, Ordering::AcqRel)
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

impl Peer {
    /// A peer behind an inbox, of whom nothing but its origin is known.
    #[must_use]
    pub fn new(
        origin: Origin,
        name: &str,
        max_attachments: u32,
        account: Account,
        inbox: Box<dyn Inbox>,
    ) -> PeerRef {
        let principal = Principal {
            uid: (origin.uid != u32::MAX).then_some(origin.uid),
            ..Principal::default()
        };
        Self::with_principal(
            origin,
            Arc::new(principal),
            name,
            max_attachments,
            account,
            Post::Passed(inbox),
        )
    }

    /// The same for a peer of whom more is known.
    #[must_use]
    pub fn with_principal(
        origin: Origin,
        principal: Arc<Principal>,
        name: &str,
        max_attachments: u32,
        account: Account,
        inbox: Post,
    ) -> PeerRef {
        let account = Account {
            attachments: u8::try_from(max_attachments).unwrap_or(u8::MAX),
            ..account
        };
        Arc::new(Self {
            origin,
            declared: Declared::new(name),
            account,
            principal,
            inbox,
        })
    }

    /// The same for an actor of the broker's own process.
    #[must_use]
    pub fn local(origin: Origin, name: &str, account: Account, inbox: Box<dyn Inbox>) -> PeerRef {
        let account = Account {
            local: true,
            ..account
        };
        // Its handlers have no place for attachments, so a call that carries some is refused.
        Self::with_principal(
            origin,
            Arc::new(Principal::operator()),
            name,
            0,
            account,
            Post::Passed(inbox),
        )
    }

    /// The peer's number.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.origin.peer
    }

    /// The name it declared; empty when none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.declared.as_ref().map_or("", |declared| &declared.name)
    }

    /// `sys.name` as an encoded metadata entry; empty when it declared no name.
    #[must_use]
    pub fn sys_meta(&self) -> &[u8] {
        self.declared.as_ref().map_or(&[], |declared| &declared.meta)
    }

    /// Whether it is an actor of the broker's own process, without a socket.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.account.local
    }

    /// Attachments that one frame to it may carry.
    #[must_use]
    pub fn max_attachments(&self) -> u32 {
        u32::from(self.account.attachments)
    }

    /// Queues a delivery that was admitted, or that is small and owed (control).
    pub fn post(&self, delivery: Deliver) {
        self.inbox.post(delivery);
    }

    /// Takes what waits for it, in order. `None`: nothing does, and `task` is woken when something is posted; or it does not wait here.
    #[must_use]
    pub fn take(&self, task: &Waker) -> Option<Vec<Deliver>> {
        match &self.inbox {
            Post::Kept(queue) => queue.take(task),
            Post::Passed(_) => None,
        }
    }

    /// Nobody takes its deliveries any more: they are dropped, those that wait and those that follow.
    pub fn close_queue(&self) {
        if let Post::Kept(queue) = &self.inbox {
            queue.close();
        }
    }

    /// Queues one control message.
    pub fn tell(&self, control: Control) {
        self.inbox.post(Deliver::Control(control));
    }

    /// Returns publish credit; posts only when enough has come together.
    pub fn grant(&self, bytes: usize) {
        let before = self.account.granted.fetch_add(bytes, Ordering::AcqRel);
        let step = self.account.grant_step as usize;
        if before < step && before.saturating_add(bytes) >= step {
            self.tell(Control::Grant);
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("origin", &self.origin)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The publish window a connection starts with, and the step in which it is returned.
#[must_use]
pub fn publish_window(limit: usize) -> (Window, usize) {
    (Window::new(limit), (limit / 4).max(1))
}
