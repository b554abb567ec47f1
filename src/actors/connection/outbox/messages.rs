//! Messages of the label bus that wait to be written: runs of one sender and one batch, and what senders are told of theirs.
//!
//! Owns the bytes of `Message` and `Settled` frames. What a message was charged is not given back here, but when it is taken. Pure;
//! called by the lane.

use super::compact::Compact;
use super::write::{Subject, WriteBuf, write_unusual_message};
use crate::actors::connection::session::message_charge;
use crate::actors::messages::MessageItem;
use crate::actors::peer::PeerRef;
use crate::message::bus::{SETTLEMENT_LEN, Settlement};
use crate::message::frame::{HEADER_LEN, ORIGIN_LEN};
use crate::message::metadata::METADATA_MAX;
use crate::message::{Batch, Draft, Encoding, Flags, Header, Kind};
use std::sync::Arc;

/// Entries of one `Settled` frame: a reader takes so many bytes however small its frames are, as a body may have them beside its
/// payload.
const ENTRIES_MAX: usize = METADATA_MAX / SETTLEMENT_LEN;

/// Messages of one delivery.
#[derive(Debug)]
pub(super) struct Messages {
    from: PeerRef,
    batch: Arc<Batch>,
    items: Vec<MessageItem>,
    next: usize,
    /// It was looked at whether they keep too much alive, and nothing was taken since.
    compact: bool,
    /// What they were charged, all together.
    bytes: usize,
}

impl Messages {
    pub(super) fn new(from: PeerRef, batch: Arc<Batch>, items: Vec<MessageItem>) -> Self {
        let bytes = items.iter().map(|item| message_charge(&batch, item)).sum();
        Self {
            bytes,
            from,
            batch,
            items,
            next: 0,
            compact: false,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.next >= self.items.len()
    }

    /// What they were charged, until the last of them is written.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of them carry attachments.
    pub(super) fn carrying(&self) -> usize {
        self.items.iter().filter(|item| item.serial > 0).count()
    }

    pub(super) fn next_carries(&self) -> bool {
        self.items.get(self.next).is_some_and(|item| item.serial > 0)
    }

    /// Writes the messages of the next item until there are about `max` bytes, at least one.
    pub(super) fn write(&mut self, max: usize, out: &mut WriteBuf) {
        let Some(item) = self.items.get_mut(self.next) else {
            return;
        };
        self.compact = false;
        let origin = self.from.origin;
        let [peer, process] = origin.bytes();
        let mut written = 0_u32;
        for (header, body) in self.batch.bodies(item.frame as usize).take(item.count as usize) {
            if out.len() >= max && written > 0 {
                break;
            }
            written = written.saturating_add(1);
            if header.flags.has(Flags::META) {
                write_unusual_message(&self.batch, (header, body), item.endpoint.0, origin, out);
                continue;
            }
            let payload = body.get(usize::from(header.key_len)..).unwrap_or_default();
            let body_len = payload.len().saturating_add(ORIGIN_LEN);
            let [first, second, third] = Header {
                body_len: u32::try_from(body_len).unwrap_or(u32::MAX),
                kind: Kind::Message,
                encoding: header.encoding,
                flags: Flags::ORIGIN,
                id: item.endpoint.0,
                aux: 0,
                key_len: 0,
                attachments: header.attachments,
            }
            .bytes();
            out.plain([first, second, third, peer, process], payload, &self.batch);
        }
        if item.serial > 0 {
            let attachments = self.batch.attachments(item.frame as usize);
            out.carry(Subject::new(Kind::Message, item.serial), attachments);
        }
        if written > 0 && written < item.count {
            item.frame = item.frame.saturating_add(written);
            item.count = item.count.saturating_sub(written);
        } else {
            self.next = self.next.saturating_add(1);
        }
    }

    /// Copies the frames that are left when they are less than a quarter of their buffer.
    pub(super) fn copy_out(&mut self) {
        if std::mem::replace(&mut self.compact, true) {
            return;
        }
        self.items.drain(..self.next.min(self.items.len()));
        self.next = 0;
        let runs = self.items.iter().map(|item| (item.frame, item.count));
        let Some(copy) = Compact::of(&self.batch, runs) else {
            return;
        };
        for item in &mut self.items {
            item.frame = copy.place(item.frame);
        }
        self.batch = Arc::new(copy.batch);
    }
}

/// What one `Settled` frame tells.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<Settlement>);

impl Told {
    /// Adds an entry, to the last one when it goes on there. `false`: the frame is full.
    pub(super) fn add(&mut self, entry: Settlement) -> bool {
        if let Some(last) = self.0.last_mut()
            && last.first.wrapping_add(u64::from(last.count)) == entry.first
            && (last.outcome, last.may_have_arrived, last.receivers)
                == (entry.outcome, entry.may_have_arrived, entry.receivers)
            && let Some(count) = last.count.checked_add(entry.count)
        {
            last.count = count;
            return true;
        }
        if self.0.len() >= ENTRIES_MAX {
            return false;
        }
        self.0.push(entry);
        true
    }

    /// Bytes of the frame.
    pub(super) fn wire_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.0.len().saturating_mul(SETTLEMENT_LEN))
    }

    pub(super) fn write(&self, out: &mut WriteBuf) {
        let payload: Vec<u8> = self.0.iter().flat_map(Settlement::bytes).collect();
        let frame = Draft::new(Kind::Settled, 0).payload(Encoding::RAW, &payload);
        out.bytes(&frame.to_vec());
    }
}
