//! The process of a caller: it finds a service by name, and spreads its calls over the instances.
//!
//! Owns what is shown of the answers. Who is called, and what is done when an instance is gone, is `caller.rs`'s.

use super::caller::{Mesh, MeshCallError, briefly};
use super::program::{self, Ended};
use super::protocol::{RegistrySender, discovery_protocol::Commands as _};
use actix_ipc::Endpoint;
use actix_ipc::protocol::RpcClient;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a call of a client may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

fn task_of(service: &str) -> &'static str {
    match service {
        "shouter" => "shout",
        _ => "greet",
    }
}

/// Calls a service so often: how often each instance has answered.
pub(crate) async fn spread(
    mesh: &Mesh,
    service: &str,
    calls: u32,
) -> Result<BTreeMap<u64, u32>, MeshCallError> {
    let mut counts = BTreeMap::new();
    for number in 1..=calls {
        let answer = mesh
            .call(service, task_of(service), &format!("caller {number}"))
            .await?;
        if number == 1 {
            let (output, instance) = (answer.output.escape_debug(), answer.instance);
            say!("Response: {output} (instance {instance})");
        }
        if let Some(why) = &answer.degraded {
            say!("Degraded answer to call {number}: {}", why.escape_debug());
        }
        *counts.entry(answer.instance).or_default() += 1;
    }
    Ok(counts)
}

/// What the registry has been told of each service.
pub(crate) async fn show_services(registry: &RegistrySender) -> Ended {
    for (name, well, all, metrics) in registry.list_services().await?.services {
        say!(
            "Metrics of {name}: {well} of {all} instances well, {} requests, {} errors, {} us busy",
            metrics.requests,
            metrics.errors,
            metrics.busy_us
        );
    }
    Ok(())
}

/// Calls a service so often, and ends.
pub(crate) async fn run(addr: Endpoint, service: &str, calls: u32, fresh: Duration) -> Ended {
    say!("Connecting to {addr}");
    let connected = RpcClient::<RegistrySender>::connect(addr, ()).await;
    let client = program::reached(connected, "service_mesh", "--registry")?;
    say!("Connected!");
    let found = client.sender().discover(service.to_owned()).await?.instances;
    say!("Discovered {} instances of {service}", found.len());
    let mesh = Mesh::new(client.sender(), PATIENCE, fresh);
    for (instance, count) in spread(&mesh, service, calls).await? {
        say!("Instance {instance} answered {count} calls");
    }
    // The calls are done, whether it is still there or not.
    if let Err(error) = show_services(&briefly(client.sender())).await {
        say!("No metrics: {error}");
    }
    client.close().await;
    say!("All calls completed");
    Ok(())
}
