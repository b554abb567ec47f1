//! The TopicHub actor: which peers hear which topic.
//!
//! It takes batches from Connections; [`state`] handles them and sends each subscriber at most one delivery per batch. It returns
//! credit to the publisher when the batch is done, or later when a slow subscriber holds it. The actor itself only yields, keeps the
//! timer of the holds, and restarts after a panic.
//!
//! ```text
//!  HubBatch ─► step (guarded) ─► index::matching ─► per receiver: frame number, subscription, gap ─► Deliver::Events
//!                                        └─ credit back to the publisher, held while a receiver is above its soft limit
//! ```

mod access;
mod attached;
mod control;
pub mod facts;
mod fan_out;
mod frames;
mod hold;
pub mod index;
mod observed;
mod regions;
mod rest;
mod retained;
mod selector;
pub mod state;
mod subscribers;
#[cfg(test)]
mod tests;
mod trie;
mod uploads;
mod wills;

use super::broker::{CoreEnded, EndReport};
use super::core::Shared;
use super::messages::{Drained, Gone, HubBatch, Revise};
use super::observe::survey::SurveyHub;
use super::supervise::{Progress, Turn, guard};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient,
    Supervised, WrapFuture,
};
use state::State;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

/// Who hears which topic.
#[derive(Debug)]
pub struct TopicHub {
    state: State,
    /// The timer of the holds runs.
    armed: bool,
    /// A new turn begins when the mailbox is empty.
    resting: bool,
    ended: EndReport,
}

impl TopicHub {
    /// A hub without subscriptions; `ended` is told when it cannot go on.
    #[must_use]
    pub fn new(shared: Arc<Shared>, ended: Recipient<CoreEnded>) -> Self {
        Self {
            state: State::new(shared),
            armed: false,
            resting: false,
            ended: EndReport::new(ended, "TopicHub ended unexpectedly"),
        }
    }

    fn go_on(&mut self, progress: Progress, ctx: &mut Context<Self>) {
        self.arm(ctx);
        match progress {
            Progress::Done => self.rest_later(ctx),
            Progress::Yield => self.resume_later(ctx),
            Progress::Restart => ctx.stop(),
            Progress::End(why) => {
                self.ended.tell(why);
                ctx.stop();
            }
        }
    }

    /// What is spawned here is looked at when the mailbox is empty.
    fn rest_later(&mut self, ctx: &mut Context<Self>) {
        if self.state.turn.is_begun() && !self.resting {
            self.resting = true;
            let rested = |(), act: &mut Self, _: &mut Context<Self>| {
                act.resting = false;
                act.state.turn = Turn::default();
            };
            ctx.spawn(ready(()).into_actor(self).map(rested));
        }
    }

    /// Goes on after others had their turn, before the next message.
    fn resume_later(&self, ctx: &mut Context<Self>) {
        let resume = |(), act: &mut Self, ctx: &mut Context<Self>| {
            let progress = act.state.resume();
            act.go_on(progress, ctx);
        };
        ctx.wait(super::yield_once().into_actor(self).map(resume));
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(due) = self.state.due().filter(|_| !self.armed) {
            self.armed = true;
            ctx.run_later(due.saturating_duration_since(Instant::now()), |act, ctx| {
                act.armed = false;
                act.state.holds_over();
                act.arm(ctx);
            });
        }
    }
}

impl Actor for TopicHub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The restart has cleared what this context had spawned.
        self.armed = false;
        self.resting = false;
        self.arm(ctx);
        if self.state.is_interrupted() {
            self.resume_later(ctx);
        }
    }
}

impl Supervised for TopicHub {}

impl Handler<HubBatch> for TopicHub {
    type Result = ();

    fn handle(&mut self, message: HubBatch, ctx: &mut Self::Context) {
        let progress = self.state.handle(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<Gone> for TopicHub {
    type Result = ();

    fn handle(&mut self, message: Gone, ctx: &mut Self::Context) {
        let progress = self.state.gone(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<Revise> for TopicHub {
    type Result = ();

    fn handle(&mut self, message: Revise, ctx: &mut Self::Context) {
        let progress = self.state.revise(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<SurveyHub> for TopicHub {
    type Result = MessageResult<SurveyHub>;

    fn handle(&mut self, _: SurveyHub, _: &mut Self::Context) -> Self::Result {
        MessageResult(guard(|| self.state.survey()).unwrap_or_default())
    }
}

impl Handler<Drained> for TopicHub {
    type Result = ();

    fn handle(&mut self, message: Drained, _: &mut Self::Context) {
        self.state.drained(message);
    }
}
