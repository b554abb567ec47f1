//! All of it in one process: a registry, a greeter, three shouters and a caller, and what happens when one of them goes.
//!
//! Owns the story. Each part is the one that the processes have.

use super::caller::{KNOWN, Mesh, MeshCallError};
use super::client::{PATIENCE, show_services, spread};
use super::program::{self, Ended};
use super::protocol::{RegistrySender, discovery_protocol::Commands as _};
use super::registry::Registry;
use super::service::{HealthReceiver, Instance};
use actix_ipc::Endpoint;
use actix_ipc::protocol::{RpcClient, RpcServer};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

/// `2: 3, 3: 3`.
fn listed(counts: &BTreeMap<u64, u32>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(instance, count)| format!("{instance}: {count}"))
        .collect();
    counts.join(", ")
}

/// An instance in the demo's process.
struct Running {
    instance: Instance,
    server: RpcServer,
    client: RpcClient<RegistrySender>,
}

async fn start(
    registry: &Endpoint,
    service: &str,
) -> Result<(tempfile::TempDir, Running), Box<dyn Error + Send + Sync>> {
    let (folder, place) = program::temporary(service)?;
    let instance = Instance::new(service);
    let server = RpcServer::bind(place, instance.clone()).await?;
    let receiver = HealthReceiver::new(instance.clone());
    let client = RpcClient::connect(registry.clone(), receiver).await?;
    instance.register(&client, &server.endpoint().to_string()).await?;
    say!("Service ID: {} ({service})", instance.id());
    let running = Running {
        instance,
        server,
        client,
    };
    Ok((folder, running))
}

pub(crate) async fn run() -> Ended {
    say!("=== Service Mesh: Demo Mode ===");
    let (_folder, addr) = program::temporary("registry")?;
    let registry = Registry::new(Duration::from_secs(1));
    let server = RpcServer::bind(addr, registry.clone()).await?;
    let checking = tokio::spawn(async move { registry.keep_checking().await });
    let mut services = Vec::new();
    for service in ["greeter", "shouter", "shouter", "shouter"] {
        services.push(start(server.endpoint(), service).await?);
    }
    let client = RpcClient::<RegistrySender>::connect(server.endpoint().clone(), ()).await?;
    let found = client.sender().discover("shouter".into()).await?.instances;
    say!("Discovered {} instances of shouter", found.len());
    let mesh = Mesh::new(client.sender(), PATIENCE, KNOWN);
    say!("--- a service that calls another one ---");
    spread(&mesh, "greeter", 1).await?;
    say!("--- calls are spread over three instances ---");
    say!(
        "Calls by instance: {}",
        listed(&spread(&mesh, "shouter", 9).await?)
    );
    match mesh.call("shouter", "whisper", "").await {
        Err(MeshCallError::Call { error, .. }) if error.name.as_deref() == Some("NoSuchTask") => {
            say!("Refused: {}", program::said(&error));
        }
        Err(error) => return Err(error.into()),
        Ok(answer) => {
            return Err(format!("a task that there is not was answered: {}", answer.output).into());
        }
    }
    say!("--- one of them ends without a word; calls go to the others ---");
    if let Some((_, lost)) = services.pop() {
        lost.server.shutdown().await;
        lost.client.close().await;
    }
    say!(
        "Calls by instance: {}",
        listed(&spread(&mesh, "shouter", 8).await?)
    );
    for (_, running) in &services {
        let (instance, sender) = (&running.instance, running.client.sender());
        sender.report_metrics(instance.id(), instance.metrics()).await?;
        // An answer of the same protocol shows that the report before it has arrived.
        sender.discover(String::new()).await?;
    }
    show_services(client.sender()).await?;
    for (_, running) in services {
        running.client.sender().deregister(running.instance.id()).await?;
        running.server.shutdown().await;
        running.client.close().await;
    }
    checking.abort();
    client.close().await;
    server.shutdown().await;
    say!("Service registration and discovery");
    say!("Health check monitoring, metrics, calls from service to service, load balancing");
    Ok(())
}
