//! One thing that passes through the broker, as the step that handles it has it at hand.
//!
//! Owns nothing: [`Said`] borrows all its parts and costs nothing. What is kept of it is a [`Record`](super::record::Record). Made by the core
//! actors, by slots and answers, for the [`tap`](super::tap).

use crate::actors::peer::PeerRef;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Encoding, Flags, Header, Kind, Origin, PeerId, Ticket, key, metadata};
use serde::Serialize;

/// Something that passes, as the step that handles it sees it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// What kind of thing.
    pub what: What<'a>,
    /// Who says it; nobody when the broker does.
    pub from: Option<PeerId>,
    /// To whom.
    pub to: Option<PeerId>,
    /// The object that it is about.
    pub object: &'a str,
    /// The method or topic; empty when it is not known.
    pub member: &'a str,
    /// Its metadata.
    pub meta: &'a [u8],
    /// Its payload, or as much of it as is at hand, and how that is encoded.
    pub payload: (Encoding, &'a [u8]),
    /// Bytes of the whole payload.
    pub total: usize,
    /// Its payload came, or was to come, in pieces, and what it is as a whole is not known.
    pub pieces: bool,
    /// Descriptors and the like that travel with it.
    pub attachments: u8,
}

/// What it is, with what only that kind has.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A call on its way to an owner, or to nobody.
    Call {
        /// The broker's number.
        ticket: Ticket,
        /// No answer is wanted.
        one_way: bool,
        /// More than one answer is taken.
        stream: bool,
        /// Items follow it.
        items: bool,
        /// How long its caller waits, in milliseconds; 0: as long as the broker lets it.
        deadline_ms: u32,
    },
    /// An answer, or a part of one.
    Reply {
        /// The broker's number of the call.
        ticket: Ticket,
        /// Nothing of this call follows.
        last: bool,
        /// From when the owner's connection took the call, in microseconds; with the last one.
        us: Option<u64>,
        /// It is an error: the code, and its text.
        error: Option<(ErrorCode, &'a str)>,
    },
    /// An event.
    Event {
        /// Subscriptions that select it.
        subscribers: u32,
        /// It is kept as the topic's value.
        retain: bool,
        /// It was refused, or taken back before it was whole.
        error: Option<ErrorCode>,
    },
    /// Somebody or something came or went.
    Presence {
        /// Which, and in which direction.
        what: Presence,
        /// Who.
        who: Origin,
        /// The name that it declared.
        name: &'a str,
        /// The object and member are patterns.
        pattern: bool,
    },
}

/// What came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A connection was welcomed.
    Connected,
    /// A connection has ended.
    Disconnected,
    /// A connection owns an object now, or has joined its group.
    Registered,
    /// A connection waits in an object's queue.
    Queued,
    /// A connection has given up an object, or its place in the queue.
    Unregistered,
    /// A subscription was opened.
    Subscribed,
    /// A subscription has ended.
    Unsubscribed,
}

impl What<'static> {
    /// A call with this header.
    #[must_use]
    pub const fn call(header: &Header, ticket: Ticket, one_way: bool) -> Self {
        Self::Call {
            ticket,
            one_way,
            stream: header.flags.has(Flags::STREAM),
            items: header.flags.has(Flags::ITEMS),
            deadline_ms: header.aux,
        }
    }

    /// An event with this header.
    #[must_use]
    pub const fn event(header: &Header, subscribers: u32, error: Option<ErrorCode>) -> Self {
        Self::Event {
            subscribers,
            retain: header.flags.has(Flags::RETAIN),
            error,
        }
    }
}

impl<'a> Said<'a> {
    /// A frame with a key: a call or an event.
    #[must_use]
    pub fn framed(what: What<'a>, view: &FrameView<'a>, (from, to): (PeerId, Option<PeerId>)) -> Self {
        let (object, member) = key::split(view.key);
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        Self {
            what,
            from: Some(from),
            to,
            object: text(object),
            member: text(member),
            meta: view.meta,
            payload: (view.header.encoding, view.payload),
            total: view.payload.len(),
            // Items are no part of the call's payload.
            pieces: view.header.flags.has(Flags::CONTINUED) && !view.header.flags.has(Flags::ITEMS),
            attachments: view.header.attachments,
        }
    }

    /// What the owner of an object answers.
    #[must_use]
    pub fn answer(
        view: &FrameView<'a>,
        (from, to): (PeerId, PeerId),
        ticket: Ticket,
        object: &'a str,
        last: bool,
        us: Option<u64>,
    ) -> Self {
        let error = (view.header.kind == Kind::Error).then(|| {
            // With a value of its own an error has its text beside it.
            let text = match metadata::get(view.meta, metadata::ERROR_TEXT) {
                Some(text) => text,
                None if view.header.encoding == Encoding::RAW => view.payload,
                None => &[],
            };
            let text = std::str::from_utf8(text).unwrap_or_default();
            (ErrorCode::from_code(view.header.aux), text)
        });
        Self {
            what: What::Reply {
                ticket,
                last,
                us,
                error,
            },
            from: Some(from),
            to: Some(to),
            object,
            member: "",
            meta: view.meta,
            payload: (view.header.encoding, view.payload),
            total: view.payload.len(),
            pieces: view.header.kind == Kind::ReplyPiece || view.header.flags.has(Flags::CONTINUED),
            attachments: view.header.attachments,
        }
    }

    /// The broker's own answer to a call: an error.
    #[must_use]
    pub fn failure(to: PeerId, ticket: Ticket, object: &'a str, error: &'a CallError) -> Self {
        Self {
            what: What::Reply {
                ticket,
                last: true,
                us: None,
                error: Some((error.code, &error.message)),
            },
            from: None,
            to: Some(to),
            object,
            member: "",
            meta: &[],
            payload: (Encoding::RAW, &[]),
            total: 0,
            pieces: false,
            attachments: 0,
        }
    }

    /// Somebody came or went, or something of it.
    #[must_use]
    pub fn of_peer(what: Presence, peer: Option<&'a PeerRef>, about: (&'a str, &'a str, bool)) -> Self {
        let nobody = Origin {
            peer: PeerId(0),
            uid: u32::MAX,
            pid: 0,
        };
        let (who, name) = peer.map_or((nobody, ""), |peer| (peer.origin, peer.name()));
        Self::presence(what, who, name, about)
    }

    /// The same of whoever is known by these.
    #[must_use]
    pub const fn presence(
        what: Presence,
        who: Origin,
        name: &'a str,
        (object, member, pattern): (&'a str, &'a str, bool),
    ) -> Self {
        Self {
            what: What::Presence {
                what,
                who,
                name,
                pattern,
            },
            from: Some(who.peer),
            to: None,
            object,
            member,
            meta: &[],
            payload: (Encoding::RAW, &[]),
            total: 0,
            pieces: false,
            attachments: 0,
        }
    }
}
