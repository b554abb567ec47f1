//! A connection in raw frames over any transport, for tests on a run-time.
//!
//! Owns the greeting, whole writes, and which attachments belong to which frame. Expects the raw client beside it, as `crate::raw`.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use crate::raw::{Got, all};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Attachment, Decoder, Draft, Encoding, Hello, Kind};
use actix_ipc::transport::{Endpoint, Stream, connect};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

/// Longer than anything takes on a machine that is shared by many.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Wire {
    pub stream: Stream,
    decoder: Decoder,
    /// What has come, each with how many attachments it says that it has.
    queue: VecDeque<(Got, u8)>,
    attachments: Vec<Attachment>,
}

impl Wire {
    /// Connects and greets; the welcome has been read.
    pub async fn connect(endpoint: &Endpoint) -> Self {
        Self::connect_as(endpoint, &Hello::default()).await
    }

    /// The same with all that a client says of itself.
    pub async fn connect_as(endpoint: &Endpoint, hello: &Hello) -> Self {
        let mut wire = Self {
            stream: connect(endpoint).await.unwrap(),
            decoder: Decoder::new(1 << 24),
            queue: VecDeque::new(),
            attachments: Vec::new(),
        };
        let hello = hello.encode();
        let mut bytes = PREFACE.to_vec();
        let draft = Draft::new(Kind::Hello, 1).aux(1);
        draft.payload(Encoding::RAW, &hello).encode(&mut bytes);
        wire.write(&bytes, &[]).await;
        assert_eq!(wire.read().await.kind, Kind::Welcome);
        wire
    }

    /// Writes all of it; the attachments go with the first byte.
    pub async fn write(&self, mut bytes: &[u8], mut attachments: &[Attachment]) {
        while !bytes.is_empty() {
            poll_fn(|cx| self.stream.poll_write_ready(cx)).await.unwrap();
            match self.stream.try_write(&[IoSlice::new(bytes)], attachments) {
                Ok(count) => (bytes, attachments) = (&bytes[count..], &[]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
    }

    /// Writes several frames at once.
    pub async fn send(&self, drafts: &[Draft<'_>]) {
        let mut bytes = Vec::new();
        drafts.iter().for_each(|draft| draft.encode(&mut bytes));
        self.write(&bytes, &[]).await;
    }

    /// Writes one frame with what is attached to it.
    pub async fn send_with(&self, draft: Draft<'_>, attachments: &[Attachment]) {
        let draft = Draft {
            attachments: u8::try_from(attachments.len()).expect("few"),
            ..draft
        };
        self.write(&draft.to_vec(), attachments).await;
    }

    /// The next frame.
    pub async fn read(&mut self) -> Got {
        self.read_with().await.0
    }

    /// The next frame and what is attached to it.
    pub async fn read_with(&mut self) -> (Got, Vec<Attachment>) {
        let mut buffer = vec![0; 64 * 1024];
        while self.queue.is_empty() {
            let ready = poll_fn(|cx| self.stream.poll_read_ready(cx));
            let ready = tokio::time::timeout(PATIENCE, ready).await;
            ready.expect("a frame in time").unwrap();
            match self.stream.try_read(&mut buffer, &mut self.attachments) {
                Ok(0) => panic!("the connection ended"),
                Ok(count) => {
                    let batch = self.decoder.decode(&buffer[..count]).unwrap();
                    let declared = batch.headers().map(|header| header.attachments);
                    self.queue.extend(all(&batch).into_iter().zip(declared));
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        let (got, declared) = self.queue.pop_front().unwrap();
        let came = self.attachments.drain(..usize::from(declared)).collect();
        (got, came)
    }

    /// Sends a request and reads until its answer. What else comes until then is returned before it.
    pub async fn ask(&mut self, draft: Draft<'_>) -> (Vec<Got>, Got) {
        self.send(&[draft]).await;
        let mut others = Vec::new();
        loop {
            let got = self.read().await;
            if got.id == draft.id {
                return (others, got);
            }
            others.push(got);
        }
    }

    /// The broker has handled everything that was sent before; what came meanwhile.
    pub async fn ping(&mut self) -> Vec<Got> {
        let (others, pong) = self.ask(Draft::new(Kind::Ping, u64::from(u32::MAX))).await;
        assert_eq!(pong.kind, Kind::Pong);
        others
    }
}
