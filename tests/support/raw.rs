//! A client in raw frames over a blocking Unix socket (on Windows over a named pipe, or TCP), for tests of the broker alone.
//!
//! It knows the codec and nothing of the client library. Every read waits at most twenty seconds, so a missing answer fails the test
//! instead of hanging it. On Windows a pipe is what is like a Unix socket: the broker knows at once who is there and that a client has gone
//! for good. Over TCP a client that closes looks like one that goes on reading, so that nothing of what it asked is taken back.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Batch, Decoder, Draft, Encoding, Flags, Hello, Kind, Origin, Welcome};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

#[cfg(windows)]
#[path = "pipe.rs"]
pub mod pipe;

#[cfg(windows)]
pub use pipe::Socket;
#[cfg(unix)]
pub use std::os::unix::net::UnixStream as Socket;

/// Longer than anything takes on a machine that is shared by many.
const PATIENCE: Duration = Duration::from_secs(20);

/// One frame that came from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub kind: Kind,
    pub id: u64,
    pub aux: u32,
    pub flags: Flags,
    pub encoding: Encoding,
    pub origin: Option<Origin>,
    pub key: Vec<u8>,
    pub meta: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Got {
    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The payload as JSON.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.encoding, Encoding::JSON, "{self:?}");
        serde_json::from_slice(&self.payload).expect("JSON")
    }

    /// What an Error says, and whether the call may have run.
    pub fn error(&self) -> (ErrorCode, bool) {
        assert_eq!(self.kind, Kind::Error, "{self:?}");
        (
            ErrorCode::from_code(self.aux),
            self.flags.has(Flags::MAY_HAVE_RUN),
        )
    }

    /// Bytes of the frame on the wire.
    pub fn wire_len(&self) -> usize {
        let origin = self.origin.map_or(0, |_| 16);
        let meta = if self.flags.has(Flags::META) {
            self.meta.len() + 2
        } else {
            0
        };
        24 + origin + meta + self.key.len() + self.payload.len()
    }
}

#[cfg(unix)]
fn dial(path: &Path) -> std::io::Result<Socket> {
    let socket = Socket::connect(path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The path is that of a pipe, or an address.
#[cfg(windows)]
fn dial(path: &Path) -> std::io::Result<Socket> {
    Socket::connect(path.to_str().expect("a pipe or an address"), PATIENCE)
}

/// One connection.
pub struct Raw {
    pub stream: Socket,
    decoder: Decoder,
    queue: VecDeque<Got>,
    buffer: Vec<u8>,
    next: u64,
    /// The broker's number for it, once greeted.
    pub peer: u64,
    pub welcome: Option<Welcome>,
}

impl Raw {
    /// Connects and greets; the welcome has been read.
    pub fn connect(path: &Path) -> Self {
        Self::connect_as(path, "")
    }

    /// The same under a declared name.
    pub fn connect_as(path: &Path, name: &str) -> Self {
        let mut raw = Self::open(path);
        raw.greet(name);
        let welcome = raw.read();
        assert_eq!(welcome.kind, Kind::Welcome, "{welcome:?} {}", welcome.text());
        raw.peer = welcome.id;
        raw.welcome = Welcome::decode(&welcome.payload);
        raw
    }

    /// Connects and greets as one that takes payloads as regions.
    pub fn connect_taking_regions(path: &Path) -> Self {
        let mut raw = Self::open(path);
        let regions = true;
        raw.greet_as(&Hello {
            regions,
            ..Hello::default()
        });
        let welcome = raw.expect(Kind::Welcome);
        raw.peer = welcome.id;
        raw.welcome = Welcome::decode(&welcome.payload);
        raw
    }

    /// Connects and says nothing.
    pub fn open(path: &Path) -> Self {
        Self {
            stream: dial(path).expect("the broker listens"),
            decoder: Decoder::new(usize::MAX / 2),
            queue: VecDeque::new(),
            buffer: vec![0; 64 * 1024],
            next: 1,
            peer: 0,
            welcome: None,
        }
    }

    /// Sends preface and Hello, if the broker takes them.
    pub fn greet(&mut self, name: &str) {
        self.greet_as(&Hello {
            name: name.into(),
            ..Hello::default()
        });
    }

    /// The same with all that a client says of itself.
    pub fn greet_as(&mut self, hello: &Hello) {
        let hello = hello.encode();
        let mut bytes = PREFACE.to_vec();
        Draft::new(Kind::Hello, 1)
            .aux(1)
            .payload(Encoding::RAW, &hello)
            .encode(&mut bytes);
        // A broker that refuses the connection may have closed it already.
        let _ = self.stream.write_all(&bytes);
    }

    /// A number for a request.
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Writes one frame.
    pub fn send(&mut self, draft: &Draft<'_>) {
        self.stream.write_all(&draft.to_vec()).expect("the broker reads");
    }

    /// Writes several frames at once, so that they are one batch (unless they are large).
    pub fn send_all(&mut self, drafts: &[Draft<'_>]) {
        let mut bytes = Vec::new();
        drafts.iter().for_each(|draft| draft.encode(&mut bytes));
        self.stream.write_all(&bytes).expect("the broker reads");
    }

    /// The next frame.
    pub fn read(&mut self) -> Got {
        self.try_read().expect("a frame, not the end of the connection")
    }

    /// The next frame, or `None` at the end of the connection.
    pub fn try_read(&mut self) -> Option<Got> {
        while self.queue.is_empty() {
            let count = match self.stream.read(&mut self.buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // A process that was stopped and goes on gets this from a read that has a limit in time.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("no frame within {PATIENCE:?}: {error}"),
            };
            let batch = self.decoder.decode(&self.buffer[..count]).expect("frames");
            self.queue.extend(all(&batch));
            if cfg!(not(unix)) {
                self.answer_keepalives();
            }
        }
        self.queue.pop_front()
    }

    /// Over TCP the broker asks whether a silent peer is still there; no test is about that question.
    fn answer_keepalives(&mut self) {
        let asks = |got: &Got| got.kind == Kind::Ping && got.id == 0;
        for _ in self.queue.iter().filter(|got| asks(got)) {
            let pong = Draft::new(Kind::Pong, 0).to_vec();
            // The broker may have gone meanwhile; the next read tells.
            let _ = (&self.stream).write_all(&pong);
        }
        self.queue.retain(|got| !asks(got));
    }

    /// The next frames, so many.
    pub fn read_all(&mut self, count: usize) -> Vec<Got> {
        (0..count).map(|_| self.read()).collect()
    }

    /// The next frame must be of this kind.
    pub fn expect(&mut self, kind: Kind) -> Got {
        let got = self.read();
        assert_eq!(got.kind, kind, "{got:?} {}", got.text());
        got
    }

    /// The next frame must be of one of these kinds.
    pub fn expect_one(&mut self, kinds: &[Kind]) -> Got {
        let got = self.read();
        assert!(kinds.contains(&got.kind), "{got:?} {}", got.text());
        got
    }

    /// Reads until the answer under this number; other frames are kept for later.
    pub fn answer(&mut self, id: u64) -> Got {
        let mut others = VecDeque::new();
        loop {
            let got = self.read();
            let answers = matches!(
                got.kind,
                Kind::Done | Kind::Error | Kind::Reply | Kind::Accepted | Kind::Pong
            );
            if got.id == id && answers {
                others.append(&mut self.queue);
                self.queue = others;
                return got;
            }
            others.push_back(got);
        }
    }

    /// Sends a request and reads until its answer; other frames are kept for later.
    pub fn ask(&mut self, draft: &Draft<'_>) -> Got {
        self.send(draft);
        self.answer(draft.id)
    }

    /// The same; the answer must be an error.
    pub fn fails(&mut self, draft: &Draft<'_>) -> (ErrorCode, bool) {
        self.ask(draft).error()
    }

    /// The broker has read everything that was sent before, and what it meant for others lies in their mailboxes.
    pub fn ping(&mut self) {
        let id = self.id();
        assert_eq!(self.ask(&Draft::new(Kind::Ping, id)).kind, Kind::Pong);
    }

    /// Registry has handled everything that lay in its mailbox.
    pub fn after_registry(&mut self) {
        let id = self.id();
        let nobody = Draft::new(Kind::Describe, id).key(b"nobody");
        assert_eq!(self.fails(&nobody).0, ErrorCode::NoSuchObject);
    }

    /// TopicHub has handled everything that lay in its mailbox.
    pub fn after_hub(&mut self) {
        let accepted = self.publish("nobody", "listens", b"");
        assert_eq!((accepted.kind, accepted.aux), (Kind::Accepted, 0));
    }

    /// Frames that were read are to be read again, before what follows.
    pub fn put_back(&mut self, frames: Vec<Got>) {
        for got in frames.into_iter().rev() {
            self.queue.push_front(got);
        }
    }

    /// Bytes that somebody else has read from the stream are to be read before what follows.
    pub fn put_back_bytes(&mut self, bytes: &[u8]) {
        let batch = self.decoder.decode(bytes).expect("frames");
        self.queue.extend(all(&batch));
    }

    /// Frames that came already, without waiting for more.
    pub fn kept(&mut self) -> Vec<Got> {
        self.queue.drain(..).collect()
    }

    /// Reads on to the broker's goodbye, which must be the last frame.
    pub fn goodbye(&mut self) -> (CloseReason, String) {
        loop {
            let got = self.read();
            if got.kind == Kind::Goodbye {
                assert_eq!(self.try_read(), None, "nothing follows a goodbye");
                return (CloseReason::from_code(got.aux), got.text());
            }
        }
    }

    /// Registers an object.
    pub fn register(&mut self, object: &str) -> Got {
        self.register_as(object, Flags::NONE, 0)
    }

    /// Registers an object with flags and balance.
    pub fn register_as(&mut self, object: &str, flags: Flags, balance: u32) -> Got {
        let id = self.id();
        let draft = Draft::new(Kind::Register, id).flags(flags).aux(balance);
        self.ask(&draft.key(object.as_bytes()))
    }

    /// Subscribes; returns the subscription's number.
    pub fn subscribe(&mut self, object: &str, event: &str) -> u64 {
        self.subscribe_as(object, event, Flags::NONE, 0, &[])
    }

    /// Subscribes with flags, policy and metadata.
    pub fn subscribe_as(&mut self, object: &str, event: &str, flags: Flags, policy: u32, meta: &[u8]) -> u64 {
        let id = self.id();
        let draft = Draft::new(Kind::Subscribe, id).flags(flags).aux(policy);
        let got = self.ask(&draft.meta(meta).pair(object, event));
        assert_eq!(got.kind, Kind::Done, "{got:?}");
        id
    }

    /// Publishes and waits until the broker has accepted it.
    pub fn publish(&mut self, object: &str, event: &str, payload: &[u8]) -> Got {
        self.publish_as(object, event, Flags::ACK, payload)
    }

    /// The same with flags, among them ACK.
    pub fn publish_as(&mut self, object: &str, event: &str, flags: Flags, payload: &[u8]) -> Got {
        let id = self.id();
        let draft = Draft::new(Kind::Publish, id).flags(flags);
        self.ask(&draft.pair(object, event).payload(Encoding::RAW, payload))
    }

    /// Calls without waiting for the answer; returns the call's number.
    pub fn call(&mut self, object: &str, flags: Flags, payload: &[u8]) -> u64 {
        let id = self.id();
        let draft = Draft::new(Kind::Call, id).flags(flags).pair(object, "m");
        self.send(&draft.payload(Encoding::RAW, payload));
        id
    }

    /// Answers a call that it was given.
    pub fn reply(&mut self, call: &Got, payload: &[u8]) {
        self.send(&Draft::new(Kind::Reply, call.id).payload(Encoding::RAW, payload));
    }
}

/// The frames of a batch.
pub fn all(batch: &Batch) -> Vec<Got> {
    (0..batch.len())
        .map(|index| {
            let view = batch.view(index).expect("a frame");
            Got {
                kind: view.header.kind,
                id: view.header.id,
                aux: view.header.aux,
                flags: view.header.flags,
                encoding: view.header.encoding,
                origin: view.origin,
                key: view.key.to_vec(),
                meta: view.meta.to_vec(),
                payload: view.payload.to_vec(),
            }
        })
        .collect()
}

/// The payload of a Wait for these objects.
pub fn names(objects: &[&str]) -> Vec<u8> {
    let mut payload = Vec::new();
    for object in objects {
        payload.push(u8::try_from(object.len()).expect("a name"));
        payload.extend_from_slice(object.as_bytes());
    }
    payload
}

/// Metadata with one entry.
pub fn meta(key: &str, value: &[u8]) -> Vec<u8> {
    let mut metadata = actix_ipc::message::Metadata::new();
    metadata.insert(key, value).expect("metadata");
    metadata.as_bytes().to_vec()
}
