//! Messages that may come in pieces, compared between who sent them and who gets them.
//!
//! Owns the reading of CONTINUED and ABORT. It refuses to know whether it is about arguments or replies.

use crate::Frame;
use actix_ipc::message::{Flags, Kind};

/// A message as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    state: State,
    /// Each piece is an item of its own: where one ends is kept among the bytes.
    items: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Whole,
    Void,
}

impl Message {
    pub(super) fn begin(frame: &Frame) -> Self {
        // On other kinds the bit has another meaning.
        let items = frame.kind == Kind::Call && frame.has(Flags::ITEMS);
        let mut message = Self {
            items,
            ..Self::default()
        };
        message.piece(frame);
        message
    }

    /// Takes the first or a later frame.
    pub(super) fn piece(&mut self, frame: &Frame) {
        // The flag ABORT shares its bit with flags of first frames.
        let piece = matches!(
            frame.kind,
            Kind::CallPiece | Kind::ReplyPiece | Kind::PublishPiece | Kind::EventPiece
        );
        match self.state {
            State::Open if piece && frame.has(Flags::ABORT) => self.state = State::Void,
            State::Open => {
                if self.items {
                    let length = frame.payload.len() as u64;
                    self.bytes.push(frame.encoding);
                    self.bytes.extend(length.to_le_bytes());
                }
                self.bytes.extend_from_slice(&frame.payload);
                if !frame.has(Flags::CONTINUED) {
                    self.state = State::Whole;
                }
            }
            State::Whole | State::Void => {}
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    pub(super) fn is_void(&self) -> bool {
        self.state == State::Void
    }

    /// Whether who got `self` may have got it from who sent `sent` so far.
    pub(super) fn follows(&self, sent: &Self) -> bool {
        match self.state {
            State::Open => sent.bytes.starts_with(&self.bytes),
            State::Whole => sent.is_whole() && sent.bytes == self.bytes,
            State::Void => !sent.is_whole() && sent.bytes.starts_with(&self.bytes),
        }
    }
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    encoding: u8,
    meta: Vec<u8>,
    /// Another one follows.
    pub(super) more: bool,
    pub(super) message: Message,
}

impl Item {
    pub(super) fn begin(frame: &Frame) -> Self {
        Self {
            encoding: frame.encoding,
            meta: frame.meta.clone(),
            more: frame.has(Flags::MORE),
            message: Message::begin(frame),
        }
    }

    /// Whether it may be what `sent` is.
    pub(super) fn follows(&self, sent: &Self) -> bool {
        (self.encoding, &self.meta, self.more) == (sent.encoding, &sent.meta, sent.more)
            && self.message.follows(&sent.message)
    }

    /// Whether it is the end of its call.
    pub(super) fn ends(&self) -> bool {
        !self.more && !self.message.is_open()
    }
}
