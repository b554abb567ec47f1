//! How a broker is to be.
//!
//! Owns the choices of whoever starts a broker, and the order in which they take effect. What is bound is `bind`'s, what runs then is `broker`'s; programs and `bus`
//! are the callers.

use super::broker::{Broker, BrokerHandle};
use super::bus::BusOptions;
use super::core::{Shared, new_epoch};
use super::outcome::StartError;
use super::tokens::Tokens;
use crate::activation::Services;
use crate::config::Limits;
use crate::platform::passed::Passed;
use crate::policy::Policy;
use crate::transport::dialect::Dialects;
use crate::transport::{self, Endpoint, TlsServer, UnixOptions};
use std::path::PathBuf;
use std::sync::Arc;

/// How a broker is to be. Made by [`Broker::builder`].
#[derive(Debug, Default)]
pub struct BrokerBuilder {
    limits: Limits,
    pub(super) listen: Vec<Endpoint>,
    pub(super) defaults: Vec<Endpoint>,
    pub(super) passed: Vec<Passed>,
    arbiters: usize,
    pub(super) tls: Option<TlsServer>,
    tokens: Tokens,
    policy: Option<Policy>,
    pub(super) unix: UnixOptions,
    pub(super) adopted: Vec<transport::Listener>,
    pub(super) bus: Option<BusOptions>,
    dialects: Dialects,
    services: Services,
    systemctl: Option<PathBuf>,
}

impl BrokerBuilder {
    /// Sets every limit.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Puts the broker under a policy: nobody may do anything but what it allows, whichever user it is. Actors of this process
    /// are not asked. Without one the same user and root may do everything, and nobody else may connect.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Says which older formats are understood on every endpoint, for programs that were built for older brokers. Default: all.
    #[must_use]
    pub const fn dialects(mut self, dialects: Dialects) -> Self {
        self.dialects = dialects;
        self
    }

    /// The services that are started when somebody calls, or waits for, an object of theirs that is not registered. Default: none.
    #[must_use]
    pub fn services(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// The program that starts units of systemd: its whole path. Default: where the system has it; it is never looked up in `PATH`.
    #[must_use]
    pub fn systemctl(mut self, path: PathBuf) -> Self {
        self.systemctl = Some(path);
        self
    }

    /// Says who may reach Unix sockets; by default this user alone. Other users are of use with a policy only.
    #[must_use]
    pub const fn unix_sockets(mut self, options: UnixOptions) -> Self {
        self.unix = options;
        self
    }

    /// Listens on this endpoint as well; the start fails when it cannot be bound.
    #[must_use]
    pub fn listen(mut self, endpoint: Endpoint) -> Self {
        self.listen.push(endpoint);
        self
    }

    /// Listens on this endpoint as well, unless it belongs to another user; then it is skipped with a reason.
    #[must_use]
    pub fn listen_default(mut self, endpoint: Endpoint) -> Self {
        self.defaults.push(endpoint);
        self
    }

    /// Places connections on this many threads of their own; 0 (the default) keeps everything on the System's arbiter, which
    /// has the lowest latency.
    #[must_use]
    pub const fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = count;
        self
    }

    /// The certificates for endpoints `tls:host:port`.
    #[must_use]
    pub fn tls(mut self, tls: TlsServer) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Who may come in by showing a token: over TLS, and over TCP where the system does not tell who the peer is. Default:
    /// nobody.
    #[must_use]
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// Starts the broker on the current actix System. With no endpoint it serves only actors of this process.
    ///
    /// # Errors
    /// [`StartError`]; whatever had been bound is released again.
    pub fn start(mut self) -> Result<BrokerHandle, StartError> {
        if actix::System::try_current().is_none() {
            return Err(StartError::NoSystem);
        }
        let epoch = new_epoch().map_err(|error| StartError::Random(error.to_string()))?;
        let (mut sockets, skipped) = self.bind()?;
        sockets.extend(self.adopted);
        let shared = Shared::new(self.limits, epoch);
        shared.set_tokens(self.tokens);
        if let Some(bus) = self.bus {
            // Nobody has set it before: the broker is only just made.
            let _ = shared.bus.set(Arc::new(bus));
        } else {
            let _ = shared.dialects.set(self.dialects);
            shared.services.set(Arc::new(self.services));
            if let Some(path) = self.systemctl {
                let _ = shared.systemctl.set(path);
            }
        }
        if let Some(policy) = self.policy {
            shared.policy.set(policy);
        }
        Broker::launch(shared, sockets, self.arbiters, skipped)
    }
}
