//! The process of an instance: it listens, registers, and leaves in order.
//!
//! Owns where it listens and the order of its life. What an instance answers is `service.rs`'s.

use super::mesh::INSTANCES_MAX;
use super::program::{self, Ended, Interrupt};
use super::protocol::{RegistrySender, discovery_protocol::Commands as _};
use super::service::{HealthReceiver, Instance};
use actix_ipc::Endpoint;
use actix_ipc::protocol::{ProtocolSender, RpcClient, RpcServer, ServeError};
use actix_ipc::transport::BindError;
use std::time::Duration;

/// What the registry may take to answer who leaves.
const PARTING: Duration = Duration::from_secs(1);

/// Listens where it is told, or at the first usual place of its service that no living instance has. Places are used again: a socket
/// that a killed instance left behind goes to the next one.
async fn listen(
    instance: &Instance,
    service: &str,
    place: Option<Endpoint>,
) -> Result<RpcServer, ServeError> {
    if let Some(place) = place {
        return RpcServer::bind(place, instance.clone()).await;
    }
    let mut number = 1;
    loop {
        let place = program::usual(&format!("mesh-{service}-{number}")).map_err(std::io::Error::other)?;
        match RpcServer::bind(place, instance.clone()).await {
            Err(ServeError::Bind(BindError::InUse { .. })) if number < INSTANCES_MAX => number += 1,
            bound => return bound,
        }
    }
}

/// One instance, until nobody has called it for so long, or until Ctrl-C.
pub(crate) async fn run(addr: Endpoint, service: &str, place: Option<Endpoint>, idle: Duration) -> Ended {
    let mut interrupt = Interrupt::listen()?;
    let instance = Instance::new(service);
    let server = interrupt.before(listen(&instance, service, place)).await??;
    say!("{service} listening on {}", server.endpoint());
    let ended = take_part(addr, &instance, server.endpoint(), idle, &mut interrupt).await;
    // Nobody is sent here any more; what is being answered is answered.
    let _ = interrupt.before(server.shutdown()).await;
    ended?;
    say!(
        "Service operations completed: {} requests",
        instance.metrics().requests
    );
    Ok(())
}

/// Registered, until it is to end.
async fn take_part(
    addr: Endpoint,
    instance: &Instance,
    place: &Endpoint,
    idle: Duration,
    interrupt: &mut Interrupt,
) -> Ended {
    say!("Connecting to {addr}");
    let connecting = RpcClient::connect(addr, HealthReceiver::new(instance.clone()));
    let client = program::reached(interrupt.before(connecting).await?, "service_mesh", "--registry")?;
    say!("Connected!");
    let (events, place) = (client.connection_events(), place.to_string());
    say!("Registering with registry...");
    interrupt.before(instance.register(&client, &place)).await??;
    say!("Reporting metrics...");
    tokio::select! {
        () = interrupt.comes() => {}
        () = instance.idle(idle) => say!("Nobody has called for {} s", idle.as_secs()),
        () = instance.keep_reporting(&client) => {}
        () = instance.stay_registered(&client, &place, events) => {}
    }
    // A registry that does not answer learns it from the end of the connection.
    let parting = RegistrySender::new(client.sender().caller().clone().with_deadline(PARTING));
    match interrupt.before(parting.deregister(instance.id())).await {
        Ok(Ok(_)) => drop(interrupt.before(client.close()).await),
        Ok(Err(error)) => say!("Not deregistered: {}", program::said(&error)),
        Err(_) => {}
    }
    Ok(())
}
