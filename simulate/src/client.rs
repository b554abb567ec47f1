//! One simulated client: what it knows, what it wants to send, what it makes of what it reads.
//!
//! It speaks the protocol by itself and knows nothing of the broker's state. What it does next is `behaviour`'s choice; how
//! bytes travel is `world`'s.

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Flags, Hello, Kind, Welcome};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// By the rules, and it reads.
    Honest,
    /// By the rules, but it hardly reads while the faults last.
    Slow,
    /// By the rules until it breaks off.
    Dying,
    /// Against the rules.
    Hostile,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has sent its Hello, or a part of it.
    Greeting,
    /// It may do everything.
    Ready,
    /// It sends nothing more.
    Leaving,
    /// Its stream has ended.
    Ended,
}

/// Something asked that is not answered yet.
#[derive(Debug)]
pub struct Asked {
    pub kind: Kind,
    /// Pieces that are still to be sent, and the window for them.
    pub pieces: u32,
    /// The pieces are items of their own, and their end is empty.
    pub items: bool,
    pub window: i64,
    /// Credit for replies that was not given back yet.
    pub owed: u32,
    /// The names that it may wait for.
    pub names: Vec<&'static str>,
}

/// A call that this client is to answer.
#[derive(Debug)]
pub struct Given {
    pub stream: bool,
    pub no_reply: bool,
    /// Pieces of the call are still to come.
    pub incomplete: bool,
    pub window: i64,
    /// Credit for pieces of the call that was not given back yet.
    pub owed: u32,
    /// A reply in pieces is under way: so many are left, and whether it is the last reply.
    pub pieces: Option<(u32, bool)>,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    pub number: u32,
    pub temper: Temper,
    pub stage: Stage,
    pub welcome: Option<Welcome>,
    pub next_id: u64,
    /// Frames that are to be written, and how much of the first one is.
    pub out: VecDeque<Vec<u8>>,
    pub written: usize,
    /// Bytes that were read and are no frame yet.
    input: Vec<u8>,
    pub asked: BTreeMap<u64, Asked>,
    pub given: BTreeMap<u64, Given>,
    pub subscriptions: BTreeSet<u64>,
    pub watches: BTreeSet<u64>,
    /// By the numbers of their Registers.
    pub names: BTreeMap<u64, &'static str>,
    pub publish_window: i64,
    /// Publishes in pieces: so many are left.
    pub uploads: BTreeMap<u64, u32>,
    /// Counts payloads, so that no two are equal.
    pub said: u64,
}

impl Client {
    /// A client that has just connected; its greeting is queued.
    #[must_use]
    pub fn new(number: u32, temper: Temper) -> Self {
        let mut client = Self {
            number,
            temper,
            stage: Stage::Greeting,
            welcome: None,
            next_id: 1,
            out: VecDeque::new(),
            written: 0,
            input: Vec::new(),
            asked: BTreeMap::new(),
            given: BTreeMap::new(),
            subscriptions: BTreeSet::new(),
            watches: BTreeSet::new(),
            names: BTreeMap::new(),
            publish_window: 0,
            uploads: BTreeMap::new(),
            said: 0,
        };
        client.out.push_back(PREFACE.to_vec());
        let name = if number.is_multiple_of(3) {
            format!("client{number}")
        } else {
            String::new()
        };
        let hello = Hello {
            name,
            ..Hello::default()
        };
        client.send(
            &Draft::new(Kind::Hello, 1)
                .aux(1)
                .payload(Encoding::RAW, &hello.encode()),
        );
        client
    }

    /// Whether it keeps to the protocol.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.temper != Temper::Hostile
    }

    /// A number for a request.
    pub const fn id(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// A payload that nobody else has sent.
    pub fn payload(&mut self, length: usize) -> Vec<u8> {
        self.said = self.said.wrapping_add(1);
        let mut bytes = format!("{}.{}.", self.number, self.said).into_bytes();
        while bytes.len() < length {
            bytes.push(b'a'.wrapping_add(u8::try_from(bytes.len() % 26).unwrap_or(0)));
        }
        bytes
    }

    /// Queues a frame. Returns its length on the wire.
    pub fn send(&mut self, draft: &Draft<'_>) -> usize {
        let bytes = draft.to_vec();
        let length = bytes.len();
        self.out.push_back(bytes);
        length
    }

    /// Queues a request that is answered.
    pub fn ask(&mut self, draft: &Draft<'_>) {
        let asked = Asked {
            kind: draft.kind,
            pieces: 0,
            items: false,
            window: 0,
            owed: 0,
            names: Vec::new(),
        };
        self.asked.insert(draft.id, asked);
        self.send(draft);
    }

    /// Takes bytes; returns the complete frames.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.input.extend_from_slice(bytes);
        split(&mut self.input)
    }

    /// Makes something of a frame that the broker sent.
    pub fn heard(&mut self, frame: &[u8]) {
        let Some(head) = Head::of(frame) else { return };
        let Head { kind, flags, id, aux } = head;
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        match kind {
            Kind::Welcome => self.welcomed(frame),
            Kind::Goodbye => self.stage = Stage::Leaving,
            Kind::Call => self.called(id, flags),
            Kind::CallPiece => {
                if let Some(given) = self.given.get_mut(&id) {
                    given.owed = given.owed.saturating_add(length);
                    given.incomplete = flags.has(Flags::CONTINUED);
                }
            }
            Kind::Cancel => {
                self.given.remove(&id);
            }
            Kind::ReplyCredit => {
                if let Some(given) = self.given.get_mut(&id) {
                    given.window = given.window.saturating_add(i64::from(aux));
                }
            }
            Kind::CallCredit => {
                if let Some(asked) = self.asked.get_mut(&id) {
                    asked.window = asked.window.saturating_add(i64::from(aux));
                }
            }
            Kind::PublishCredit => {
                self.publish_window = self.publish_window.saturating_add(i64::from(aux));
            }
            Kind::Ownership if aux == 0 => {
                self.names.remove(&id);
            }
            Kind::Reply | Kind::ReplyPiece => self.replied(kind, flags, id, length),
            Kind::Done | Kind::Error | Kind::Accepted => {
                self.asked.remove(&id);
                if kind == Kind::Error {
                    self.subscriptions.remove(&id);
                    self.names.remove(&id);
                }
            }
            _ => {}
        }
    }

    fn welcomed(&mut self, frame: &[u8]) {
        let welcome = Welcome::decode(frame.get(24..).unwrap_or_default());
        self.publish_window = welcome.map_or(0, |welcome| i64::from(welcome.publish_window));
        self.welcome = welcome;
        if self.stage == Stage::Greeting {
            self.stage = Stage::Ready;
        }
    }

    fn called(&mut self, ticket: u64, flags: Flags) {
        let given = Given {
            stream: flags.has(Flags::STREAM),
            no_reply: flags.has(Flags::NO_REPLY),
            incomplete: flags.has(Flags::CONTINUED),
            window: self.stream_window(),
            owed: 0,
            pieces: None,
        };
        self.given.insert(ticket, given);
    }

    fn replied(&mut self, kind: Kind, flags: Flags, id: u64, length: u32) {
        let Some(asked) = self.asked.get_mut(&id) else {
            return;
        };
        let windowed = kind == Kind::ReplyPiece || flags.has(Flags::MORE) || flags.has(Flags::CONTINUED);
        if windowed {
            asked.owed = asked.owed.saturating_add(length);
        }
        // Whether the reply that these pieces belong to had MORE is noted in the kind.
        if kind == Kind::Reply {
            asked.kind = if flags.has(Flags::MORE) {
                Kind::Reply
            } else {
                Kind::Call
            };
        }
        let over = !flags.has(Flags::CONTINUED) && asked.kind != Kind::Reply;
        if over && (kind == Kind::ReplyPiece || !flags.has(Flags::MORE)) {
            self.asked.remove(&id);
        }
    }

    /// The window of a stream or a message in pieces.
    #[must_use]
    pub fn stream_window(&self) -> i64 {
        self.welcome.map_or(0, |welcome| i64::from(welcome.stream_window))
    }

    /// The largest payload of one frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.welcome.map_or(64, |welcome| welcome.frame_bytes as usize)
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub kind: Kind,
    pub flags: Flags,
    pub id: u64,
    pub aux: u32,
}

impl Head {
    /// Reads it.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let kind = Kind::from_code(*frame.get(4)?)?;
        let flags = Flags(u16::from_le_bytes(frame.get(6..8)?.try_into().ok()?));
        let id = u64::from_le_bytes(frame.get(8..16)?.try_into().ok()?);
        let aux = u32::from_le_bytes(frame.get(16..20)?.try_into().ok()?);
        Some(Self { kind, flags, id, aux })
    }
}

/// Takes the complete frames out of a buffer, by their lengths alone.
pub fn split(buffer: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        let Some(length) = buffer.first_chunk::<4>() else {
            return frames;
        };
        let whole = 24_usize.saturating_add(u32::from_le_bytes(*length) as usize);
        if buffer.len() < whole {
            return frames;
        }
        frames.push(buffer.drain(..whole).collect());
    }
}
