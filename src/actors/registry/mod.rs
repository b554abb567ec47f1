//! The Registry actor: which peer has which object.
//!
//! It takes batches from Connections; [`state`] handles them and sends what follows: at most one delivery per callee and batch. The
//! actor itself only yields, and restarts after a panic. Calls are not kept here: their answer goes from callee to caller.
//!
//! ```text
//!  RegistryBatch ─► step (guarded) ─► index ─► facts ─► Deliver::Calls to callees, Routed to the caller, answers
//!                      └─ panic: answered, blamed; actor restarts, index rebuilt from facts; rest of the batch goes on
//! ```

mod access;
mod activate;
mod admitted;
mod answer;
mod bus;
mod claims;
pub mod facts;
pub mod index;
pub mod labels;
mod listing;
mod names;
mod observed;
mod presence;
mod rebuild;
mod request;
mod sorted;
pub mod state;
#[cfg(test)]
mod tests;
mod unrouted;

use super::broker::{CoreEnded, EndReport};
use super::core::Shared;
use super::messages::{CloseAll, Control, DrainAll, Gone, Joined, RegistryBatch, Revise};
use super::observe::services::SurveyServices;
use super::observe::survey::SurveyRegistry;
use super::supervise::{Progress, Turn, guard};
use crate::activation::{Order, Redescribed, Report};
use crate::error::CloseReason;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient,
    SpawnHandle, Supervised, WrapFuture,
};
use state::State;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Who has which object.
#[derive(Debug)]
pub struct Registry {
    state: State,
    /// A new turn begins when the mailbox is empty.
    resting: bool,
    /// The timer of the waiting messages runs, until then.
    armed: Option<(Instant, SpawnHandle)>,
    ended: EndReport,
    /// Who starts services, when there are some.
    launcher: Option<Recipient<Order>>,
}

impl Registry {
    /// An empty registry; `ended` is told when it cannot go on, and `launcher` which services are wanted.
    #[must_use]
    pub fn new(shared: Arc<Shared>, ended: Recipient<CoreEnded>, launcher: Option<Recipient<Order>>) -> Self {
        Self {
            state: State::new(shared),
            resting: false,
            armed: None,
            ended: EndReport::new(ended, "Registry ended unexpectedly"),
            launcher,
        }
    }

    fn go_on(&mut self, progress: Progress, ctx: &mut Context<Self>) {
        self.arm(ctx);
        if let Some(launcher) = &self.launcher {
            self.state
                .take_orders()
                .into_iter()
                .for_each(|order| launcher.do_send(order));
        }
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

    /// Comes back when the first message that waits for an endpoint has waited too long.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.state.due() else { return };
        if let Some((armed, timer)) = self.armed {
            if armed <= due {
                return;
            }
            ctx.cancel_future(timer);
        }
        let wait = due.saturating_duration_since(Instant::now());
        let timer = ctx.run_later(wait, |act, ctx| {
            act.armed = None;
            let progress = act.state.time_passed();
            act.go_on(progress, ctx);
        });
        self.armed = Some((due, timer));
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
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The restart has cleared what this context had spawned.
        self.resting = false;
        self.armed = None;
        self.arm(ctx);
        if self.state.is_interrupted() {
            self.resume_later(ctx);
        }
    }
}

impl Supervised for Registry {}

/// A panic outside of the guard, or anything else that takes it away, must not leave peers that nobody tells: no other actor knows all of
/// them. When the broker stops they have been told already, and finish.
impl Drop for Registry {
    fn drop(&mut self) {
        if !self.state.shared.stopping.load(Ordering::Acquire) {
            let text = self.ended.unexpected();
            self.state
                .tell_all(|| Control::Close(CloseReason::Internal, text.into()));
        }
    }
}

impl Handler<RegistryBatch> for Registry {
    type Result = ();

    fn handle(&mut self, message: RegistryBatch, ctx: &mut Self::Context) {
        let progress = self.state.handle(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<Report> for Registry {
    type Result = ();

    fn handle(&mut self, message: Report, ctx: &mut Self::Context) {
        let progress = self.state.reported(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<Redescribed> for Registry {
    type Result = ();

    fn handle(&mut self, Redescribed(services): Redescribed, ctx: &mut Self::Context) {
        let progress = self.state.redescribed(services);
        self.go_on(progress, ctx);
    }
}

impl Handler<Joined> for Registry {
    type Result = ();

    fn handle(&mut self, message: Joined, ctx: &mut Self::Context) {
        let progress = self.state.joined(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<Gone> for Registry {
    type Result = ();

    fn handle(&mut self, message: Gone, ctx: &mut Self::Context) {
        let progress = self.state.gone(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<Revise> for Registry {
    type Result = ();

    fn handle(&mut self, message: Revise, ctx: &mut Self::Context) {
        let progress = self.state.revise(message);
        self.go_on(progress, ctx);
    }
}

impl Handler<DrainAll> for Registry {
    type Result = ();

    fn handle(&mut self, _: DrainAll, ctx: &mut Self::Context) {
        let progress = self.state.drain();
        self.go_on(progress, ctx);
    }
}

impl Handler<SurveyServices> for Registry {
    type Result = MessageResult<SurveyServices>;

    fn handle(&mut self, _: SurveyServices, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state.services())
    }
}

impl Handler<SurveyRegistry> for Registry {
    type Result = MessageResult<SurveyRegistry>;

    fn handle(&mut self, _: SurveyRegistry, _: &mut Self::Context) -> Self::Result {
        MessageResult(guard(|| self.state.survey()).unwrap_or_default())
    }
}

impl Handler<CloseAll> for Registry {
    type Result = ();

    fn handle(&mut self, CloseAll(why): CloseAll, _: &mut Self::Context) {
        self.state
            .tell_all(|| Control::Close(CloseReason::Internal, why.into()));
    }
}
