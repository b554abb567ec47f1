//! Two protocols on one handler, over one connection: the smallest whole program.
//!
//! ```sh
//! cargo run --example basic                 # demo: both halves in one process
//! cargo run --example basic -- --server     # terminal 1
//! cargo run --example basic -- --client     # terminal 2
//! ```

#[macro_use]
#[path = "../program/mod.rs"]
mod program;
mod app;
mod protocol;

use actix_ipc::Endpoint;
use actix_ipc::protocol::RpcServer;
use app::{App, Client, Server};
use clap::Parser;
use program::Ended;
use protocol::{AppSender, admin_protocol::Commands as _, app_protocol::Commands as _};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Parser)]
#[command(name = "basic", about = "Two protocols on one handler, over one connection")]
struct Cli {
    /// Answers until Ctrl-C.
    #[arg(long, group = "mode")]
    server: bool,
    /// Asks a server, and ends.
    #[arg(long, group = "mode")]
    client: bool,
    /// Both in one process; so it is without any of these.
    #[arg(long, group = "mode")]
    demo: bool,
    /// Where they meet: unix:/path, tcp:host:port or pipe:name.
    #[arg(long, requires = "mode", conflicts_with = "demo", value_parser = actix_ipc::client::parse_address)]
    addr: Option<Endpoint>,
    /// With --server: clients may end it.
    #[arg(long, requires = "server", conflicts_with_all = ["client", "demo"])]
    may_be_ended: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("basic", run(Cli::parse()).await)
}

async fn run(cli: Cli) -> Ended {
    let addr = match cli.addr {
        Some(addr) => addr,
        None => program::usual("basic")?,
    };
    match (cli.server, cli.client) {
        (true, _) => serve(addr, cli.may_be_ended).await,
        (_, true) => ask(addr).await,
        _ => demo().await,
    }
}

async fn serve(addr: Endpoint, may_be_ended: bool) -> Ended {
    let mut interrupt = program::Interrupt::listen()?;
    let app = Arc::new(App::new(may_be_ended));
    let binding = RpcServer::bind(addr, Server(Arc::clone(&app)));
    let server = interrupt.before(binding).await??;
    say!("Server listening on {}", server.endpoint());
    tokio::select! {
        () = interrupt.comes() => {}
        () = app.ended() => {}
    }
    // What is being answered is answered first; who does not want to wait for that interrupts again.
    let _ = interrupt.before(server.shutdown()).await;
    say!("Server ended");
    Ok(())
}

async fn ask(addr: Endpoint) -> Ended {
    say!("Connecting to {addr}");
    let client = program::reached(Client::connect(addr, ()).await, "basic", "--server")?;
    say!("Connected!");
    let sender: &AppSender = client.sender();
    let echo = sender.echo("Hello from the client".into()).await?;
    say!("Echo response: {}", echo.response);
    say!("Add response: 40 + 2 = {}", sender.add(40, 2).await?);
    // One-way: ready when it is on its way. Commands of one protocol arrive in the order in which they were sent.
    sender.log("the client was here".into()).await?;
    // An error has a name to branch on and a text for people.
    match sender.add(i64::MAX, 1).await {
        Err(error) if error.name.as_deref() == Some("Overflow") => {
            say!("Error response: {}", program::said(&error));
        }
        Err(error) => return Err(error.into()),
        Ok(sum) => return Err(format!("a sum that does not fit came back as {sum}").into()),
    }
    let stats = sender.get_stats().await?;
    say!(
        "Total calls: {} ({} lines logged)",
        stats.total_calls,
        stats.log_lines
    );
    let shutdown = sender.shutdown("the client is done".into()).await?;
    say!("Shutdown response: {}", shutdown.message);
    client.close().await;
    say!("All requests completed successfully");
    Ok(())
}

async fn demo() -> Ended {
    say!("=== Basic: Demo Mode ===");
    let (_folder, addr) = program::temporary("basic")?;
    let server = RpcServer::bind(addr, Server(Arc::new(App::new(false)))).await?;
    let client = Client::connect(server.endpoint().clone(), ()).await?;
    let sender = client.sender();
    say!("Echo: {}", sender.echo("Hello, protocols".into()).await?.response);
    say!("Sum: {}", sender.add(19, 23).await?);
    for line in 1..=3 {
        sender.log(format!("line {line}")).await?;
    }
    // The two protocols are ordered apart; an answer of the first shows that its lines before have arrived.
    sender.echo(String::new()).await?;
    let stats = sender.get_stats().await?;
    say!(
        "Total calls: {} ({} lines logged)",
        stats.total_calls,
        stats.log_lines
    );
    client.close().await;
    server.shutdown().await;
    say!("Two protocols, one handler, one connection");
    Ok(())
}
