//! An instance of a service: answers calls and checks, registers itself, and reports what it has done.
//!
//! Owns what the services of this example can do: `shouter` shouts, `greeter` greets, and has the shouter do the loud part. Who is
//! sent where is the registry's.

use super::caller::{KNOWN, Mesh};
use super::mesh::Metrics;
use super::program;
use super::protocol::discovery_protocol::Commands as _;
use super::protocol::{RegistrySender, health_protocol, service_protocol};
use actix_ipc::client::{ConnectionEvent, ConnectionEvents};
use actix_ipc::error::CallError;
use actix_ipc::protocol::{self, Error, NoProtocol, RpcClient, RpcServerHandler, protocol_handler};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What another service may take. Those who call here wait longer than that.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries to register at a registry that does not take it in.
const AGAIN: Duration = Duration::from_secs(1);

/// The services that there are.
pub(crate) const SERVICES: [&str; 2] = ["greeter", "shouter"];

/// An instance, which all of its connections share.
#[derive(Clone)]
pub(crate) struct Instance(Arc<Shared>);

struct Shared {
    service: String,
    /// Its number at the registry.
    id: AtomicU64,
    /// To call other services; there once the registry is reached.
    mesh: OnceLock<Mesh>,
    requests: AtomicU64,
    errors: AtomicU64,
    busy_us: AtomicU64,
    /// Counts requests, for who waits for the next one.
    active: watch::Sender<u64>,
}

/// What this service cannot do.
#[derive(Debug, thiserror::Error)]
#[error("a {service} cannot `{}`; it can {can}", task.escape_debug())]
struct NoSuchTask {
    service: String,
    task: String,
    can: &'static str,
}

protocol_handler!(pub InstanceReceiver impl [service_protocol] with Instance);
protocol_handler!(pub HealthReceiver impl [health_protocol] with Instance);

impl Instance {
    pub(crate) fn new(service: &str) -> Self {
        Self(Arc::new(Shared {
            service: service.to_owned(),
            id: AtomicU64::new(0),
            mesh: OnceLock::new(),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
            active: watch::Sender::new(0),
        }))
    }

    /// Its number.
    pub(crate) fn id(&self) -> u64 {
        self.0.id.load(Ordering::Relaxed)
    }

    /// What it has done.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            requests: self.0.requests.load(Ordering::Relaxed),
            errors: self.0.errors.load(Ordering::Relaxed),
            busy_us: self.0.busy_us.load(Ordering::Relaxed),
        }
    }

    /// Until nobody has asked for anything for so long; zero is for ever.
    pub(crate) async fn idle(&self, time: Duration) {
        let mut active = self.0.active.subscribe();
        if time.is_zero() {
            return std::future::pending().await;
        }
        while tokio::time::timeout(time, active.changed()).await.is_ok() {}
    }

    /// Registers at the registry, over whose connection it is checked from now on.
    pub(crate) async fn register(
        &self,
        client: &RpcClient<RegistrySender>,
        place: &str,
    ) -> Result<(), CallError> {
        let (service, place) = (self.0.service.clone(), place.to_owned());
        let registered = client.sender().register(service, place).await?;
        self.0.id.store(registered.instance, Ordering::Relaxed);
        self.0
            .mesh
            .get_or_init(|| Mesh::new(client.sender(), PATIENCE, KNOWN));
        say!("Registered with ID: {}", registered.instance);
        say!("Checked every {} ms", registered.check_ms);
        Ok(())
    }

    /// Registers again at each new connection: a registry that has started anew knows nobody.
    pub(crate) async fn stay_registered(
        &self,
        client: &RpcClient<RegistrySender>,
        place: &str,
        mut events: ConnectionEvents,
    ) {
        while let Some(event) = events.next().await {
            match event {
                ConnectionEvent::Lost { reason } => say!("Registry lost ({reason}); waiting for another"),
                ConnectionEvent::Reconnected { .. } => self.register_again(client, place).await,
                _ => {}
            }
        }
    }

    /// Asks until it is registered, or the connection has broken again: its successor brings another event.
    async fn register_again(&self, client: &RpcClient<RegistrySender>, place: &str) {
        let mut tries = tokio::time::interval(AGAIN);
        loop {
            tries.tick().await;
            match self.register(client, place).await {
                Ok(()) => return,
                Err(error) => say!("Not registered: {}", program::said(&error)),
            }
            if !client.is_connected() {
                return;
            }
        }
    }

    /// Reports again and again what it has done.
    pub(crate) async fn keep_reporting(&self, client: &RpcClient<RegistrySender>) {
        let mut rounds = tokio::time::interval(Duration::from_secs(1));
        loop {
            rounds.tick().await;
            // Without a registry the next report tells the same.
            let _ = client.sender().report_metrics(self.id(), self.metrics()).await;
        }
    }

    /// What the task comes to, and what had to be left out of it.
    async fn work(&self, task: &str, input: &str) -> protocol::Result<(String, Option<String>)> {
        match (self.0.service.as_str(), task) {
            ("shouter", "shout") => Ok((input.to_uppercase(), None)),
            ("greeter", "greet") => {
                let greeting = format!("hello, {input}");
                // One service calls another, over the same mesh. Without a shouter it greets quietly, and says so: an answer that is
                // less than usual must not look like the usual one.
                let Some(mesh) = self.0.mesh.get() else {
                    return Ok((greeting, Some("not registered yet".to_owned())));
                };
                match mesh.call("shouter", "shout", &greeting).await {
                    Ok(shouted) => Ok((shouted.output, shouted.degraded)),
                    Err(error) => {
                        say!("Greeting quietly: {error}");
                        Ok((greeting, Some(format!("greeted quietly: {error}"))))
                    }
                }
            }
            (service, _) => {
                let can = if service == "shouter" { "shout" } else { "greet" };
                let (service, task) = (service.to_owned(), task.to_owned());
                Err(Error::from(NoSuchTask { service, task, can }).named("NoSuchTask"))
            }
        }
    }
}

impl service_protocol::Receive for Instance {
    async fn call(&self, task: String, input: String) -> protocol::Result<service_protocol::call::Response> {
        let began = Instant::now();
        let outcome = self.work(&task, &input).await;
        let busy = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.busy_us.fetch_add(busy, Ordering::Relaxed);
        self.0.active.send_modify(|count| *count += 1);
        if outcome.is_err() {
            self.0.errors.fetch_add(1, Ordering::Relaxed);
        }
        let (output, degraded) = outcome?;
        Ok(service_protocol::call::Response {
            instance: self.id(),
            output,
            degraded,
        })
    }
}

impl health_protocol::Receive for Instance {
    async fn check(&self) -> protocol::Result<health_protocol::check::Response> {
        Ok(health_protocol::check::Response {
            ready: true,
            requests: self.metrics().requests,
        })
    }
}

impl RpcServerHandler for Instance {
    type ReceiveRpc = InstanceReceiver;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> InstanceReceiver {
        InstanceReceiver::new(self.clone())
    }
}
