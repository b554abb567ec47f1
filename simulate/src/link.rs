//! One connection of a run: the library's own life of it, and the two byte streams to its client, which are bounded and cut anywhere.
//!
//! Owns what the socket and the connection's actor own in the real broker. What is read and written when, `world` chooses.

use crate::broker::{Mailbox, Mailboxes};
use crate::client::{self, Client, Stage};
use crate::clock;
use actix_ipc::actors::admission::Admission;
use actix_ipc::actors::connection::life::Life;
use actix_ipc::actors::connection::outbox::WriteBuf;
use actix_ipc::actors::peer::{PeerRef, Post};
use actix_ipc::error::CloseReason;
use actix_ipc::message::Decoder;
use actix_ipc::message::codec::body_limit;
use actix_ipc::transport::PeerCredentials;
use actix_ipc_model::What;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a write takes together, as in the broker, but smaller.
const WRITE_MAX: usize = 4 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Link {
    pub client: Client,
    /// `None`: the connection's actor has ended.
    pub life: Option<Life<Mailboxes>>,
    pub peer: Option<PeerRef>,
    pub inbox: Mailbox,
    /// Bytes on their way to the broker, and whether the client has ended that direction.
    up: VecDeque<u8>,
    pub up_ended: bool,
    up_seen: bool,
    /// Bytes on their way to the client, and whether the broker has ended that direction.
    down: VecDeque<u8>,
    pub down_ended: bool,
    unsent: VecDeque<u8>,
    /// The client is gone: neither direction is read any more.
    pub broken: bool,
    room: usize,
    /// Decodes beside the broker, to know what it has decoded.
    twin: Decoder,
    heard: Vec<u8>,
    preface: usize,
}

impl Link {
    /// A connection that was just accepted. `room`: bytes that each direction holds.
    #[must_use]
    pub fn new(client: Client, rooms: &Arc<Mailboxes>, pid: u32, room: usize) -> Self {
        use actix_ipc::actors::connection::perform::Rooms;
        let credentials = PeerCredentials {
            uid: Some(1000 + pid % 2),
            gid: Some(1000),
            pid: Some(pid),
        };
        let limits = &rooms.shared().limits;
        let twin = Decoder::new(body_limit(limits.frame_bytes));
        let admitted = Admission::new(rooms.shared().clone(), &credentials, None, false)
            .map_err(|refused| (CloseReason::TooMany, refused.to_string()));
        Self {
            client,
            life: Some(Life::new(rooms.clone(), credentials, 0, admitted)),
            peer: None,
            inbox: Mailbox::open(),
            up: VecDeque::new(),
            up_ended: false,
            up_seen: false,
            down: VecDeque::new(),
            down_ended: false,
            unsent: VecDeque::new(),
            broken: false,
            room,
            twin,
            heard: Vec::new(),
            preface: 0,
        }
    }

    /// The broker's side takes up to `most` deliveries. `true`: there was one.
    pub fn deliver(&mut self, most: usize) -> bool {
        let mut any = false;
        for _ in 0..most {
            let Some(delivery) = self.inbox.pop() else { break };
            any = true;
            if let Some(life) = &mut self.life {
                life.deliver(delivery);
            }
        }
        any
    }

    /// The broker's side reads up to `most` bytes. Returns what it has decoded.
    pub fn read(&mut self, most: usize, observe: &mut dyn FnMut(What)) -> bool {
        let Some(life) = &mut self.life else { return false };
        if self.up_seen || !life.may_read() || !life.is_gate_open() {
            return false;
        }
        if self.up.is_empty() {
            if !(self.up_ended || self.broken) {
                return false;
            }
            self.up_seen = true;
            if !self.broken {
                observe(What::HalfClosed);
            }
            if life.end_of_file(self.broken).is_err() {
                self.end();
            }
            return true;
        }
        let count = most.min(self.up.len());
        let bytes: Vec<u8> = self.up.drain(..count).collect();
        if life.is_listening() {
            tell(
                &mut self.twin,
                &mut self.heard,
                &mut self.preface,
                &bytes,
                observe,
            );
        }
        let inbox = self.inbox.clone();
        let make = move || Post::Passed(Box::new(inbox.clone()));
        life.received(&bytes, Vec::new(), &make);
        if self.peer.is_none() {
            self.peer = life.session().map(|session| session.me().clone());
        }
        true
    }

    /// The broker's side writes what the socket takes.
    pub fn write(&mut self) -> bool {
        let mut any = false;
        loop {
            let Some(life) = &mut self.life else { return any };
            if self.broken && (life.has_output() || !self.unsent.is_empty()) {
                // The write fails: nobody is there.
                self.end();
                return true;
            }
            let room = self.room.saturating_sub(self.down.len());
            let now = room.min(self.unsent.len());
            any |= now > 0;
            self.down.extend(self.unsent.drain(..now));
            if !self.unsent.is_empty() {
                let left = self.unsent.len();
                life.blocked(left);
                return any;
            }
            if !life.has_output() {
                break;
            }
            let mut buffer = WriteBuf::default();
            life.fill(WRITE_MAX, &mut buffer);
            self.unsent.extend(flat(&buffer));
            any = true;
        }
        if self.life.as_ref().is_some_and(Life::is_over) {
            self.end();
            any = true;
        }
        any
    }

    /// What follows from the time, and from having nothing to read.
    pub fn rest(&mut self) -> bool {
        let Some(life) = &mut self.life else { return false };
        life.settle();
        let mut any = false;
        while life.next_deadline().is_some_and(|next| next <= clock::now()) {
            any = true;
            if life.time_passed().is_err() {
                self.end();
                return true;
            }
        }
        if life.is_over() && self.unsent.is_empty() {
            self.end();
            any = true;
        }
        any
    }

    /// The connection's actor ends.
    pub fn end(&mut self) {
        if let Some(mut life) = self.life.take() {
            life.finish();
            drop(life);
            self.inbox.close();
            self.unsent.clear();
            self.down_ended = true;
        }
    }

    /// The client writes up to `most` bytes of what it has queued.
    pub fn client_writes(&mut self, most: usize, observe: &mut dyn FnMut(What)) -> bool {
        if self.up_ended || self.broken {
            self.client.out.clear();
            return false;
        }
        let mut left = most.min(self.room.saturating_sub(self.up.len()));
        let mut any = false;
        while left > 0 {
            let Some(frame) = self.client.out.front() else {
                break;
            };
            let rest = frame.get(self.client.written..).unwrap_or_default();
            let count = rest.len().min(left);
            self.up.extend(rest.iter().take(count));
            any = true;
            left -= count;
            self.client.written += count;
            if self.client.written >= frame.len() {
                self.client.written = 0;
                let frame = self.client.out.pop_front().unwrap_or_default();
                if frame != actix_ipc::message::handshake::PREFACE {
                    observe(What::Sent(frame));
                }
            }
        }
        if self.down_ended && self.life.is_none() {
            // The peer has closed: what is written goes nowhere.
            self.up.clear();
        }
        any
    }

    /// The client reads up to `most` bytes.
    pub fn client_reads(&mut self, most: usize, observe: &mut dyn FnMut(What)) -> bool {
        if self.broken || self.client.stage == Stage::Ended {
            return false;
        }
        if self.down.is_empty() {
            if self.down_ended {
                self.client.stage = Stage::Ended;
                observe(What::Closed);
                return true;
            }
            return false;
        }
        let count = most.min(self.down.len());
        let bytes: Vec<u8> = self.down.drain(..count).collect();
        for frame in self.client.take(&bytes) {
            self.client.heard(&frame);
            observe(What::Received(frame));
        }
        true
    }

    /// The client is gone at once. `lost`: with what it had sent last.
    pub fn reset(&mut self, lost: bool, observe: &mut dyn FnMut(What)) {
        if self.broken || self.client.stage == Stage::Ended {
            return;
        }
        self.broken = true;
        if lost {
            self.up.clear();
        }
        self.down.clear();
        self.client.stage = Stage::Ended;
        self.client.out.clear();
        observe(What::Broke);
    }

    /// The broker's side handles the end of a client that is gone. `true`: there was something to do.
    pub fn bury(&mut self, observe: &mut dyn FnMut(What)) -> bool {
        self.broken && self.life.is_some() && (self.write() || self.read(usize::MAX, observe))
    }

    /// Whether the broker has noticed that its client is gone, if it is.
    #[must_use]
    pub const fn is_buried(&self) -> bool {
        !self.broken || self.life.is_none()
    }

    /// The client ends its sending direction. It is told when the broker reads that.
    pub fn half_close(&mut self) {
        if !self.up_ended && !self.broken && self.client.stage != Stage::Ended {
            self.up_ended = true;
            self.client.out.clear();
            self.client.stage = Stage::Leaving;
        }
    }
}

/// Tells which frames the broker decodes from these bytes: none if any of them is wrong.
fn tell(
    twin: &mut Decoder,
    heard: &mut Vec<u8>,
    preface: &mut usize,
    bytes: &[u8],
    observe: &mut dyn FnMut(What),
) {
    let skipped = 8_usize.saturating_sub(*preface).min(bytes.len());
    *preface += skipped;
    let bytes = bytes.get(skipped..).unwrap_or_default();
    heard.extend_from_slice(bytes);
    if twin.decode(bytes).is_ok() {
        for frame in client::split(heard) {
            observe(What::Arrived(frame));
        }
    }
}

fn flat(buffer: &WriteBuf) -> Vec<u8> {
    let mut out = Vec::with_capacity(buffer.len());
    let mut from = 0;
    for (at, shared) in &buffer.shared {
        out.extend_from_slice(buffer.copied.get(from..*at).unwrap_or_default());
        out.extend_from_slice(shared);
        from = *at;
    }
    out.extend_from_slice(buffer.copied.get(from..).unwrap_or_default());
    out
}
