//! Old clients as a program: the published library of ipc-broker 1.1.5, under load.
//!
//! `old-load echo OBJECT`             serves OBJECT: every method returns its argument. Prints `ready`.
//! `old-load callers N ROUNDS EVENTS` N clients call `echo` at once and hear EVENTS events of `s`/`t` in each round; each must get its own
//!                                    answers. Prints `subscribed` when all have subscribed, `ok` at the end.
//! `old-load between ROUNDS`           calls `echo` again and again, and hears an event of `s`/`t` between each two calls. Prints `called N` when
//!                                    it has the N-th answer, `ok` at the end.
//! `old-load call OBJECT`             one call; prints what came of it. `idle SECONDS OBJECT` the same after so long.
//! `old-load publish TEXT`            publishes TEXT on `s`/`t`.
//! `old-load hear N`                  prints `ready`, then N values of `s`/`t`.
//! `old-load measure …`               see `measure.rs`.
//!
//! They find their broker as the library does: `BROKER_ADDR`, or else `/tmp/ipc_broker.sock`.

mod measure;

use async_trait::async_trait;
use ipc_broker::client::IPCClient;
use ipc_broker::worker::{SharedObject, WorkerBuilder};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;

struct Echo;

#[async_trait]
impl SharedObject for Echo {
    async fn call(&self, _: &str, args: &Value) -> Value {
        args.clone()
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Who does not listen any more has ended the test.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(io::Error::other)
}

async fn echo(object: &str) -> io::Result<()> {
    let (builder, shutdown) = WorkerBuilder::new().with_graceful_shutdown();
    let name = object.to_owned();
    let ready = tokio::spawn(async move {
        let client = IPCClient::connect().await?;
        client.wait_for_object(&name).await?;
        say("ready");
        io::Result::Ok(())
    });
    let served = builder.add(object, Echo).spawn().await;
    drop(shutdown);
    ready.await.map_err(io::Error::other)??;
    served
}

/// How soon a call must come behind its subscription for what the broker says of that not to be in its way.
const SOON: Duration = Duration::from_millis(100);

/// A client that has subscribed to `s`/`t` and got the answer to the call that it made right behind.
async fn subscribed() -> io::Result<(IPCClient, tokio::sync::mpsc::Receiver<Value>)> {
    loop {
        let client = IPCClient::connect().await?;
        let began = Instant::now();
        let heard = client.subscribe("s", "t").await;
        // The library subscribes before it calls; the answer, that there is nobody, says that both were read.
        let called: io::Result<Value> = client.remote_call("nobody", "m", Value::Null).await;
        match called {
            Err(error) if error.to_string() == "Remote error: No such object 'nobody'" => {
                return Ok((client, heard));
            }
            // It was kept from calling.
            _ if began.elapsed() > SOON => {}
            other => return Err(io::Error::other(format!("the first call: {other:?}"))),
        }
    }
}

async fn between(rounds: usize) -> io::Result<()> {
    let (client, mut heard) = subscribed().await?;
    for round in 0..rounds {
        let answer: Value = client.remote_call("echo", "m", json!(round)).await?;
        if answer != json!(round) {
            return Err(io::Error::other(format!("{answer} instead of {round}")));
        }
        say(&format!("called {round}"));
        let event = heard.recv().await;
        if event != Some(json!(round)) {
            return Err(io::Error::other(format!("event {event:?} instead of {round}")));
        }
    }
    say("ok");
    Ok(())
}

async fn caller(number: usize, rounds: usize, events: usize, all: Arc<Barrier>) -> io::Result<()> {
    let (client, mut heard) = subscribed().await?;
    if all.wait().await.is_leader() {
        say("subscribed");
    }
    for round in 0..rounds {
        let value = json!([number, round]);
        let answer: Value = client.remote_call("echo", "m", value.clone()).await?;
        if answer != value {
            return Err(io::Error::other(format!("{answer} instead of {value}")));
        }
        for n in 0..events {
            let event = heard
                .recv()
                .await
                .ok_or_else(|| io::Error::other("the subscription has ended"))?;
            if event != json!([round, n]) {
                return Err(io::Error::other(format!(
                    "event {event} instead of {n} of {round}"
                )));
            }
        }
    }
    Ok(())
}

async fn callers(count: usize, rounds: usize, events: usize) -> io::Result<()> {
    let all = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| tokio::spawn(caller(number, rounds, events, all.clone())))
        .collect();
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    say("ok");
    Ok(())
}

async fn call(object: &str, idle: Duration) -> io::Result<()> {
    let client = IPCClient::connect().await?;
    say("connected");
    tokio::time::sleep(idle).await;
    match client.remote_call::<_, Value>(object, "m", json!({"a": 1})).await {
        Ok(value) => say(&value.to_string()),
        Err(error) => say(&format!("error: {error}")),
    }
    Ok(())
}

async fn hear(count: usize) -> io::Result<()> {
    let (_client, mut heard) = subscribed().await?;
    say("ready");
    for _ in 0..count {
        let value = heard
            .recv()
            .await
            .ok_or_else(|| io::Error::other("the subscription has ended"))?;
        say(&value.to_string());
    }
    Ok(())
}

async fn publish(text: &str) -> io::Result<()> {
    let client = IPCClient::connect().await?;
    client.publish("s", "t", &json!(text)).await?;
    // `publish` returns before it has written; a call behind it does not.
    let _: Value = client.remote_call("rob", "listObjects", Value::Null).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["echo", object] => echo(object).await,
        ["callers", count, rounds, events] => callers(number(count)?, number(rounds)?, number(events)?).await,
        ["between", rounds] => between(number(rounds)?).await,
        ["call", object] => call(object, Duration::ZERO).await,
        ["idle", seconds, object] => call(object, Duration::from_secs(number(seconds)? as u64)).await,
        ["hear", count] => hear(number(count)?).await,
        ["publish", text] => publish(text).await,
        ["measure", old, ours] => measure::compare(old, ours).await,
        _ => Err(io::Error::other("see the first lines of src/main.rs")),
    }
}
