//! How the calls of one object run: where, how many at a time, in which order.
//!
//! Owns the queue in front of each object. Handlers run where their registration was made. On a single-threaded
//! run-time each is polled once in the order of the calls, and most are done then; right here when the socket lives
//! on the same thread. On a multi-threaded one each is spawned in that order. How one call runs is [`super::turn`]'s.

use super::budget::Budget;
use super::handler::{Handler, IncomingCall};
use super::line::{Lane, Line};
use super::peer::memory::{Hold, Memory};
use super::request::PINNED_MAX;
use super::runtime::Home;
use super::serving::refuse;
use super::shared::Shared;
use super::state::Direct;
use super::turn::{Spare, start};
use crate::error::{CallError, ErrorCode};
use crate::message::PeerId;
use bytes::Bytes;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Calls of a broker's peers that may wait in front of one object.
const QUEUE_MAX: usize = 16 * 1024;
/// Of these, calls of one lane: a caller that does not wait for answers keeps nobody else out.
const LANE_MAX: usize = QUEUE_MAX / 4;
/// A line that is shorter than this is not looked through for calls that were cancelled.
const PURGE_MIN: usize = 64;
/// Bytes of their parameters that may. What another program makes this one keep is bounded for its connection, in calls and in bytes.
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
    /// A stream has no place: its handler is done when it has returned it.
    streams_apart: bool,
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

    /// Why no more of a broker's peers may wait.
    fn full(&self) -> Option<&'static str> {
        if self.line.len() >= QUEUE_MAX {
            return Some("16,384 calls wait for it already, and no more may");
        }
        (self.bytes >= QUEUE_BYTES_MAX).then_some("calls of 64 MiB wait for it already, and no more may")
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
pub(crate) enum Admission {
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
            streams_apart: false,
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
    pub(crate) const fn in_one_lane(mut self) -> Self {
        self.one_lane = true;
        self
    }

    /// The same object, of which a streamed answer counts among the running calls until its handler has returned it: who does not read
    /// streams keeps nobody out. How many there may be is the connection's to say.
    pub(crate) const fn with_streams_apart(mut self, apart: bool) -> Self {
        self.streams_apart = apart;
        self
    }

    /// What a call must not run beside of. Where all calls are in one lane the number of their connection does not count: what an
    /// earlier life of the connection has left behind is still in front of the next one's calls.
    pub(crate) fn lane(&self, call: &IncomingCall) -> Option<Lane> {
        match self.one_lane {
            true => Some((PeerId::default(), 0)),
            false => self.order.map(|part| (call.context.caller.peer, part(call))),
        }
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

    pub(crate) fn is_given_up(&self) -> bool {
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
    pub(crate) fn enter(&self, lane: Option<Lane>, held: bool) -> bool {
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

    pub(crate) fn enqueue(&self, mut job: Job, memory: &Memory) -> Admission {
        if self.lock().is_long() {
            self.drop_cancelled();
        }
        if !job.fits(memory) {
            // What was cancelled may make room.
            self.drop_cancelled();
            if !job.fits(memory) {
                let why = "as many bytes of one connection as may wait do so already; raise RpcLimits::memory in the program that serves it";
                return Admission::Full(job, why);
            }
        }
        let mut waiting = self.lock();
        // What another program sends without being given an answer is bounded by its window, and nobody could be told.
        let charged = job.call.context.open.is_charged();
        if !charged
            && !memory.is_bounded()
            && let Some(why) = waiting.full()
        {
            return Admission::Full(job, why);
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

    /// Gives back what a call held, the place if that is among it; nobody starts what may run now.
    pub(crate) fn give_place_back(&self, place: bool, lane: Option<Lane>) {
        let mut waiting = self.lock();
        waiting.running = waiting.running.saturating_sub(usize::from(place));
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

    /// Whether streams have no place.
    pub(crate) const fn has_streams_apart(&self) -> bool {
        self.streams_apart
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

/// Starts calls as long as they may run; after a burst of them elsewhere in the queue of the thread's tasks.
pub(crate) fn dispatch(shared: &Arc<Shared>, server: &Arc<ObjectServer>) {
    dispatch_within(shared, server, &mut Budget::new(Instant::now()));
}

pub(crate) fn dispatch_within(shared: &Arc<Shared>, server: &Arc<ObjectServer>, budget: &mut Budget) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::handler::{CallContext, HandlerError, Response};
    use crate::client::serving::OpenCall;
    use crate::message::{Attachments, Encoding, Metadata, Origin, Payload};

    struct Nothing;

    #[async_trait::async_trait]
    impl Handler for Nothing {
        async fn handle(&self, _: IncomingCall) -> Result<Response, HandlerError> {
            Ok(Response::payload(Payload::default()))
        }
    }

    fn call(caller: u64) -> IncomingCall {
        let peer = PeerId(caller);
        IncomingCall {
            context: CallContext {
                object: "o".into(),
                method: "m".into(),
                caller: Origin {
                    peer,
                    ..Origin::default()
                },
                caller_name: None,
                deadline: Instant::now(),
                metadata: Metadata::new(),
                encoding: Encoding::RAW,
                attachments: Attachments::new(),
                streaming: false,
                uploading: false,
                open: Arc::new(OpenCall::new(1, 1, 0, 0)),
            },
            payload: Payload::default(),
        }
    }

    /// How many calls of 1 MiB may wait, and what is said to the next one.
    fn large(memory: &Memory) -> (usize, &'static str) {
        let bytes = Bytes::from(vec![0; 1024 * 1024]);
        let server = ObjectServer::new("o", Arc::new(Nothing), Home::current().unwrap(), 1);
        for count in 0..1_000 {
            let mut call = call(1);
            call.payload.bytes = bytes.clone();
            let job = Job {
                call,
                answered: true,
                hold: None,
            };
            if let Admission::Full(_, why) = server.enqueue(job, memory) {
                return (count, why);
            }
        }
        panic!("any number may wait");
    }

    #[test]
    fn what_waits_of_another_program_is_bounded_by_its_connections_limit_alone_and_the_text_names_it() {
        for mib in [1, 100, 200] {
            let (count, why) = large(&Memory::bounded(mib * 1024 * 1024));
            assert_eq!(count, mib);
            assert!(why.contains("raise RpcLimits::memory"), "{why}");
        }
        let (count, why) = large(&Memory::default());
        assert_eq!(count, QUEUE_BYTES_MAX / (1024 * 1024));
        assert!(why.contains("64 MiB"), "{why}");
    }

    #[test]
    fn two_lives_of_one_connection_share_their_lane_and_two_callers_do_not() {
        let server = || {
            let home = Home::current().unwrap();
            ObjectServer::new("o", Arc::new(Nothing), home, usize::MAX)
        };
        let alone = server().in_one_lane();
        assert!(alone.lane(&call(1)).is_some());
        assert_eq!(alone.lane(&call(1)), alone.lane(&call(2)));
        let ordered = server().ordered(Some(|_| 7));
        assert_ne!(ordered.lane(&call(1)), ordered.lane(&call(2)));
        assert_eq!(server().lane(&call(1)), None);
    }
}
