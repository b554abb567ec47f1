//! Scenes that repeat one thing until its cost is steady: a broker in a thread of its own, over a real Unix socket, and beside it
//! either raw clients alone or one client of the library in its own thread.
//!
//! Owns the scenes and their lockstep. A raw client sends a whole round with one write and reads until the round is over, so how
//! threads are scheduled changes nothing that is counted. Rounds are measured between two moments at which everybody rests.

use crate::parts::{Part, Tally, play};
use crate::raw::{Got, Raw};
use actix_ipc::actors::{Broker, BrokerHandle};
use actix_ipc::message::{Draft, Encoding, Kind, Payload};
use actix_ipc::protocol;
use actix_ipc::{Handler, HandlerError, IncomingCall, IpcClient, Response, async_trait};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Rounds before anything is measured.
pub const WARM_UP: usize = 100;
/// Rounds that are measured.
pub const ROUNDS: usize = 500;
/// Payload of every call and event.
pub const PAYLOAD: [u8; 16] = [7; 16];

/// Scenes take turns: the counters are the process's.
static TURN: Mutex<()> = Mutex::new(());

/// The counters are the caller's until this is dropped.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn system<F: Future + 'static>(part: Part, work: F) {
    play(part);
    actix::System::new().block_on(work);
}

/// A broker, stopped when it is dropped.
struct Stage {
    handle: BrokerHandle,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    fn new() -> Self {
        let turn = turn();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let endpoint = format!("unix:{}", path.display()).parse().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            system(Part::Broker, async move {
                let handle = Broker::builder().listen(endpoint).start().unwrap();
                sender.send(handle.clone()).unwrap();
                handle.ended().await;
            });
        });
        Self {
            handle: receiver.recv().unwrap(),
            path,
            thread: Some(thread),
            _folder: folder,
            _turn: turn,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        actix::System::new().block_on(async move { handle.stop().await });
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// Repeats a round; what is counted in those that are measured.
pub fn measure(mut round: impl FnMut()) -> Tally {
    (0..WARM_UP).for_each(|_| round());
    let before = Tally::now();
    (0..ROUNDS).for_each(|_| round());
    Tally::now().since(&before)
}

/// A program that uses the library, in a thread of its own. It and the test meet at the barrier as often as they agree.
fn program<F: Future<Output = ()>>(
    stage: &Stage,
    work: impl FnOnce(IpcClient, Arc<Barrier>) -> F + Send + 'static,
) -> (Arc<Barrier>, JoinHandle<()>) {
    let barrier = Arc::new(Barrier::new(2));
    let (theirs, path) = (barrier.clone(), stage.path.clone());
    let thread = std::thread::spawn(move || {
        system(Part::Client, async move {
            let client = connect(&path).await;
            work(client, theirs).await;
        });
    });
    (barrier, thread)
}

async fn connect(path: &Path) -> IpcClient {
    let endpoint = format!("unix:{}", path.display()).parse().unwrap();
    IpcClient::connect_to(endpoint).await.unwrap()
}

/// Frames of a kind, so many, whatever else comes between them.
fn read_of(raw: &mut Raw, kind: Kind, count: usize) -> Vec<Got> {
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let got = raw.read();
        if got.kind == kind {
            found.push(got);
        }
    }
    found
}

fn send_calls(raw: &mut Raw, count: usize) {
    let call = |id| {
        let draft = Draft::new(Kind::Call, 1_000 + id as u64)
            .aux(30_000)
            .pair("echo", "echo");
        draft.payload(Encoding::RAW, &PAYLOAD)
    };
    raw.send_all(&(0..count).map(call).collect::<Vec<_>>());
}

/// Takes so many calls and answers all of them with one write.
fn answer_calls(raw: &mut Raw, count: usize) {
    let calls = read_of(raw, Kind::Call, count);
    let reply = |call: &Got| Draft::new(Kind::Reply, call.id).payload(Encoding::RAW, &PAYLOAD);
    raw.send_all(&calls.iter().map(reply).collect::<Vec<_>>());
}

fn send_events(raw: &mut Raw, count: usize) {
    let event = Draft::new(Kind::Publish, 0)
        .pair("bench", "event")
        .payload(Encoding::RAW, &PAYLOAD);
    raw.send_all(&vec![event; count]);
}

/// Calls through the broker, `count` of them with one write and answered with one, beside `idle` connections.
pub fn broker_calls(count: usize, idle: usize) -> Cost {
    let stage = Stage::new();
    let _idle: Vec<Raw> = (0..idle).map(|_| Raw::connect(&stage.path)).collect();
    let (mut callee, mut caller) = (Raw::connect(&stage.path), Raw::connect(&stage.path));
    assert_eq!(callee.register("echo").kind, Kind::Done);
    let tally = measure(|| {
        send_calls(&mut caller, count);
        answer_calls(&mut callee, count);
        read_of(&mut caller, Kind::Reply, count);
    });
    Cost::new(tally, count)
}

/// Events through the broker, `count` of them with one write, to so many subscribers.
pub fn broker_events(count: usize, subscribers: usize) -> Cost {
    let stage = Stage::new();
    let mut publisher = Raw::connect(&stage.path);
    let mut all: Vec<Raw> = (0..subscribers).map(|_| Raw::connect(&stage.path)).collect();
    for subscriber in &mut all {
        subscriber.subscribe("bench", "event");
    }
    let tally = measure(|| {
        send_events(&mut publisher, count);
        for subscriber in &mut all {
            read_of(subscriber, Kind::Event, count);
        }
    });
    Cost::new(tally, count)
}

/// A caller with so many calls in flight, each in a task of its own. The callee answers when it has all of them.
pub fn caller(in_flight: usize) -> Cost {
    let stage = Stage::new();
    let mut callee = Raw::connect(&stage.path);
    assert_eq!(callee.register("echo").kind, Kind::Done);
    let (_, program) = program(&stage, move |client, _| async move {
        let body = Payload::raw(&PAYLOAD[..]);
        let lane = |_| {
            let (client, body) = (client.clone(), body.clone());
            actix::spawn(async move {
                for _ in 0..WARM_UP + ROUNDS {
                    let call = client.call("echo", "echo").send_payload(body.clone());
                    assert_eq!(call.await.unwrap().bytes.len(), PAYLOAD.len());
                }
            })
        };
        for lane in (0..in_flight).map(lane).collect::<Vec<_>>() {
            lane.await.unwrap();
        }
    });
    let tally = measure(|| answer_calls(&mut callee, in_flight));
    program.join().unwrap();
    Cost::new(tally, in_flight)
}

/// Answers with what it was sent.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        Ok(Response::payload(call.payload))
    }
}

/// A worker that is sent so many calls at once.
pub fn worker(in_flight: usize) -> Cost {
    let stage = Stage::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, program) = program(&stage, |client, ready| async move {
        let _registration = client.register("echo", Echo).await.unwrap();
        ready.wait();
        // An error is the end, too.
        let _ = stopped.await;
    });
    ready.wait();
    let mut caller = Raw::connect(&stage.path);
    let tally = measure(|| {
        send_calls(&mut caller, in_flight);
        read_of(&mut caller, Kind::Reply, in_flight);
    });
    drop(stop);
    program.join().unwrap();
    Cost::new(tally, in_flight)
}

actix_ipc::protocol::protocol! {
    /// What the typed scenes say.
    pub mod typed {
        /// Says it again.
        echo { message: String } -> { response: String };
        /// The length of what is lent.
        measure<'a> { message: &'a str } return u64;
    }
}

/// Answers typed commands.
pub struct TypedEcho;

impl typed::Receive for TypedEcho {
    async fn echo(&self, message: String) -> protocol::Result<typed::echo::Response> {
        Ok(typed::echo::Response { response: message })
    }

    async fn measure(&self, message: &str) -> protocol::Result<u64> {
        Ok(message.len() as u64)
    }
}

/// A caller of typed commands, one after the other. The text that is sent is made before.
pub fn typed_caller() -> Cost {
    let stage = Stage::new();
    let mut callee = Raw::connect(&stage.path);
    assert_eq!(callee.register("typed").kind, Kind::Done);
    let (_, program) = program(&stage, move |client, _| async move {
        let sender: typed::Sender = client.protocol_unchecked("typed");
        let text = "x".repeat(PAYLOAD.len());
        for _ in 0..WARM_UP + ROUNDS {
            assert_eq!(sender.measure(&text).await.unwrap(), 7);
        }
    });
    let tally = measure(|| {
        let calls = read_of(&mut callee, Kind::Call, 1);
        let reply = |call: &Got| Draft::new(Kind::Reply, call.id).payload(Encoding::POSTCARD, &[7]);
        callee.send_all(&calls.iter().map(reply).collect::<Vec<_>>());
    });
    program.join().unwrap();
    Cost::new(tally, 1)
}

/// A worker that answers typed commands: one that owns its request, or one that borrows it from the frame.
pub fn typed_worker(borrowing: bool) -> Cost {
    let stage = Stage::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, program) = program(&stage, |client, ready| async move {
        let answers = typed::Receiver::new(TypedEcho);
        let _registration = client.add_protocol("typed", answers).await.unwrap();
        ready.wait();
        // An error is the end, too.
        let _ = stopped.await;
    });
    ready.wait();
    let mut caller = Raw::connect(&stage.path);
    let text = "x".repeat(PAYLOAD.len());
    let id = typed::PROTOCOL_ID.to_le_bytes().to_vec();
    let request = postcard::to_extend(&text, id).unwrap();
    let command = if borrowing { "measure" } else { "echo" };
    let tally = measure(|| {
        let call = Draft::new(Kind::Call, 1)
            .pair("typed", command)
            .payload(Encoding::PROTOCOL, &request);
        caller.send_all(&[call]);
        read_of(&mut caller, Kind::Reply, 1);
    });
    drop(stop);
    program.join().unwrap();
    Cost::new(tally, 1)
}

/// A publisher that publishes so many events and flushes, again and again.
pub fn publisher(count: usize) -> Cost {
    let stage = Stage::new();
    let mut subscriber = Raw::connect(&stage.path);
    subscriber.subscribe("bench", "event");
    let (next, program) = program(&stage, move |client, next| async move {
        let body = Payload::raw(&PAYLOAD[..]);
        for _ in 0..WARM_UP + ROUNDS {
            next.wait();
            for _ in 0..count {
                let publish = client.publish_payload("bench", "event", body.clone());
                publish.await.unwrap();
            }
            client.flush().await.unwrap();
        }
    });
    let tally = measure(|| {
        next.wait();
        read_of(&mut subscriber, Kind::Event, count);
    });
    program.join().unwrap();
    Cost::new(tally, count)
}

/// So many subscribers of one program, each with a connection and a task of its own, and so many events with one write.
pub fn subscribers(count: usize, subscribers: usize) -> Cost {
    let stage = Stage::new();
    let path = stage.path.clone();
    let (round, program) = program(&stage, move |first, round| async move {
        let mut clients = vec![first];
        while clients.len() < subscribers {
            clients.push(connect(&path).await);
        }
        let heard = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for client in clients {
            let mut events = client.subscribe("bench", "event").await.unwrap();
            let (heard, round) = (heard.clone(), round.clone());
            tasks.push(actix::spawn(async move {
                for _ in 0..count * (WARM_UP + ROUNDS) {
                    let event = events.next().await.unwrap();
                    assert_eq!(event.missed, 0);
                    if (heard.fetch_add(1, Ordering::Relaxed) + 1) % (count * subscribers) == 0 {
                        round.wait();
                    }
                }
                drop(client);
            }));
        }
        round.wait();
        for task in tasks {
            task.await.unwrap();
        }
    });
    round.wait();
    let mut raw = Raw::connect(&stage.path);
    let tally = measure(|| {
        send_events(&mut raw, count);
        round.wait();
    });
    program.join().unwrap();
    Cost::new(tally, count * subscribers)
}

/// What the measured rounds of a scene cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    tally: Tally,
    /// Calls, events or deliveries of one round.
    per_round: usize,
}

impl Cost {
    pub const fn new(tally: Tally, per_round: usize) -> Self {
        Self { tally, per_round }
    }

    /// So many for one call, event or delivery.
    pub fn each(&self, part: Part, thing: crate::parts::Thing) -> f64 {
        self.round(part, thing) / self.per_round as f64
    }

    /// So many for one round.
    pub fn round(&self, part: Part, thing: crate::parts::Thing) -> f64 {
        self.tally.of(part, thing) as f64 / ROUNDS as f64
    }
}
