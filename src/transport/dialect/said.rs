//! What old clients say and are told, whatever the format: the messages between a codec and the gateway.
//!
//! Owns these types and the trait of a codec. A codec knows the bytes of its format and what that lacks; the gateway knows frames.

use crate::error::ErrorCode;
use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

/// Which request of a client an answer is for. Given by the codec, in the order of the requests.
pub(super) type Place = u64;
/// The broker's number of a call that the client is to answer.
pub(super) type CallTicket = u64;

/// What a client said. Values are JSON texts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// It owns this object from now on.
    Register { place: Place, object: Cow<'a, str> },
    /// It calls.
    Call {
        place: Place,
        object: Cow<'a, str>,
        method: Cow<'a, str>,
        args: &'a str,
    },
    /// It has done what it was called for, or not; the error is a value.
    Answer {
        call: CallTicket,
        outcome: Result<&'a str, Cow<'a, str>>,
    },
    /// It wants the events of a topic.
    Subscribe {
        place: Place,
        object: Cow<'a, str>,
        topic: Cow<'a, str>,
    },
    /// It publishes.
    Publish {
        object: Cow<'a, str>,
        topic: Cow<'a, str>,
        value: &'a str,
    },
    /// It asks whether an object is there.
    Has { place: Place, object: Cow<'a, str> },
    /// It waits for objects, for so many milliseconds at a time.
    Wait {
        place: Place,
        objects: Vec<Cow<'a, str>>,
        patience_ms: u32,
    },
    /// It says which unit provides an object. The format has no answer.
    Service {
        object: Cow<'a, str>,
        unit: Cow<'a, str>,
    },
    /// Nothing that is for the broker; the codec has answered where its format has an answer.
    Nothing,
}

impl Said<'_> {
    /// The place of the answer, of what asks for something that has to be kept until it is answered.
    pub(super) const fn place(&self) -> Option<Place> {
        match self {
            // A format without an answer to it has no place for one.
            Self::Subscribe { place: 0, .. } => None,
            Self::Register { place, .. }
            | Self::Call { place, .. }
            | Self::Subscribe { place, .. }
            | Self::Has { place, .. }
            | Self::Wait { place, .. } => Some(*place),
            Self::Answer { .. } | Self::Publish { .. } | Self::Service { .. } | Self::Nothing => None,
        }
    }
}

/// What is given up because there is no memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The client was told, if it waits for anything.
    Told,
    /// An event for the client.
    Event,
    /// A call for the client, which it has not been given.
    Call(CallTicket),
    /// The client's answer to a call.
    Answer(CallTicket),
    /// Nobody can say what it was.
    Unknown,
}

/// What a client is told.
#[derive(Debug)]
pub(super) enum Told<'a> {
    /// It owns the object.
    Registered(Place),
    /// It hears the topic.
    Subscribed(Place),
    /// What came of its call; a value in JSON.
    Answer(Place, Result<&'a str, &'a Failure>),
    /// Whether what it asked for is there.
    Has(Place, bool),
    /// It is called. Not `answered`: nobody waits for what comes of it.
    Call {
        ticket: CallTicket,
        object: &'a str,
        method: &'a str,
        args: &'a str,
        answered: bool,
    },
    /// An event.
    Event {
        object: &'a str,
        topic: &'a str,
        value: &'a str,
    },
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    /// For people.
    pub(super) text: String,
    /// The handler's own value, in JSON.
    pub(super) value: Option<String>,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            value: None,
        }
    }
}

/// The first message of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// It is not complete.
    More,
    /// It is this, and so many bytes long.
    Said(Said<'a>, usize),
    /// So many bytes are of a message that is too large to be kept, for this reason: the rest of it is read over.
    Lost(Lost, usize, String),
    /// These bytes are none of the format; nothing behind them can be read.
    Broken(String),
}

/// Why a message is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// It is larger than the format carries: its bytes, and the most there may be.
    TooLarge(usize, usize),
    /// So many calls wait already for a client that takes one at a time.
    Busy(usize),
    /// Calls of so many bytes wait already for a client that takes one at a time.
    Full(usize),
}

impl Unsaid {
    pub(super) const fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge(..) => ErrorCode::TooLarge,
            Self::Busy(_) | Self::Full(_) => ErrorCode::TooMany,
        }
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes, most) => {
                write!(f, "a message of {bytes} bytes, of which this client takes {most}")
            }
            Self::Full(bytes) => write!(
                f,
                "one too many: calls of {bytes} bytes wait for this client already, which takes one at a time (limits.dialect_call_bytes)"
            ),
            Self::Busy(calls) => write!(
                f,
                "one too many: {calls} wait for this client already, which takes one at a time (limits.dialect_calls)"
            ),
        }
    }
}

/// One format: its bytes, and a small state for what it lacks.
pub(super) trait Codec: fmt::Debug + Send {
    /// The largest value that a message of it may carry, in bytes.
    fn limit(&self) -> usize;

    /// Reads the first message. What the codec itself has to answer goes to `out`.
    fn next<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> Next<'a>;

    /// Writes a message, as soon as its turn has come.
    ///
    /// # Errors
    /// [`Unsaid`]; nothing is written then.
    fn say(&mut self, told: &Told<'_>, out: &mut Vec<u8>) -> Result<(), Unsaid>;

    /// Nobody waits any more for the answer to a call that the client was given.
    fn cancelled(&mut self, ticket: CallTicket);

    /// Bytes of answers and calls that are kept until their turn has come.
    fn held(&self) -> usize;

    /// Whether the client would take an event for something else, so that events have to wait.
    fn holds_events(&self) -> bool;

    /// The time of what follows. Without one nothing is put off.
    fn clock(&mut self, now: Instant);

    /// When [`Self::time_passed`] is to be called next.
    fn due(&self) -> Option<Instant>;

    /// Writes what was put off until now.
    fn time_passed(&mut self, out: &mut Vec<u8>);

    /// Nothing more is kept of the first message, of which `input` is all that has come: it is answered with `why`, and the rest of it
    /// is read over.
    fn give_up(&mut self, input: &[u8], why: &str, out: &mut Vec<u8>) -> Lost;

    /// Whether a message is being read over.
    fn reads_over(&self) -> bool;

    /// Gives up one thing that is kept until its turn has come. `None`: there is nothing of the kind.
    fn shed(&mut self, why: &str, out: &mut Vec<u8>) -> Option<Lost>;

    /// The client does not read what is written.
    fn unread(&mut self) {}

    /// The connection ends: writes all that was put off.
    fn flush(&mut self, out: &mut Vec<u8>);
}
