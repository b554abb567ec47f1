//! Registering objects while a program runs.
//!
//! Owns the options of a registration and its life: restored after a lost connection, given up when the
//! [`Registration`] is dropped. Calls to it are run by [`super::serving`].

use super::call::invalid;
use super::exchange::Exchange;
use super::handle::{Handle, IpcClient, Lease};
use super::handler::Handler;
use super::lasting::{Fact, Held, Standing};
use super::names::Key;
use super::outgoing::Outgoing;
use super::running::{ObjectServer, Order};
use super::runtime::Home;
use crate::error::{CallError, ErrorCode};
use crate::message::{Draft, Encoding, Flags, Kind};
use futures::future::BoxFuture;
use std::collections::hash_map;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use tokio::sync::watch;

/// Calls to one object that run at the same time, unless said otherwise.
pub(crate) const CONCURRENCY: usize = 64;

/// How calls to a worker group are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Balance {
    /// One member after the other.
    #[default]
    RoundRobin,
    /// The member with the fewest open calls.
    LeastBusy,
    /// Calls with the same `route.key` in their metadata go to the same member.
    Sticky,
}

impl Balance {
    const fn code(self) -> u32 {
        match self {
            Self::RoundRobin => 0,
            Self::LeastBusy => 1,
            Self::Sticky => 2,
        }
    }
}

/// What a registration asks for.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) flags: Flags,
    pub(crate) balance: Balance,
    pub(crate) concurrency: usize,
    /// The calls of one caller run beside each other, whatever the object would have.
    pub(crate) unordered: bool,
}

impl Terms {
    pub(crate) const fn new() -> Self {
        Self {
            flags: Flags::NONE,
            balance: Balance::RoundRobin,
            concurrency: CONCURRENCY,
            unordered: false,
        }
    }

    pub(crate) const fn group(mut self, balance: Balance) -> Self {
        self.flags = self.flags.with(Flags::WORKER_GROUP);
        self.balance = balance;
        self
    }
}

/// A registration that is being described. Made by [`IpcClient::register`]; await it to register.
#[must_use = "an object is not registered until it is awaited"]
pub struct RegisterBuilder {
    handle: Arc<Handle>,
    name: String,
    handler: Arc<dyn Handler>,
    terms: Terms,
    description: String,
    home: Option<Home>,
    order: Option<Order>,
}

impl fmt::Debug for RegisterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterBuilder")
            .field("name", &self.name)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl RegisterBuilder {
    pub(crate) fn new(client: &IpcClient, name: &str, handler: Arc<dyn Handler>) -> Self {
        Self {
            handle: Arc::clone(&client.handle),
            name: name.to_owned(),
            handler,
            terms: Terms::new(),
            description: String::new(),
            home: None,
            order: None,
        }
    }

    /// When the name is taken, waits in its queue instead of failing; see [`Registration::standing`].
    pub const fn queue(mut self) -> Self {
        self.terms.flags = self.terms.flags.with(Flags::QUEUE);
        self
    }

    /// Replaces an owner that allows it.
    pub const fn replace(mut self) -> Self {
        self.terms.flags = self.terms.flags.with(Flags::REPLACE);
        self
    }

    /// Lets others replace this owner.
    pub const fn allow_replace(mut self) -> Self {
        self.terms.flags = self.terms.flags.with(Flags::ALLOW_REPLACE);
        self
    }

    /// Joins the worker group of that name. Every member must ask for the same balance.
    pub fn group(mut self, balance: Balance) -> Self {
        self.terms = self.terms.group(balance);
        self
    }

    /// How many calls run at the same time; others wait in order. With 1 they run strictly one after the other.
    /// Default: 64.
    pub const fn concurrency(mut self, calls: usize) -> Self {
        self.terms.concurrency = calls;
        self
    }

    /// Lets the calls of one caller run beside each other, up to the concurrency. An object of protocols
    /// ([`add_protocol`](IpcClient::add_protocol)) runs the commands of one caller to one protocol one after the other otherwise; for
    /// any other object this changes nothing.
    pub const fn unordered(mut self) -> Self {
        self.terms.unordered = true;
        self
    }

    /// What `describe` tells about the object, in a text of at most 4 KiB (JSON, by custom).
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    pub(crate) fn ordered(mut self, order: Option<Order>) -> Self {
        self.order = order;
        self
    }

    pub(crate) fn terms(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    pub(crate) fn home(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }

    async fn open(self) -> Result<Registration, CallError> {
        let key = Key::single(&self.name)?;
        let home = match self.home {
            Some(home) => home,
            None => Home::current().map_err(|error| invalid(error.to_string()))?,
        };
        let order = self.order.filter(|_| !self.terms.unordered);
        let server = ObjectServer::new(&self.name, self.handler, home, self.terms.concurrency);
        // Of an object of protocols.
        let server = server.with_streams_apart(self.order.is_some());
        let server = Arc::new(server.ordered(order));
        let serving = ServingGuard::new(&self.handle, server)?;
        let (standing, mut watch) = watch::channel(Ok(Standing::Asked));
        let fact = Fact::Object {
            name: Arc::clone(&serving.server.name),
            standing: Arc::new(standing),
        };
        let asked = self.handle.ask(fact, |id| {
            let encoding = if self.description.is_empty() {
                Encoding::RAW
            } else {
                Encoding::JSON
            };
            Draft::new(Kind::Register, id)
                .aux(self.terms.balance.code())
                .flags(self.terms.flags)
                .key(key.as_bytes())
                .payload(encoding, self.description.as_bytes())
                .to_vec()
        });
        let (lease, _) = asked.await?;
        // What the broker has said so far is no news.
        watch.borrow_and_update();
        Ok(Registration {
            lease,
            serving,
            watch,
        })
    }
}

impl IntoFuture for RegisterBuilder {
    type Output = Result<Registration, CallError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// An object's place in the table of those that are served.
#[derive(Debug)]
struct ServingGuard {
    handle: Arc<Handle>,
    server: Arc<ObjectServer>,
}

impl ServingGuard {
    fn new(handle: &Arc<Handle>, server: Arc<ObjectServer>) -> Result<Self, CallError> {
        match handle
            .shared
            .serving
            .lock()
            .objects
            .entry(Arc::clone(&server.name))
        {
            hash_map::Entry::Occupied(_) => {
                let text = format!("this client has registered {} already", server.name);
                Err(CallError::new(ErrorCode::NameTaken, text))
            }
            hash_map::Entry::Vacant(free) => {
                free.insert(Arc::clone(&server));
                Ok(Self {
                    handle: Arc::clone(handle),
                    server,
                })
            }
        }
    }
}

impl Drop for ServingGuard {
    fn drop(&mut self) {
        self.server.give_up();
        self.handle
            .shared
            .serving
            .lock()
            .objects
            .remove(&self.server.name);
    }
}

/// An object that is registered. Dropping it gives the name up: calls that are running go on, new ones find no such
/// object. After a lost connection it is registered again; if the name is gone by then, [`standing`](Self::standing)
/// says so, and it is tried again with the next connection.
#[derive(Debug)]
#[must_use = "dropping a registration gives the name up"]
pub struct Registration {
    // The order matters: the broker stops sending calls before the table forgets the object.
    lease: Lease,
    serving: ServingGuard,
    watch: watch::Receiver<Held>,
}

impl Registration {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.serving.server.name
    }

    /// What it holds now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(&self.watch.borrow())
    }

    /// Ready when [`standing`](Self::standing) has changed since the registration or the last time this was ready, with
    /// the new value. Cancel safe.
    pub async fn changed(&mut self) -> Standing {
        if self.watch.changed().await.is_err() {
            return Standing::Lost("the client is closed".to_owned());
        }
        Standing::of(&self.watch.borrow_and_update())
    }

    /// Ready when the broker has taken the name back or refused it; never for the end of the client or of a broker,
    /// after which the name is asked for again. Says which name it was.
    pub(crate) async fn lost(&mut self) -> CallError {
        loop {
            if let Err(error) = &*self.watch.borrow_and_update()
                && !matches!(error.code, ErrorCode::NotConnected | ErrorCode::Draining)
            {
                let text = format!("the name {} is lost: {}", self.serving.server.name, error.message);
                return CallError::new(error.code, text).ran(error.may_have_run);
            }
            if self.watch.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives the name up and waits for the broker's word: no call comes after that.
    ///
    /// # Errors
    /// NotRegistered when it held nothing; NotConnected, BrokerGone or Deadline when the broker could not be asked.
    /// The registration is gone in any case.
    pub async fn unregister(self) -> Result<(), CallError> {
        let handle = Arc::clone(&self.lease.handle);
        handle.shared.lock().lasting.forget(self.lease.key);
        let outgoing = Outgoing::plain(Kind::Unregister, Key::single(self.name())?);
        let mut exchange = Exchange::new(handle, Ok(outgoing));
        std::future::poll_fn(|cx| exchange.poll_answer(cx))
            .await
            .map(|_| ())
    }
}
