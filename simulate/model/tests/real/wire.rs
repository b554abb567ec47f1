//! Connections to a broker in a thread of its own, with everything told to the judge.
//!
//! Owns sockets, the broker's life, and the end of a run. It refuses to know why a frame is sent.

use actix_ipc::Endpoint;
use actix_ipc::actors::Broker;
use actix_ipc::config::Limits;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Draft, Encoding, Flags, Hello, Kind, Welcome};
use actix_ipc_model::{Judge, Observation, Opened, Setup, What};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// One connection.
pub struct Client {
    stream: Option<UnixStream>,
    decoder: Decoder,
    bytes: Vec<u8>,
    /// Requests and calls that have no answer yet.
    pub open: HashSet<u64>,
    pub given: Vec<(u64, Flags)>,
    pub watches: Vec<u64>,
    pub subscriptions: Vec<u64>,
}

impl Client {
    pub const fn is_open(&self) -> bool {
        self.stream.is_some()
    }
}

/// A broker, its clients and the judge.
pub struct World {
    pub clients: Vec<Client>,
    judge: Option<Judge>,
    path: std::path::PathBuf,
    begun: Instant,
    step: u64,
    next: u64,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

fn ids() -> (u32, u32) {
    // What the kernel says of a socket of this process.
    use std::os::unix::fs::MetadataExt;
    (
        std::fs::metadata("/proc/self").map_or(u32::MAX, |me| me.uid()),
        std::process::id(),
    )
}

impl World {
    pub fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.sock");
        let endpoint = Endpoint::Unix(path.clone());
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let handle = Broker::builder().limits(limits).listen(endpoint).start().unwrap();
                sender.send(()).unwrap();
                let _ = stopped.await;
                handle.stop().await;
            });
        });
        receiver.recv().unwrap();
        Self {
            clients: Vec::new(),
            judge: None,
            path,
            begun: Instant::now(),
            step: 0,
            next: 0,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    fn tell(&mut self, client: usize, what: What) {
        self.step += 1;
        if std::env::var_os("JUDGE_TRACE").is_some() {
            eprintln!("{} {client} {}", self.step, trace(&what));
        }
        let observation = Observation {
            at: self.step,
            now_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap(),
            client: u32::try_from(client).unwrap(),
            what,
        };
        if let Some(judge) = &mut self.judge {
            judge.observe(observation);
        }
    }

    /// Connects, and reads the welcome.
    pub fn connect(&mut self) {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        let hello = Hello {
            name: "n".into(),
            ..Hello::default()
        }
        .encode();
        let hello = Draft::new(Kind::Hello, 1)
            .aux(1)
            .payload(Encoding::RAW, &hello)
            .to_vec();
        stream.write_all(&PREFACE).unwrap();
        stream.write_all(&hello).unwrap();
        let mut head = [0; 24];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize];
        stream.read_exact(&mut body).unwrap();
        if self.judge.is_none() {
            let welcome = Welcome::decode(&body).unwrap();
            self.judge = Some(Judge::new(Setup {
                epoch: welcome.epoch.0,
                frame_bytes: welcome.frame_bytes,
                message_bytes: welcome.message_bytes,
                publish_window: welcome.publish_window,
                stream_window: welcome.stream_window,
                default_deadline_ms: welcome.default_deadline_ms,
                max_deadline_ms: welcome.max_deadline_ms,
                slack_ms: 60_000,
            }));
        }
        let number = self.clients.len();
        let (uid, pid) = ids();
        self.tell(
            number,
            What::Opened(Opened {
                honest: true,
                uid,
                pid,
            }),
        );
        self.tell(number, What::Sent(hello.clone()));
        self.tell(number, What::Arrived(hello));
        self.tell(number, What::Received([&head[..], &body].concat()));
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        self.clients.push(Client {
            stream: Some(stream),
            decoder: Decoder::new(usize::MAX / 2),
            bytes: Vec::new(),
            open: HashSet::new(),
            given: Vec::new(),
            watches: Vec::new(),
            subscriptions: Vec::new(),
        });
    }

    pub const fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A payload like no other.
    pub fn payload(&mut self) -> Vec<u8> {
        self.id().to_be_bytes().to_vec()
    }

    pub fn send(&mut self, client: usize, draft: &Draft<'_>) {
        let bytes = draft.to_vec();
        self.tell(client, What::Sent(bytes.clone()));
        self.tell(client, What::Arrived(bytes.clone()));
        let Client { stream, open, .. } = &mut self.clients[client];
        let Some(stream) = stream else { return };
        if is_asked(draft) {
            open.insert(draft.id);
        }
        if stream.write_all(&bytes).is_err() {
            self.read(client);
        }
    }

    /// Reads what is there.
    pub fn read(&mut self, client: usize) {
        let Some(stream) = &self.clients[client].stream else {
            return;
        };
        stream.set_nonblocking(true).unwrap();
        while self.read_once(client) {}
        if let Some(stream) = &self.clients[client].stream {
            stream.set_nonblocking(false).unwrap();
        }
    }

    /// One read; `false` when nothing is there, or the end.
    fn read_once(&mut self, client: usize) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let Some(stream) = &mut self.clients[client].stream else {
            return false;
        };
        let count = match stream.read(&mut buffer) {
            Ok(0) => 0,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("client {client}: {error}"),
        };
        if count == 0 {
            self.clients[client].stream = None;
            self.tell(client, What::Closed);
            return false;
        }
        self.clients[client].bytes.extend_from_slice(&buffer[..count]);
        while let Some(head) = self.clients[client].bytes.first_chunk::<4>() {
            let total = 24 + u32::from_le_bytes(*head) as usize;
            if self.clients[client].bytes.len() < total {
                break;
            }
            let frame: Vec<u8> = self.clients[client].bytes.drain(..total).collect();
            self.frame(client, frame);
        }
        true
    }

    fn frame(&mut self, client: usize, bytes: Vec<u8>) {
        let it = &mut self.clients[client];
        let batch = it.decoder.decode(&bytes).unwrap();
        let header = *batch.header(0).unwrap();
        match header.kind {
            Kind::Call => it.given.push((header.id, header.flags)),
            Kind::Cancel => it.given.retain(|(ticket, _)| *ticket != header.id),
            Kind::Reply if header.flags.has(Flags::MORE) || header.flags.has(Flags::CONTINUED) => {}
            Kind::ReplyPiece if header.flags.has(Flags::CONTINUED) => {}
            Kind::Event
            | Kind::EventPiece
            | Kind::Gap
            | Kind::Notice
            | Kind::Ownership
            | Kind::CallCredit => {}
            Kind::PublishCredit | Kind::CallPiece | Kind::ReplyCredit => {}
            _ => {
                it.open.remove(&header.id);
            }
        }
        self.tell(client, What::Received(bytes));
    }

    /// The connection is gone without a word.
    pub fn break_off(&mut self, client: usize) {
        self.clients[client].stream = None;
        self.tell(client, What::Broke);
    }

    /// Goodbye, and everything up to the broker's.
    pub fn leave(&mut self, client: usize) {
        self.send(client, &Draft::new(Kind::Goodbye, 0).aux(1));
        // What it serves is answered by the broker.
        self.clients[client].given.clear();
        for other in 0..self.clients.len() {
            while let Some((ticket, flags)) = self.clients[other].given.pop() {
                if other != client && !flags.has(Flags::NO_REPLY) {
                    self.send(other, &Draft::new(Kind::Error, ticket).aux(2));
                }
            }
        }
        while self.clients[client].is_open() && self.read_once(client) {
            for other in 0..self.clients.len() {
                self.read(other);
                while let Some((ticket, flags)) = self.clients[other].given.pop() {
                    if other != client && !flags.has(Flags::NO_REPLY) {
                        self.send(other, &Draft::new(Kind::Error, ticket).aux(2));
                    }
                }
            }
        }
    }

    /// What all clients have sent is handled, and what follows from it is read.
    fn barrier(&mut self) {
        for client in 0..self.clients.len() {
            let (one, two) = (self.id(), self.id());
            self.send(client, &Draft::new(Kind::Describe, one).key(b"nobody here"));
            self.send(
                client,
                &Draft::new(Kind::Publish, two)
                    .flags(Flags::ACK)
                    .pair("nobody", "hears"),
            );
            let open = |it: &Client| it.is_open() && (it.open.contains(&one) || it.open.contains(&two));
            while open(&self.clients[client]) && self.read_once(client) {}
        }
        for client in 0..self.clients.len() {
            let id = self.id();
            self.send(client, &Draft::new(Kind::Ping, id));
            while self.clients[client].is_open()
                && self.clients[client].open.contains(&id)
                && self.read_once(client)
            {}
        }
    }

    /// Everything is answered and read; then the judge speaks.
    pub fn finish(mut self) -> Vec<String> {
        let due = Instant::now() + Duration::from_secs(20);
        for client in self.clients.iter().filter_map(|client| client.stream.as_ref()) {
            client.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        }
        while self
            .clients
            .iter()
            .any(|client| client.is_open() && !client.open.is_empty())
        {
            assert!(Instant::now() < due, "the broker owes answers");
            for client in 0..self.clients.len() {
                while let Some((ticket, flags)) = self.clients[client].given.pop() {
                    if !flags.has(Flags::NO_REPLY) {
                        self.send(client, &Draft::new(Kind::Error, ticket).aux(2));
                    }
                }
                while self.read_once(client) {}
            }
        }
        for client in self.clients.iter().filter_map(|client| client.stream.as_ref()) {
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        (0..2).for_each(|_| self.barrier());
        let found = self.judge.take().unwrap().finish(true);
        found.iter().map(ToString::to_string).collect()
    }
}

/// Whether the frame is answered.
fn is_asked(draft: &Draft<'_>) -> bool {
    match draft.kind {
        Kind::Call => !draft.flags.has(Flags::NO_REPLY),
        Kind::Publish => draft.flags.has(Flags::ACK),
        Kind::Register
        | Kind::Unregister
        | Kind::Wait
        | Kind::Watch
        | Kind::Unwatch
        | Kind::List
        | Kind::Describe
        | Kind::Subscribe
        | Kind::Unsubscribe
        | Kind::Will
        | Kind::Ping => true,
        _ => false,
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.clients.clear();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn trace(what: &What) -> String {
    let (verb, bytes) = match what {
        What::Arrived(bytes) => (">", bytes),
        What::Received(bytes) => ("<", bytes),
        What::Sent(_) => return String::new(),
        other => return format!("{other:?}"),
    };
    let batch = actix_ipc::message::Batch::from_bytes(bytes.clone().into(), 1 << 30).unwrap();
    let view = batch.view(0).unwrap();
    format!(
        "{verb} {:?} id {} aux {} {:?} {} {}",
        view.header.kind,
        view.header.id,
        view.header.aux,
        view.header.flags,
        view.key.escape_ascii(),
        view.payload[..view.payload.len().min(16)].escape_ascii()
    )
}
