//! What a monitor keeps of a thing that passed, and its JSON.
//!
//! Owns which parts are kept and how a payload is shown; docs/observe.md has the keys. Knows no queue and no filter. Made by the
//! [`tap`](super::tap) from what a step has at hand.

use super::said::{Presence, Said, What};
use crate::error::ErrorCode;
use crate::message::{Encoding, Metadata, Origin};
use crate::text::{cut, hex};
use serde::Serialize;

/// What an entry of the metadata takes beside its texts, in bytes.
const ENTRY: usize = 128;
/// Metadata that a record shows, in entries.
const META_SHOWN: usize = 64;
/// The most of an error's text that a record keeps, in bytes: it is as long as its sender likes, and nobody is charged for it here.
const TEXT_MAX: usize = 4 * 1024;

impl Said<'_> {
    /// What is kept of it. `at_us`: when it passed, since 1970; `shown`: so much of its payload.
    #[must_use]
    pub fn record(&self, at_us: u64, shown: usize) -> Record {
        let shown = Shown::of(self.payload, self.total, shown);
        let (meta, meta_left_out) = meta(self.meta);
        match self.what {
            What::Call {
                ticket,
                one_way,
                stream,
                items,
                deadline_ms,
            } => Record::Call {
                at_us,
                ticket: ticket.0,
                from: self.from.map(|peer| peer.0),
                to: self.to.map(|peer| peer.0),
                object: self.object.into(),
                member: self.member.into(),
                bytes: self.total,
                one_way,
                stream,
                items,
                deadline_ms,
                attachments: self.attachments,
                pieces: self.pieces,
                meta,
                meta_left_out,
                shown,
            },
            What::Reply {
                ticket,
                last,
                us,
                error,
            } => self.reply_record((at_us, ticket.0), (last, us), error, shown),
            What::Event {
                subscribers,
                retain,
                error,
            } => Record::Event {
                at_us,
                from: self.from.map(|peer| peer.0),
                object: self.object.into(),
                member: self.member.into(),
                bytes: self.total,
                subscribers,
                retain,
                error: error.map(ErrorCode::name),
                attachments: self.attachments,
                pieces: self.pieces,
                meta,
                meta_left_out,
                shown,
            },
            What::Presence {
                what,
                who,
                name,
                pattern,
            } => self.presence_record(at_us, (what, who), name, pattern),
        }
    }

    fn reply_record(
        &self,
        (at_us, ticket): (u64, u64),
        (last, us): (bool, Option<u64>),
        error: Option<(ErrorCode, &str)>,
        shown: Option<Shown>,
    ) -> Record {
        Record::Reply {
            at_us,
            ticket,
            from: self.from.map(|peer| peer.0),
            to: self.to.map(|peer| peer.0),
            object: self.object.into(),
            bytes: self.total,
            last,
            us,
            error: error.map(|(code, _)| code.name()),
            text: error.and_then(|(_, said)| text(cut(said, TEXT_MAX))),
            attachments: self.attachments,
            pieces: self.pieces,
            shown,
        }
    }

    fn presence_record(
        &self,
        at_us: u64,
        (what, who): (Presence, Origin),
        name: &str,
        pattern: bool,
    ) -> Record {
        Record::Presence {
            at_us,
            what,
            peer: who.peer.0,
            pid: (who.pid != 0).then_some(who.pid),
            uid: (who.uid != u32::MAX).then_some(who.uid),
            name: name.into(),
            object: text(self.object),
            member: text(self.member),
            pattern,
        }
    }
}

fn text(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn no(value: &bool) -> bool {
    !*value
}

fn is_none<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One record, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the keys are those of docs/observe.md")]
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
        stream: bool,
        #[serde(skip_serializing_if = "no")]
        items: bool,
        #[serde(skip_serializing_if = "is_none")]
        deadline_ms: u32,
        #[serde(skip_serializing_if = "is_none")]
        attachments: u8,
        #[serde(skip_serializing_if = "no")]
        pieces: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<serde_json::Map<String, serde_json::Value>>,
        #[serde(skip_serializing_if = "is_none")]
        meta_left_out: usize,
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
        #[serde(skip_serializing_if = "is_none")]
        attachments: u8,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        #[serde(skip_serializing_if = "is_none")]
        attachments: u8,
        #[serde(skip_serializing_if = "no")]
        pieces: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<serde_json::Map<String, serde_json::Value>>,
        #[serde(skip_serializing_if = "is_none")]
        meta_left_out: usize,
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
    /// `total`: bytes of the whole payload, of which `bytes` are at hand.
    fn of((encoding, bytes): (Encoding, &[u8]), total: usize, most: usize) -> Option<Self> {
        if most == 0 {
            return None;
        }
        let part = bytes.get(..most).unwrap_or(bytes);
        let mut truncated = part.len() < total;
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
        truncated |= text.is_some_and(|text| text.len() < total);
        Some(Self {
            encoding: match encoding {
                Encoding::RAW => "raw".into(),
                Encoding::JSON => "json".into(),
                Encoding::POSTCARD => "postcard".into(),
                Encoding::PROTOCOL => "protocol".into(),
                Encoding(other) => other.to_string().into(),
            },
            payload: text.map(Box::from),
            payload_hex: text.is_none().then(|| hex(part).into()),
            truncated,
        })
    }

    fn len(&self) -> usize {
        let text = [&self.payload, &self.payload_hex];
        text.into_iter().flatten().map(|text| text.len()).sum()
    }
}

/// Entries as text, and how many are not among them: those that are no text, or too many, or have the key of another one.
fn meta(block: &[u8]) -> (Option<serde_json::Map<String, serde_json::Value>>, usize) {
    if block.is_empty() {
        return (None, 0);
    }
    let Ok(block) = Metadata::parse(block) else {
        return (None, 0);
    };
    let entries = block.iter().filter_map(|(key, value)| {
        let text = std::str::from_utf8(value).ok()?;
        Some((key.to_owned(), text.into()))
    });
    let shown: serde_json::Map<_, _> = entries.take(META_SHOWN).collect();
    let left_out = block.iter().count().saturating_sub(shown.len());
    (Some(shown), left_out)
}

impl Record {
    /// About how much memory it takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        let entries = match self {
            Self::Call { meta, .. } | Self::Event { meta, .. } => meta.as_ref(),
            Self::Reply { .. } | Self::Presence { .. } => None,
        };
        let meta = entries.into_iter().flatten().fold(0_usize, |sum, (key, value)| {
            let text = key.len().saturating_add(value.as_str().map_or(0, str::len));
            sum.saturating_add(text).saturating_add(ENTRY)
        });
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
            .saturating_add(meta)
            .saturating_add(shown.map_or(0, Shown::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Draft, Kind, PeerId, Ticket};

    #[test]
    fn payloads_are_text_where_they_are_text() {
        let shown = |encoding, bytes: &[u8], most| {
            serde_json::to_value(Shown::of((encoding, bytes), bytes.len(), most))
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
    fn metadata_that_is_not_shown_is_counted() {
        let mut block = Metadata::new();
        block.insert("binary", [0xff]).unwrap();
        for number in 0..META_SHOWN + 3 {
            block.insert(&format!("k{number}"), "v").unwrap();
        }
        let (shown, left_out) = meta(block.as_bytes());
        assert_eq!((shown.unwrap().len(), left_out), (META_SHOWN, 1 + 3));
        assert_eq!(meta(&[]), (None, 0));
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
        let what = What::call(view.header, Ticket(9), false);
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
