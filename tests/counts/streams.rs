//! Scenes of streams between two programs without a broker: the library at one end, and opposite it the bytes of a peer that sends or
//! grants so many items at a time, and goes on when they have come.
//!
//! Owns these scenes. Lockstep is by the window where the library sends: it is spent before anything is measured, so that each grant of
//! the peer's brings exactly as many items as it has room for. Where the library reads, it meets the test behind the last item of a round.

use crate::parts::Part;
use crate::peers::{Opposite, PATIENCE, WINDOW};
use crate::scene::{Cost, ROUNDS, WARM_UP, measure, system, turn};
use actix_ipc::Endpoint;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use actix_ipc::protocol::{
    Incoming, Items, NoProtocol, Result, RpcClient, RpcServer, RpcServerHandler, protocol,
};
use futures::StreamExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use tokio::sync::oneshot::Sender;

protocol! {
    /// What is said here.
    pub mod flow {
        /// Numbers without end.
        numbers return stream (u64, u64);
        /// Takes as many as there are.
        sum stream { pair: (u64, u64) } return u64;
    }
}

/// An item: two numbers of ten bytes each on the wire.
const ITEM: (u64, u64) = (u64::MAX, u64::MAX);

/// The number of the only call of each scene.
const CALL: u64 = 1;

/// Whoever meets the test behind each round of items.
#[derive(Clone)]
struct Round {
    meets: Arc<Barrier>,
    items: usize,
}

impl Round {
    /// Counts the items of a stream, whatever they are.
    async fn follow<T, E: std::fmt::Debug>(
        &self,
        mut items: impl StreamExt<Item = std::result::Result<T, E>> + Unpin,
    ) {
        for _ in 0..WARM_UP + ROUNDS {
            for _ in 0..self.items {
                items.next().await.unwrap().unwrap();
            }
            self.meets.wait();
        }
    }
}

/// Answers both commands.
struct Flow(Round);

impl flow::Receive for Flow {
    async fn numbers(&self) -> Result<Items<(u64, u64)>> {
        Ok(Items::values(futures::stream::repeat(ITEM)))
    }

    async fn sum(&self, items: Incoming<flow::sum::Item>) -> Result<u64> {
        self.0.follow(items).await;
        Ok(0)
    }
}

struct Serves(Round);

impl RpcServerHandler for Serves {
    type ReceiveRpc = flow::Receiver<Flow>;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> Self::ReceiveRpc {
        flow::Receiver::new(Flow(self.0.clone()))
    }
}

fn round_of(items: usize) -> Round {
    let meets = Arc::new(Barrier::new(2));
    Round { meets, items }
}

/// A program in a thread of its own, which ends when its peer has gone.
struct Program {
    /// Dropped to tell a server that it is to end.
    stop: Option<Sender<()>>,
    thread: JoinHandle<()>,
}

impl Program {
    fn end(self, peer: Opposite) {
        drop((peer, self.stop));
        self.thread.join().unwrap();
    }
}

/// A server of `flow`.
fn serve(path: &std::path::Path, round: &Round) -> (Opposite, Program) {
    let (endpoint, serves) = (Endpoint::Unix(path.to_owned()), Serves(round.clone()));
    let (bound, ready) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        system(Part::Client, async move {
            let _server = RpcServer::bind(endpoint, serves).await.unwrap();
            bound.send(()).unwrap();
            // An error is the end, too.
            let _ = stopped.await;
        });
    });
    ready.recv_timeout(PATIENCE).unwrap();
    let mut peer = Opposite::new(UnixStream::connect(path).unwrap());
    peer.greet(flow::PROTOCOL_ID, "flow");
    let stop = Some(stop);
    (peer, Program { stop, thread })
}

/// A caller of `flow`.
fn call<F: Future<Output = ()>>(
    path: &std::path::Path,
    work: impl FnOnce(flow::Sender) -> F + Send + 'static,
) -> (Opposite, Program) {
    let listener = UnixListener::bind(path).unwrap();
    let endpoint = Endpoint::Unix(path.to_owned());
    let thread = std::thread::spawn(move || {
        system(Part::Client, async move {
            let client = RpcClient::<flow::Sender>::connect(endpoint, ()).await.unwrap();
            work(client.clone_sender()).await;
        });
    });
    let mut peer = Opposite::new(listener.accept().unwrap().0);
    peer.answer_greeting(flow::PROTOCOL_ID, "flow");
    (peer, Program { stop: None, thread })
}

/// A command of `flow` as a peer sends it.
fn command(name: &str, flags: Flags) -> Vec<u8> {
    Draft::new(Kind::Call, CALL)
        .flags(flags)
        .pair("flow", name)
        .payload(Encoding::PROTOCOL, &flow::PROTOCOL_ID.to_le_bytes())
        .to_vec()
}

fn item() -> Vec<u8> {
    postcard::to_stdvec(&ITEM).unwrap()
}

/// What is counted while the library sends items of call `call`, so many for each credit, which is a frame of the kind `credit`.
fn granted(peer: &mut Opposite, call: u64, (kind, credit): (Kind, Kind), items: usize) -> Cost {
    let item = Draft::new(kind, call)
        .payload(Encoding::POSTCARD, &item())
        .to_vec()
        .len();
    peer.read_of(kind, (WINDOW as usize).div_ceil(item));
    let bytes = u32::try_from(item * items).unwrap();
    let tally = measure(|| {
        peer.send(std::iter::once(Draft::new(credit, call).aux(bytes).to_vec()));
        peer.read_of(kind, items);
    });
    Cost::new(tally, items)
}

/// A handler whose answer is a stream.
pub fn answering(items: usize) -> Cost {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (mut peer, program) = serve(&folder.path().join("s"), &round_of(items));
    peer.send(std::iter::once(command("numbers", Flags::STREAM)));
    let cost = granted(&mut peer, CALL, (Kind::Reply, Kind::ReplyCredit), items);
    program.end(peer);
    cost
}

/// A caller whose request is a stream.
pub fn uploading(items: usize) -> Cost {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (mut peer, program) = call(&folder.path().join("s"), |sender| async move {
        let items = futures::stream::repeat(ITEM).map(|pair| flow::sum::Item { pair });
        // It is over when the peer goes.
        sender.sum(items).await.unwrap_err();
    });
    let call = peer.read_of(Kind::Call, 1)[0];
    let cost = granted(&mut peer, call, (Kind::CallPiece, Kind::CallCredit), items);
    program.end(peer);
    cost
}

/// What is counted while the library takes items, so many with one write.
fn given(peer: &mut Opposite, frame: &[u8], round: &Round) -> Cost {
    let frames = frame.repeat(round.items);
    let tally = measure(|| {
        peer.send(std::iter::once(frames.clone()));
        round.meets.wait();
    });
    Cost::new(tally, round.items)
}

/// A handler that takes the items of a request.
pub fn taking(items: usize) -> Cost {
    let _turn = turn();
    let (folder, round) = (tempfile::tempdir().unwrap(), round_of(items));
    let (mut peer, program) = serve(&folder.path().join("s"), &round);
    peer.send(std::iter::once(command(
        "sum",
        Flags::ITEMS.with(Flags::CONTINUED),
    )));
    let frame = Draft::new(Kind::CallPiece, CALL)
        .flags(Flags::CONTINUED)
        .payload(Encoding::POSTCARD, &item())
        .to_vec();
    let cost = given(&mut peer, &frame, &round);
    program.end(peer);
    cost
}

/// A caller that reads a streamed answer.
pub fn reading(items: usize) -> Cost {
    let _turn = turn();
    let (folder, round) = (tempfile::tempdir().unwrap(), round_of(items));
    let reads = round.clone();
    let (mut peer, program) = call(&folder.path().join("s"), |sender| async move {
        reads.follow(sender.numbers()).await;
    });
    let call = peer.read_of(Kind::Call, 1)[0];
    let frame = Draft::new(Kind::Reply, call)
        .flags(Flags::MORE)
        .payload(Encoding::POSTCARD, &item())
        .to_vec();
    let cost = given(&mut peer, &frame, &round);
    program.end(peer);
    cost
}
