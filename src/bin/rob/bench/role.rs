//! One process of a measurement, as it is on the inside.
//!
//! Owns its conversation with the measuring process: what it is comes on the first line, orders after it, and the end of
//! standard input is the end of this process, whatever it does at that moment. The work itself is in `floor` (the bare
//! relay), `calls`, `events` and `hold`. Called by `bench`.

use super::protocol::{Order, Part, Said, Slice, Spec, confused, failed};
use super::{calls, events, floor, hold};
use crate::commands::session;
use crate::exit::{Exit, Failure};
use crate::options::Options;
use actix_ipc::client::IpcClient;
use actix_ipc::config::{CONNECTION_COST, Limits};
use actix_ipc::platform::signals::EndSignals;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What this process is, and the orders to it.
#[derive(Debug)]
pub(super) struct Conversation {
    /// What it is.
    pub(super) spec: Spec,
    orders: UnboundedReceiver<Order>,
}

impl Conversation {
    /// The next order; never comes back when there is none any more, because the process ends then.
    ///
    /// # Errors
    /// Never as long as the process lives.
    pub(super) async fn order(&mut self) -> Result<Order, Failure> {
        let order = self.orders.recv().await;
        order.ok_or_else(|| confused("no order came"))
    }

    /// Says that everything is set up.
    pub(super) fn ready(&self, address: String) {
        say(&Said::Ready { address });
    }

    /// Says that it counts.
    pub(super) fn listening(&self) {
        say(&Said::Listening);
    }

    /// Says what was done.
    pub(super) fn done(&self, slice: Slice) {
        say(&Said::Done(slice));
    }

    /// The failure of an order that this process has no use for.
    pub(super) fn unfit(&self, order: Order) -> Failure {
        confused(&format!("{} was told {order:?}", self.spec.part.name()))
    }
}

/// Is one process of a measurement until that ends.
pub(super) async fn run(options: &Options) {
    if let Err(failure) = work(options).await {
        say(&failed(&failure));
    }
}

async fn work(options: &Options) -> Result<(), Failure> {
    // Ctrl+c reaches every process of the terminal; the measuring one decides, and then the input ends.
    let _signals = EndSignals::receive().map_err(|error| confused(&format!("no signals ({error})")))?;
    let mut conversation = converse().await?;
    match conversation.spec.part {
        Part::Broker => broker(&conversation).await,
        Part::Relay => floor::relay(&conversation),
        Part::Worker => calls::worker(&conversation, connect(options).await?).await,
        Part::Caller => calls::caller(&mut conversation, connect(options).await?).await,
        Part::Publisher => events::publisher(&mut conversation, connect(options).await?).await,
        Part::Subscriber => events::subscriber(&mut conversation, connect(options).await?).await,
        Part::Holder => hold::run(&mut conversation, options).await,
    }
}

/// A client of the broker that is measured.
///
/// # Errors
/// When it cannot be reached.
pub(super) async fn connect(options: &Options) -> Result<IpcClient, Failure> {
    session::connect(options, false).await
}

/// Starts to read standard input. The thread outlives everything else here.
async fn converse() -> Result<Conversation, Failure> {
    let (send_spec, spec) = tokio::sync::oneshot::channel();
    let (send_order, orders) = unbounded_channel();
    let read = move || {
        let mut folder = PathBuf::new();
        let mut lines = io::stdin().lock().lines().map_while(Result::ok);
        if let Some(spec) = lines
            .next()
            .and_then(|line| serde_json::from_str::<Spec>(&line).ok())
        {
            folder.clone_from(&spec.folder);
            let _ = send_spec.send(spec);
            let orders = lines.map_while(|line| serde_json::from_str(&line).ok());
            orders.for_each(|order| {
                let _ = send_order.send(order);
            });
        }
        // Who measures is gone, or through. It removes its folder itself unless it was killed.
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(0);
    };
    std::thread::Builder::new()
        .spawn(read)
        .map_err(|error| Failure::new(Exit::Refused, format!("no thread: {error}")))?;
    let spec = spec
        .await
        .map_err(|_| confused("this is a part of `rob bench`, not for hands"))?;
    Ok(Conversation { spec, orders })
}

/// A broker with default limits, as `ipc-broker` has, raised where so many connections need it.
async fn broker(conversation: &Conversation) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Refused, error.to_string());
    let endpoint = conversation
        .spec
        .broker
        .parse()
        .map_err(|error| refused(&error))?;
    let builder = actix_ipc::Broker::builder().limits(limits(&conversation.spec));
    let broker = builder
        .listen(endpoint)
        .start()
        .map_err(|error| refused(&error))?;
    conversation.ready(conversation.spec.broker.clone());
    Err(refused(&format!("it ended: {:?}", broker.ended().await)))
}

/// What the broker keeps of an open call beside its payload, and of a subscription, in bytes: more than it is.
const ENTRY: usize = 4 * 1024;
/// What a process of a measurement has beside that.
const PROCESS: usize = 1024 * 1024;

/// Limits under which what was asked for can be done. One process may hold so many connections: alone it gets an eighth of what all may
/// have. As one of so many it is assured of a part that falls with the square of their number (`limits.user_part`).
fn limits(spec: &Spec) -> Limits {
    let mut limits = Limits::default();
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    // All calls that are open may lie at one worker.
    let calls = number(spec.callers.saturating_mul(spec.in_flight));
    let of_calls = calls.saturating_mul(spec.payload.saturating_add(ENTRY));
    let of_topics = number(spec.topics).saturating_mul(ENTRY);
    let each = of_calls.saturating_add(of_topics).saturating_add(PROCESS);
    // The worker and the one who measures are there as well.
    let processes = number(spec.processes).saturating_add(2);
    let squared = processes.saturating_mul(processes.saturating_add(1));
    let parts = limits.user_part.saturating_mul(2);
    let all = squared.saturating_mul(parts).saturating_mul(each);
    limits.memory_bytes_total = limits.memory_bytes_total.max(all);
    // So many share the machine's processors: one may have to wait long in the middle of what it says.
    limits.frame_progress_ms = limits.frame_progress_ms.max(60_000);
    if calls > 1 {
        limits.outbox_bytes = limits.outbox_bytes.max(of_calls.saturating_mul(2));
    }
    let connections = number(spec.connections);
    let places = connections.saturating_add(64).saturating_mul(parts);
    limits.connections = limits.connections.max(places);
    limits.handshakes = limits.handshakes.max(places);
    limits.memory_bytes_total = limits
        .memory_bytes_total
        .max(places.saturating_mul(CONNECTION_COST));
    limits
}

fn say(said: &Said) {
    let Ok(mut line) = serde_json::to_string(said) else {
        return;
    };
    line.push('\n');
    let mut stdout = io::stdout().lock();
    // Who does not listen any more is gone; standard input says so as well.
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}
