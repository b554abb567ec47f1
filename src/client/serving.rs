//! The calls that come to the objects of this client: which object runs them, how many at a time, and which are open.
//!
//! Owns the table of objects, the queue in front of each, and the open calls by the broker's ticket. It starts
//! handlers where their registration was made: polled once right here when the socket lives on the same thread (most
//! handlers are done then), spawned otherwise. What they return is sent by [`super::respond`].

use super::handler::{CallContext, Handler, IncomingCall};
use super::runtime::Home;
use super::shared::Shared;
use crate::error::{CallError, ErrorCode};
use bytes::BytesMut;
use futures::task::AtomicWaker;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Calls that may wait in front of one object.
const QUEUE_MAX: usize = 16 * 1024;
/// Bytes of parameters that may wait in front of one object.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The objects of one client and their open calls.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    table: Mutex<Table>,
    /// Calls whose handlers have started and not ended.
    running: AtomicUsize,
    /// Woken when the last of them has ended.
    idle: AtomicWaker,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) objects: HashMap<Arc<str>, Arc<ObjectServer>>,
    pub(crate) open: HashMap<u64, Arc<OpenCall>>,
    pub(crate) partial: HashMap<u64, PartialCall>,
}

/// A call that is arriving in pieces.
#[derive(Debug)]
pub(crate) struct PartialCall {
    pub(crate) server: Arc<ObjectServer>,
    pub(crate) context: CallContext,
    pub(crate) bytes: BytesMut,
    pub(crate) answered: bool,
    /// Credit to give back, in bytes.
    pub(crate) owed: usize,
}

/// One object: its handler and the calls in front of it.
pub(crate) struct ObjectServer {
    pub(crate) name: Arc<str>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) home: Home,
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    running: usize,
    queue: VecDeque<Job>,
    bytes: usize,
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

/// A call that has come and is not answered.
#[derive(Debug)]
pub(crate) struct OpenCall {
    /// The broker's number of it.
    pub(crate) ticket: u64,
    /// The connection it came on: it is not answered on another.
    pub(crate) life: u64,
    state: Mutex<OpenState>,
}

#[derive(Debug)]
struct OpenState {
    cancelled: bool,
    /// What streamed replies and pieces may still use.
    window: i64,
    task: Option<Waker>,
    others: Vec<Waker>,
}

impl OpenCall {
    pub(crate) const fn new(ticket: u64, life: u64, window: u32) -> Self {
        let state = OpenState {
            cancelled: false,
            window: window as i64,
            task: None,
            others: Vec::new(),
        };
        Self {
            ticket,
            life,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Nobody wants the answer any more.
    pub(crate) fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        let mut woken = std::mem::take(&mut state.others);
        woken.extend(state.task.take());
        drop(state);
        woken.into_iter().for_each(Waker::wake);
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

    /// For anybody but the call's own task.
    pub(crate) fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.cancelled {
            return Poll::Ready(());
        }
        if !state.others.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.others.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// For the call's own task: whether to stop. It is woken when that changes, or credit comes.
    pub(crate) fn watch(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        match state.task.as_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.task = Some(cx.waker().clone()),
        }
        state.cancelled
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
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Serving {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the call that asks is the only one that runs: its answer need not wait for others.
    pub(crate) fn is_alone(&self) -> bool {
        self.running.load(Ordering::Relaxed) <= 1
    }

    /// Ready when no handler runs. For one task at a time.
    pub(crate) fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        self.idle.register(cx.waker());
        if self.running.load(Ordering::SeqCst) == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The connection is gone: nobody takes the answers.
    pub(crate) fn abort_all(&self) {
        let mut table = self.lock();
        let open = std::mem::take(&mut table.open);
        table.partial.clear();
        let servers: Vec<_> = table.objects.values().cloned().collect();
        drop(table);
        servers.iter().for_each(|server| server.clear());
        open.into_values().for_each(|call| call.cancel());
    }

    fn register(&self, open: &Arc<OpenCall>) {
        self.lock().open.insert(open.ticket, Arc::clone(open));
    }

    fn close(&self, ticket: u64, life: u64) {
        let mut table = self.lock();
        if table.open.get(&ticket).is_some_and(|open| open.life == life) {
            table.open.remove(&ticket);
        }
    }
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

    fn clear(&self) {
        let mut waiting = self.lock();
        let queue = std::mem::take(&mut waiting.queue);
        waiting.bytes = 0;
        drop(waiting);
        drop(queue);
    }

    /// The next call that may run, when `job` is the newest.
    fn admit(&self, job: Job) -> Admission {
        let mut waiting = self.lock();
        if waiting.queue.is_empty() && waiting.running < self.limit {
            waiting.running = waiting.running.saturating_add(1);
            return Admission::Run(job);
        }
        if waiting.queue.len() >= QUEUE_MAX || waiting.bytes >= QUEUE_BYTES_MAX {
            return Admission::Full(job);
        }
        waiting.bytes = waiting.bytes.saturating_add(job.call.payload.bytes.len());
        waiting.queue.push_back(job);
        if waiting.running >= self.limit {
            return Admission::Queued;
        }
        waiting.running = waiting.running.saturating_add(1);
        waiting.pop().map_or(Admission::Queued, Admission::Run)
    }

    /// The call that may run instead of one that has ended.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        let next = waiting.pop();
        if next.is_none() {
            waiting.running = waiting.running.saturating_sub(1);
        }
        next
    }
}

/// What becomes of a call that has come.
enum Admission {
    /// This one may run now; it is the next, not always the newest.
    Run(Job),
    Queued,
    Full(Job),
}

impl Waiting {
    fn pop(&mut self) -> Option<Job> {
        let job = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(job.call.payload.bytes.len());
        Some(job)
    }
}

/// The place of a running call among those of its object. Dropped without [`Turn::pass`] (when a run-time ends), it
/// only makes room.
#[derive(Debug)]
struct Turn {
    shared: Arc<Shared>,
    server: Arc<ObjectServer>,
    held: bool,
}

impl Turn {
    fn new(shared: &Arc<Shared>, server: &Arc<ObjectServer>) -> Self {
        shared.serving.running.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(shared),
            server: Arc::clone(server),
            held: true,
        }
    }

    /// Hands the place to the next call in the queue.
    fn pass(mut self) -> Option<Job> {
        self.held = false;
        self.server.next()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.shared.serving.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.serving.idle.wake();
        }
        if self.held {
            let mut waiting = self.server.lock();
            waiting.running = waiting.running.saturating_sub(1);
        }
    }
}

/// Takes a call that has come as a whole.
pub(crate) fn accept(shared: &Arc<Shared>, server: &Arc<ObjectServer>, job: Job) {
    let open = Arc::clone(&job.call.context.open);
    // On the object's own thread nothing can happen to a call before this returns, so most are never in the table.
    let here = server.home.is_here();
    if !here {
        shared.serving.register(&open);
    }
    match server.admit(job) {
        Admission::Run(job) => run(shared, server, job),
        Admission::Queued if here => shared.serving.register(&open),
        Admission::Queued => {}
        Admission::Full(job) => {
            let text = format!("{QUEUE_MAX} calls wait for {} already", server.name);
            let error = CallError::new(ErrorCode::Overloaded, text).ran(false);
            refuse(shared, job.call.context.open.ticket, job.answered, &error);
        }
    }
}

/// Answers a call that does not run.
pub(crate) fn refuse(shared: &Shared, ticket: u64, answered: bool, error: &CallError) {
    shared.serving.lock().open.remove(&ticket);
    if answered {
        let next = super::respond::push_error(&mut shared.lock(), ticket, error);
        shared.perform(next);
    }
}

/// Runs a call, and those in the queue behind it as long as they end at once.
fn run(shared: &Arc<Shared>, server: &Arc<ObjectServer>, first: Job) {
    let mut next = Some(first);
    let mut job_was_queued = false;
    while let Some(job) = next.take() {
        let open = Arc::clone(&job.call.context.open);
        if open.is_cancelled() {
            shared.serving.close(open.ticket, open.life);
            next = server.next();
            continue;
        }
        let turn = Turn::new(shared, server);
        let mut task = Box::pin(serve(Arc::clone(&turn.shared), Arc::clone(server), job));
        if server.home.is_here() {
            // Its own task polls it again at once, with a waker that works.
            if task
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
            {
                if std::mem::replace(&mut job_was_queued, true) {
                    shared.serving.close(open.ticket, open.life);
                }
                next = turn.pass();
                continue;
            }
            shared.serving.register(&open);
            actix_rt::spawn(finish(task, turn, open));
        } else {
            server.home.spawn(Box::pin(finish(task, turn, open)));
        }
    }
}

async fn finish(task: impl Future<Output = ()>, turn: Turn, open: Arc<OpenCall>) {
    task.await;
    let (shared, server) = (Arc::clone(&turn.shared), Arc::clone(&turn.server));
    shared.serving.close(open.ticket, open.life);
    if let Some(job) = turn.pass() {
        run(&shared, &server, job);
    }
}

/// One call from its handler to its answer.
async fn serve(shared: Arc<Shared>, server: Arc<ObjectServer>, job: Job) {
    let open = Arc::clone(&job.call.context.open);
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
