//! A client in raw frames over a blocking Unix socket, for tests of the broker alone.
//!
//! It knows the codec and nothing of the client library. Every read waits at most ten seconds, so a missing answer fails the test
//! instead of hanging it.
#![allow(dead_code, reason = "each test file uses its own part of the harness")]

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Batch, Decoder, Draft, Encoding, Flags, Hello, Kind};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// One frame that came from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub kind: Kind,
    pub id: u64,
    pub aux: u32,
    pub flags: Flags,
    pub encoding: Encoding,
    pub key: Vec<u8>,
    pub meta: Vec<u8>,
    pub payload: Vec<u8>,
}

/// One connection.
pub struct Raw {
    pub stream: UnixStream,
    decoder: Decoder,
    queue: VecDeque<Got>,
    next: u64,
}

impl Raw {
    /// Connects and greets; the welcome has been read.
    pub fn connect(path: &Path) -> Self {
        Self::connect_as(path, "")
    }

    /// The same under a declared name.
    pub fn connect_as(path: &Path, name: &str) -> Self {
        let stream = UnixStream::connect(path).expect("the broker listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a socket");
        let mut raw = Self {
            stream,
            decoder: Decoder::new(usize::MAX / 2),
            queue: VecDeque::new(),
            next: 1,
        };
        raw.stream.write_all(&PREFACE).expect("preface");
        let hello = Hello { name: name.into() }.encode();
        raw.send(&Draft::new(Kind::Hello, 1).aux(1).payload(Encoding::RAW, &hello));
        assert_eq!(raw.read().kind, Kind::Welcome);
        raw
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

    /// The next frame.
    pub fn read(&mut self) -> Got {
        self.try_read().expect("a frame, not the end of the connection")
    }

    /// The next frame, or `None` at the end of the connection.
    pub fn try_read(&mut self) -> Option<Got> {
        let mut buffer = vec![0; 64 * 1024];
        while self.queue.is_empty() {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no frame within ten seconds: {error}"),
            };
            let batch = self.decoder.decode(&buffer[..count]).expect("frames");
            self.queue.extend(all(&batch));
        }
        self.queue.pop_front()
    }

    /// Sends a request and reads until its answer; other frames are kept for later.
    pub fn ask(&mut self, draft: &Draft<'_>) -> Got {
        self.send(draft);
        let mut others = VecDeque::new();
        loop {
            let got = self.read();
            let answers = matches!(
                got.kind,
                Kind::Done | Kind::Error | Kind::Reply | Kind::Accepted | Kind::Pong
            );
            if got.id == draft.id && answers {
                others.append(&mut self.queue);
                self.queue = others;
                return got;
            }
            others.push_back(got);
        }
    }

    /// Registers an object.
    pub fn register(&mut self, object: &str) -> Got {
        let id = self.id();
        self.ask(&Draft::new(Kind::Register, id).key(object.as_bytes()))
    }

    /// Subscribes; returns the subscription's number.
    pub fn subscribe(&mut self, object: &str, event: &str) -> u64 {
        let id = self.id();
        let got = self.ask(&Draft::new(Kind::Subscribe, id).pair(object, event));
        assert_eq!(got.kind, Kind::Done, "{got:?}");
        id
    }

    /// Publishes and waits until the broker has accepted it.
    pub fn publish(&mut self, object: &str, event: &str, payload: &[u8]) -> Got {
        let id = self.id();
        self.ask(
            &Draft::new(Kind::Publish, id)
                .flags(Flags::ACK)
                .pair(object, event)
                .payload(Encoding::RAW, payload),
        )
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
                key: view.key.to_vec(),
                meta: view.meta.to_vec(),
                payload: view.payload.to_vec(),
            }
        })
        .collect()
}
