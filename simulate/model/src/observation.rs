//! What the judge is told: one fact of one connection, with its place in the run.
//!
//! Owns the vocabulary between whoever runs a broker and the judge. It refuses to know how the facts were gathered. Written by
//! the simulator, read by every rule.

use actix_ipc::message::{Flags, Kind, Origin, codec};

/// What is in force in the broker that is judged. `Default` has the limits of a broker that nobody configured.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The epoch that every `Welcome` names.
    pub epoch: [u8; 16],
    /// Largest payload of one frame, in bytes.
    pub frame_bytes: u32,
    /// Largest message in pieces, in bytes.
    pub message_bytes: u32,
    /// Window of a connection's publishes, in bytes on the wire.
    pub publish_window: u32,
    /// Window of one call's pieces and of its streamed replies, in bytes on the wire.
    pub stream_window: u32,
    /// Deadline of a call that names none, in ms.
    pub default_deadline_ms: u32,
    /// Longest deadline, in ms.
    pub max_deadline_ms: u32,
    /// How long after its deadline a call may be without its outcome once the run is calm, in ms of simulated time.
    pub slack_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            epoch: [0; 16],
            frame_bytes: 16 << 20,
            message_bytes: 256 << 20,
            publish_window: 1 << 20,
            stream_window: 256 << 10,
            default_deadline_ms: 30_000,
            max_deadline_ms: 3_600_000,
            slack_ms: 1_000,
        }
    }
}

/// A core actor of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// Names and calls.
    Registry,
    /// Topics and events.
    TopicHub,
}

/// What a client declared to be, and what the transport knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// It keeps to the protocol: the broker must not end it for a breach.
    pub honest: bool,
    /// Its user, as the origin block of its calls must say; `u32::MAX` when unknown.
    pub uid: u32,
    /// Its process; 0 when unknown.
    pub pid: u32,
}

/// One fact.
#[derive(Clone, Debug)]
pub enum What {
    /// The stream is there. First fact of a connection.
    Opened(Opened),
    /// The client has put this complete frame on the wire, `Hello` included, the preface not. Bytes that are no frame are told
    /// too; a frame that was never completed is not.
    Sent(Vec<u8>),
    /// The broker has decoded this frame of the client: everything before it was decoded before it. Told before the broker
    /// acts on it.
    Arrived(Vec<u8>),
    /// The client has read this complete frame.
    Received(Vec<u8>),
    /// The client has closed its sending direction without `Goodbye`, or the broker's reads of it end here.
    HalfClosed,
    /// The client is gone: it sends and reads nothing any more. Nothing of it is told behind this, but what the broker had
    /// read before and now decodes (`Arrived`).
    Broke,
    /// The client has read the end of the broker's stream.
    Closed,
    /// This core panicked while it handled a frame of the observation's client.
    Panicked(Core),
    /// Nothing is under way inside the broker: all that arrived, broke or closed has been handled, every mailbox is empty.
    /// (Frames may wait in outboxes.) The observation's client means nothing.
    Settled,
    /// The liveness phase begins: from here on there are no faults, and everyone reads. The client means nothing.
    Calm,
}

/// One fact with its place.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The step of the run, never falling. Facts of one step are taken in the order they are told.
    pub at: u64,
    /// Simulated time, in ms.
    pub now_ms: u64,
    /// The connection; a client that connects again has a new number.
    pub client: u32,
    /// The fact.
    pub what: What,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's short name, as tables list it.
    pub rule: &'static str,
    /// Who, when, and what was expected.
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// A decoded frame with its parts as bytes of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// The payload's encoding.
    pub encoding: u8,
    /// Its modifiers, without those of the metadata and origin blocks.
    pub flags: Flags,
    /// Which call, request, subscription.
    pub id: u64,
    /// A number.
    pub aux: u32,
    /// Who caused it.
    pub origin: Option<Origin>,
    /// The metadata block.
    pub meta: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// Bytes on the wire.
    pub wire: u64,
}

/// What bytes are.
pub(crate) enum Parsed {
    /// One frame.
    Frame(Box<Frame>),
    /// A frame of an optional kind, which nobody has to know.
    Optional,
    /// No frame.
    Junk,
}

impl Frame {
    /// Whether all of `flags` are set.
    pub(crate) const fn has(&self, flags: Flags) -> bool {
        self.flags.has(flags)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Parsed {
        let mut decoder = codec::Decoder::new(usize::MAX);
        let Ok(batch) = decoder.decode(bytes) else {
            return Parsed::Junk;
        };
        match batch.view(0) {
            Some(view) if batch.len() == 1 && decoder.buffered() == 0 => Parsed::Frame(Box::new(Self {
                kind: view.header.kind,
                encoding: view.header.encoding.0,
                flags: view.header.flags.without(Flags::META.with(Flags::ORIGIN)),
                id: view.header.id,
                aux: view.header.aux,
                origin: view.origin,
                meta: view.meta.to_vec(),
                key: view.key.to_vec(),
                payload: view.payload.to_vec(),
                wire: bytes.len() as u64,
            })),
            None if decoder.buffered() == 0 && !bytes.is_empty() => Parsed::Optional,
            _ => Parsed::Junk,
        }
    }
}
