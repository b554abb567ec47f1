//! Services that find each other: a registry that checks its instances, services that call services, and callers that spread their
//! calls over whoever is well.
//!
//! ```sh
//! cargo run --example service_mesh                                 # demo: all of it in one process
//! cargo run --example service_mesh -- --registry                   # terminal 1
//! cargo run --example service_mesh -- --service greeter --stay     # terminal 2
//! cargo run --example service_mesh -- --service shouter --stay     # terminals 3, 4, …: kill -9 one of them meanwhile
//! cargo run --example service_mesh -- --client --calls 100         # terminal 5
//! ```
#![allow(clippy::print_stdout, reason = "an example tells its story")]

mod balance;
mod caller;
mod mesh;
#[path = "../program/mod.rs"]
mod program;
mod protocol;
mod registry;
mod service;

use actix_ipc::Endpoint;
use actix_ipc::protocol::{RpcClient, RpcServer, ServeError};
use actix_ipc::transport::BindError;
use caller::{Mesh, MeshCallError};
use clap::Parser;
use mesh::INSTANCES_MAX;
use program::{Ended, Interrupt};
use protocol::{RegistrySender, discovery_protocol::Commands as _};
use registry::Registry;
use service::{HealthReceiver, Instance, SERVICES};
use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// What a call of a client may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What starts a registry.
const REGISTRY: &str = "service_mesh -- --registry";

#[derive(Parser)]
#[command(
    name = "service_mesh",
    about = "Services that find each other, are checked and call each other"
)]
struct Cli {
    /// Knows who is there, until Ctrl-C.
    #[arg(long, group = "mode")]
    registry: bool,
    /// An instance of a service: greeter or shouter.
    #[arg(long, group = "mode", value_name = "NAME", num_args = 0..=1, default_missing_value = "greeter",
          value_parser = clap::builder::PossibleValuesParser::new(SERVICES))]
    service: Option<String>,
    /// Calls a service, and ends.
    #[arg(long, group = "mode")]
    client: bool,
    /// All of them in one process; so it is without any of these.
    #[arg(long, group = "mode")]
    demo: bool,
    /// Where the registry is: unix:/path, tcp:host:port or pipe:name.
    #[arg(long, requires = "mode", conflicts_with = "demo", value_parser = actix_ipc::client::parse_address)]
    addr: Option<Endpoint>,
    /// With --registry: milliseconds between two checks of an instance, and the time that it has to answer one.
    #[arg(long, default_value_t = 1000, requires = "registry", conflicts_with_all = ["service", "client", "demo"],
          value_parser = clap::value_parser!(u64).range(1..))]
    check_ms: u64,
    /// With --service: where it is called. Otherwise at a place of its own.
    #[arg(long, requires = "service", conflicts_with_all = ["registry", "client", "demo"],
          value_parser = actix_ipc::client::parse_address)]
    listen: Option<Endpoint>,
    /// With --service: goes on until Ctrl-C, not only until nobody has called it for five seconds.
    #[arg(long, requires = "service", conflicts_with_all = ["registry", "client", "demo"])]
    stay: bool,
    /// With --client: how many calls.
    #[arg(long, default_value_t = 10, requires = "client", conflicts_with_all = ["registry", "service", "demo"])]
    calls: u32,
    /// With --client: the service that is called.
    #[arg(long, default_value = "greeter", requires = "client", conflicts_with_all = ["registry", "service", "demo"])]
    call: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("service_mesh", run(Cli::parse()).await)
}

async fn run(cli: Cli) -> Ended {
    let addr = match &cli.addr {
        Some(addr) => addr.clone(),
        None => program::usual("service-mesh")?,
    };
    match (cli.registry, &cli.service, cli.client) {
        (true, _, _) => registry(addr, Duration::from_millis(cli.check_ms)).await,
        (_, Some(service), _) => {
            let idle = if cli.stay {
                Duration::ZERO
            } else {
                Duration::from_secs(5)
            };
            serve(addr, service, cli.listen.clone(), idle).await
        }
        (_, _, true) => call(addr, &cli.call, cli.calls).await,
        _ => demo().await,
    }
}

async fn registry(addr: Endpoint, every: Duration) -> Ended {
    let mut interrupt = Interrupt::listen()?;
    let registry = Registry::new(every);
    let server = RpcServer::bind(addr, registry.clone()).await?;
    println!("Registry listening on {}", server.endpoint());
    tokio::select! {
        () = interrupt.comes() => {}
        () = registry.keep_checking() => {}
    }
    server.shutdown().await;
    println!("Registry ended");
    Ok(())
}

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

async fn serve(addr: Endpoint, service: &str, place: Option<Endpoint>, idle: Duration) -> Ended {
    let mut interrupt = Interrupt::listen()?;
    let instance = Instance::new(service);
    let server = listen(&instance, service, place).await?;
    println!("{service} listening on {}", server.endpoint());
    let ended = take_part(addr, &instance, server.endpoint(), idle, &mut interrupt).await;
    // Nobody is sent here any more; what is being answered is answered.
    server.shutdown().await;
    ended?;
    println!(
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
    println!("Connecting to {addr}");
    let connecting = RpcClient::connect(addr, HealthReceiver::new(instance.clone()));
    let Some(connected) = interrupt.before(connecting).await else {
        return Ok(());
    };
    let client = program::reached(connected, REGISTRY)?;
    println!("Connected!");
    let (events, place) = (client.connection_events(), place.to_string());
    println!("Registering with registry...");
    instance.register(&client, &place).await?;
    println!("Reporting metrics...");
    tokio::select! {
        () = interrupt.comes() => {}
        () = instance.idle(idle) => println!("Nobody has called for {} s", idle.as_secs()),
        () = instance.keep_reporting(&client) => {}
        () = instance.stay_registered(&client, &place, events) => {}
    }
    if let Err(error) = client.sender().deregister(instance.id()).await {
        println!("Not deregistered: {}", program::said(&error));
    }
    client.close().await;
    Ok(())
}

fn task_of(service: &str) -> &'static str {
    match service {
        "shouter" => "shout",
        _ => "greet",
    }
}

/// Calls a service so often: how often each instance has answered.
async fn spread(mesh: &Mesh, service: &str, calls: u32) -> Result<BTreeMap<u64, u32>, MeshCallError> {
    let mut counts = BTreeMap::new();
    for number in 1..=calls {
        let answer = mesh
            .call(service, task_of(service), &format!("caller {number}"))
            .await?;
        if number == 1 {
            let (output, instance) = (answer.output.escape_debug(), answer.instance);
            println!("Response: {output} (instance {instance})");
        }
        if let Some(why) = &answer.degraded {
            println!("Degraded answer to call {number}: {}", why.escape_debug());
        }
        *counts.entry(answer.instance).or_default() += 1;
    }
    Ok(counts)
}

/// `2: 3, 3: 3`.
fn listed(counts: &BTreeMap<u64, u32>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(instance, count)| format!("{instance}: {count}"))
        .collect();
    counts.join(", ")
}

async fn show_services(registry: &RegistrySender) -> Ended {
    for (name, well, all, metrics) in registry.list_services().await?.services {
        println!(
            "Metrics of {name}: {well} of {all} instances well, {} requests, {} errors, {} us busy",
            metrics.requests, metrics.errors, metrics.busy_us
        );
    }
    Ok(())
}

async fn call(addr: Endpoint, service: &str, calls: u32) -> Ended {
    println!("Connecting to {addr}");
    let connected = RpcClient::<RegistrySender>::connect(addr, ()).await;
    let client = program::reached(connected, REGISTRY)?;
    println!("Connected!");
    let found = client.sender().discover(service.to_owned()).await?.instances;
    println!("Discovered {} instances of {service}", found.len());
    let mesh = Mesh::new(client.sender().clone(), PATIENCE);
    for (instance, count) in spread(&mesh, service, calls).await? {
        println!("Instance {instance} answered {count} calls");
    }
    show_services(client.sender()).await?;
    client.close().await;
    println!("All calls completed");
    Ok(())
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
    println!("Service ID: {} ({service})", instance.id());
    let running = Running {
        instance,
        server,
        client,
    };
    Ok((folder, running))
}

async fn demo() -> Ended {
    println!("=== Service Mesh: Demo Mode ===");
    let (_folder, addr) = program::temporary("registry")?;
    let registry = Registry::new(Duration::from_millis(200));
    let server = RpcServer::bind(addr, registry.clone()).await?;
    let checking = tokio::spawn(async move { registry.keep_checking().await });
    let mut services = Vec::new();
    for service in ["greeter", "shouter", "shouter", "shouter"] {
        services.push(start(server.endpoint(), service).await?);
    }
    let client = RpcClient::<RegistrySender>::connect(server.endpoint().clone(), ()).await?;
    let found = client.sender().discover("shouter".into()).await?.instances;
    println!("Discovered {} instances of shouter", found.len());
    let mesh = Mesh::new(client.sender().clone(), PATIENCE);
    println!("--- a service that calls another one ---");
    spread(&mesh, "greeter", 1).await?;
    println!("--- calls are spread over three instances ---");
    println!(
        "Calls by instance: {}",
        listed(&spread(&mesh, "shouter", 9).await?)
    );
    match mesh.call("shouter", "whisper", "").await {
        Err(MeshCallError::Call { error, .. }) if error.name.as_deref() == Some("NoSuchTask") => {
            println!("Refused: {}", program::said(&error));
        }
        Err(error) => return Err(error.into()),
        Ok(answer) => {
            return Err(format!("a task that there is not was answered: {}", answer.output).into());
        }
    }
    println!("--- one of them ends without a word; calls go to the others ---");
    if let Some((_, lost)) = services.pop() {
        lost.server.shutdown().await;
        lost.client.close().await;
    }
    println!(
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
    println!("Service registration and discovery");
    println!("Health check monitoring, metrics, calls from service to service, load balancing");
    Ok(())
}
