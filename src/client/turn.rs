//! One call from its handler's first turn to its answer.
//!
//! Owns the task of a call, and that most need none: a handler that is done at its first turn is answered on the spot.
//! Everything else goes on as a task where the handler was registered. It refuses to know which call may run when,
//! which is [`super::running`]'s, its only caller; answers are made by [`super::respond`].

use super::failure::{answer_error, panicked};
use super::handler::{HandlerError, IncomingCall, Response};
use super::line::Lane;
use super::respond::{self, To, allowed};
use super::running::{Job, ObjectServer, dispatch, dispatch_later, runtime_ended};
use super::serving::OpenCall;
use super::shared::Shared;
use super::state::Direct;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio_util::sync::ReusableBoxFuture;
use tracing::Instrument;

/// What a handler made of its call.
pub(crate) type Outcome = Result<Response, HandlerError>;

/// What is left of a call.
pub(crate) enum Left {
    Handling(Handling),
    Answering(Outcome),
}

/// A handler's future.
type Handling = ReusableBoxFuture<'static, Outcome>;

/// What a call leaves behind that was over at once, for the next one.
#[derive(Default)]
pub(crate) struct Spare {
    handling: Option<Handling>,
    open: Option<Arc<OpenCall>>,
}

impl Spare {
    /// What is known of a call that has come.
    pub(crate) fn open(&mut self, ticket: u64, life: u64, window: u32, charge: u32) -> Arc<OpenCall> {
        if let Some(mut open) = self.open.take()
            && let Some(own) = Arc::get_mut(&mut open)
        {
            own.renew(ticket, life, window, charge);
            return open;
        }
        Arc::new(OpenCall::new(ticket, life, window, charge))
    }

    /// The handler's future, which keeps the handler.
    fn handling(&mut self, server: &Arc<ObjectServer>, call: IncomingCall) -> Handling {
        let handler = Arc::clone(&server.handler);
        let span = call.context.span();
        let future = async move { handler.handle(call).await };
        match span.is_disabled() {
            true => self.boxed(future),
            false => self.boxed(future.instrument(span)),
        }
    }

    /// The future in the memory of the one before, when there is any.
    fn boxed(&mut self, future: impl Future<Output = Outcome> + Send + 'static) -> Handling {
        match self.handling.take() {
            Some(mut used) => {
                used.set(future);
                used
            }
            None => ReusableBoxFuture::new(future),
        }
    }

    /// The handler works until it has to wait. Its own task polls it again then, with a waker that works.
    fn first_turn(&mut self, server: &ObjectServer, mut handling: Handling, method: &str) -> Left {
        let mut cx = Context::from_waker(Waker::noop());
        let outcome = match catch_unwind(AssertUnwindSafe(|| handling.poll(&mut cx))) {
            Ok(Poll::Pending) => return Left::Handling(handling),
            Ok(Poll::Ready(outcome)) => outcome.and_then(allowed),
            Err(panic) => Err(panicked(server, method, panic.as_ref())),
        };
        self.handling = Some(handling);
        Left::Answering(outcome)
    }

    /// A call is over, and told so to those who watch it.
    fn keep(&mut self, mut open: Arc<OpenCall>) {
        if Arc::get_mut(&mut open).is_some() {
            self.open = Some(open);
        } else {
            open.finish();
        }
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
    /// What others wait for, until the handler is done.
    holds: Mutex<Holds>,
    /// It has come to its end; otherwise a run-time has dropped it.
    ended: bool,
}

/// What a running call holds of its object.
#[derive(Debug, Default)]
struct Holds {
    place: bool,
    lane: Option<Lane>,
}

impl Turn {
    fn new(
        shared: &Arc<Shared>,
        server: &Arc<ObjectServer>,
        open: Arc<OpenCall>,
        (answered, lane): (bool, Option<Lane>),
    ) -> Self {
        shared.serving.begin();
        Self {
            shared: Arc::clone(shared),
            server: Arc::clone(server),
            open,
            answered,
            holds: Mutex::new(Holds { place: true, lane }),
            ended: false,
        }
    }

    /// Takes out what it holds, the place too if that is `all`.
    fn take(&self, all: bool) -> Holds {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        Holds {
            place: all && std::mem::take(&mut holds.place),
            lane: holds.lane.take(),
        }
    }

    /// Gives back what was taken out. `true`: the asker has to start what may run now.
    fn give_back(&self, holds: &Holds) -> bool {
        match holds.place {
            true => self.server.leave(holds.lane),
            false => self.server.release(holds.lane),
        }
    }

    /// The handler is done and its answer is a stream: the caller's next call need not wait for who reads it.
    fn handled(&self) {
        if self.give_back(&self.take(self.server.has_streams_apart())) {
            dispatch(&self.shared, &self.server);
        }
    }

    /// Ends the call. `true`: the asker has to start what may run now.
    fn end(mut self) -> bool {
        self.ended = true;
        self.give_back(&self.take(true))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.serving.end();
        self.shared.serving.close(&self.open);
        self.shared.pay_for(&self.open);
        if !self.ended {
            let holds = self.take(true);
            self.server.give_place_back(holds.place, holds.lane);
            if self.answered && !self.open.is_cancelled() {
                let error = runtime_ended(&self.server).ran(true);
                answer_error(&self.shared, &self.open, &error);
            }
        }
    }
}

/// Tells those who watch a call that it is over, also when it was dropped halfway.
struct Over(Arc<OpenCall>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Starts one call, which has a place. `true`: it is over already, and its place is free again. It is told whether the
/// call is in the table of open ones, and who writes an answer that is ready.
#[inline]
pub(crate) fn start(
    shared: &Arc<Shared>,
    server: &Arc<ObjectServer>,
    job: Job,
    method: &str,
    (registered, direct): (bool, Direct),
    spare: &mut Spare,
) -> bool {
    // What runs is its handler's, and no longer kept for it.
    let Job { call, answered, .. } = job;
    let open = Arc::clone(&call.context.open);
    if registered && open.is_cancelled() {
        shared.serving.close(&open);
        shared.pay_for(&open);
        return true;
    }
    let streaming = call.context.streaming;
    let lane = server.lane(&call);
    let handling = spare.handling(server, call);
    // Of a call that is alone in any case, only the task that starts it waits for the first turn.
    let first_here = server.home.is_single_threaded() || (registered && server.is_serial());
    let left = match first_here {
        true => spare.first_turn(server, handling, method),
        false => Left::Handling(handling),
    };
    let left = match left {
        Left::Answering(_) if !answered => None,
        Left::Answering(outcome) => {
            let direct = (registered, direct);
            respond::at_once(shared, &open, outcome, streaming, direct).map(Left::Answering)
        }
        left @ Left::Handling(_) => Some(left),
    };
    let Some(left) = left else {
        if registered {
            shared.serving.close(&open);
        }
        shared.pay_for(&open);
        spare.keep(open);
        return true;
    };
    let lane = match left {
        Left::Handling(_) if registered => lane,
        Left::Handling(_) => {
            server.hold(lane);
            lane
        }
        // The handler is done. Who dispatches sees what may run now.
        Left::Answering(_) => {
            if registered && server.release(lane) {
                dispatch_later(shared, server, false);
            }
            None
        }
    };
    if !registered {
        shared.serving.register(&open);
    }
    let over = Over(Arc::clone(&open));
    let turn = Turn::new(shared, server, open, (answered, lane));
    let task = Box::pin(go_on(turn, over, left, Arc::from(method), streaming));
    if server.home.is_single_threaded() {
        server.home.spawn_here(task);
    } else {
        server.home.spawn(task);
    }
    false
}

/// The task of a call that was not over at once.
async fn go_on(turn: Turn, over: Over, left: Left, method: Arc<str>, streaming: bool) {
    let to = To {
        shared: &turn.shared,
        open: &turn.open,
        answered: turn.answered,
    };
    let handled = || turn.handled();
    let mut work = Box::pin(respond::work(
        to,
        &turn.server,
        left,
        (&*method, streaming),
        handled,
    ));
    std::future::poll_fn(|cx| {
        if turn.open.watch(cx) {
            Poll::Ready(())
        } else {
            work.as_mut().poll(cx)
        }
    })
    .await;
    // What a handler holds when it is given up is dropped here, which is the program's code: others go on whatever that does.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(work))) {
        // Nobody wants the answer; the log tells.
        let _ = panicked(&turn.server, &method, panic.as_ref());
    }
    drop(over);
    let (shared, server) = (Arc::clone(&turn.shared), Arc::clone(&turn.server));
    if turn.end() {
        dispatch(&shared, &server);
    }
}
