//! A program that serves objects until it is told to stop.
//!
//! Owns the life of such a program: wait for a broker, register everything, serve, give up in order. The parts are
//! [`super::register`]'s and [`super::serving`]'s.

use super::builder::ClientBuilder;
use super::handle::IpcClient;
use super::handler::{Handler, Shared, SharedObject};
use super::register::{Balance, RegisterBuilder, Registration, Terms};
use super::running::Order;
use super::runtime::{self, Home};
use crate::error::CallError;
use crate::message::Flags;
use crate::text;
use crate::transport::Endpoint;
use futures::stream::{FuturesUnordered, StreamExt};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// What running calls may still take once the worker is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Names that are given up at once at most. Each is a request, and a broker takes so many of one connection; it gets half of those.
const AT_ONCE: usize = 256;

/// An object that will be served.
struct Object {
    name: String,
    handler: Arc<dyn Handler>,
    description: String,
    order: Option<Order>,
}

/// A worker that is being described.
///
/// ```no_run
/// use actix_ipc::async_trait;
/// use actix_ipc::client::{SharedObject, WorkerBuilder};
/// use serde_json::{Value, json};
///
/// struct Greeter;
///
/// #[async_trait]
/// impl SharedObject for Greeter {
///     async fn call(&self, _method: &str, args: &Value) -> Value {
///         json!({ "hello": args })
///     }
/// }
///
/// # async fn run() -> std::io::Result<()> {
/// WorkerBuilder::new().add("greeter", Greeter).spawn().await
/// # }
/// ```
#[must_use = "a worker serves nothing until it is spawned and awaited"]
pub struct WorkerBuilder {
    client: ClientBuilder,
    objects: Vec<Object>,
    terms: Terms,
    shutdown: Option<watch::Receiver<bool>>,
    serving: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.objects.iter().map(|object| &object.name).collect();
        f.debug_struct("WorkerBuilder")
            .field("objects", &names)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Default for WorkerBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl WorkerBuilder {
    /// A worker without objects.
    pub fn new() -> Self {
        Self {
            client: ClientBuilder::new(),
            objects: Vec::new(),
            terms: Terms::new(),
            shutdown: None,
            serving: None,
        }
    }

    /// Adds an object of JSON values. Objects are registered in the order in which they were added.
    pub fn add(self, name: &str, object: impl SharedObject + 'static) -> Self {
        self.add_handler(name, Shared(object))
    }

    /// Adds an object that sees the whole call.
    pub fn add_handler(self, name: &str, handler: impl Handler) -> Self {
        self.add_described(name, handler, String::new(), None)
    }

    pub(crate) fn add_described(
        mut self,
        name: &str,
        handler: impl Handler,
        description: String,
        order: Option<Order>,
    ) -> Self {
        self.objects.push(Object {
            name: name.to_owned(),
            handler: Arc::new(handler),
            description,
            order,
        });
        self
    }

    /// Adds a broker's endpoint; see [`ClientBuilder::endpoint`].
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.client = self.client.endpoint(endpoint);
        self
    }

    /// As [`ClientBuilder::token_file`].
    pub fn token_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.client = self.client.token_file(path);
        self
    }

    /// As [`ClientBuilder::tls`].
    pub fn tls(mut self, tls: crate::transport::TlsClient) -> Self {
        self.client = self.client.tls(tls);
        self
    }

    /// The name under which the broker knows this program.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.client = self.client.name(name);
        self
    }

    /// How many calls to one object run at the same time; see [`RegisterBuilder::concurrency`].
    pub const fn concurrency(mut self, calls: usize) -> Self {
        self.terms.concurrency = calls;
        self
    }

    /// Lets the commands of one caller to one protocol run beside each other; see [`RegisterBuilder::unordered`].
    pub const fn unordered(mut self) -> Self {
        self.terms.unordered = true;
        self
    }

    /// Joins worker groups; see [`RegisterBuilder::group`].
    pub fn group(mut self, balance: Balance) -> Self {
        self.terms = self.terms.group(balance);
        self
    }

    /// Waits in the queue of names that are taken; see [`RegisterBuilder::queue`].
    pub const fn queue(mut self) -> Self {
        self.terms.flags = self.terms.flags.with(Flags::QUEUE);
        self
    }

    /// Replaces owners that allow it; see [`RegisterBuilder::replace`].
    pub const fn replace(mut self) -> Self {
        self.terms.flags = self.terms.flags.with(Flags::REPLACE);
        self
    }

    /// Lets others replace this worker; see [`RegisterBuilder::allow_replace`].
    pub const fn allow_replace(mut self) -> Self {
        self.terms.flags = self.terms.flags.with(Flags::ALLOW_REPLACE);
        self
    }

    /// Called once, when every object is registered for the first time.
    pub fn on_serving(mut self, callback: impl FnOnce() + Send + 'static) -> Self {
        self.serving = Some(Box::new(callback));
        self
    }

    /// Makes the worker stoppable: it stops in order when anything is sent, or the sender is dropped.
    pub fn with_graceful_shutdown(mut self) -> (Self, watch::Sender<bool>) {
        let (stop, stopped) = watch::channel(false);
        self.shutdown = Some(stopped);
        (self, stop)
    }

    /// Waits for a broker (logged once), registers the objects and serves them, over any number of lost connections,
    /// until it is told to stop or loses one of its names. Then it takes no more calls, lets those that run come to
    /// their end (at most 10 s) and returns. Handlers run on the run-time of this call. Dropping the future stops at once.
    ///
    /// # Errors
    /// `AddrInUse` when a name is taken, `InvalidInput` or `InvalidData` for names and endpoints that are none, or what
    /// ended the connection for good. `AddrNotAvailable` when the broker took a name back, because another connection
    /// replaced this worker or the policy changed; after a reconnection `AddrInUse`, `PermissionDenied` or another kind
    /// when the broker refuses a name that this worker had. These wrap a [`CallError`] that names the object.
    pub async fn spawn(self) -> io::Result<()> {
        let Self {
            client,
            objects,
            terms,
            shutdown,
            serving,
        } = self;
        let stopped = stopped(shutdown);
        futures::pin_mut!(stopped);
        let home = Home::current()?;
        let start = async {
            let client = client.connect_forever().await?;
            let mut registrations = Vec::with_capacity(objects.len());
            for object in objects {
                let builder = RegisterBuilder::new(&client, &object.name, object.handler)
                    .terms(terms.clone())
                    .description(object.description)
                    .ordered(object.order)
                    .home(home.clone());
                registrations.push(builder.await?);
            }
            Ok::<_, io::Error>((client, registrations))
        };
        let (client, mut registrations) = match first(&mut stopped, start).await {
            Ok(started) => started?,
            Err(()) => return Ok(()),
        };
        tracing::info!(objects = registrations.len(), "the worker serves");
        if let Some(serving) = serving {
            serving();
        }
        let ended = {
            let closed = async { Ended::Closed(client.closed().await) };
            let lost = async { Ended::Lost(any_lost(&mut registrations).await) };
            futures::pin_mut!(closed, lost);
            let either = async { futures::future::select(closed, lost).await.factor_first().0 };
            first(&mut stopped, either).await
        };
        match ended {
            Ok(Ended::Closed(error)) => Err(error.into()),
            Ok(Ended::Lost(error)) => {
                stop(client, registrations).await;
                Err(error.into())
            }
            Err(()) => {
                stop(client, registrations).await;
                Ok(())
            }
        }
    }
}

/// What ends a worker that nobody told to stop.
enum Ended {
    /// The connection, for good.
    Closed(CallError),
    /// One of the names.
    Lost(CallError),
}

/// Ready when one of the names is lost; never without names.
async fn any_lost(registrations: &mut [Registration]) -> CallError {
    let mut lost: FuturesUnordered<_> = registrations.iter_mut().map(Registration::lost).collect();
    match lost.next().await {
        Some(error) => error,
        None => std::future::pending().await,
    }
}

/// Ready when the worker is told to stop; never without a way to tell it.
async fn stopped(shutdown: Option<watch::Receiver<bool>>) {
    match shutdown {
        Some(mut shutdown) => {
            // A dropped sender counts as well.
            let _ = shutdown.changed().await;
        }
        None => std::future::pending().await,
    }
}

/// The outcome of `work`, or `Err` when `stop` comes first.
async fn first<T>(
    stop: &mut (impl Future<Output = ()> + Unpin),
    work: impl Future<Output = T>,
) -> Result<T, ()> {
    futures::pin_mut!(work);
    std::future::poll_fn(|cx| {
        if std::pin::Pin::new(&mut *stop).poll(cx).is_ready() {
            return Poll::Ready(Err(()));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

async fn stop(client: IpcClient, registrations: Vec<Registration>) {
    let given_up = registrations.into_iter().map(|registration| async {
        let name = registration.name().to_owned();
        if let Err(error) = registration.unregister().await {
            tracing::debug!(object = %text::name(&name), %error, "the name could not be given up");
        }
    });
    let shared = &client.handle.shared;
    let (open_calls, serving) = (shared.lock().grants.open_calls, &shared.serving);
    let at_once = AT_ONCE.min(open_calls as usize / 2).max(1);
    let through = async {
        futures::stream::iter(given_up)
            .buffer_unordered(at_once)
            .for_each(|()| std::future::ready(()))
            .await;
        std::future::poll_fn(|cx| serving.poll_idle(cx)).await;
    };
    // A broker that is stopped answers for none of the names: what is left of them is given up with the connection.
    if runtime::at_most(Some(DRAIN), through).await.is_none() {
        tracing::debug!("stopped before all names were given up and all calls were over");
    }
    client.close().await;
}
