//! How the calls of one object run: where, how many at a time, in which order.
//!
//! Owns the queue in front of each object. Handlers run where their registration was made. On a single-threaded
//! run-time each is polled once in the order of the calls, and most are done then; right here when the socket lives
//! on the same thread. On a multi-threaded one each is spawned in that order. How one call runs is [`super::turn`]'s.

use super::budget::Budget;
use super::handler::{Handler, IncomingCall};
use super::incoming::Grants;
use super::line::{Lane, Line};
use super::peer::Met;
use super::peer::memory::{Hold, Memory};
use super::request::PINNED_MAX;
use super::runtime::Home;
use super::serving::{OpenCall, refuse};
use super::shared::Shared;
use super::state::Direct;
use super::turn::{Spare, start};
use crate::error::{CallError, ErrorCode};
use bytes::Bytes;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

/// Calls that may wait in front of one object.
const QUEUE_MAX: usize = 16 * 1024;
/// Of these, calls of one lane: a caller that does not wait for answers keeps nobody else out.
const LANE_MAX: usize = QUEUE_MAX / 4;
/// A line that is shorter than this is not looked through for calls that were cancelled.
const PURGE_MIN: usize = 64;
/// Bytes of parameters that may wait in front of one object.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Names the part of an object that a call is for. Calls of one caller to one part run one after the other.
pub(crate) type Order = fn(&IncomingCall) -> u64;

/// One object: its handler and the calls in front of it.
pub(crate) struct ObjectServer {
    pub(crate) name: Arc<str>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) home: Home,
    limit: usize,
    order: Option<Order>,
    /// All calls are in one lane.
    one_lane: bool,
    given_up: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    running: usize,
    line: Line<Job>,
    bytes: usize,
    /// Somebody is starting calls and goes on as long as they may run.
    dispatching: bool,
    /// At this length the line is looked through for calls that nobody wants any more.
    purge_at: usize,
}

impl Waiting {
    fn is_long(&self) -> bool {
        self.line.len() >= self.purge_at.max(PURGE_MIN)
    }

    /// Takes out what was cancelled, as a rule seldom enough to cost nothing.
    fn purge(&mut self) -> Vec<Job> {
        let gone = self.line.purge(|job| {
            let open = &job.call.context.open;
            !open.is_charged() && open.is_cancelled()
        });
        let bytes: usize = gone.iter().map(|job| job.call.payload.bytes.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.purge_at = self.line.len().saturating_mul(2).max(PURGE_MIN);
        gone
    }
}

/// A call that is about to run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) call: IncomingCall,
    /// Whether the caller wants an answer.
    pub(crate) answered: bool,
    /// What is kept of it while it waits, where that is bounded.
    pub(crate) hold: Option<Box<Hold>>,
}

impl Job {
    /// Whether it may wait. What another program sends without being given an answer is bounded by its window, and nobody could be told.
    pub(crate) fn fits(&mut self, memory: &Memory) -> bool {
        if self.call.context.open.is_charged() || self.hold.is_some() || !memory.is_bounded() {
            return true;
        }
        let mut hold = memory.hold();
        let fits = hold.grow(self.call.payload.bytes.len());
        self.hold = fits.then(|| Box::new(hold));
        fits
    }

    /// What waits does not pin the buffer of its batch.
    pub(crate) fn unpin(&mut self) {
        let bytes = &mut self.call.payload.bytes;
        if bytes.len() < PINNED_MAX / 4 {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }
}

impl fmt::Debug for ObjectServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectServer")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What becomes of a call that has come.
enum Admission {
    /// It stands in the queue, and somebody sees to that.
    Queued,
    /// It stands in the queue, and the asker has to start what may run.
    Dispatch,
    Full(Job, &'static str),
}

impl ObjectServer {
    pub(crate) fn new(name: &str, handler: Arc<dyn Handler>, home: Home, limit: usize) -> Self {
        Self {
            name: name.into(),
            handler,
            home,
            limit: limit.max(1),
            order: None,
            one_lane: false,
            given_up: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// The same object with an order among the calls of one caller.
    pub(crate) const fn ordered(mut self, order: Option<Order>) -> Self {
        self.order = order;
        self
    }

    /// The same object with all its calls in one lane: they are of one caller, who keeps nobody else out.
    #[cfg_attr(
        not(feature = "protocol"),
        allow(dead_code, reason = "only typed protocols use it")
    )]
    pub(crate) fn in_one_lane(mut self) -> Self {
        self.order = Some(|_| 0);
        self.one_lane = true;
        self
    }

    /// What a call must not run beside of.
    pub(crate) fn lane(&self, call: &IncomingCall) -> Option<Lane> {
        self.order.map(|part| (call.context.caller.peer, part(call)))
    }

    /// Whether its calls run one after the other.
    pub(crate) const fn is_serial(&self) -> bool {
        self.limit == 1 || self.one_lane
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its registration is gone: calls that come from now on find no object.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(crate) fn drop_cancelled(&self) {
        let gone = self.lock().purge();
        drop(gone);
    }

    /// Forgets the calls that have not started.
    pub(crate) fn clear(&self) {
        let mut waiting = self.lock();
        let jobs = waiting.line.clear();
        waiting.bytes = 0;
        drop(waiting);
        drop(jobs);
    }

    /// Takes a place for a call that nothing is in front of, if it is not `held` already.
    fn enter(&self, lane: Option<Lane>, held: bool) -> bool {
        if held && lane.is_none() {
            return true;
        }
        let mut waiting = self.lock();
        let place = held || (waiting.line.is_idle() && !waiting.dispatching && waiting.running < self.limit);
        let free = place && lane.is_none_or(|lane| waiting.line.is_free(lane));
        waiting.running = waiting.running.saturating_add(usize::from(free && !held));
        free
    }

    /// A call that had no need to wait goes on: from now on others wait for it.
    pub(crate) fn hold(&self, lane: Option<Lane>) {
        if let Some(lane) = lane {
            self.lock().line.hold(lane);
        }
    }

    fn enqueue(&self, mut job: Job, memory: &Memory) -> Admission {
        if self.lock().is_long() {
            self.drop_cancelled();
        }
        if !job.fits(memory) {
            // What was cancelled may make room.
            self.drop_cancelled();
            if !job.fits(memory) {
                return Admission::Full(job, "as many bytes as may wait do so already");
            }
        }
        let mut waiting = self.lock();
        // What another program sends without being given an answer is bounded by its window, and nobody could be told.
        let charged = job.call.context.open.is_charged();
        if !charged && (waiting.line.len() >= QUEUE_MAX || waiting.bytes >= QUEUE_BYTES_MAX) {
            return Admission::Full(job, "as many calls as may wait do so already");
        }
        let lane = self.lane(&job.call);
        if !charged && !self.one_lane && lane.is_some_and(|lane| waiting.line.behind(lane) >= LANE_MAX) {
            return Admission::Full(job, "as many calls of one caller as may wait do so already");
        }
        waiting.bytes = waiting.bytes.saturating_add(job.call.payload.bytes.len());
        waiting.line.push(lane, job);
        if waiting.dispatching || waiting.line.is_idle() || waiting.running >= self.limit {
            return Admission::Queued;
        }
        waiting.dispatching = true;
        Admission::Dispatch
    }

    /// The next call that may run, which takes a place, and whether it is the last one; at `None` the dispatching is over.
    fn next(&self) -> Option<(Job, bool)> {
        let mut waiting = self.lock();
        if waiting.running < self.limit
            && let Some(job) = waiting.line.pop()
        {
            waiting.bytes = waiting.bytes.saturating_sub(job.call.payload.bytes.len());
            waiting.running = waiting.running.saturating_add(1);
            return Some((job, waiting.line.is_idle()));
        }
        waiting.dispatching = false;
        None
    }

    /// Gives a place and a lane back; nobody starts what may run now.
    pub(crate) fn give_place_back(&self, lane: Option<Lane>) {
        let mut waiting = self.lock();
        waiting.running = waiting.running.saturating_sub(1);
        lane.into_iter().for_each(|lane| waiting.line.release(lane));
    }

    /// Gives a place and a lane back. `true`: the asker has to start what may run now.
    pub(crate) fn leave(&self, lane: Option<Lane>) -> bool {
        let mut waiting = self.lock();
        waiting.running = waiting.running.saturating_sub(1);
        self.release_in(waiting, lane)
    }

    /// Gives a lane back before the place: the handler is done, its answer is not. `true`: as [`leave`](Self::leave) says.
    pub(crate) fn release(&self, lane: Option<Lane>) -> bool {
        lane.is_some() && self.release_in(self.lock(), lane)
    }

    fn release_in(&self, mut waiting: MutexGuard<'_, Waiting>, lane: Option<Lane>) -> bool {
        lane.into_iter().for_each(|lane| waiting.line.release(lane));
        let dispatch = !waiting.dispatching && !waiting.line.is_idle() && waiting.running < self.limit;
        waiting.dispatching |= dispatch;
        dispatch
    }
}

pub(crate) fn runtime_ended(server: &ObjectServer) -> CallError {
    let text = format!("the run-time that ran the calls of {} has ended", server.name);
    CallError::new(ErrorCode::CalleeGone, text)
}

/// Somebody starts the calls of an object on another thread. Dropped with a run-time that has ended, it refuses them.
struct Dispatching {
    shared: Arc<Shared>,
    server: Arc<ObjectServer>,
    begun: bool,
}

impl Drop for Dispatching {
    fn drop(&mut self) {
        if self.begun {
            return;
        }
        let mut waiting = self.server.lock();
        let jobs = waiting.line.clear();
        waiting.bytes = 0;
        waiting.dispatching = false;
        drop(waiting);
        let error = runtime_ended(&self.server).ran(false);
        for job in jobs {
            refuse(&self.shared, &job.call.context.open, job.answered, &error);
        }
    }
}

/// The calls of one batch, on the thread that reads it. The object that one is for is kept for the next, and so is the
/// place that one has left.
pub(crate) struct Here<'a> {
    shared: &'a Arc<Shared>,
    thread: ThreadId,
    server: Option<Arc<ObjectServer>>,
    /// A place among the running calls of `server` is taken and free.
    held: bool,
    /// The method that was called last.
    method: Option<Arc<str>>,
    /// A call may be arriving in pieces.
    pub(crate) partials: bool,
    /// Who calls, when it is no broker.
    pub(crate) met: Option<Arc<Met>>,
    spare: Spare,
    budget: Budget,
}

impl<'a> Here<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, now: Instant) -> Self {
        shared.serving.begin();
        let table = shared.serving.lock();
        let (partials, met) = (!table.partial.is_empty(), table.met.clone());
        drop(table);
        Self {
            shared,
            thread: thread::current().id(),
            server: None,
            held: false,
            method: None,
            partials,
            met,
            spare: Spare::default(),
            budget: Budget::new(now),
        }
    }

    /// Whether the handlers have had what they may have: what else has come runs later.
    pub(crate) const fn is_spent(&self) -> bool {
        self.budget.spent
    }

    /// A method's name, of which the calls of one batch share the text.
    pub(crate) fn method(&mut self, name: &[u8]) -> Arc<str> {
        match &self.method {
            Some(last) if last.as_bytes() == name => Arc::clone(last),
            _ => Arc::clone(self.method.insert(String::from_utf8_lossy(name).into())),
        }
    }

    /// What is known of a call that has come.
    pub(crate) fn open(&mut self, ticket: u64, grants: Grants, charge: u32) -> Arc<OpenCall> {
        self.spare.open(ticket, grants.life, grants.window, charge)
    }

    /// Looks the object of that name up. `None`: it was given up, maybe by the call before this one.
    pub(crate) fn find(&mut self, name: &[u8]) -> Option<&Arc<ObjectServer>> {
        let same = |server: &Arc<ObjectServer>| server.name.as_bytes() == name && !server.is_given_up();
        if !self.server.as_ref().is_some_and(same) {
            let found = std::str::from_utf8(name)
                .ok()
                .and_then(|name| self.shared.serving.lock().objects.get(name).cloned());
            self.change(found);
        }
        self.server.as_ref()
    }

    /// The next call is for this object.
    pub(crate) fn change(&mut self, server: Option<Arc<ObjectServer>>) {
        let before = std::mem::replace(&mut self.server, server);
        if std::mem::take(&mut self.held)
            && let Some(before) = before
            && before.leave(None)
        {
            dispatch_within(self.shared, &before, &mut self.budget);
        }
    }

    /// Takes a call that has come as a whole, for the object that was found last.
    pub(crate) fn accept(&mut self, mut job: Job, method: &str) {
        let Some(server) = &self.server else { return };
        let (shared, here) = (self.shared, server.home.is_on(self.thread));
        if here && !self.budget.allows(Instant::now) {
            // The place is given back first: from now on all stand in the queue, in their order.
            job.unpin();
            shared.serving.register(&job.call.context.open);
            return self.accept_later(job);
        }
        if here && server.enter(server.lane(&job.call), self.held) {
            // Nothing can happen to this call before it has had its first turn, so most are never in the table. The
            // socket's task writes the answers when it is through with the batch.
            self.held = start(
                shared,
                server,
                job,
                method,
                (false, Direct::Together),
                &mut self.spare,
            );
            return;
        }
        job.unpin();
        shared.serving.register(&job.call.context.open);
        self.enqueue(job);
    }

    /// Takes a call that was kept back and is among the open ones, for the object that was found last.
    pub(crate) fn accept_later(&mut self, job: Job) {
        // What comes next must not take the free place before it.
        self.change(self.server.clone());
        self.enqueue(job);
    }

    fn enqueue(&mut self, job: Job) {
        let Some(server) = &self.server else { return };
        let (shared, here) = (self.shared, server.home.is_on(self.thread));
        match server.enqueue(job, &shared.serving.memory) {
            Admission::Queued => {}
            Admission::Dispatch if here => dispatch_within(shared, server, &mut self.budget),
            Admission::Dispatch => dispatch_later(shared, server, false),
            Admission::Full(job, why) => {
                let text = format!("{} is too slow: {why}", server.name);
                let error = CallError::new(ErrorCode::Overloaded, text).ran(false);
                refuse(shared, &job.call.context.open, job.answered, &error);
            }
        }
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.change(None);
        self.shared.serving.end();
    }
}

/// Starts calls as long as they may run; after a burst of them elsewhere in the queue of the thread's tasks.
pub(crate) fn dispatch(shared: &Arc<Shared>, server: &Arc<ObjectServer>) {
    dispatch_within(shared, server, &mut Budget::new(Instant::now()));
}

fn dispatch_within(shared: &Arc<Shared>, server: &Arc<ObjectServer>, budget: &mut Budget) {
    shared.serving.begin();
    let mut spare = Spare::default();
    let over = loop {
        if !budget.allows(Instant::now) {
            break false;
        }
        let Some((job, last)) = server.next() else {
            break true;
        };
        let method = Arc::clone(&job.call.context.method);
        let lane = server.lane(&job.call);
        // An answer that others follow at once goes out with theirs.
        let direct = match last && shared.serving.is_alone() {
            true => Direct::Now,
            false => Direct::Together,
        };
        if start(shared, server, job, &method, (true, direct), &mut spare) {
            // Whoever dispatches sees the free place.
            server.leave(lane);
        }
    };
    shared.serving.end();
    if !over {
        dispatch_later(shared, server, true);
    }
}

/// The same as a task of the object's home; behind everything else there that is ready, sockets and timers too, if `last`.
pub(crate) fn dispatch_later(shared: &Arc<Shared>, server: &Arc<ObjectServer>, last: bool) {
    let mut dispatching = Dispatching {
        shared: Arc::clone(shared),
        server: Arc::clone(server),
        begun: false,
    };
    server.home.spawn(Box::pin(async move {
        if last {
            tokio::task::yield_now().await;
        }
        dispatching.begun = true;
        dispatch(&dispatching.shared, &dispatching.server);
    }));
}
