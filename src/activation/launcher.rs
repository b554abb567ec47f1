//! The actor that starts services and hears of their ends.
//!
//! It takes [`Order`]s of Registry and answers each start with one [`Report`]. Each run has a thread of its own, which starts the process,
//! reads what it prints and reaps it: the arbiter never waits. Owns the runs that have not ended, and their end with the broker. It refuses
//! to know states and callers. Made by the broker's root.

use super::command::Addresses;
use super::run;
use super::service::{AtEnd, Service, Services};
use crate::platform::child::Group;
use crate::transport::Endpoint;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Supervised, WeakRecipient};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a process has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How long the end of a killed process is waited for.
const KILLED: Duration = Duration::from_secs(1);

/// What Registry wants. A run is named by Registry's number.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Start it.
    Start {
        /// Which service.
        service: Arc<Service>,
        /// The number of this run.
        run: u64,
    },
    /// End that run: ask, then kill.
    End {
        /// Which.
        run: u64,
    },
}

/// A run has ended: the process, or the command that starts a unit.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Report {
    /// Which.
    pub run: u64,
    /// Without an error, or why not.
    pub how: Result<(), Failed>,
}

/// How a run came to nothing, or ended with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// For those who wait, and for the log.
    pub why: String,
    /// Nothing was started: an earlier broker had left a process, and that has ended.
    pub left: bool,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, left: false }
    }
}

/// Other services are described from now on, for Registry.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Redescribed(pub Arc<Services>);

/// Where reports go.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attach(pub WeakRecipient<Report>);

/// The broker ends, and what is not to outlive it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct EndAll {
    kill: bool,
}

/// A run is over, whatever became of it; from its thread.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Over(Report);

/// Runs that have a thread and are not to outlive the broker.
#[derive(Debug, Default)]
struct Live {
    count: AtomicUsize,
    changed: tokio::sync::Notify,
}

/// One of them, for as long as it is kept.
#[derive(Debug)]
struct Place(Arc<Live>);

impl Place {
    fn take(live: &Arc<Live>) -> Self {
        live.count.fetch_add(1, Ordering::AcqRel);
        Self(live.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

/// A run that has not ended.
#[derive(Debug)]
struct Run {
    group: Arc<Group>,
    at_end: AtEnd,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Launcher {
    addresses: Addresses,
    registry: Option<WeakRecipient<Report>>,
    runs: HashMap<u64, Run>,
    live: Arc<Live>,
    ending: bool,
}

/// How the rest of the broker reaches a launcher.
#[derive(Clone, Debug)]
pub struct LauncherHandle {
    addr: Addr<Launcher>,
    live: Arc<Live>,
}

impl LauncherHandle {
    /// The actor.
    #[must_use]
    pub const fn addr(&self) -> &Addr<Launcher> {
        &self.addr
    }

    /// Ends what is not to outlive the broker: asks, kills, and returns when all is reaped, or after three seconds. Nothing is started
    /// from now on.
    pub async fn end(self) {
        self.addr.do_send(EndAll { kill: false });
        if tokio::time::timeout(GRACE, self.none_left()).await.is_err() {
            self.addr.do_send(EndAll { kill: true });
            // What even then does not end is stuck in the system, and nobody can reap it.
            let _ = tokio::time::timeout(KILLED, self.none_left()).await;
        }
    }

    async fn none_left(&self) {
        loop {
            let changed = self.live.changed.notified();
            if self.live.count.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Launcher {
    /// Starts a launcher for a broker that listens there. `systemctl`: what starts units, if it is not at one of the usual places.
    #[must_use]
    pub fn create(endpoints: &[Endpoint], systemctl: Option<PathBuf>) -> LauncherHandle {
        let live = Arc::<Live>::default();
        let (addresses, own) = (Addresses::of(endpoints, systemctl), live.clone());
        let addr = actix::Supervisor::start(move |_| Self {
            addresses,
            registry: None,
            runs: HashMap::new(),
            live: own,
            ending: false,
        });
        LauncherHandle { addr, live }
    }

    fn report(&self, report: Report) {
        if let Some(registry) = self.registry.as_ref().and_then(WeakRecipient::upgrade) {
            registry.do_send(report);
        }
    }

    fn start(&mut self, service: Arc<Service>, run: u64, ctx: &Context<Self>) {
        let failed = |why: String| Report {
            run,
            how: Err(why.into()),
        };
        if self.ending {
            return self.report(failed("the broker is shutting down".into()));
        }
        let group = Arc::<Group>::default();
        let (kept, at_end) = (group.clone(), service.at_end);
        self.runs.insert(run, Run { group: kept, at_end });
        let (addresses, to) = (self.addresses.clone(), ctx.address().downgrade());
        // Only what the end of the broker waits for.
        let place = (at_end == AtEnd::Stop).then(|| Place::take(&self.live));
        tracing::info!(target: "actix_ipc::activation", %service, run, "starting");
        let work = move || {
            let how = guarded(&service, &addresses, &group);
            match &how {
                Ok(()) => tracing::info!(target: "actix_ipc::activation", %service, run, "ended"),
                Err(Failed { why, .. }) => {
                    tracing::info!(target: "actix_ipc::activation", %service, run, why, "ended");
                }
            }
            drop(place);
            if let Some(to) = to.upgrade() {
                to.do_send(Over(Report { run, how }));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("service".into()).spawn(work) {
            self.runs.remove(&run);
            self.report(failed(format!("there is no thread for it: {error}")));
        }
    }
}

/// A panic of a run's thread is its failure.
fn guarded(service: &Service, addresses: &Addresses, group: &Group) -> Result<(), Failed> {
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run::run(service, addresses, group)
    }));
    ran.unwrap_or_else(|_| {
        group.end(true);
        Err(Failed::from("the broker failed while it started this".to_owned()))
    })
}

impl Actor for Launcher {
    type Context = Context<Self>;
}

impl Supervised for Launcher {}

impl Handler<Attach> for Launcher {
    type Result = ();

    fn handle(&mut self, Attach(registry): Attach, _: &mut Self::Context) {
        self.registry = Some(registry);
    }
}

impl Handler<Order> for Launcher {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        match order {
            Order::Start { service, run } => self.start(service, run, ctx),
            Order::End { run } => {
                let Some(group) = self.runs.get(&run).map(|run| run.group.clone()) else {
                    return;
                };
                group.end(false);
                ctx.run_later(GRACE, move |_, _| group.end(true));
            }
        }
    }
}

impl Handler<Over> for Launcher {
    type Result = ();

    fn handle(&mut self, Over(report): Over, _: &mut Self::Context) {
        self.runs.remove(&report.run);
        self.report(report);
    }
}

impl Handler<EndAll> for Launcher {
    type Result = ();

    fn handle(&mut self, EndAll { kill }: EndAll, _: &mut Self::Context) {
        self.ending = true;
        self.end_all(kill);
    }
}

impl Drop for Launcher {
    /// A broker that ends without its order, or a System that is stopped, leaves nothing running either.
    fn drop(&mut self) {
        self.end_all(true);
    }
}

impl Launcher {
    fn end_all(&self, kill: bool) {
        for run in self.runs.values().filter(|run| run.at_end == AtEnd::Stop) {
            run.group.end(kill);
        }
    }
}
