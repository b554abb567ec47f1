//! Scenes of two programs without a broker: one client or server of the library in a thread of its own, and opposite it the bytes of a
//! peer that sends a whole round with one write.
//!
//! Owns these scenes; what is measured and when is `scene.rs`'s.

use crate::parts::Part;
use crate::scene::{Cost, PAYLOAD, ROUNDS, TypedEcho, WARM_UP, measure, system, turn, typed};
use actix_ipc::Endpoint;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Draft, Encoding, Epoch, Kind, Meet, PROTOCOL_VERSION, Served, Terms};
use actix_ipc::protocol::{ProtocolSender, RpcClient, RpcServer, RpcServerHandler};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// Longer than anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What the peer lets be under way unread of a stream, in bytes.
pub const WINDOW: u32 = 1 << 16;

/// The peer's end.
pub struct Opposite {
    stream: UnixStream,
    decoder: Decoder,
    /// What has come and nobody has asked for yet.
    come: VecDeque<(Kind, u64)>,
}

impl Opposite {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::new(1 << 20),
            come: VecDeque::new(),
        }
    }

    /// Connects: greets a server, and hears its answer.
    pub fn greet(&mut self, protocol: u64, name: &str) {
        let meet = Self::meet(u64::from(PROTOCOL_VERSION), protocol, name);
        self.send(std::iter::once([&PREFACE[..], &meet].concat()));
        self.read_of(Kind::Meet, 1);
    }

    /// Accepts: hears the greeting of a client, and answers it.
    pub fn answer_greeting(&mut self, protocol: u64, name: &str) {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface).unwrap();
        self.read_of(Kind::Meet, 1);
        self.send(std::iter::once(Self::meet(1, protocol, name)));
    }

    /// What this end says of itself.
    fn meet(id: u64, protocol: u64, name: &str) -> Vec<u8> {
        let meet = Meet {
            epoch: Epoch([3; 16]),
            terms: Terms {
                frame_bytes: 1 << 20,
                message_bytes: 1 << 20,
                stream_window: WINDOW,
                open_calls: 1_000,
                call_window: 1 << 16,
                attachments: 0,
            },
            protocols: [Served {
                id: protocol,
                name: name.into(),
            }]
            .into(),
            ..Meet::default()
        };
        let payload = meet.encode().unwrap();
        Draft::new(Kind::Meet, id)
            .aux(PROTOCOL_VERSION)
            .payload(Encoding::RAW, &payload)
            .to_vec()
    }

    /// The numbers of so many frames of a kind, whatever else comes between them.
    pub fn read_of(&mut self, kind: Kind, count: usize) -> Vec<u64> {
        let mut found = Vec::with_capacity(count);
        let mut buffer = [0; 64 * 1024];
        while found.len() < count {
            // What follows the last of them may have come with it, and is for the next question.
            if let Some((other, id)) = self.come.pop_front() {
                found.extend((other == kind).then_some(id));
                continue;
            }
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the program closed the connection");
            let batch = self.decoder.decode(&buffer[..read]).unwrap();
            self.come
                .extend(batch.headers().map(|header| (header.kind, header.id)));
        }
        found
    }

    pub fn send(&mut self, frames: impl Iterator<Item = Vec<u8>>) {
        let bytes: Vec<u8> = frames.flatten().collect();
        self.stream.write_all(&bytes).unwrap();
    }
}

/// Serves the typed commands to whoever comes.
struct Serves;

impl RpcServerHandler for Serves {
    type ReceiveRpc = typed::Receiver<TypedEcho>;
    type SendRpc = typed::Sender;

    async fn on_rpc_connect(&self, _: &typed::Sender) -> Self::ReceiveRpc {
        typed::Receiver::new(TypedEcho)
    }
}

/// A program that serves a command, of which so many calls come with one write.
pub fn server(command: &'static str, in_flight: usize) -> Cost {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let endpoint = Endpoint::Unix(path.clone());
    let (bound, ready) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let program = std::thread::spawn(move || {
        system(Part::Client, async move {
            let _server = RpcServer::bind(endpoint, Serves).await.unwrap();
            bound.send(()).unwrap();
            // An error is the end, too.
            let _ = stopped.await;
        });
    });
    ready.recv().unwrap();
    let mut peer = Opposite::new(UnixStream::connect(&path).unwrap());
    peer.greet(typed::PROTOCOL_ID, "typed");
    let text = "x".repeat(PAYLOAD.len());
    let request = postcard::to_extend(&text, typed::PROTOCOL_ID.to_le_bytes().to_vec()).unwrap();
    let tally = measure(|| {
        let call = |id: usize| {
            Draft::new(Kind::Call, id as u64)
                .pair("typed", command)
                .payload(Encoding::PROTOCOL, &request)
                .to_vec()
        };
        peer.send((1..=in_flight).map(call));
        peer.read_of(Kind::Reply, in_flight);
    });
    drop(peer);
    drop(stop);
    program.join().unwrap();
    Cost::new(tally, in_flight)
}

/// A program that calls a command, with so many calls in flight, each in a task of its own. They are answered when all of them are there.
pub fn caller(in_flight: usize) -> Cost {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let endpoint = Endpoint::Unix(path);
    let program = std::thread::spawn(move || {
        system(Part::Client, async move {
            let client = RpcClient::<typed::Sender>::connect(endpoint, ()).await.unwrap();
            let lane = |_| {
                let sender = typed::Sender::new(client.sender.caller().clone());
                actix::spawn(async move {
                    let text = "x".repeat(PAYLOAD.len());
                    for _ in 0..WARM_UP + ROUNDS {
                        assert_eq!(sender.measure(&text).await.unwrap(), 7);
                    }
                })
            };
            for lane in (0..in_flight).map(lane).collect::<Vec<_>>() {
                lane.await.unwrap();
            }
        });
    });
    let mut peer = Opposite::new(listener.accept().unwrap().0);
    peer.answer_greeting(typed::PROTOCOL_ID, "typed");
    let tally = measure(|| {
        let calls = peer.read_of(Kind::Call, in_flight);
        let reply = |call: u64| {
            Draft::new(Kind::Reply, call)
                .payload(Encoding::POSTCARD, &[7])
                .to_vec()
        };
        peer.send(calls.into_iter().map(reply));
    });
    program.join().unwrap();
    Cost::new(tally, in_flight)
}
