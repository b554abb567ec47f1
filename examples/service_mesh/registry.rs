//! The registry: takes instances in, checks them, and tells callers where they are.
//!
//! Owns the connections of the instances and the rounds of checks. What a check means is decided in `mesh.rs`.

use super::mesh::{Mesh, MeshError, Metrics, Turn};
use super::program;
use super::protocol::{HealthSender, discovery_protocol, health_protocol::Commands as _};
use actix_ipc::Endpoint;
use actix_ipc::protocol::{self, Error, RpcServerHandler, protocol_handler};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The registry, which all connections share.
#[derive(Clone)]
pub(crate) struct Registry(Arc<Shared>);

struct Shared {
    mesh: Mutex<Mesh>,
    /// Where those are reached who have registered something.
    connections: Mutex<BTreeMap<u64, HealthSender>>,
    /// Time between two checks, and the time that one may take.
    every: Duration,
}

fn refused(error: MeshError) -> Error {
    let name = error.name();
    Error::from(error).named(name)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn new(every: Duration) -> Self {
        Self(Arc::new(Shared {
            mesh: Mutex::default(),
            connections: Mutex::default(),
            every,
        }))
    }

    /// Checks every connection that has instances, all at the same time, again and again.
    pub(crate) async fn keep_checking(&self) {
        let mut rounds = tokio::time::interval(self.0.every);
        // After a round that took long the next one comes in its time, not all that were missed.
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let connections = locked(&self.0.connections).clone();
            join_all(
                connections
                    .iter()
                    .map(|(owner, health)| self.check(*owner, health)),
            )
            .await;
        }
    }

    async fn check(&self, owner: u64, health: &HealthSender) {
        let outcome = self.ask(health).await;
        let mut mesh = locked(&self.0.mesh);
        for instance in mesh.owned_by(owner) {
            let (id, service) = (instance.id, instance.service);
            match mesh.checked(id, outcome.is_ok()) {
                Some(Turn::Out) => {
                    let why = outcome.as_ref().err().map_or("", String::as_str);
                    say!("[REGISTRY] instance {id} of {service} is out: {why}");
                }
                Some(Turn::In) => say!("[REGISTRY] instance {id} of {service} is in again"),
                None => {}
            }
        }
    }

    /// Whether an instance says in time that it is ready.
    async fn ask(&self, health: &HealthSender) -> Result<(), String> {
        match tokio::time::timeout(self.0.every, health.check()).await {
            Ok(Ok(said)) if said.ready => Ok(()),
            Ok(Ok(_)) => Err("it says that it is not ready".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }
}

/// One connection.
pub(crate) struct Session {
    registry: Registry,
    id: u64,
    health: HealthSender,
}

impl RpcServerHandler for Registry {
    type ReceiveRpc = SessionReceiver;
    type SendRpc = HealthSender;

    async fn on_rpc_connect(&self, client: &HealthSender) -> SessionReceiver {
        SessionReceiver::new(Session {
            registry: self.clone(),
            id: program::number(client),
            health: client.clone(),
        })
    }

    /// A process that dies ends its connection, however it dies: its instances are out at once, without waiting for a check.
    async fn on_rpc_disconnect(&self, peer_id: u64) {
        locked(&self.0.connections).remove(&peer_id);
        let lost = locked(&self.0.mesh).lost(peer_id);
        for instance in lost {
            say!(
                "[REGISTRY] instance {} of {} is gone with its connection",
                instance.id,
                instance.service
            );
        }
    }
}

protocol_handler!(pub SessionReceiver impl [discovery_protocol] with Session);

impl discovery_protocol::Receive for Session {
    async fn register(
        &self,
        service: String,
        endpoint: String,
    ) -> protocol::Result<discovery_protocol::register::Response> {
        if let Err(error) = endpoint.parse::<Endpoint>() {
            let reason = error.reason.to_owned();
            return Err(refused(MeshError::Endpoint { endpoint, reason }));
        }
        // The instance waits for the answer to its call, and answers this one meanwhile.
        let ready = self.registry.ask(&self.health).await;
        ready.map_err(|why| refused(MeshError::NotWell(why)))?;
        let shared = &self.registry.0;
        let instance = locked(&shared.mesh)
            .register(self.id, &service, &endpoint)
            .map_err(refused)?;
        locked(&shared.connections).insert(self.id, self.health.clone());
        say!("[REGISTRY] instance {instance} of {service} is at {endpoint}");
        Ok(discovery_protocol::register::Response {
            instance,
            check_ms: u64::try_from(shared.every.as_millis())?,
        })
    }

    async fn deregister(&self, instance: u64) -> protocol::Result<discovery_protocol::deregister::Response> {
        let shared = &self.registry.0;
        let mut mesh = locked(&shared.mesh);
        mesh.deregister(self.id, instance).map_err(refused)?;
        let remaining = mesh.owned_by(self.id).len();
        if remaining == 0 {
            locked(&shared.connections).remove(&self.id);
        }
        say!("[REGISTRY] instance {instance} has left");
        Ok(discovery_protocol::deregister::Response {
            remaining: u32::try_from(remaining)?,
        })
    }

    async fn discover(&self, service: String) -> protocol::Result<discovery_protocol::discover::Response> {
        let instances = locked(&self.registry.0.mesh).discover(&service);
        Ok(discovery_protocol::discover::Response { instances })
    }

    async fn list_services(&self) -> protocol::Result<discovery_protocol::list_services::Response> {
        let services = locked(&self.registry.0.mesh).services();
        Ok(discovery_protocol::list_services::Response { services })
    }

    async fn report_metrics(&self, instance: u64, metrics: Metrics) -> protocol::Result<()> {
        let reported = locked(&self.registry.0.mesh).report(self.id, instance, metrics);
        reported.map_err(refused)
    }
}
