//! Two programs whose handlers send each other commands without an answer, each more than the other takes: neither waits for ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "what is not as expected fails the test"
)]

#[path = "support/broker.rs"]
mod broker;

use actix_ipc::ErrorCode;
use actix_ipc::protocol::{
    self, RpcClient, RpcLimits, RpcServer, RpcServerHandler, protocol, protocol_handler, protocol_sender,
};
use broker::Place;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Longer than anything takes on a starved machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a handler may wait.
const DEADLINE: Duration = Duration::from_millis(20);
/// Many times the window.
const COMMANDS: u64 = 500;

protocol! {
    pub mod up { tell { number: u64, fill: Vec<u8> }; }
}
protocol! {
    pub mod down { told { number: u64, fill: Vec<u8> }; }
}
protocol! {
    pub mod back { ack { number: u64 }; }
}

protocol_sender!(UpSender impl [up, back]);

#[derive(Default)]
struct Counts {
    tells: AtomicU64,
    late: AtomicU64,
}

#[derive(Clone, Default)]
struct Server(Arc<Counts>);

struct Session {
    counts: Arc<Counts>,
    client: down::Sender,
}

protocol_handler!(SessionReceiver impl [up, back] with Session);

impl RpcServerHandler for Server {
    type ReceiveRpc = SessionReceiver;
    type SendRpc = down::Sender;

    async fn on_rpc_connect(&self, client: &down::Sender) -> SessionReceiver {
        SessionReceiver::new(Session {
            counts: Arc::clone(&self.0),
            client: client.clone(),
        })
    }
}

impl up::Receive for Session {
    async fn tell(&self, number: u64, fill: Vec<u8>) -> protocol::Result<()> {
        self.counts.tells.fetch_add(1, Ordering::SeqCst);
        let told = self.client.told(number, fill).await;
        if let Err(error) = &told {
            assert_eq!((error.code, error.may_have_run), (ErrorCode::Deadline, false));
            self.counts.late.fetch_add(1, Ordering::SeqCst);
        }
        Ok(told?)
    }
}

impl back::Receive for Session {
    async fn ack(&self, _number: u64) -> protocol::Result<()> {
        Ok(())
    }
}

/// Where the client's handler finds the client.
#[derive(Clone, Default)]
struct Answers(Arc<OnceLock<UpSender>>);

impl down::Receive for Answers {
    async fn told(&self, number: u64, _fill: Vec<u8>) -> protocol::Result<()> {
        use back::Commands as _;
        let sender = self.0.get().expect("it was made before anything is sent");
        Ok(sender.ack(number).await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_of_both_ends_that_wait_for_each_other_are_given_up_in_time() {
    use up::Commands as _;
    let place = Place::new();
    let limits = RpcLimits::default().call_window(8_000);
    let serving = Server::default();
    let server = RpcServer::builder().limits(limits).deadline(DEADLINE);
    let server = server.bind(place.endpoint(), serving.clone()).await.unwrap();
    let answers = Answers::default();
    let builder = RpcClient::<UpSender>::builder().limits(limits).deadline(DEADLINE);
    let client = builder
        .connect(place.endpoint(), down::Receiver::new(answers.clone()))
        .await
        .unwrap();
    let _ = answers.0.set(client.clone_sender());
    // No handler waits here: these have no deadline.
    let sending = async {
        for number in 0..COMMANDS {
            client.sender().tell(number, vec![0; 2_000]).await.unwrap();
        }
        while serving.0.tells.load(Ordering::SeqCst) < COMMANDS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, sending)
        .await
        .expect("both ends go on");
    println!(
        "{} handlers of {COMMANDS} were too late",
        serving.0.late.load(Ordering::SeqCst)
    );
    server.shutdown().await;
}
