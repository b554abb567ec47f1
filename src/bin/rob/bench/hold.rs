//! Who holds connections that do nothing, at the broker and at the relay.
//!
//! Owns how they are opened, one after the other, each timed until the other side has answered. Called by `role`.

use super::floor::{End, Stopwatch, join};
use super::latencies::Latencies;
use super::protocol::{Order, Slice, Way};
use super::role::{Conversation, connect};
use crate::exit::Failure;
use crate::options::Options;
use actix_ipc::IpcClient;

/// Opens connections and holds those to the broker.
///
/// # Errors
/// When one cannot be opened; the error says how many there were.
pub(super) async fn run(conversation: &mut Conversation, options: &Options) -> Result<(), Failure> {
    let mut held: Vec<IpcClient> = Vec::new();
    let mut latencies = Latencies::new()?;
    conversation.ready(String::new());
    loop {
        let slice = match conversation.order().await? {
            Order::Open {
                way: Way::Broker,
                count,
            } => open(options, count, &mut held, &mut latencies).await?,
            Order::Open {
                way: Way::Floor,
                count,
            } => open_bare(conversation, count, &mut latencies)?,
            Order::Count => {
                let stand = held.iter().filter(|client| client.is_connected()).count();
                Slice {
                    done: stand as u64,
                    lost: held.len().saturating_sub(stand) as u64,
                    ..Slice::default()
                }
            }
            order => return Err(conversation.unfit(order)),
        };
        conversation.done(slice);
    }
}

async fn open(
    options: &Options,
    count: u64,
    held: &mut Vec<IpcClient>,
    latencies: &mut Latencies,
) -> Result<Slice, Failure> {
    let mut watch = Stopwatch::start(u64::MAX);
    for _ in 0..count {
        let before = watch.now();
        let client = connect(options).await.map_err(|failure| {
            let text = format!("connection {}: {}", held.len().saturating_add(1), failure.message);
            Failure {
                message: text,
                ..failure
            }
        })?;
        held.push(client);
        let now = watch.now();
        latencies.record(now.saturating_sub(before));
        watch.done(1, now);
    }
    Ok(watch.slice(latencies.take()))
}

fn open_bare(conversation: &Conversation, count: u64, latencies: &mut Latencies) -> Result<Slice, Failure> {
    let mut watch = Stopwatch::start(u64::MAX);
    let mut held = Vec::new();
    for _ in 0..count {
        let before = watch.now();
        held.push(join(conversation, End::Holder)?);
        let now = watch.now();
        latencies.record(now.saturating_sub(before));
        watch.done(1, now);
    }
    drop(held);
    join(conversation, End::Leaver)?;
    Ok(watch.slice(latencies.take()))
}
