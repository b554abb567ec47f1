//! The calls of one batch where it is read: each finds its object, and runs at once when nothing is in front of it.
//!
//! Owns what the calls of a batch share: the object of the one before, its place, the time that handlers may have. It refuses to know
//! what a call is made of, which is [`super::incoming`]'s, its caller; the queue in front of an object is [`super::running`]'s.

use super::budget::Budget;
use super::incoming::Grants;
use super::peer::Met;
use super::running::{Admission, Job, ObjectServer, dispatch_later, dispatch_within};
use super::serving::{OpenCall, refuse};
use super::shared::Shared;
use super::state::Direct;
use super::turn::{Spare, start};
use crate::error::{CallError, ErrorCode};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Instant;

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
