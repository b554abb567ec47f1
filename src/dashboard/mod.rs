//! The broker as a web page: one page, its data as JSON, counters for Prometheus, and whether the broker is well.
//!
//! Owns an HTTP server of one thread and who may ask it. It is an actor's place of this process, through the public API only: it calls `sys.broker`
//! as any other peer does and knows no Registry, no hub and no socket of the broker. Feature `dashboard`; `docs/dashboard.md` has the
//! routes, the names of the metrics and what is promised against whom.
//!
//! ```no_run
//! use actix_ipc::actors::Broker;
//! use actix_ipc::dashboard::{Dashboard, DashboardOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! actix::System::new().block_on(async {
//!     let broker = Broker::builder().start()?;
//!     let dashboard = Dashboard::start(&broker, &DashboardOptions::new("127.0.0.1:0".parse()?))?;
//!     println!("{}", dashboard.url());
//!     broker.ended().await;
//!     dashboard.stop().await;
//!     Ok(())
//! })
//! # }
//! ```

mod access;
mod exposition;
mod families;
mod page;
mod refusal;
mod routes;
mod sampler;
mod source;
mod strangers;

use crate::actors::BrokerHandle;
use crate::error::CallError;
use crate::transport::{PeerCredentials, tcp};
use access::{Access, Gate};
use actix::Actor;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use sampler::Sampler;
use source::Source;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use strangers::Strangers;

/// Connections that are open at once; more wait to be accepted. A page has two.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take for the head of its request.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How long a connection stays without a request.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// How long a client may take to close.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Where the page is to be, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DashboardOptions {
    address: SocketAddr,
    anyone: bool,
    token: bool,
}

impl DashboardOptions {
    /// At this address, port 0 for any free one, for those who may monitor the broker
    /// ([`BrokerHandle::may_monitor`]). Where the system does not tell whose a connection is, a token takes its place.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            anyone: false,
            token: !tcp::KNOWS_PEERS,
        }
    }

    /// For everybody who reaches the address, whoever it is, without any question: other users of this machine, and at an address that
    /// is not a loopback one other machines. They see names, numbers of processes and users, counts and errors, and can change nothing.
    #[must_use]
    pub const fn anyone(mut self) -> Self {
        self.anyone = true;
        self
    }

    /// For those who show a token that is made at the start and stands in [`Dashboard::url`], whatever user they are.
    #[must_use]
    pub const fn token(mut self) -> Self {
        self.token = true;
        self
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// The address could be reached from other machines, and that was not asked for.
    #[error(
        "{0} is not a loopback address: other machines could read everything; say --dashboard-anyone if that is meant"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("the dashboard cannot listen on {address}: {source}{}", mend(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The broker has ended.
    #[error("the dashboard has no broker: {0}")]
    Broker(CallError),
    /// The system gives no random bytes for a token.
    #[error("the dashboard has no token: {0}")]
    Random(String),
}

/// What is to be done about an address that the system refuses.
fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has that port: choose another one, or end that program"
        }
        // Windows says so of a port that is taken as well.
        io::ErrorKind::PermissionDenied => "; choose another port",
        io::ErrorKind::AddrNotAvailable => "; that address is none of this machine's: choose 127.0.0.1",
        _ => "",
    }
}

/// A page that is served. Dropping it lets it be served until the actix System ends.
#[derive(Debug)]
pub struct Dashboard {
    address: SocketAddr,
    token: Option<String>,
    server: ServerHandle,
}

impl Dashboard {
    /// Serves the page of this broker. Must be called on an actix System; the requests are answered on a thread of their own.
    ///
    /// # Errors
    /// [`DashboardError`]; nothing listens then.
    pub fn start(broker: &BrokerHandle, options: &DashboardOptions) -> Result<Self, DashboardError> {
        if !options.anyone && !options.address.ip().to_canonical().is_loopback() {
            return Err(DashboardError::NotLoopback(options.address));
        }
        let failed = |source| DashboardError::Bind {
            address: options.address,
            source,
        };
        let listener = TcpListener::bind(options.address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let access = match (options.anyone, options.token) {
            (true, _) => Access::Anyone,
            (false, true) => Access::token()?,
            (false, false) => Access::Monitors(broker.clone()),
        };
        let token = access.secret().map(str::to_owned);
        let gate = web::Data::new(Gate::new(address, access));
        let local = broker.local("dashboard").map_err(DashboardError::Broker)?;
        let source = Source::new(local);
        let sampler = web::Data::new(Sampler::new(source.clone()).start());
        let source = web::Data::new(source);
        let streams = web::Data::new(routes::Streams::default());
        let (door, strangers) = (gate.clone(), Strangers::default());
        let app = move || {
            App::new()
                .app_data(gate.clone())
                .app_data(source.clone())
                .app_data(sampler.clone())
                .app_data(streams.clone())
                .wrap(actix_web::middleware::from_fn(access::guard))
                .configure(routes::add)
        };
        let server = HttpServer::new(app)
            .workers(1)
            .backlog(BACKLOG)
            .max_connections(CONNECTIONS_MAX)
            .client_request_timeout(HEAD_MAX)
            .client_disconnect_timeout(CLOSE_MAX)
            .keep_alive(IDLE_MAX)
            .shutdown_timeout(1)
            .disable_signals()
            .on_connect(move |connection, known| {
                let stream = connection.downcast_ref::<tokio::net::TcpStream>();
                let who = stream.map_or(PeerCredentials::UNKNOWN, tcp::peer_credentials);
                if let Some(stream) = stream.filter(|_| door.is_stranger(&who)) {
                    match strangers.enter() {
                        Some(place) => drop(known.insert(place)),
                        // Its place is for those who may come in; it learns as little as from a full house.
                        None => drop(socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both)),
                    }
                }
                known.insert(who);
            })
            .listen(listener)
            .map_err(failed)?
            .run();
        let handle = server.handle();
        actix::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the dashboard ended");
            }
        });
        Ok(Self {
            address,
            token,
            server: handle,
        })
    }

    /// Where it is, its port resolved.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to open in a browser of this machine. With the token, where one is needed: whoever reads it may see the page.
    #[must_use]
    pub fn url(&self) -> String {
        let fragment = self
            .token
            .as_ref()
            .map_or_else(String::new, |token| format!("#{token}"));
        format!("http://{}/{fragment}", self.address)
    }

    /// Ends it; open connections are closed. Returns when the address is free again.
    pub async fn stop(&self) {
        self.server.stop(false).await;
    }
}
