//! How the calls of one object run: where, how many at a time, in which order.
//!
//! Owns the queue in front of each object. Handlers run where their registration was made. On a single-threaded
//! run-time each is polled once in the order of the calls, and most are done then; right here when the socket lives
//! on the same thread. On a multi-threaded one each is spawned in that order. What they return is sent by
//! [`super::respond`].

use super::handler::{Handler, IncomingCall};
use super::runtime::Home;
use super::serving::{OpenCall, refuse};
use super::shared::Shared;
use crate::error::{CallError, ErrorCode};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Calls that may wait in front of one object.
const QUEUE_MAX: usize = 16 * 1024;
/// Bytes of parameters that may wait in front of one object.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Calls that are started before other tasks of the thread run.
const BURST: usize = 256;

/// One object: its handler and the calls in front of it.
pub(crate) struct ObjectServer {
    pub(crate) name: Arc<str>,
    pub(crate) handler: Arc<dyn Handler>,
    home: Home,
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    running: usize,
    queue: VecDeque<Job>,
    bytes: usize,
    /// Somebody is starting calls and goes on as long as they may run.
    dispatching: bool,
}

/// A call that is about to run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) call: IncomingCall,
    /// Whether the caller wants an answer.
    pub(crate) answered: bool,
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
    Full(Job),
}

impl ObjectServer {
    pub(crate) fn new(name: &str, handler: Arc<dyn Handler>, home: Home, limit: usize) -> Self {
        Self {
            name: name.into(),
            handler,
            home,
            limit: limit.max(1),
            waiting: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the calls that have not started.
    pub(crate) fn clear(&self) {
        let mut waiting = self.lock();
        let queue = std::mem::take(&mut waiting.queue);
        waiting.bytes = 0;
        drop(waiting);
        drop(queue);
    }

    /// Takes a place for a call that nothing is in front of.
    fn enter(&self) -> bool {
        let mut waiting = self.lock();
        let free = waiting.queue.is_empty() && !waiting.dispatching && waiting.running < self.limit;
        waiting.running = waiting.running.saturating_add(usize::from(free));
        free
    }

    fn enqueue(&self, job: Job) -> Admission {
        let mut waiting = self.lock();
        if waiting.queue.len() >= QUEUE_MAX || waiting.bytes >= QUEUE_BYTES_MAX {
            return Admission::Full(job);
        }
        waiting.bytes = waiting.bytes.saturating_add(job.call.payload.bytes.len());
        waiting.queue.push_back(job);
        if waiting.dispatching || waiting.running >= self.limit {
            return Admission::Queued;
        }
        waiting.dispatching = true;
        Admission::Dispatch
    }

    /// The next call that may run, which takes a place; at `None` the dispatching is over.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        if waiting.running < self.limit
            && let Some(job) = waiting.queue.pop_front()
        {
            waiting.bytes = waiting.bytes.saturating_sub(job.call.payload.bytes.len());
            waiting.running = waiting.running.saturating_add(1);
            return Some(job);
        }
        waiting.dispatching = false;
        None
    }

    /// Gives a place back. `true`: the asker has to start what may run now.
    fn leave(&self) -> bool {
        let mut waiting = self.lock();
        waiting.running = waiting.running.saturating_sub(1);
        let dispatch = !waiting.dispatching && !waiting.queue.is_empty();
        waiting.dispatching |= dispatch;
        dispatch
    }
}

/// The place of a running call among those of its object. Given back when a run-time drops the call, too; its caller is
/// told then.
#[derive(Debug)]
struct Turn {
    shared: Arc<Shared>,
    server: Arc<ObjectServer>,
    open: Arc<OpenCall>,
    answered: bool,
    held: bool,
}

impl Turn {
    fn new(shared: &Arc<Shared>, server: &Arc<ObjectServer>, open: Arc<OpenCall>, answered: bool) -> Self {
        shared.serving.begin();
        Self {
            shared: Arc::clone(shared),
            server: Arc::clone(server),
            open,
            answered,
            held: true,
        }
    }

    /// Ends the call. `true`: the asker has to start what may run now.
    fn end(mut self) -> bool {
        self.held = false;
        self.server.leave()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.serving.end();
        self.shared.serving.close(self.open.ticket, self.open.life);
        if self.held {
            let mut waiting = self.server.lock();
            waiting.running = waiting.running.saturating_sub(1);
            drop(waiting);
            if self.answered && !self.open.is_cancelled() {
                let error = runtime_ended(&self.server).ran(true);
                super::respond::answer_error(&self.shared, &self.open, &error);
            }
        }
    }
}

fn runtime_ended(server: &ObjectServer) -> CallError {
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
        let queue = std::mem::take(&mut waiting.queue);
        waiting.bytes = 0;
        waiting.dispatching = false;
        drop(waiting);
        let error = runtime_ended(&self.server).ran(false);
        for job in queue {
            refuse(&self.shared, job.call.context.open.ticket, job.answered, &error);
        }
    }
}

/// Takes a call that has come as a whole.
pub(crate) fn accept(shared: &Arc<Shared>, server: &Arc<ObjectServer>, job: Job) {
    let here = server.home.is_here();
    if here && server.enter() {
        // Nothing can happen to this call before it has had its first turn, so most are never in the table.
        if start(shared, server, job, false) {
            server.leave();
        }
        return;
    }
    shared.serving.register(&job.call.context.open);
    match server.enqueue(job) {
        Admission::Queued => {}
        Admission::Dispatch if here => dispatch(shared, server),
        Admission::Dispatch => dispatch_later(shared, server),
        Admission::Full(job) => {
            let text = format!("{QUEUE_MAX} calls wait for {} already", server.name);
            let error = CallError::new(ErrorCode::Overloaded, text).ran(false);
            refuse(shared, job.call.context.open.ticket, job.answered, &error);
        }
    }
}

/// Starts calls as long as they may run; after a burst of them elsewhere in the queue of the thread's tasks.
fn dispatch(shared: &Arc<Shared>, server: &Arc<ObjectServer>) {
    for _ in 0..BURST {
        let Some(job) = server.next() else { return };
        if start(shared, server, job, true) {
            // Whoever dispatches sees the free place.
            server.leave();
        }
    }
    dispatch_later(shared, server);
}

/// The same as a task of the object's home.
fn dispatch_later(shared: &Arc<Shared>, server: &Arc<ObjectServer>) {
    let mut dispatching = Dispatching {
        shared: Arc::clone(shared),
        server: Arc::clone(server),
        begun: false,
    };
    server.home.spawn(Box::pin(async move {
        dispatching.begun = true;
        dispatch(&dispatching.shared, &dispatching.server);
    }));
}

/// Starts one call, which has a place. `true`: it is over already, and its place is to be given back.
fn start(shared: &Arc<Shared>, server: &Arc<ObjectServer>, job: Job, registered: bool) -> bool {
    let open = Arc::clone(&job.call.context.open);
    if open.is_cancelled() {
        shared.serving.close(open.ticket, open.life);
        return true;
    }
    let answered = job.answered;
    if !server.home.is_single_threaded() {
        let turn = Turn::new(shared, server, open, answered);
        server.home.spawn(Box::pin(finish(
            Box::pin(serve(Arc::clone(shared), Arc::clone(server), job)),
            turn,
        )));
        return false;
    }
    shared.serving.begin();
    let mut task = Box::pin(serve(Arc::clone(shared), Arc::clone(server), job));
    // Its own task polls it again at once, with a waker that works.
    let over = task
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready();
    if over {
        if registered {
            shared.serving.close(open.ticket, open.life);
        }
    } else {
        if !registered {
            shared.serving.register(&open);
        }
        let turn = Turn::new(shared, server, open, answered);
        server.home.spawn_here(Box::pin(finish(task, turn)));
    }
    shared.serving.end();
    over
}

async fn finish(task: impl Future<Output = ()>, turn: Turn) {
    task.await;
    let (shared, server) = (Arc::clone(&turn.shared), Arc::clone(&turn.server));
    if turn.end() {
        dispatch(&shared, &server);
    }
}

/// Tells those who watch a call that it is over, also when it was dropped halfway.
struct Over(Arc<OpenCall>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// One call from its handler to its answer.
async fn serve(shared: Arc<Shared>, server: Arc<ObjectServer>, job: Job) {
    let over = Over(Arc::clone(&job.call.context.open));
    let open = &over.0;
    let work = super::respond::work(&shared, &server, job);
    futures::pin_mut!(work);
    std::future::poll_fn(|cx| {
        if open.watch(cx) {
            Poll::Ready(())
        } else {
            work.as_mut().poll(cx)
        }
    })
    .await;
}
