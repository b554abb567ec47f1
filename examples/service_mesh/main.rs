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
//!
//! Read `protocol.rs` first, which says what may be said to whom. This file has the command line and the registry's process; `serving.rs`
//! is the process of an instance, `client.rs` that of a caller, and `demo.rs` has all of them in one. What they are made of: `registry.rs`
//! around `mesh.rs`, `service.rs`, and `caller.rs` around `balance.rs`.

#[macro_use]
#[path = "../program/mod.rs"]
mod program;
mod balance;
mod caller;
mod client;
mod demo;
mod mesh;
mod protocol;
mod registry;
mod service;
mod serving;

use actix_ipc::Endpoint;
use actix_ipc::protocol::RpcServer;
use clap::Parser;
use program::{Ended, Interrupt};
use registry::Registry;
use service::SERVICES;
use std::process::ExitCode;
use std::time::Duration;

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
    /// With --client: milliseconds after which the registry is asked again who is there.
    #[arg(long, default_value_t = 1000, requires = "client", conflicts_with_all = ["registry", "service", "demo"])]
    ask_ms: u64,
    /// With --client: the service that is called.
    #[arg(long, value_name = "NAME", default_value = "greeter", requires = "client",
          conflicts_with_all = ["registry", "service", "demo"],
          value_parser = clap::builder::PossibleValuesParser::new(SERVICES))]
    call: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("service_mesh", run(Cli::parse()).await)
}

async fn run(cli: Cli) -> Ended {
    let addr = match &cli.addr {
        Some(addr) => addr.clone(),
        None => program::usual("service_mesh")?,
    };
    match (cli.registry, &cli.service, cli.client) {
        (true, _, _) => registry(addr, Duration::from_millis(cli.check_ms)).await,
        (_, Some(service), _) => {
            let idle = if cli.stay {
                Duration::ZERO
            } else {
                Duration::from_secs(5)
            };
            serving::run(addr, service, cli.listen.clone(), idle).await
        }
        (_, _, true) => {
            let fresh = Duration::from_millis(cli.ask_ms);
            client::run(addr, &cli.call, cli.calls, fresh).await
        }
        _ => demo::run().await,
    }
}

async fn registry(addr: Endpoint, every: Duration) -> Ended {
    let mut interrupt = Interrupt::listen()?;
    let registry = Registry::new(every);
    let server = interrupt
        .before(RpcServer::bind(addr, registry.clone()))
        .await??;
    say!("Registry listening on {}", server.endpoint());
    let _ = interrupt.before(registry.keep_checking()).await;
    let _ = interrupt.before(server.shutdown()).await;
    say!("Registry ended");
    Ok(())
}
