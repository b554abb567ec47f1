//! Everything in one program, telling the story as it goes: a broker, a worker, a caller, a subscriber and a publisher.
//!
//! `cargo run --example quickstart`. It needs nothing that runs already: the broker listens inside this process only.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells its story"
)]

use actix_ipc::client::Methods;
use actix_ipc::{Broker, Endpoint, ErrorCode, HandlerError, IpcClient};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

#[derive(Serialize, Deserialize)]
struct Pair {
    a: i64,
    b: i64,
}

/// The object: two methods, one of which can fail, and one that streams.
fn calculator() -> Methods {
    Methods::new()
        .method("add", |Pair { a, b }, _| async move { Ok(a.saturating_add(b)) })
        .method("divide", |Pair { a, b }, _| async move {
            a.checked_div(b)
                .ok_or_else(|| HandlerError::new("division by zero").named("DivisionByZero"))
        })
        .stream("count_to", |n: u32, _| {
            futures::stream::iter((1..=n).map(Ok::<_, HandlerError>))
        })
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    println!("1. A broker starts. It could listen on a socket; here it listens in memory.");
    let endpoint: Endpoint = "mem:quickstart".parse()?;
    let broker = Broker::builder().listen(endpoint.clone()).start()?;

    println!("2. A worker connects and registers the object \"math\".");
    let worker = IpcClient::builder()
        .endpoint(endpoint.clone())
        .name("worker")
        .connect()
        .await?;
    let registration = worker.register("math", calculator()).await?;

    println!("3. A caller calls it by name.");
    let caller = IpcClient::connect_to(endpoint.clone()).await?;
    let sum: i64 = caller.remote_call("math", "add", Pair { a: 10, b: 32 }).await?;
    println!("   10 + 32 = {sum}");
    let refused = caller
        .remote_call::<_, i64>("math", "divide", Pair { a: 1, b: 0 })
        .await;
    if let Err(error) = refused {
        println!("   1 / 0: {error} [{:?}, name {:?}]", error.code, error.name);
    }
    let mut counting = caller.call("math", "count_to").stream::<_, u32>(&5);
    print!("   counting:");
    while let Some(number) = counting.next().await {
        print!(" {}", number?);
    }
    println!();

    println!("4. A subscriber hears what a publisher says.");
    let mut news = caller.subscribe("sensor", "*").pattern().await?;
    let subscribers = worker
        .publish("sensor", "temperature", "25.6°C")
        .acknowledged()
        .await?;
    println!("   the event was queued to {subscribers} subscriber");
    if let Some(event) = StreamExt::next(&mut news).await {
        println!(
            "   {} / {}: {}",
            event.object(),
            event.topic(),
            event.decode::<String>()?
        );
    }

    println!("5. The worker leaves; a call fails at once, and says that it did not run.");
    registration.unregister().await?;
    match caller
        .remote_call::<_, i64>("math", "add", Pair { a: 1, b: 1 })
        .await
    {
        Err(error) if error.code == ErrorCode::NoSuchObject => println!("   {error}"),
        other => println!("   unexpected: {other:?}"),
    }

    println!("6. The broker drains and ends: {}.", broker.stop().await);
    Ok(())
}

#[actix::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}
