//! A protocol written by hand, as the macros would make it, and a server that keeps count of what happens to it.

use actix_ipc::protocol::{
    Answer, Caller, CommandInfo, Dispatch, Items, PeerInfo, ProtocolInfo, ProtocolSender, Request, RpcServer,
    RpcServerBuilder, RpcServerHandler, Shape,
};
use actix_ipc::{CallError, Endpoint, ErrorCode, HandlerError, Response};
use futures::future::BoxFuture;
use futures::stream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Longer than anything here may take on a machine that is shared by many.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Fails when it does not end.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
}

const fn command(name: &'static str, answer: Answer) -> CommandInfo {
    CommandInfo::new(name, "", Shape::Empty, None, answer)
}

pub static CALC: ProtocolInfo = ProtocolInfo::new("tests", "calc", 1, "", COMMANDS);
/// The same of a later version, which nobody here serves.
pub static CALC_2: ProtocolInfo = ProtocolInfo::new("tests", "calc", 2, "", COMMANDS);
/// One that nobody here serves at all.
pub static SHOP: ProtocolInfo = ProtocolInfo::new("tests", "shop", 1, "", COMMANDS);

const COMMANDS: &[CommandInfo] = &[
    command("echo", Answer::One(Shape::Empty)),
    command("note", Answer::Nothing),
    command("notes", Answer::One(Shape::Empty)),
    command("wait", Answer::One(Shape::Empty)),
    command("fail", Answer::One(Shape::Empty)),
    command("panic", Answer::One(Shape::Empty)),
    command("gone", Answer::One(Shape::Empty)),
    command("rows", Answer::Stream(Shape::Empty)),
];

pub fn info(name: &str) -> &'static CommandInfo {
    COMMANDS.iter().find(|command| command.name == name).unwrap()
}

/// What calls the other end.
#[derive(Clone, Debug)]
pub struct Calc(pub Caller);

impl ProtocolSender for Calc {
    fn new(caller: Caller) -> Self {
        Self(caller)
    }

    fn caller(&self) -> &Caller {
        &self.0
    }

    fn protocols() -> Vec<&'static ProtocolInfo> {
        vec![&CALC]
    }
}

impl Calc {
    pub async fn echo(&self, text: &str) -> Result<String, CallError> {
        self.0.call(&CALC, info("echo"), text).await
    }

    pub async fn note(&self, note: u64, weight: usize) -> Result<(), CallError> {
        self.0
            .notify(&CALC, info("note"), &(note, vec![7_u8; weight]))
            .await
    }

    /// Which notes have come, in their order.
    pub async fn notes(&self) -> Result<Vec<u64>, CallError> {
        self.0.call(&CALC, info("notes"), &()).await
    }

    /// Ends when the other end's gate is opened.
    pub async fn wait(&self) -> Result<(), CallError> {
        self.0.call(&CALC, info("wait"), &()).await
    }

    pub async fn say(&self, command: &str) -> Result<(), CallError> {
        self.0.call(&CALC, info(command), &()).await
    }
}

/// What answers.
#[derive(Debug)]
pub struct Answers {
    pub notes: Mutex<Vec<u64>>,
    /// What `wait` and, once it is `slow`, `note` wait for.
    pub gate: Semaphore,
    pub slow: bool,
    pub waiting: watch::Sender<usize>,
    pub dropped: Arc<AtomicUsize>,
}

impl Answers {
    pub fn new(slow: bool) -> Arc<Self> {
        Arc::new(Self {
            notes: Mutex::default(),
            gate: Semaphore::new(0),
            slow,
            waiting: watch::Sender::new(0),
            dropped: Arc::default(),
        })
    }

    async fn pass(&self) {
        /// Counts handlers that were dropped while they waited.
        struct Dropped(Option<Arc<AtomicUsize>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                if let Some(count) = &self.0 {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        let mut dropped = Dropped(Some(Arc::clone(&self.dropped)));
        self.waiting.send_modify(|count| *count += 1);
        self.gate.acquire().await.unwrap().forget();
        dropped.0 = None;
    }

    /// Waits until so many handlers have begun to wait.
    pub async fn waited(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        within(
            "the wait for handlers",
            waiting.wait_for(|waiting| *waiting >= count),
        )
        .await
        .unwrap();
    }
}

/// Shared by all connections.
#[derive(Clone, Debug)]
pub struct Receiver(pub Arc<Answers>);

impl Dispatch for Receiver {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        vec![&CALC]
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        Box::pin(async move {
            if request.protocol() != CALC.id {
                return Err(request.unknown(&[&CALC]));
            }
            match request.command() {
                "echo" => request.reply(request.decode::<&str>()?),
                "note" => {
                    let (note, _) = request.decode::<(u64, Vec<u8>)>()?;
                    if self.0.slow {
                        self.0.pass().await;
                    }
                    self.0.notes.lock().unwrap().push(note);
                    request.reply(&())
                }
                "notes" => request.reply(&*self.0.notes.lock().unwrap()),
                "wait" => {
                    self.0.pass().await;
                    request.reply(&())
                }
                "rows" => Ok(request.reply_stream(Items::values(stream::iter(0..10_000_u32)))),
                "fail" => Err(HandlerError::new("no eggs").named("Eggs")),
                "panic" => panic!("on purpose"),
                _ => Err(request.unknown(&[&CALC])),
            }
        })
    }
}

/// A server whose clients share what answers them, and which calls each client back.
#[derive(Clone, Debug)]
pub struct Service {
    pub answers: Arc<Answers>,
    /// Those that are ready, in their order.
    pub clients: watch::Sender<Vec<(PeerInfo, Calc)>>,
    pub gone: watch::Sender<Vec<u64>>,
}

impl Service {
    pub fn new(slow: bool) -> Self {
        Self {
            answers: Answers::new(slow),
            clients: watch::Sender::new(Vec::new()),
            gone: watch::Sender::new(Vec::new()),
        }
    }

    pub async fn bind(&self, endpoint: Endpoint) -> RpcServer {
        self.bind_with(RpcServer::builder(), endpoint).await
    }

    pub async fn bind_with(&self, builder: RpcServerBuilder, endpoint: Endpoint) -> RpcServer {
        builder.bind(endpoint, self.clone()).await.unwrap()
    }

    /// The client that was ready as number `index`.
    pub async fn client(&self, index: usize) -> (PeerInfo, Calc) {
        let mut clients = self.clients.subscribe();
        let there = clients.wait_for(|clients| clients.len() > index);
        within("the wait for a client", there).await.unwrap()[index].clone()
    }

    /// Waits until so many clients have gone.
    pub async fn ended(&self, count: usize) -> Vec<u64> {
        let mut gone = self.gone.subscribe();
        let ended = gone.wait_for(|gone| gone.len() >= count);
        within("the wait for the end of a client", ended)
            .await
            .unwrap()
            .clone()
    }
}

impl RpcServerHandler for Service {
    type ReceiveRpc = Receiver;
    type SendRpc = Calc;

    async fn on_rpc_connect(&self, client: &Calc) -> Receiver {
        assert!(client.0.peer().is_some(), "it is known who connects");
        let early = client.echo("too early").await.unwrap_err();
        assert_eq!(early.code, ErrorCode::NotConnected);
        Receiver(Arc::clone(&self.answers))
    }

    async fn on_rpc_ready(&self, client: &Calc) {
        // Who has gone already is not there.
        if let Some(peer) = client.0.peer() {
            self.clients
                .send_modify(|clients| clients.push((peer, client.clone())));
        }
    }

    async fn on_rpc_disconnect(&self, peer_id: u64) {
        self.clients
            .send_modify(|clients| clients.retain(|(peer, _)| peer.id != peer_id));
        self.gone.send_modify(|gone| gone.push(peer_id));
    }
}
