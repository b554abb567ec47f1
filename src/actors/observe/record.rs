//! One thing that passed through the broker, as somebody who monitors is told it.
//!
//! Owns the two forms of it: [`Said`] borrows what a step has at hand and costs nothing, [`Record`] is what a monitor keeps of it, and its
//! JSON (docs/rob.md has the keys). Knows no queue and no filter; made by the core actors, slots and answers, through [`tap`](super::tap).

use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Encoding, Flags, Kind, Metadata, Origin, PeerId, Ticket, key};
use serde::Serialize;

/// Metadata that a record shows, in entries.
const META_SHOWN: usize = 16;

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
    /// Its payload, and how that is encoded.
    pub payload: (Encoding, &'a [u8]),
    /// Its payload goes on in pieces.
    pub pieces: bool,
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
        /// Subscribers that it was queued to.
        subscribers: u32,
        /// It is kept as the topic's value.
        retain: bool,
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
            pieces: view.header.flags.has(Flags::CONTINUED),
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
            let text = match view.header.encoding {
                Encoding::RAW => std::str::from_utf8(view.payload).unwrap_or_default(),
                _ => "",
            };
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
            pieces: view.header.flags.has(Flags::CONTINUED),
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
            pieces: false,
        }
    }

    /// Somebody came or went, or something of it.
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
            pieces: false,
        }
    }

    /// What is kept of it. `at_us`: when it passed, since 1970; `shown`: so much of its payload.
    #[must_use]
    pub fn record(&self, at_us: u64, shown: usize) -> Record {
        let text = |text: &str| (!text.is_empty()).then(|| Box::from(text));
        let shown = Shown::of(self.payload, shown);
        match self.what {
            What::Call { ticket, one_way } => Record::Call {
                at_us,
                ticket: ticket.0,
                from: self.from.map(|peer| peer.0),
                to: self.to.map(|peer| peer.0),
                object: self.object.into(),
                member: self.member.into(),
                bytes: self.payload.1.len(),
                one_way,
                pieces: self.pieces,
                meta: meta(self.meta),
                shown,
            },
            What::Reply {
                ticket,
                last,
                us,
                error,
            } => Record::Reply {
                at_us,
                ticket: ticket.0,
                from: self.from.map(|peer| peer.0),
                to: self.to.map(|peer| peer.0),
                object: self.object.into(),
                bytes: self.payload.1.len(),
                last,
                us,
                error: error.map(|(code, _)| code.name()),
                text: error.and_then(|(_, said)| text(said)),
                pieces: self.pieces,
                shown,
            },
            What::Event { subscribers, retain } => Record::Event {
                at_us,
                from: self.from.map(|peer| peer.0),
                object: self.object.into(),
                member: self.member.into(),
                bytes: self.payload.1.len(),
                subscribers,
                retain,
                pieces: self.pieces,
                meta: meta(self.meta),
                shown,
            },
            What::Presence {
                what,
                who,
                name,
                pattern,
            } => Record::Presence {
                at_us,
                what,
                peer: who.peer.0,
                pid: (who.pid != 0).then_some(who.pid),
                uid: (who.uid != u32::MAX).then_some(who.uid),
                name: name.into(),
                object: text(self.object),
                member: text(self.member),
                pattern,
            },
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn no(value: &bool) -> bool {
    !*value
}

/// One record, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the keys are those of docs/rob.md")]
pub enum Record {
    /// A call.
    Call {
        at_us: u64,
        ticket: u64,
        from: Option<u64>,
        to: Option<u64>,
        object: Box<str>,
        member: Box<str>,
        bytes: usize,
        #[serde(skip_serializing_if = "no")]
        one_way: bool,
        #[serde(skip_serializing_if = "no")]
        pieces: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<serde_json::Map<String, serde_json::Value>>,
        #[serde(flatten)]
        shown: Option<Shown>,
    },
    /// An answer.
    Reply {
        at_us: u64,
        ticket: u64,
        from: Option<u64>,
        to: Option<u64>,
        object: Box<str>,
        bytes: usize,
        last: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        us: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Box<str>>,
        #[serde(skip_serializing_if = "no")]
        pieces: bool,
        #[serde(flatten)]
        shown: Option<Shown>,
    },
    /// An event.
    Event {
        at_us: u64,
        from: Option<u64>,
        object: Box<str>,
        member: Box<str>,
        bytes: usize,
        subscribers: u32,
        #[serde(skip_serializing_if = "no")]
        retain: bool,
        #[serde(skip_serializing_if = "no")]
        pieces: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<serde_json::Map<String, serde_json::Value>>,
        #[serde(flatten)]
        shown: Option<Shown>,
    },
    /// Somebody or something came or went.
    Presence {
        at_us: u64,
        what: Presence,
        peer: u64,
        pid: Option<u32>,
        uid: Option<u32>,
        name: Box<str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        object: Option<Box<str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        member: Option<Box<str>>,
        #[serde(skip_serializing_if = "no")]
        pattern: bool,
    },
}

/// A payload, or its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    encoding: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<Box<str>>,
    #[serde(skip_serializing_if = "no")]
    truncated: bool,
}

impl Shown {
    fn of((encoding, bytes): (Encoding, &[u8]), most: usize) -> Option<Self> {
        if most == 0 {
            return None;
        }
        let part = bytes.get(..most).unwrap_or(bytes);
        let mut truncated = part.len() < bytes.len();
        let text = matches!(encoding, Encoding::RAW | Encoding::JSON)
            .then(|| match std::str::from_utf8(part) {
                Ok(text) => Some(text),
                // A character may have been cut in two.
                Err(error) if truncated && error.error_len().is_none() => part
                    .get(..error.valid_up_to())
                    .and_then(|part| std::str::from_utf8(part).ok()),
                Err(_) => None,
            })
            .flatten();
        truncated |= text.is_some_and(|text| text.len() < bytes.len());
        Some(Self {
            encoding: match encoding {
                Encoding::RAW => "raw".into(),
                Encoding::JSON => "json".into(),
                Encoding::POSTCARD => "postcard".into(),
                Encoding::PROTOCOL => "protocol".into(),
                Encoding(other) => other.to_string().into(),
            },
            payload: text.map(Box::from),
            payload_hex: text.is_none().then(|| hex(part)),
            truncated,
        })
    }

    fn len(&self) -> usize {
        let text = [&self.payload, &self.payload_hex];
        text.into_iter().flatten().map(|text| text.len()).sum()
    }
}

fn hex(bytes: &[u8]) -> Box<str> {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.collect::<String>().into()
}

/// Entries as text; those that are none are left out.
fn meta(block: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    if block.is_empty() {
        return None;
    }
    let block = Metadata::parse(block).ok()?;
    let entries = block.iter().filter_map(|(key, value)| {
        let text = std::str::from_utf8(value).ok()?;
        Some((key.to_owned(), text.into()))
    });
    Some(entries.take(META_SHOWN).collect())
}

impl Record {
    /// About how much memory it takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        let (texts, shown) = match self {
            Self::Call {
                object,
                member,
                shown,
                ..
            }
            | Self::Event {
                object,
                member,
                shown,
                ..
            } => (object.len().saturating_add(member.len()), shown.as_ref()),
            Self::Reply {
                object, text, shown, ..
            } => {
                let text = text.as_ref().map_or(0, |text| text.len());
                (object.len().saturating_add(text), shown.as_ref())
            }
            Self::Presence {
                name, object, member, ..
            } => {
                let rest = [object, member];
                let rest: usize = rest.into_iter().flatten().map(|text| text.len()).sum();
                (name.len().saturating_add(rest), None)
            }
        };
        size_of::<Self>()
            .saturating_add(texts)
            .saturating_add(shown.map_or(0, Shown::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Draft;

    #[test]
    fn payloads_are_text_where_they_are_text() {
        let shown = |encoding, bytes: &[u8], most| {
            serde_json::to_value(Shown::of((encoding, bytes), most))
                .unwrap()
                .to_string()
        };
        assert_eq!(shown(Encoding::JSON, b"{}", 0), "null");
        assert_eq!(
            shown(Encoding::JSON, b"{}", 2),
            r#"{"encoding":"json","payload":"{}"}"#
        );
        assert_eq!(
            shown(Encoding::RAW, "aä".as_bytes(), 2),
            r#"{"encoding":"raw","payload":"a","truncated":true}"#
        );
        assert_eq!(
            shown(Encoding::RAW, &[0xff, 1], 9),
            r#"{"encoding":"raw","payload_hex":"ff01"}"#
        );
        assert_eq!(
            shown(Encoding::POSTCARD, b"abc", 2),
            r#"{"encoding":"postcard","payload_hex":"6162","truncated":true}"#
        );
        assert_eq!(shown(Encoding(9), b"", 2), r#"{"encoding":"9","payload_hex":""}"#);
    }

    #[test]
    fn a_call_as_json() {
        let mut meta = Metadata::new();
        meta.insert("traceparent", "00-1").unwrap();
        let bytes = Draft::new(Kind::Call, 3)
            .pair("math", "add")
            .meta(meta.as_bytes())
            .payload(Encoding::JSON, b"[1]")
            .to_vec();
        let batch = crate::message::Batch::from_bytes(bytes.into(), 1024).unwrap();
        let view = batch.view(0).unwrap();
        let what = What::Call {
            ticket: Ticket(9),
            one_way: false,
        };
        let said = Said::framed(what, &view, (PeerId(7), None));
        assert_eq!(
            serde_json::to_string(&said.record(5, 64)).unwrap(),
            concat!(
                r#"{"kind":"call","at_us":5,"ticket":9,"from":7,"to":null,"object":"math","member":"add","bytes":3,"#,
                r#""meta":{"traceparent":"00-1"},"encoding":"json","payload":"[1]"}"#
            )
        );
    }
}
