//! The Broker actor: root of the tree. Start order, drain order, and the reason for the end.
//!
//! ```text
//!  Broker ─┬─ Registry   (supervised, restarted after a panic)
//!          ├─ TopicHub   (supervised, restarted after a panic)
//!          ├─ Launcher   (supervised; the processes of services)
//!          ├─ Listener…  (one per endpoint)
//!          │    └─ Connection…  (one per socket, never restarted)
//!          └─ LocalPeer… (actors of this process)
//! ```
//! It ends with a reason, never the process: no signal handler, no panic hook, no logger. [`BrokerHandle`] is how everybody else speaks to it.

use super::builder::BrokerBuilder;
use super::core::{Core, Levels, Shared};
use super::listener::Listener;
use super::local_peer::{self, LocalHandle};
use super::messages::{CloseAll, DrainAll, Revise};
use super::outcome::{EndReason, StartError};
use super::registry::Registry;
use super::tokens::Tokens;
use super::topic_hub::TopicHub;
use crate::activation::launcher::{Attach, LauncherHandle};
use crate::activation::{Launcher, Redescribed, Services};
use crate::error::CallError;
use crate::message::Epoch;
use crate::metrics::Snapshot;
use crate::policy::Policy;
use crate::transport::{self, Endpoint};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, Arbiter, ArbiterHandle, AsyncContext, Context, Handler,
    Message, Recipient, Supervisor, WrapFuture,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// How long a stopping broker waits for its connections to flush.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// A core actor cannot go on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CoreEnded(pub &'static str);

/// A core actor's way to say that it cannot go on. Being dropped says it as well: a panic outside of the guard, or anything else
/// that takes the actor away, must not leave a broker without it. A broker that has ended by itself hears nothing of it.
#[derive(Debug)]
pub(super) struct EndReport {
    to: Recipient<CoreEnded>,
    unexpected: &'static str,
}

impl EndReport {
    pub(super) const fn new(to: Recipient<CoreEnded>, unexpected: &'static str) -> Self {
        Self { to, unexpected }
    }

    /// What its being dropped says.
    pub(super) const fn unexpected(&self) -> &'static str {
        self.unexpected
    }

    pub(super) fn tell(&self, why: &'static str) {
        self.to.do_send(CoreEnded(why));
    }
}

impl Drop for EndReport {
    fn drop(&mut self) {
        self.tell(self.unexpected);
    }
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Stop;

/// The root actor of one broker.
#[derive(Debug)]
pub struct Broker {
    core: Option<Arc<Core>>,
    listeners: Vec<Addr<Listener>>,
    arbiters: Arc<[Arbiter]>,
    launcher: Option<LauncherHandle>,
    ended: watch::Sender<Option<EndReason>>,
    stopping: bool,
}

impl Broker {
    /// A broker to be configured and started.
    #[must_use]
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Starts it on the current System, with these sockets; `skipped` is for who asks.
    pub(super) fn launch(
        shared: Arc<Shared>,
        sockets: Vec<transport::Listener>,
        arbiters: usize,
        skipped: Vec<(Endpoint, String)>,
    ) -> Result<BrokerHandle, StartError> {
        let (ended, watch) = watch::channel(None);
        let arbiters: Arc<[Arbiter]> = (0..arbiters).map(|_| Arbiter::new()).collect();
        let endpoints: Vec<Endpoint> = sockets.iter().map(|socket| socket.endpoint().clone()).collect();
        let (core_sender, core_receiver) = std::sync::mpsc::sync_channel(1);
        let for_broker = shared.clone();
        let addr = Self::create(move |ctx| {
            let broker = Self::new(for_broker, sockets, arbiters, ended, ctx);
            // The receiver waits in this very function: creation is synchronous.
            let _ = core_sender.send(broker.core.clone());
            broker
        });
        let core = core_receiver.recv().ok().flatten().ok_or(StartError::NoSystem)?;
        Ok(BrokerHandle {
            addr,
            shared,
            core: Arc::downgrade(&core),
            arbiter: Arbiter::current(),
            ended: watch,
            endpoints,
            skipped: skipped.into(),
        })
    }

    fn new(
        shared: Arc<Shared>,
        sockets: Vec<transport::Listener>,
        arbiters: Arc<[Arbiter]>,
        ended: watch::Sender<Option<EndReason>>,
        ctx: &Context<Self>,
    ) -> Self {
        let report = ctx.address().recipient();
        let endpoints: Vec<Endpoint> = sockets.iter().map(|socket| socket.endpoint().clone()).collect();
        // A bus starts nothing. Any other broker may be told of services later.
        let systemctl = shared.systemctl.get().cloned();
        let launcher = shared
            .bus
            .get()
            .is_none()
            .then(|| Launcher::create(&endpoints, systemctl));
        let registry = {
            let (shared, report) = (shared.clone(), report.clone());
            let orders = launcher
                .as_ref()
                .map(|launcher| launcher.addr().clone().recipient());
            Supervisor::start(move |_| Registry::new(shared, report, orders))
        };
        if let Some(launcher) = &launcher {
            launcher
                .addr()
                .do_send(Attach(registry.clone().recipient().downgrade()));
        }
        let hub = {
            let shared = shared.clone();
            Supervisor::start(move |_| TopicHub::new(shared, report))
        };
        let core = Arc::new(Core {
            shared,
            registry,
            hub,
        });
        local_peer::start_builtin(&core, endpoints);
        let listeners = sockets
            .into_iter()
            .map(|socket| Listener::new(core.clone(), socket, arbiters.clone()).start())
            .collect();
        Self {
            core: Some(core),
            listeners,
            arbiters,
            launcher,
            ended,
            stopping: false,
        }
    }

    /// Ends every peer, in order or because of a failure, then the broker.
    fn wind_up(&mut self, failure: Option<&'static str>, ctx: &mut Context<Self>) {
        let Some(core) = self.core.clone().filter(|_| !self.stopping) else {
            return;
        };
        self.stopping = true;
        core.shared.stopping.store(true, Ordering::Release);
        core.shared.cut_off.store(0, Ordering::Release);
        core.shared.stop_rung.notify_waiters();
        self.stop_listeners();
        match failure {
            None => core.registry.do_send(DrainAll),
            Some(why) => core.registry.do_send(CloseAll(why)),
        }
        let (shared, launcher) = (core.shared.clone(), self.launcher.take());
        let emptied = async move {
            let all_gone = async {
                loop {
                    let changed = shared.connection_ended.notified();
                    let left = [&shared.connections, &shared.locals];
                    if left.iter().all(|count| count.load(Ordering::Acquire) == 0) {
                        return;
                    }
                    changed.await;
                }
            };
            let in_time = tokio::time::timeout(DRAIN_MAX, all_gone).await.is_ok();
            // Behind the peers: what services had been asked, they could answer.
            if let Some(launcher) = launcher {
                launcher.end().await;
            }
            let cut_off = shared.cut_off.load(Ordering::Acquire);
            if in_time {
                cut_off
            } else {
                cut_off.saturating_add(shared.connections.load(Ordering::Acquire))
            }
        };
        ctx.spawn(emptied.into_actor(self).map(move |left, act, ctx| {
            let reason = match (failure, left) {
                (Some(why), _) => EndReason::Failed(why),
                (None, 0) => EndReason::Drained,
                (None, left) => EndReason::DrainedExcept(left),
            };
            act.end(reason, ctx);
        }));
    }

    fn stop_listeners(&mut self) {
        self.listeners
            .drain(..)
            .for_each(|listener| listener.do_send(super::listener::Close));
    }

    fn end(&mut self, reason: EndReason, ctx: &mut Context<Self>) {
        self.stop_listeners();
        // With the last address gone, Registry and TopicHub end by themselves.
        self.core = None;
        self.arbiters.iter().for_each(|arbiter| {
            arbiter.stop();
        });
        self.ended.send_replace(Some(reason));
        ctx.stop();
    }
}

impl Actor for Broker {
    type Context = Context<Self>;
}

impl Handler<Stop> for Broker {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.wind_up(None, ctx);
    }
}

impl Handler<CoreEnded> for Broker {
    type Result = ();

    fn handle(&mut self, CoreEnded(what): CoreEnded, ctx: &mut Self::Context) {
        tracing::error!(what, "the broker ends");
        if self.stopping {
            // Who drains cannot rely on a core actor that cannot go on.
            return self.end(EndReason::Failed(what), ctx);
        }
        self.wind_up(Some(what), ctx);
    }
}

/// How the rest of a program speaks to its broker. Cheap to clone; dropping it does not stop the broker.
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    addr: Addr<Broker>,
    pub(super) shared: Arc<Shared>,
    core: std::sync::Weak<Core>,
    arbiter: ArbiterHandle,
    ended: watch::Receiver<Option<EndReason>>,
    endpoints: Vec<Endpoint>,
    skipped: Arc<[(Endpoint, String)]>,
}

impl BrokerHandle {
    /// What it listens on, ports resolved.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Default endpoints that were skipped, each with the reason.
    #[must_use]
    pub fn skipped(&self) -> &[(Endpoint, String)] {
        &self.skipped
    }

    /// Names this life of the broker.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// Puts the broker under another policy, from any thread. It is in force for everything that is handled from now on; what peers
    /// hold already is looked at again right after, and who loses something is told. Nothing happens when the broker has ended.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.policy.set(policy);
        if let Some(core) = self.core.upgrade() {
            core.registry.do_send(Revise);
            core.hub.do_send(Revise);
        }
    }

    /// Describes other services, from any thread. What is described as before goes on; what is described no more is not started any
    /// more, and runs until it ends; who waits for a start that is called off is told. Nothing happens when the broker has ended.
    pub fn set_services(&self, services: Services) {
        let services = Arc::new(services);
        self.shared.services.set(services.clone());
        if let Some(core) = self.core.upgrade() {
            core.registry.do_send(Redescribed(services));
        }
    }

    /// Its counters now.
    #[must_use]
    pub fn metrics(&self) -> Snapshot {
        self.shared.metrics.snapshot()
    }

    /// What it has in use now, also after its end.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.shared.levels()
    }

    /// Lets those in who show one of these tokens from now on, and nobody by another one. Connections that are open stay.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.shared.set_tokens(tokens);
    }

    /// A place at this broker for actors and futures of this process, under a name that others see (`""`: none). It is usable at
    /// once, from any thread; its work is done on the arbiter that started the broker.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`](crate::error::ErrorCode::Invalid) when the name is none,
    /// [`ErrorCode::BrokerGone`](crate::error::ErrorCode::BrokerGone) when the broker has ended.
    pub fn local(&self, name: &str) -> Result<LocalHandle, CallError> {
        LocalHandle::start(self.core.upgrade(), &self.arbiter, name)
    }

    /// Drains: accepts nothing more, says goodbye, flushes, removes its sockets. Returns when it has ended, at most about three
    /// seconds later. Dropping the future does not call the drain off.
    pub async fn stop(&self) -> EndReason {
        self.addr.do_send(Stop);
        self.ended().await
    }

    /// Returns when the broker has ended, for whatever reason.
    pub async fn ended(&self) -> EndReason {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(EndReason::Drained),
            Err(_) => EndReason::Failed("the broker's System was stopped"),
        }
    }
}
