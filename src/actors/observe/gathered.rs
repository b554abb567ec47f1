//! A message in pieces that somebody monitors, until all of it has passed.
//!
//! Owns what is kept of it: as much as those who want to see it have asked for, within a budget of all such messages. It is told as one
//! record, when its last piece is there or none comes any more. Kept beside the call or upload that it belongs to, by whoever follows that.

use super::said::{Said, What};
use super::tap::Tap;
use crate::message::frame::FrameView;
use crate::message::{Attachment, Encoding, PeerId};
use crate::transport::region;
use std::sync::Arc;

/// What it takes beside texts and payload, in bytes.
const OVERHEAD: usize = 256;

/// A message in pieces, as far as it has come.
#[derive(Debug)]
pub struct Gathered {
    /// What it is.
    pub what: What<'static>,
    from: Option<PeerId>,
    to: Option<PeerId>,
    object: Box<str>,
    member: Box<str>,
    meta: Box<[u8]>,
    encoding: Encoding,
    attachments: u8,
    bytes: Vec<u8>,
    /// So many bytes of it are wanted.
    most: usize,
    total: usize,
    reserved: usize,
    tap: Arc<Tap>,
}

impl Gathered {
    /// The first frame of a message in pieces. Nothing, when nobody wants to see it or too much is kept already.
    #[cold]
    #[must_use]
    pub fn begin(tap: &Arc<Tap>, what: What<'static>, said: &Said<'_>) -> Option<Box<Self>> {
        let most = tap.wanted_of(said)?;
        let texts = [said.object.len(), said.member.len(), said.meta.len()];
        let reserved = texts.into_iter().fold(OVERHEAD, usize::saturating_add);
        if !tap.reserve(reserved) {
            return None;
        }
        let mut gathered = Box::new(Self {
            what,
            from: said.from,
            to: said.to,
            object: said.object.into(),
            member: said.member.into(),
            meta: said.meta.into(),
            encoding: said.payload.0,
            attachments: said.attachments,
            bytes: Vec::new(),
            most,
            total: said.total,
            reserved,
            tap: tap.clone(),
        });
        gathered.keep(said.payload.1);
        Some(gathered)
    }

    /// The next piece, with what is attached to its frame.
    pub fn add(&mut self, view: &FrameView<'_>, attachments: &[Attachment]) {
        let brings = view.brings().unwrap_or_default();
        self.total = self.total.saturating_add(brings);
        if !view.header.is_region() {
            return self.keep(view.payload);
        }
        // Its receivers look at it as well: what is no memory as it should be is told without its bytes.
        if self.bytes.len() < self.most
            && let Some(Ok(bytes)) = attachments.first().map(|memory| region::open(memory, brings))
        {
            self.keep(&bytes);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.bytes.len());
        let part = bytes.get(..room).unwrap_or(bytes);
        if !part.is_empty() && self.tap.reserve(part.len()) {
            self.reserved = self.reserved.saturating_add(part.len());
            self.bytes.extend_from_slice(part);
        } else if !part.is_empty() {
            // What comes behind a gap is not its beginning.
            self.most = self.bytes.len();
        }
    }

    /// Monitors are told of it. `whole`: its last piece was there.
    pub fn tell(self, whole: bool) {
        self.tap.offer(&Said {
            what: self.what,
            from: self.from,
            to: self.to,
            object: &self.object,
            member: &self.member,
            meta: &self.meta,
            payload: (self.encoding, &self.bytes),
            total: self.total,
            pieces: !whole,
            attachments: self.attachments,
        });
    }

    /// Whether it is a call, and no answer to one.
    #[must_use]
    pub const fn is_call(&self) -> bool {
        matches!(self.what, What::Call { .. })
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.tap.give_back(self.reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tap::{GATHERED_BYTES, Watcher};
    use super::*;
    use crate::message::{Batch, Draft, Flags, Kind, Ticket};
    use serde_json::{Value, json};
    use std::time::Duration;

    /// The records of a call in pieces of these bytes, for a monitor with this filter.
    fn told(filter: &Value, pieces: &[&[u8]], whole: bool) -> Value {
        let tap = Tap::new();
        let monitor = tap
            .watch(serde_json::from_value(filter.clone()).unwrap(), Watcher::Operator)
            .unwrap();
        let frames = pieces.iter().enumerate().map(|(at, piece)| {
            let kind = if at == 0 { Kind::Call } else { Kind::CallPiece };
            let flags = Flags::NONE.with_if(at + 1 < pieces.len(), Flags::CONTINUED);
            let draft = Draft::new(kind, 3).flags(flags).payload(Encoding::JSON, piece);
            let draft = if at == 0 { draft.pair("math", "add") } else { draft };
            draft.to_vec()
        });
        let batch = Batch::from_bytes(frames.flatten().collect::<Vec<_>>().into(), 1 << 20).unwrap();
        let view = |at| batch.view(at).unwrap();
        let what = What::call(view(0).header, Ticket(9), false);
        let said = Said::framed(what, &view(0), (PeerId(7), Some(PeerId(8))));
        let gathered = Gathered::begin(&tap, what, &said);
        if let Some(mut gathered) = gathered {
            (1..pieces.len()).for_each(|at| gathered.add(&view(at), &[]));
            gathered.tell(whole);
        }
        assert!(tap.reserve(GATHERED_BYTES), "all of it was given back");
        serde_json::to_value(monitor.drain(Duration::ZERO).0).unwrap()
    }

    #[test]
    fn pieces_are_one_record() {
        let pieces: [&[u8]; 3] = [b"[1,", b"2,3", b"]"];
        let all = told(&json!({ "payloads": 100 }), &pieces, true);
        assert_eq!(
            (&all[0]["bytes"], &all[0]["payload"]),
            (&json!(7), &json!("[1,2,3]"))
        );
        assert_eq!(
            (&all[0]["pieces"], &all[0]["truncated"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(all.as_array().unwrap().len(), 1);
    }

    #[test]
    fn what_is_not_all_of_it_says_so() {
        let pieces: [&[u8]; 3] = [b"[1,", b"2,3", b"]"];
        let beginning = told(&json!({ "payloads": 5 }), &pieces, true);
        assert_eq!(
            (
                &beginning[0]["bytes"],
                &beginning[0]["payload"],
                &beginning[0]["truncated"]
            ),
            (&json!(7), &json!("[1,2,"), &json!(true))
        );
        let nothing = told(&json!({}), &pieces, true);
        assert_eq!(
            (&nothing[0]["bytes"], &nothing[0].get("payload")),
            (&json!(7), &None)
        );
        let broken = told(&json!({ "payloads": 5 }), &pieces, false);
        assert_eq!(broken[0]["pieces"], true);
        assert_eq!(told(&json!({ "object": "other" }), &pieces, true), json!([]));
    }

    #[test]
    fn there_is_a_budget_for_all_of_them() {
        let tap = Tap::new();
        let _monitor = tap
            .watch(
                serde_json::from_str(r#"{"payloads":1048576}"#).unwrap(),
                Watcher::Operator,
            )
            .unwrap();
        let large = vec![b'x'; 1 << 20];
        let what = What::Event {
            subscribers: 1,
            retain: false,
            error: None,
        };
        let said = Said {
            payload: (Encoding::RAW, &large),
            total: large.len(),
            ..Said::of_peer(super::super::said::Presence::Connected, None, ("a", "b", false))
        };
        let said = Said { what, ..said };
        let kept: Vec<_> = (0..20)
            .filter_map(|_| Gathered::begin(&tap, what, &said))
            .collect();
        let bytes: usize = kept.iter().map(|gathered| gathered.bytes.len()).sum();
        assert!(bytes > 0 && bytes <= GATHERED_BYTES, "{bytes}");
        drop(kept);
        assert!(tap.reserve(GATHERED_BYTES));
    }
}
