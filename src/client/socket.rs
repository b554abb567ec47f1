//! The actor that owns a client's socket, from the first attempt to the last goodbye.
//!
//! Owns the order connect, work, lose, pause, connect again. It has one spawned item, which is all of this; it gets
//! no messages: handles share [`super::state::State`] with it and wake it.

use super::after::After;
use super::connect_error::ConnectError;
use super::drive::Drive;
use super::link::{Link, ONLY_ROUND_LIMIT, ROUND_LIMIT, establish};
use super::peer;
use super::reconnect;
use super::shared::Shared;
use super::state::TICK;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

/// How patient the first attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Every endpoint once.
    Once,
    /// Until a broker is there; at most so long.
    Wait(Option<Duration>),
}

/// What the round at the end of a limited wait may take.
const LAST_ROUND_LIMIT: Duration = Duration::from_millis(100);
/// A connection that lasted so long was a good one: the next attempt comes at once.
const SETTLED: Duration = Duration::from_secs(1);

type Ready = oneshot::Sender<Result<(), ConnectError>>;

/// The actor.
pub(crate) struct Socket {
    shared: Arc<Shared>,
    start: Option<(Patience, Ready)>,
}

impl Socket {
    /// Starts the actor on the current arbiter. `ready` is told how the first attempt went.
    pub(crate) fn start(shared: Arc<Shared>, patience: Patience, ready: Ready) {
        Actor::start(Self {
            shared,
            start: Some((patience, ready)),
        });
    }
}

impl Actor for Socket {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Some((patience, ready)) = self.start.take() else {
            return;
        };
        let life = life(Arc::clone(&self.shared), patience, ready);
        ctx.spawn(life.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// Makes sure that nobody waits for a socket whose thread has ended.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0
            .closed("the run-time that carried the connection has ended");
    }
}

async fn life(shared: Arc<Shared>, patience: Patience, ready: Ready) {
    let guard = Guard(Arc::clone(&shared));
    let mut attempt = 0_u32;
    let first = match patience {
        Patience::Once => {
            let own = shared.options.peer.as_ref().map(|offer| offer.patience);
            let limit = own.unwrap_or(ONLY_ROUND_LIMIT);
            unless_closing(&shared, establish(&shared.options, limit)).await
        }
        Patience::Wait(limit) => {
            let until = limit.and_then(|limit| Instant::now().checked_add(limit));
            unless_closing(&shared, attempts(&shared, until, &mut attempt, true)).await
        }
    };
    let mut link = match first {
        Some(Ok(link)) => link,
        Some(Err(error)) => {
            shared.closed(&error.to_string());
            // Whoever asked may have gone away.
            let _ = ready.send(Err(error));
            return;
        }
        None => return shared.closed("this client was closed"),
    };
    shared.connected(&link);
    let _ = ready.send(Ok(()));
    loop {
        let since = Instant::now();
        let stream = shared.options.role().is_peer().then(|| Arc::clone(&link.stream));
        let ended = Drive::new(Arc::clone(&shared), link).await;
        let is_peer = stream.is_some();
        if let Some(stream) = stream {
            peer::farewell(&shared, stream, &ended).await;
        }
        let again = shared.disconnected(&ended);
        if is_peer {
            peer::let_finish(&shared).await;
        }
        if !again {
            shared.closed(&ended.text);
            break;
        }
        // What the broker refuses after the handshake, it refuses again: such attempts have pauses, too.
        attempt = if since.elapsed() < SETTLED {
            attempt.saturating_add(1)
        } else {
            0
        };
        let Some(next) = unless_closing(&shared, attempts(&shared, None, &mut attempt, false))
            .await
            .and_then(Result::ok)
        else {
            shared.closed("this client was closed");
            break;
        };
        link = next;
        shared.connected(&link);
    }
    drop(guard);
}

/// The outcome of `work`, or `None` as soon as the client is being closed. What has a time limit is looked after
/// meanwhile: nobody else does while there is no connection.
async fn unless_closing<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    futures::pin_mut!(work);
    let mut after = After::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    std::future::poll_fn(|cx| {
        if shared.poll_closing(cx).is_ready() {
            return Poll::Ready(None);
        }
        while ticks.poll_tick(cx).is_ready() {
            // It asks for the end of a connection at most, and there is none.
            shared
                .tick(Instant::now().into_std(), &mut after)
                .unwrap_or_default();
            after.perform();
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Attempts until one succeeds, with a pause before each but number 0; at most until `until`. Of the first ones a failure is told once,
/// and one that cannot pass ends them.
async fn attempts(
    shared: &Shared,
    until: Option<Instant>,
    attempt: &mut u32,
    announce: bool,
) -> Result<Link, ConnectError> {
    let mut told = !announce;
    loop {
        if let Some(pauses) = attempt.checked_sub(1) {
            // Without randomness the pause is the longest of its range.
            let random = getrandom::u32().unwrap_or(u32::MAX);
            let pause = match shared.options.prompt_reconnect {
                true => reconnect::prompt_pause(pauses, random),
                false => reconnect::pause(pauses, random),
            };
            let next = Instant::now() + pause;
            tokio::select! {
                () = sleep_until(until.map_or(next, |until| until.min(next))) => {}
                () = shared.retry.notified() => {}
            }
        }
        // The last round after the last pause is short, but it is one.
        let longest = match (&shared.options.peer, shared.options.prompt_reconnect) {
            (Some(offer), _) => offer.patience,
            (None, true) => reconnect::prompt_round(*attempt),
            (None, false) => ROUND_LIMIT,
        };
        let budget = until.map_or(longest, |until| {
            let left = until.saturating_duration_since(Instant::now());
            left.max(LAST_ROUND_LIMIT).min(longest)
        });
        let error = tokio::select! {
            connected = establish(&shared.options, budget) => match connected {
                Ok(link) => return Ok(link),
                Err(error) => error,
            },
            // There is another broker: this round may be waiting for the one before.
            () = shared.retry.notified() => continue,
        };
        // Later it may be another one that listens there; at first it is a mistake in the address.
        let hopeless = announce && error.is_hopeless();
        if hopeless || until.is_some_and(|until| Instant::now() >= until) {
            return Err(error);
        }
        if !told {
            tracing::info!(%error, "waiting for {}", shared.options.role().other());
            told = true;
        }
        *attempt = attempt.saturating_add(1);
    }
}
