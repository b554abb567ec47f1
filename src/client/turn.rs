//! One call from its handler's first turn to its answer.
//!
//! Owns the task of a call, and that most need none: a handler that is done at its first turn is answered on the spot.
//! Everything else goes on as a task where the handler was registered. It refuses to know which call may run when,
//! which is [`super::running`]'s, its only caller; answers are made by [`super::respond`].

use super::handler::{HandlerError, IncomingCall, Response};
use super::respond::{self, To, allowed, panicked};
use super::running::{Job, ObjectServer, dispatch, runtime_ended};
use super::serving::OpenCall;
use super::shared::Shared;
use super::state::Direct;
use futures::future::BoxFuture;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a handler made of its call.
pub(crate) type Outcome = Result<Response, HandlerError>;

/// What is left of a call.
pub(crate) enum Left {
    Handling(BoxFuture<'static, Outcome>),
    Answering(Outcome),
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
            self.server.give_place_back();
            if self.answered && !self.open.is_cancelled() {
                let error = runtime_ended(&self.server).ran(true);
                respond::answer_error(&self.shared, &self.open, &error);
            }
        }
    }
}

/// Tells those who watch a call that it is over, also when it was dropped halfway.
struct Over(Arc<OpenCall>);

impl Drop for Over {
    fn drop(&mut self) {
        // Nobody watches a call that nobody else knows.
        if Arc::strong_count(&self.0) > 1 {
            self.0.finish();
        }
    }
}

/// Starts one call, which has a place. `true`: it is over already, and its place is free again. It is told whether the
/// call is in the table of open ones, and who writes an answer that is ready.
pub(crate) fn start(
    shared: &Arc<Shared>,
    server: &Arc<ObjectServer>,
    job: Job,
    method: &str,
    (registered, direct): (bool, Direct),
) -> bool {
    let Job { call, answered } = job;
    let open = Arc::clone(&call.context.open);
    if registered && open.is_cancelled() {
        shared.serving.close(open.ticket, open.life);
        return true;
    }
    let streaming = call.context.streaming;
    let handling = handle(Arc::clone(server), call);
    let left = match server.home.is_single_threaded() {
        true => first_turn(server, handling, method),
        false => Left::Handling(handling),
    };
    let left = match left {
        Left::Answering(_) if !answered => None,
        Left::Answering(outcome) => {
            respond::at_once(shared, &open, outcome, streaming, direct).map(Left::Answering)
        }
        left @ Left::Handling(_) => Some(left),
    };
    let over = Over(open);
    let Some(left) = left else {
        if registered {
            shared.serving.close(over.0.ticket, over.0.life);
        }
        return true;
    };
    if !registered {
        shared.serving.register(&over.0);
    }
    let turn = Turn::new(shared, server, Arc::clone(&over.0), answered);
    let task = Box::pin(go_on(turn, over, left, Box::from(method), streaming));
    if server.home.is_single_threaded() {
        server.home.spawn_here(task);
    } else {
        server.home.spawn(task);
    }
    false
}

/// The handler's future, which keeps the handler.
fn handle(server: Arc<ObjectServer>, call: IncomingCall) -> BoxFuture<'static, Outcome> {
    Box::pin(async move { server.handler.handle(call).await })
}

/// Lets the handler work until it has to wait. Its own task polls it again then, with a waker that works.
fn first_turn(server: &ObjectServer, mut handling: BoxFuture<'static, Outcome>, method: &str) -> Left {
    let mut cx = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(&mut cx))) {
        Ok(Poll::Pending) => Left::Handling(handling),
        Ok(Poll::Ready(outcome)) => Left::Answering(outcome.and_then(allowed)),
        Err(panic) => Left::Answering(Err(panicked(server, method, panic.as_ref()))),
    }
}

/// The task of a call that was not over at once.
async fn go_on(turn: Turn, over: Over, left: Left, method: Box<str>, streaming: bool) {
    let to = To {
        shared: &turn.shared,
        open: &turn.open,
        answered: turn.answered,
    };
    let mut work = Box::pin(respond::work(to, &turn.server, left, &method, streaming));
    std::future::poll_fn(|cx| {
        if turn.open.watch(cx) {
            Poll::Ready(())
        } else {
            work.as_mut().poll(cx)
        }
    })
    .await;
    drop(work);
    drop(over);
    let (shared, server) = (Arc::clone(&turn.shared), Arc::clone(&turn.server));
    if turn.end() {
        dispatch(&shared, &server);
    }
}
