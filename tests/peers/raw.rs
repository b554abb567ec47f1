//! One end of a connection without a broker, as bytes over a Unix socket or TCP.

#[path = "../support/sockets.rs"]
pub mod sockets;

use actix_ipc::Endpoint;
use actix_ipc::error::CloseReason;
use actix_ipc::message::{Decoder, Draft, Encoding, Epoch, Kind, Meet, PROTOCOL_VERSION, Served, Terms};
use socket2::Socket;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub use actix_ipc::message::handshake::PREFACE;
#[allow(unused_imports, reason = "each test file uses its own part of the harness")]
pub use sockets::{Listener, Place};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Raw {
    stream: Socket,
    decoder: Decoder,
    /// What has come and was not looked at.
    come: Vec<(Kind, u64, u32)>,
    /// The payloads of all that, and of what was looked at last.
    payloads: Vec<Vec<u8>>,
    pub last: Vec<u8>,
}

pub fn meet_payload(open_calls: u32, call_window: u32, serves: &[(u64, &str)]) -> Vec<u8> {
    let protocols = serves.iter().map(|(id, name)| Served {
        id: *id,
        name: (*name).into(),
    });
    let meet = Meet {
        epoch: Epoch([3; 16]),
        terms: Terms {
            frame_bytes: 1 << 20,
            message_bytes: 1 << 20,
            stream_window: 1 << 16,
            open_calls,
            call_window,
            attachments: 0,
        },
        protocols: protocols.collect(),
        ..Meet::default()
    };
    meet.encode().unwrap()
}

pub fn greeting(frame: &[u8]) -> Vec<u8> {
    [&PREFACE[..], frame].concat()
}

impl Raw {
    pub fn over(stream: impl Into<Socket>) -> Self {
        let stream = stream.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::new(1 << 20),
            come: Vec::new(),
            payloads: Vec::new(),
            last: Vec::new(),
        }
    }

    pub fn connect(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(address) => {
                let socket = TcpStream::connect(address).unwrap();
                socket.set_nodelay(true).unwrap();
                Self::over(socket)
            }
            other => Self::over(sockets::dial(&sockets::path(other)).unwrap()),
        }
    }

    pub fn accept(listener: &Listener) -> Self {
        Self::over(listener.accept().unwrap().0)
    }

    /// Meets a server.
    pub fn meet(&mut self, open_calls: u32, call_window: u32, serves: &[(u64, &str)]) {
        let payload = meet_payload(open_calls, call_window, serves);
        let frame = Draft::new(Kind::Meet, u64::from(PROTOCOL_VERSION)).aux(PROTOCOL_VERSION);
        self.write(&greeting(&frame.payload(Encoding::RAW, &payload).to_vec()));
        self.until("the answer to Meet", |kind, id| kind == Kind::Meet && id > 0);
    }

    /// Answers a client's Meet.
    pub fn answer_meet(&mut self, open_calls: u32, call_window: u32, serves: &[(u64, &str)]) {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        self.until("Meet", |kind, _| kind == Kind::Meet);
        let payload = meet_payload(open_calls, call_window, serves);
        let frame = Draft::new(Kind::Meet, 1).aux(PROTOCOL_VERSION);
        self.write(&frame.payload(Encoding::RAW, &payload).to_vec());
    }

    /// Writes; an end that has gone takes nothing more.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Whether the other end takes it.
    pub fn writes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn finish(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// The next frame; `None` at the end.
    pub fn next(&mut self) -> Option<(Kind, u64, u32)> {
        let mut buffer = [0; 4096];
        while self.come.is_empty() {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            };
            let batch = self.decoder.decode(&buffer[..count]).unwrap();
            let come = batch.headers().map(|header| (header.kind, header.id, header.aux));
            self.come.extend(come);
            let views = (0..batch.len()).map(|index| batch.view(index).unwrap());
            self.payloads.extend(views.map(|view| view.payload.to_vec()));
        }
        self.last = self.payloads.remove(0);
        Some(self.come.remove(0))
    }

    /// Reads up to a frame.
    pub fn until(&mut self, what: &str, found: impl Fn(Kind, u64) -> bool) {
        loop {
            let (kind, id, aux) = self
                .next()
                .unwrap_or_else(|| panic!("{what}: the end came first"));
            if found(kind, id) {
                return;
            }
            assert!(kind != Kind::Goodbye, "{what}: goodbye {aux}");
        }
    }

    /// Reads to the end; why the other side took leave, if it said so.
    pub fn goodbye(&mut self) -> Option<CloseReason> {
        let mut said = None;
        while let Some((kind, _, aux)) = self.next() {
            if kind == Kind::Goodbye {
                said = Some(CloseReason::from_code(aux));
            }
        }
        said
    }
}
