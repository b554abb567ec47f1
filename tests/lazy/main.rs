//! The lazy server as its users meet it: over real sockets, polled by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part; counting system calls needs ptrace"
)]
#![cfg(unix)]

mod broken;
mod crowd;
mod fair;
mod hostile;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod idle;
mod object;
mod path;
mod polls;
#[path = "../support/mod.rs"]
mod support;

use actix_ipc::lazy::{IpcServer, IpcServerCommand, Limits};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// A command of every shape that the tests need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Answered as it is.
    Echo(String),
    /// Remembered; the answer is how many there are.
    Push { x: u64 },
    /// Answered with so many bytes.
    Large { bytes: usize },
    /// Panics.
    Panic,
    /// Takes no parameters.
    Count,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Text(String),
    Count(u64),
}

impl IpcServerCommand for Command {
    type Response = Answer;
    type Context<'a> = &'a mut Vec<u64>;

    fn process<'a, 'b>(self, values: &'b mut Self::Context<'a>) -> Answer {
        match self {
            Self::Echo(text) => Answer::Text(text),
            Self::Push { x } => {
                values.push(x);
                Answer::Count(values.len() as u64)
            }
            Self::Large { bytes } => Answer::Text("7".repeat(bytes)),
            Self::Panic => panic!("as asked"),
            Self::Count => Answer::Count(values.len() as u64),
        }
    }
}

/// A server with its folder and its state.
pub struct Bench {
    pub server: IpcServer<Command>,
    pub path: PathBuf,
    pub values: Vec<u64>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lazy.sock");
        Self {
            server: IpcServer::with_limits(&path, limits).unwrap(),
            path,
            values: Vec::new(),
            _folder: folder,
        }
    }

    pub fn poll(&mut self) -> usize {
        self.server.handle_new_messages(&mut self.values).unwrap()
    }

    pub fn raw(&self) -> Raw {
        Raw {
            socket: UnixStream::connect(&self.path).unwrap(),
        }
    }
}

/// A client in bytes, as `docs/lazy.md` tells them.
pub struct Raw {
    pub socket: UnixStream,
}

pub const PREFACE: &[u8; 8] = b"aipcLZ\x00\x01";

pub fn frame(command: &Command) -> Vec<u8> {
    let body = postcard::to_stdvec(command).unwrap();
    let mut out = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    out.push(0);
    out.extend(body);
    out
}

impl Raw {
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// An answer that is there: its status and its body.
    pub fn answer(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head).unwrap();
        let [a, b, c, d, status] = head;
        let mut body = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
        self.socket.read_exact(&mut body).unwrap();
        (status, body)
    }

    pub fn done(&mut self) -> Answer {
        let (status, body) = self.answer();
        assert_eq!(status, 0, "{}", String::from_utf8_lossy(&body));
        postcard::from_bytes(&body).unwrap()
    }

    /// Whether the server has closed the connection.
    pub fn is_over(&mut self) -> bool {
        matches!(self.socket.read(&mut [0]), Ok(0) | Err(_))
    }
}
