//! The Listener actor: accepts on one endpoint and places each socket on an arbiter.
//!
//! Owns the bound endpoint, the accept back-off and the check of who may connect. It knows no frame. A failed accept never ends
//! it: the next is tried after 10 ms, then later, up to one second; while no descriptor is left, those that wait are turned away.

use super::admission::Admission;
use super::connection::identity::Evidence;
use super::connection::pace::defer;
use super::connection::session::Closing;
use super::connection::{self, Connection};
use super::core::Core;
use super::observe::hush::Line;
use super::observe::journal::Happening;
use crate::error::CloseReason;
use crate::message::Draft;
use crate::message::handshake::PREFACE;
use crate::policy::{Right, denial};
use crate::transport::{self, Accepted, Endpoint, PeerCredentials};
use actix::{Actor, ActorContext, ActorFuture, Arbiter, AsyncContext, Context, Handler, Message};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

/// Accepts in one turn, before the connections get theirs.
const ACCEPTS_PER_TURN: usize = 4;
/// The first and the longest pause after a failed accept.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// One endpoint's actor.
pub(super) struct Listener {
    core: Arc<Core>,
    socket: transport::Listener,
    arbiters: Arc<[Arbiter]>,
    next: usize,
    pause: Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Listener {
    pub(super) fn new(core: Arc<Core>, socket: transport::Listener, arbiters: Arc<[Arbiter]>) -> Self {
        Self {
            core,
            socket,
            arbiters,
            next: 0,
            pause: PAUSES.0,
            sleep: None,
        }
    }

    fn poll_accepts(&mut self, cx: &mut TaskContext<'_>) {
        for _ in 0..ACCEPTS_PER_TURN {
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.sleep = None;
                self.core.shared.metrics.accept_pausing.lower(1);
            }
            match self.socket.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(accepted)) => {
                    self.pause = PAUSES.0;
                    self.place(accepted);
                }
                Poll::Ready(Err(error)) => {
                    self.failed(&error);
                }
            }
        }
        defer(cx);
    }

    /// Pauses. Those that wait meanwhile are turned away when no descriptor is left: they learn it at once, and the
    /// queue does not fill up with clients that have given up.
    fn failed(&mut self, error: &std::io::Error) {
        let metrics = &self.core.shared.metrics;
        metrics.accept_failures.add(1);
        metrics.accept_pausing.add(1);
        let turned_away = if transport::Listener::is_shortage(error) {
            let text = "the broker's process has no descriptor left; raise its limit of open files";
            // Where older formats are understood, only who has begun in ours can be told.
            let first = self.core.shared.dialects().any().then_some(PREFACE[0]);
            let goodbye = Draft::goodbye(CloseReason::TooMany, text).to_vec();
            self.socket.turn_away(&goodbye, first)
        } else {
            0
        };
        metrics.turned_away.add(turned_away as u64);
        tracing::warn!(endpoint = %self.socket.endpoint(), %error, turned_away, "accept failed; trying again");
        self.sleep = Some(Box::pin(tokio::time::sleep(self.pause)));
        self.pause = self.pause.saturating_mul(2).min(PAUSES.1);
    }

    fn place(&mut self, accepted: Accepted) {
        let Accepted {
            socket,
            credentials,
            address,
            gids,
            user,
        } = accepted;
        // Over TLS the proof counts alone: whom the system names may be a forwarder that speaks for somebody far away.
        let far = matches!(self.socket.endpoint(), Endpoint::Tls(_));
        let credentials = if far {
            PeerCredentials::UNKNOWN
        } else {
            credentials
        };
        let evidence = Evidence {
            credentials,
            address,
            gids: gids.filter(|_| !far),
            must_prove: user.is_none() && self.must_prove(&credentials),
            user,
            asked_again: false,
            certified: None,
        };
        // Counted here and not where the connection runs: the next one of this turn must know of it.
        let admitted = self.admit(&evidence);
        if let Err(refusal) = &admitted {
            self.note_refusal(&credentials, refusal);
        }
        let core = self.core.clone();
        let start = move || match socket.register() {
            Ok(stream) => {
                connection::context::start(Connection::new(core, stream, evidence, admitted));
            }
            Err(error) => tracing::warn!(%error, "a socket that was accepted could not be used"),
        };
        if self.arbiters.is_empty() {
            return start();
        }
        let at = self.next.checked_rem(self.arbiters.len()).unwrap_or_default();
        self.next = self.next.wrapping_add(1);
        if let Some(arbiter) = self.arbiters.get(at) {
            arbiter.spawn_fn(start);
        }
    }

    fn note_refusal(&self, credentials: &PeerCredentials, (_, why): &Closing) {
        let shared = &self.core.shared;
        let Some(left_out) = shared.hush.may_say(Line::Refused, shared.now()) else {
            return;
        };
        tracing::warn!(
            uid = credentials.uid,
            pid = credentials.pid,
            reason = why,
            left_out,
            "refused a connection"
        );
        let text = format!("refused a connection: {why}");
        shared.happened(
            Happening::Refused,
            None,
            credentials.pid.unwrap_or_default(),
            text,
        );
    }

    /// Over TCP the system may not tell who the peer is. Then the peer has to prove it; on a Unix socket or a pipe, where
    /// the system always tells, there is nothing else that would be believed.
    fn must_prove(&self, credentials: &PeerCredentials) -> bool {
        credentials.uid.is_none() && matches!(self.socket.endpoint(), Endpoint::Tcp(_) | Endpoint::Tls(_))
    }

    /// The places of a connection, or why it does not get them. Refused and not left waiting: behind it, others wait for the accept.
    fn admit(&self, evidence: &Evidence) -> Result<Admission, Closing> {
        if let Some(refusal) = self.refusal(evidence) {
            return Err(refusal);
        }
        let shared = &self.core.shared;
        let silent = evidence.may_be_silent(shared.dialects());
        Admission::new(shared.clone(), &evidence.counted(), evidence.address, silent)
            .map_err(|over| (CloseReason::TooMany, over.to_string()))
    }

    /// Why somebody is not let in, for the goodbye.
    fn refusal(&self, evidence: &Evidence) -> Option<Closing> {
        let (shared, credentials) = (&self.core.shared, &evidence.credentials);
        if credentials.pid.is_some_and(|pid| shared.is_banned(pid)) {
            return Some((CloseReason::Blamed, CloseReason::Blamed.text().into()));
        }
        if let Some(policy) = shared.policy.get().filter(|_| !evidence.must_prove) {
            let principal = evidence.unproven();
            if !policy.may_connect_with_a_name(&principal) {
                shared.metrics.denied.add(1);
                return Some((CloseReason::Denied, denial(&principal, Right::Connect, b"")));
            }
        } else if !evidence.must_prove && !credentials.is_same_user_or_root() {
            return Some((CloseReason::Denied, CloseReason::Denied.text().into()));
        }
        None
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Accept);
    }
}

/// Stop accepting and release the endpoint.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Close;

impl Handler<Close> for Listener {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// The item that accepts; it never ends.
struct Accept;

impl ActorFuture<Listener> for Accept {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut Listener,
        _: &mut Context<Listener>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        act.poll_accepts(cx);
        Poll::Pending
    }
}
