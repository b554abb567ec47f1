//! Both ends call: clients register and speak, the server pushes what others say and asks its clients questions.
//!
//! ```sh
//! cargo run --example bidirectional                            # demo: a server and two clients in one process
//! cargo run --example bidirectional -- --server                # terminal 1
//! cargo run --example bidirectional -- --client --name ada --stay   # terminal 2
//! cargo run --example bidirectional -- --client --name bob --message "hello"
//! ```

#[macro_use]
#[path = "../program/mod.rs"]
mod program;
mod member;
mod protocol;
mod room;
mod server;

use actix_ipc::Endpoint;
use actix_ipc::client::{ConnectionEvent, ConnectionEvents};
use actix_ipc::error::CallError;
use actix_ipc::protocol::{RpcClient, RpcServer, protocol_handler};
use clap::Parser;
use program::Ended;
use protocol::{ServerSender, client_protocol, server_protocol::Commands as _};
use server::Server;
use std::process::ExitCode;
use std::time::Duration;

/// Between two tries to register at a server that does not take it in.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(name = "bidirectional", about = "Both ends of a connection call each other")]
struct Cli {
    /// Lets clients meet until Ctrl-C.
    #[arg(long, group = "mode")]
    server: bool,
    /// Takes part.
    #[arg(long, group = "mode")]
    client: bool,
    /// A server and two clients in one process; so it is without any of these.
    #[arg(long, group = "mode")]
    demo: bool,
    /// Where they meet: unix:/path, tcp:host:port or pipe:name.
    #[arg(long, requires = "mode", conflicts_with = "demo", value_parser = actix_ipc::client::parse_address)]
    addr: Option<Endpoint>,
    /// With --server: milliseconds that a client has to answer before the others are told that it did not.
    #[arg(long, default_value_t = 5000, requires = "server", conflicts_with_all = ["client", "demo"])]
    patience_ms: u64,
    /// With --client: who it is.
    #[arg(long, default_value = "guest", requires = "client", conflicts_with_all = ["server", "demo"])]
    name: String,
    /// With --client: what it says.
    #[arg(long, default_value = "Hello, everybody", requires = "client", conflicts_with_all = ["server", "demo"])]
    message: String,
    /// With --client: listens until Ctrl-C instead of ending.
    #[arg(long, requires = "client", conflicts_with_all = ["server", "demo"])]
    stay: bool,
}

/// What the server may call on a client.
struct Listener {
    name: String,
}

protocol_handler!(ListenerReceiver impl [client_protocol] with Listener);

impl client_protocol::Receive for Listener {
    async fn notify(&self, from: String, text: String) -> actix_ipc::protocol::Result<()> {
        say!("[{}] {}: {}", self.name, from.escape_debug(), text.escape_debug());
        Ok(())
    }

    async fn ask(&self, question: String) -> actix_ipc::protocol::Result<client_protocol::ask::Response> {
        say!("[{}] the server asks: {}", self.name, question.escape_debug());
        let answer = format!("{} is here", self.name);
        Ok(client_protocol::ask::Response { answer })
    }
}

type Client = RpcClient<ServerSender>;

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("bidirectional", run(Cli::parse()).await)
}

async fn run(cli: Cli) -> Ended {
    let addr = match &cli.addr {
        Some(addr) => addr.clone(),
        None => program::usual("bidirectional")?,
    };
    match (cli.server, cli.client) {
        (true, _) => serve(addr, Duration::from_millis(cli.patience_ms)).await,
        (_, true) => take_part(addr, cli).await,
        _ => demo().await,
    }
}

async fn serve(addr: Endpoint, patience: Duration) -> Ended {
    let mut interrupt = program::Interrupt::listen()?;
    let binding = RpcServer::bind(addr, Server::new(patience));
    let server = interrupt.before(binding).await??;
    say!("Server listening on {}", server.endpoint());
    interrupt.comes().await;
    let _ = interrupt.before(server.shutdown()).await;
    say!("Server ended");
    Ok(())
}

async fn connect(addr: Endpoint, name: &str) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let listener = Listener {
        name: name.to_owned(),
    };
    let connected = Client::connect(addr, ListenerReceiver::new(listener)).await;
    program::reached(connected, "bidirectional", "--server")
}

async fn take_part(addr: Endpoint, cli: Cli) -> Ended {
    let mut interrupt = program::Interrupt::listen()?;
    say!("Connecting to {addr}");
    let client = interrupt.before(connect(addr, &cli.name)).await??;
    say!("Connected!");
    let events = client.connection_events();
    interrupt.before(enter(&client, &cli.name)).await??;
    interrupt.before(speak(&client, &cli.message)).await??;
    if cli.stay {
        say!("Listening until Ctrl-C");
        if interrupt
            .before(stay_in(&client, &cli.name, events))
            .await
            .is_err()
        {
            // Dropping it takes leave too, and waits for nobody.
            drop(client);
            say!("Client ended");
            return Ok(());
        }
    }
    let _ = interrupt.before(client.close()).await;
    say!("Client ended");
    Ok(())
}

async fn enter(client: &Client, name: &str) -> Result<(), CallError> {
    let registered = client.sender().register(name.to_owned()).await?;
    say!("Registered with ID: {}", registered.id);
    say!("Present: {}", registered.present.join(", "));
    Ok(())
}

/// Enters again at each new connection, until there will be none.
async fn stay_in(client: &Client, name: &str, mut events: ConnectionEvents) {
    while let Some(event) = events.next().await {
        match event {
            ConnectionEvent::Lost { reason } => say!("Connection lost ({reason}); waiting for another"),
            ConnectionEvent::Reconnected { .. } => enter_again(client, name).await,
            _ => {}
        }
    }
}

/// Asks until it is registered, or the connection has broken again: its successor brings another event.
async fn enter_again(client: &Client, name: &str) {
    let mut tries = tokio::time::interval(AGAIN);
    loop {
        tries.tick().await;
        match enter(client, name).await {
            Ok(()) => return,
            Err(error) => say!("Not registered: {}", program::said(&error)),
        }
        if !client.is_connected() {
            return;
        }
    }
}

async fn speak(client: &Client, message: &str) -> Ended {
    let sent = client.sender().send_message(message.to_owned()).await?;
    say!("Message sent: {message} (to {} others)", sent.told);
    let asked = client.sender().ask_everybody("who is here?".into()).await?;
    for (name, answer) in asked.answers {
        say!("Answer of {}: {}", name.escape_debug(), answer.escape_debug());
    }
    Ok(())
}

async fn demo() -> Ended {
    say!("=== Bidirectional: Demo Mode ===");
    let (_folder, addr) = program::temporary("bidirectional")?;
    let server = RpcServer::bind(addr, Server::new(Duration::from_secs(5))).await?;
    let ada = connect(server.endpoint().clone(), "ada").await?;
    let bob = connect(server.endpoint().clone(), "bob").await?;
    for (name, client) in [("ada", &ada), ("bob", &bob)] {
        let registered = client.sender().register(name.into()).await?;
        say!("Registered with ID: {} ({name})", registered.id);
    }
    match bob.sender().register("ada".into()).await {
        Err(error) if error.name.as_deref() == Some("NameTaken") => {
            say!("Refused: {}", program::said(&error));
        }
        Err(error) => return Err(error.into()),
        Ok(given) => return Err(format!("a name was given twice, to {} too", given.id).into()),
    }
    speak(&ada, "Hello, Bob").await?;
    ada.close().await;
    bob.close().await;
    server.shutdown().await;
    say!("Calls in both directions, and pushes from the server");
    Ok(())
}
