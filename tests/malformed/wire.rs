//! A client in raw frames over any transport: bytes out, frames in.

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Batch, Decoder, Draft, Encoding, Flags, Hello, Kind};
use actix_ipc::transport::{Endpoint, Stream, connect};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};

/// One frame that came.
#[derive(Clone, PartialEq, Eq)]
pub struct Got {
    pub kind: Kind,
    pub id: u64,
    pub aux: u32,
    pub flags: Flags,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
    /// The connection that it is about.
    pub origin: Option<u64>,
}

impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.kind.name(), self.id, self.aux)
    }
}

impl Got {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

pub struct Wire {
    pub stream: Stream,
    decoder: Decoder,
    pub queue: VecDeque<Got>,
    /// Bytes that came.
    pub received: usize,
    /// Its number, once welcomed.
    pub peer: Option<u64>,
}

impl Wire {
    pub async fn connect(endpoint: &Endpoint) -> Self {
        Self {
            stream: connect(endpoint).await.expect("the broker listens"),
            decoder: Decoder::new(usize::MAX / 2),
            queue: VecDeque::new(),
            received: 0,
            peer: None,
        }
    }

    /// Sends bytes; a broker that has closed the connection does not read the rest.
    pub async fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.try_write(&[IoSlice::new(bytes)], &[]) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if std::future::poll_fn(|cx| self.stream.poll_write_ready(cx))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    pub async fn send_frame(&self, draft: &Draft<'_>) {
        self.send(&draft.to_vec()).await;
    }

    /// Preface, Hello, Welcome.
    pub async fn greet(&mut self) -> Result<(), String> {
        let mut bytes = PREFACE.to_vec();
        let hello = Hello {
            name: "case".into(),
            ..Hello::default()
        }
        .encode();
        Draft::new(Kind::Hello, 1)
            .aux(1)
            .payload(Encoding::RAW, &hello)
            .encode(&mut bytes);
        self.send(&bytes).await;
        match self.read().await? {
            Some(got) if got.kind == Kind::Welcome => Ok(()),
            other => Err(format!("{other:?} instead of a welcome")),
        }
    }

    /// The next frame, or the end.
    pub async fn read(&mut self) -> Result<Option<Got>, String> {
        let mut buffer = vec![0; 16 * 1024];
        while self.queue.is_empty() {
            if std::future::poll_fn(|cx| self.stream.poll_read_ready(cx))
                .await
                .is_err()
            {
                return Ok(None);
            }
            let mut attachments = Vec::new();
            let count = match self.stream.try_read(&mut buffer, &mut attachments) {
                Ok(0) => return Ok(None),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    continue;
                }
                Err(_) => return Ok(None),
            };
            self.received += count;
            let batch = self
                .decoder
                .decode(&buffer[..count])
                .map_err(|error| error.to_string())?;
            for got in frames(&batch) {
                if got.kind == Kind::Welcome {
                    self.peer = Some(got.id);
                }
                self.queue.push_back(got);
            }
        }
        Ok(self.queue.pop_front())
    }

    /// The next bytes, whatever they are; `None` at the end.
    pub async fn read_bytes(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            std::future::poll_fn(|cx| self.stream.poll_read_ready(cx))
                .await
                .ok()?;
            match self.stream.try_read(&mut buffer, &mut Vec::new()) {
                Ok(0) => return None,
                Ok(count) => return Some(buffer[..count].to_vec()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Result<Vec<Got>, String> {
        let mut all = Vec::new();
        while let Some(got) = self.read().await? {
            all.push(got);
        }
        Ok(all)
    }

    /// What came up to now, at least `count` frames: Registry and TopicHub have handled what lay before them.
    pub async fn settle(&mut self, count: usize) -> Result<Vec<Got>, String> {
        const IDS: [u64; 3] = [u64::MAX - 10, u64::MAX - 11, u64::MAX - 12];
        let mut bytes = Draft::new(Kind::Describe, IDS[0]).key(b"nobody").to_vec();
        Draft::new(Kind::Publish, IDS[1])
            .flags(Flags::ACK)
            .pair("no", "body")
            .encode(&mut bytes);
        Draft::new(Kind::Ping, IDS[2]).encode(&mut bytes);
        self.send(&bytes).await;
        let (mut all, mut settled) = (Vec::new(), 0);
        while settled < IDS.len() || wanted(&all) < count {
            let Some(got) = self.read().await? else {
                return Err(format!("the connection ended after {all:?}"));
            };
            if got.kind == Kind::Goodbye {
                return Err(format!("{got:?} {:?} after {all:?}", got.text()));
            }
            if IDS.contains(&got.id) {
                settled += 1;
            } else {
                all.push(got);
            }
        }
        Ok(all)
    }
}

fn wanted(all: &[Got]) -> usize {
    all.iter().filter(|got| got.kind != Kind::PublishCredit).count()
}

fn frames(batch: &Batch) -> Vec<Got> {
    (0..batch.len())
        .filter_map(|index| batch.view(index))
        .map(|view| Got {
            kind: view.header.kind,
            id: view.header.id,
            aux: view.header.aux,
            flags: view.header.flags,
            key: view.key.to_vec(),
            payload: view.payload.to_vec(),
            origin: view.origin.map(|origin| origin.peer.0),
        })
        .collect()
}
