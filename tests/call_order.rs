//! Commands of one sender run in the order in which their futures were first polled, whoever polls them afterwards and on which thread,
//! although there is no room for most of them when they come.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "what is not as expected fails the test"
)]

#[path = "support/broker.rs"]
mod broker;

use actix_ipc::protocol::{self, NoProtocol, RpcClient, RpcServer, RpcServerHandler, protocol};
use broker::Place;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// Commands in a round: together some megabytes, for a buffer and a window of 256 KiB.
const COMMANDS: u64 = 40;
const ROUNDS: usize = 10;
/// Longer than anything takes on a starved machine.
const PATIENCE: Duration = Duration::from_secs(60);

protocol! {
    pub mod notes {
        put { number: u64, fill: Vec<u8> } return ();
        tell { number: u64, fill: Vec<u8> };
    }
}

#[derive(Clone)]
struct Arrivals(UnboundedSender<u64>);

impl notes::Receive for Arrivals {
    async fn put(&self, number: u64, _fill: Vec<u8>) -> protocol::Result<()> {
        self.0.send(number).unwrap();
        Ok(())
    }

    async fn tell(&self, number: u64, _fill: Vec<u8>) -> protocol::Result<()> {
        self.0.send(number).unwrap();
        Ok(())
    }
}

impl RpcServerHandler for Arrivals {
    type ReceiveRpc = notes::Receiver<Self>;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _client: &NoProtocol) -> Self::ReceiveRpc {
        notes::Receiver::new(self.clone())
    }
}

type Sending = Pin<Box<dyn Future<Output = protocol::Result<()>> + Send>>;

/// How a command is sent.
type Way = fn(notes::Sender, u64, Vec<u8>) -> Sending;

fn put(sender: notes::Sender, number: u64, fill: Vec<u8>) -> Sending {
    Box::pin(async move { Ok(sender.put(number, fill).await?) })
}

fn tell(sender: notes::Sender, number: u64, fill: Vec<u8>) -> Sending {
    Box::pin(async move { Ok(sender.tell(number, fill).await?) })
}

struct Rig {
    server: RpcServer,
    client: RpcClient<notes::Sender>,
    arrivals: UnboundedReceiver<u64>,
    _place: Place,
}

impl Rig {
    async fn start() -> Self {
        let place = Place::new();
        let (arrived, arrivals) = unbounded_channel();
        let server = RpcServer::bind(place.endpoint(), Arrivals(arrived))
            .await
            .unwrap();
        let client = RpcClient::connect(place.endpoint(), ()).await.unwrap();
        Self {
            server,
            client,
            arrivals,
            _place: place,
        }
    }

    /// The future of one command. Every third is small, and would find room where a large one does not.
    fn command(&self, way: Way, number: u64) -> Sending {
        let bytes = if number % 3 == 2 { 10 } else { 100_000 };
        way(self.client.clone_sender(), number, vec![0; bytes])
    }

    async fn next(&mut self) -> u64 {
        timeout(PATIENCE, self.arrivals.recv())
            .await
            .expect("one more arrives")
            .unwrap()
    }

    async fn stop(self) {
        drop(self.client);
        self.server.shutdown().await;
    }
}

fn run_times() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap(),
    ]
}

#[test]
fn commands_run_in_the_order_of_their_first_polls() {
    for run_time in run_times() {
        run_time.block_on(async {
            let mut rig = Rig::start().await;
            for way in [put as Way, tell].repeat(ROUNDS) {
                let mut tasks = Vec::new();
                for number in 0..COMMANDS {
                    let mut sending = rig.command(way, number);
                    if futures::poll!(&mut sending).is_pending() {
                        tasks.push(tokio::spawn(sending));
                    }
                }
                for number in 0..COMMANDS {
                    assert_eq!(rig.next().await, number);
                }
                for task in tasks {
                    task.await.unwrap().unwrap();
                }
            }
            rig.stop().await;
        });
    }
}

/// Counts how often a future is polled.
struct Counted<'a>(Sending, &'a AtomicUsize);

impl Future for Counted<'_> {
    type Output = protocol::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.as_mut().poll(cx)
    }
}

/// Many times the windows wait at once. What one of them costs does not grow with how many there are.
#[test]
fn who_waits_is_polled_a_few_times_however_many_others_wait() {
    const TASKS: usize = 1_000;
    const EACH: usize = 5;
    for run_time in run_times() {
        run_time.block_on(async {
            let mut rig = Rig::start().await;
            for way in [put as Way, tell] {
                let polls = Arc::new(AtomicUsize::new(0));
                let tasks: Vec<_> = (0..TASKS)
                    .map(|_| {
                        let (sender, polls) = (rig.client.clone_sender(), Arc::clone(&polls));
                        tokio::spawn(async move {
                            for number in 0..EACH {
                                let sending = way(sender.clone(), number as u64, vec![0; 4_000]);
                                Counted(sending, &polls).await.unwrap();
                            }
                        })
                    })
                    .collect();
                for _ in 0..TASKS * EACH {
                    rig.next().await;
                }
                for task in tasks {
                    task.await.unwrap();
                }
                let each = polls.load(Ordering::Relaxed) / (TASKS * EACH);
                assert!(each <= 10, "{each} polls for each command");
            }
            rig.stop().await;
        });
    }
}

#[test]
fn a_command_that_nobody_polls_any_more_keeps_no_other_from_its_way() {
    for run_time in run_times() {
        run_time.block_on(async {
            let mut rig = Rig::start().await;
            for way in [put as Way, tell] {
                // Until some have to wait for room. Each is one frame: half a command would hold up those behind it at the handler.
                let mut silent: Vec<Sending> = (0..COMMANDS)
                    .map(|number| way(rig.client.clone_sender(), number, vec![0; 40_000]))
                    .collect();
                for sending in &mut silent {
                    let _ = futures::poll!(sending);
                }
                // The next ones come to their end, although nobody polls those before them.
                for later in COMMANDS..COMMANDS + 10 {
                    timeout(PATIENCE, rig.command(way, later)).await.unwrap().unwrap();
                }
                while rig.next().await != COMMANDS + 9 {}
                drop(silent);
            }
            rig.stop().await;
        });
    }
}
