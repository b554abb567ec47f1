//! The objects of this client and the calls that have come to them.
//!
//! Owns the table of objects, the open calls by the broker's ticket, and what is known of each: whether it is still
//! wanted, and what its answer may use of the window. Calls are run by [`super::running`].

use super::handler::CallContext;
use super::items::Arriving;
use super::peer::Met;
use super::peer::incoming::OneWay;
use super::peer::memory::{Hold, Memory};
use super::running::{Job, ObjectServer};
use super::shared::Shared;
use super::waiters::{Place, Waiters, replace};
use crate::error::CallError;
use crate::message::{PeerId, Served};
use bytes::BytesMut;
use futures::task::AtomicWaker;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The objects of one client and their open calls.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    table: Mutex<Table>,
    /// Calls whose handlers have started and not ended.
    running: AtomicUsize,
    /// Woken when the last of them has ended.
    idle: AtomicWaker,
    /// Woken when the last call that gets no answer has, and when the last handler has ended.
    parting: AtomicWaker,
    /// The calls of another program that get no answer.
    pub(crate) oneway: OneWay,
    /// What may be kept of its calls.
    pub(crate) memory: Memory,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) objects: HashMap<Arc<str>, Arc<ObjectServer>>,
    pub(crate) open: HashMap<u64, Arc<OpenCall>>,
    /// Those in `open` that get no answer and are charged for.
    oneway: usize,
    pub(crate) partial: HashMap<u64, PartialCall>,
    /// What is served to another program.
    pub(crate) serves: Arc<[Served]>,
    /// Who calls, when it is no broker.
    pub(crate) met: Option<Arc<Met>>,
    /// Calls in pieces that ever came.
    came: u64,
}

/// A call that is arriving in pieces.
#[derive(Debug)]
pub(crate) struct PartialCall {
    pub(crate) server: Arc<ObjectServer>,
    pub(crate) context: CallContext,
    pub(crate) bytes: BytesMut,
    pub(crate) hold: Hold,
    pub(crate) answered: bool,
    /// Credit to give back, in bytes.
    pub(crate) owed: usize,
    /// Its place among those that arrive.
    pub(crate) came: u64,
    /// Calls of the same caller to the same object that came later and are complete: they run behind it.
    pub(crate) behind: Vec<Job>,
}

impl PartialCall {
    /// What is kept for it, in bytes.
    fn held(&self) -> usize {
        let behind = self.behind.iter().map(|job| job.call.payload.bytes.len());
        self.bytes.len().saturating_add(behind.sum())
    }
}

/// A call that has come and is not answered.
#[derive(Debug)]
pub(crate) struct OpenCall {
    /// The broker's number of it.
    pub(crate) ticket: u64,
    /// The connection it came on: it is not answered on another.
    pub(crate) life: u64,
    /// What its end gives back to the window of calls without an answer, in bytes; 0 for a call that is answered.
    charge: u32,
    /// It was given back.
    paid: AtomicBool,
    /// Descriptors that came with it.
    pub(crate) descriptors: AtomicU32,
    state: Mutex<OpenState>,
}

#[derive(Debug)]
pub(crate) struct OpenState {
    pub(crate) cancelled: bool,
    /// The handler has ended.
    pub(crate) over: bool,
    /// The items that follow the call.
    pub(crate) items: Option<Box<Arriving>>,
    /// What streamed replies and pieces may still use.
    window: i64,
    /// Whether the caller takes what was offered as a region, once the broker has said so.
    takes: Option<u32>,
    task: Option<Waker>,
    pub(crate) others: Waiters,
}

impl OpenState {
    const fn new(window: u32) -> Self {
        Self {
            cancelled: false,
            over: false,
            items: None,
            window: window as i64,
            takes: None,
            task: None,
            others: Waiters::new(),
        }
    }
}

impl OpenCall {
    pub(crate) const fn new(ticket: u64, life: u64, window: u32, charge: u32) -> Self {
        Self {
            ticket,
            life,
            charge,
            paid: AtomicBool::new(false),
            descriptors: AtomicU32::new(0),
            state: Mutex::new(OpenState::new(window)),
        }
    }

    /// What it took of the window of calls without an answer, once.
    pub(crate) fn take_charge(&self) -> u32 {
        match self.charge {
            0 => 0,
            _ if self.paid.swap(true, Ordering::Relaxed) => 0,
            charge => charge,
        }
    }

    /// Whether its end gives something back.
    pub(crate) const fn is_charged(&self) -> bool {
        self.charge > 0
    }

    /// Becomes another call: nobody else knows this one any more.
    pub(crate) fn renew(&mut self, ticket: u64, life: u64, window: u32, charge: u32) {
        (self.ticket, self.life) = (ticket, life);
        (self.charge, *self.paid.get_mut()) = (charge, false);
        *self.descriptors.get_mut() = 0;
        *self.state.get_mut().unwrap_or_else(PoisonError::into_inner) = OpenState::new(window);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, OpenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Nobody wants the answer any more.
    pub(crate) fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        let mut woken = Vec::new();
        state.others.drain(&mut woken);
        woken.extend(state.task.take());
        let left = state.items.as_mut().map(|items| items.stop(&mut woken));
        drop(state);
        drop(left);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The call is over: nobody need watch it any longer.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        state.over = true;
        let mut woken = Vec::new();
        state.others.drain(&mut woken);
        let left = state.items.as_mut().map(|items| items.stop(&mut woken));
        drop(state);
        drop(left);
        woken.into_iter().for_each(Waker::wake);
    }

    /// A payload is about to be offered: no answer of an earlier one counts.
    pub(crate) fn offer(&self) {
        self.lock().takes = None;
    }

    /// The answer to the last offer.
    pub(crate) fn answer_offer(&self, receivers: u32) {
        let mut state = self.lock();
        state.takes = Some(receivers);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// The same, when it has come; the call's own task is woken when it does.
    pub(crate) fn offer_answered(&self, cx: &Context<'_>) -> Option<u32> {
        let mut state = self.lock();
        let takes = state.takes;
        let before = match takes {
            None => replace(&mut state.task, cx.waker()),
            Some(_) => None,
        };
        drop(state);
        drop(before);
        takes
    }

    /// The caller takes `bytes` more.
    pub(crate) fn credit(&self, bytes: u32) {
        let mut state = self.lock();
        state.window = state.window.saturating_add(i64::from(bytes));
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// For anybody but the call's own task, who waits at `place`.
    pub(crate) fn poll_cancelled(&self, place: &mut Option<Place>, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.cancelled || state.over {
            return Poll::Ready(());
        }
        let before = state.others.wait(place, cx.waker());
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// For the call's own task: whether to stop. It is woken when that changes, or credit comes.
    pub(crate) fn watch(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        let (before, cancelled) = (replace(&mut state.task, cx.waker()), state.cancelled);
        drop(state);
        drop(before);
        cancelled
    }

    /// Uses `bytes` of the window, when there is any; the task is woken when there is.
    pub(crate) fn charge(&self, bytes: usize, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.window > 0 {
            state.window = state
                .window
                .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
            return Poll::Ready(());
        }
        let before = replace(&mut state.task, cx.waker());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Table {
    /// Open calls that are to be answered.
    pub(crate) fn answered(&self) -> usize {
        self.open.len().saturating_sub(self.oneway)
    }

    /// A call is open from now on.
    pub(crate) fn insert(&mut self, open: Arc<OpenCall>) {
        self.oneway = self.oneway.saturating_add(usize::from(open.charge > 0));
        if let Some(before) = self.open.insert(open.ticket, open) {
            self.oneway = self.oneway.saturating_sub(usize::from(before.charge > 0));
        }
    }

    /// It is no more.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<Arc<OpenCall>> {
        let open = self.open.remove(&ticket)?;
        self.oneway = self.oneway.saturating_sub(usize::from(open.charge > 0));
        Some(open)
    }

    /// Bytes of the calls that are arriving in pieces, and of those behind them.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.partial.values().map(PartialCall::held).sum()
    }

    /// Descriptors of the calls that have not ended.
    pub(crate) fn descriptors(&self) -> u32 {
        let arriving = self.partial.values().map(|partial| &partial.context.open);
        let calls = self.open.values().chain(arriving);
        calls.fold(0, |all, open| {
            all.saturating_add(open.descriptors.load(Ordering::Relaxed))
        })
    }

    /// The place of a call in pieces that comes now.
    pub(crate) const fn next_place(&mut self) -> u64 {
        self.came = self.came.saturating_add(1);
        self.came
    }

    /// The last call in pieces of the same caller to the same object that came before the place `came`.
    pub(crate) fn before(
        &mut self,
        came: u64,
        server: &Arc<ObjectServer>,
        caller: PeerId,
    ) -> Option<&mut PartialCall> {
        let earlier = self.partial.values_mut().filter(|partial| {
            partial.came < came
                && partial.context.caller.peer == caller
                && Arc::ptr_eq(&partial.server, server)
        });
        earlier.max_by_key(|partial| partial.came)
    }

    /// Takes out a call that will never be complete, and what may run now because of that.
    pub(crate) fn give_up_partial(&mut self, ticket: u64) -> Option<(PartialCall, Vec<Job>)> {
        let mut partial = self.partial.remove(&ticket)?;
        let mut behind = std::mem::take(&mut partial.behind);
        if let Some(earlier) = self.before(partial.came, &partial.server, partial.context.caller.peer) {
            earlier.behind.append(&mut behind);
        }
        Some((partial, behind))
    }
}

impl Serving {
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handler starts.
    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// A handler has ended.
    pub(crate) fn end(&self) {
        if self.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.idle.wake();
            self.parting.wake();
        }
    }

    /// Ready when no handler runs, on any thread. For whoever follows the task that carried the connection, once all calls were given
    /// up: no other starts then, as nothing waits for it.
    #[cfg_attr(
        not(feature = "protocol"),
        allow(dead_code, reason = "only servers of typed protocols use it")
    )]
    pub(crate) fn poll_handlers(&self, cx: &Context<'_>) -> Poll<()> {
        self.parting.register(cx.waker());
        match self.running.load(Ordering::SeqCst) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// Whether the call that asks is the only one that runs: its answer need not wait for others.
    pub(crate) fn is_alone(&self) -> bool {
        self.running.load(Ordering::Relaxed) <= 1
    }

    /// Ready when no handler runs, and no call waits for one or is still arriving. For one task at a time.
    pub(crate) fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        self.idle.register(cx.waker());
        if self.running.load(Ordering::SeqCst) > 0 {
            return Poll::Pending;
        }
        let table = self.lock();
        // A call that stops arriving does so in a batch, which counts as running.
        match table.open.is_empty() && table.partial.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Serves these objects, which are all that there are, to another program.
    #[cfg_attr(
        not(feature = "protocol"),
        allow(dead_code, reason = "only servers of typed protocols use it")
    )]
    pub(crate) fn serve(&self, objects: HashMap<Arc<str>, Arc<ObjectServer>>, serves: &[Served]) {
        let mut table = self.lock();
        (table.objects, table.serves) = (objects, serves.into());
    }

    /// Drops what waits and was cancelled, when there is no room for so many bytes.
    pub(crate) fn make_room(&self, bytes: usize) {
        if !self.memory.has_room(bytes) {
            let servers: Vec<_> = self.lock().objects.values().cloned().collect();
            servers.iter().for_each(|server| server.drop_cancelled());
        }
    }

    /// The connection is gone: nobody takes the answers.
    pub(crate) fn abort_all(&self) {
        let mut table = self.lock();
        let open = std::mem::take(&mut table.open);
        table.oneway = 0;
        let partial = std::mem::take(&mut table.partial);
        let servers: Vec<_> = table.objects.values().cloned().collect();
        drop(table);
        drop(partial);
        servers.iter().for_each(|server| server.clear());
        open.into_values().for_each(|call| call.cancel());
    }

    /// The other program has left in order: nobody takes answers, but what it sent without asking for one is still to be done.
    pub(crate) fn abort_answered(&self) {
        let mut table = self.lock();
        let open = std::mem::take(&mut table.open);
        let (kept, given_up): (HashMap<_, _>, HashMap<_, _>) =
            open.into_iter().partition(|(_, call)| call.is_charged());
        table.open = kept;
        drop(table);
        given_up.into_values().for_each(|call| call.cancel());
    }

    /// Ready when no call without an answer is left. For the task that carried the connection.
    pub(crate) fn poll_oneway(&self, cx: &Context<'_>) -> Poll<()> {
        self.parting.register(cx.waker());
        match self.lock().oneway {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    pub(crate) fn register(&self, open: &Arc<OpenCall>) {
        self.lock().insert(Arc::clone(open));
    }

    /// A call is over.
    pub(crate) fn close(&self, call: &OpenCall) {
        self.tell(self.take_out(call));
    }

    /// The same, for who holds the connection's lock: whoever waits for the end is told when it is released.
    pub(crate) fn take_out(&self, call: &OpenCall) -> Closed {
        let mut table = self.lock();
        // Its number may be that of another call by now.
        let same = table
            .open
            .get(&call.ticket)
            .is_some_and(|open| std::ptr::eq(&raw const **open, call));
        if same {
            table.remove(call.ticket);
        }
        Closed {
            idle: table.open.is_empty(),
            parted: call.is_charged() && table.oneway == 0,
        }
    }

    pub(crate) fn tell(&self, Closed { idle, parted }: Closed) {
        if idle {
            self.idle.wake();
        }
        if parted {
            self.parting.wake();
        }
    }
}

/// What the end of a call means to those who wait; for [`Serving::tell`].
#[must_use]
pub(crate) struct Closed {
    idle: bool,
    parted: bool,
}

/// Answers a call that does not run.
pub(crate) fn refuse(shared: &Shared, open: &OpenCall, answered: bool, error: &CallError) {
    shared.serving.close(open);
    shared.pay_for(open);
    if answered {
        let next = super::failure::push_error(&mut shared.lock(), open.ticket, error);
        shared.perform(next);
    }
}
