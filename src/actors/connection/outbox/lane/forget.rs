//! What waits of the answers to one call, dropped: a frame of them could not be sent, and the call ends with that.
//!
//! Owns what belongs to a call, and whether its caller has its end already. Part of the [`Lane`], called through it.

use super::{Frames, Lane, Run, keep};
use crate::actors::deliver::charge;
use crate::actors::messages::Answer;
use crate::message::frame::parse_header;
use crate::message::{CallId, Kind};

/// What waited of the answers to a call, and was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// What it was charged, in bytes.
    pub charged: usize,
    /// An error of the broker's own for the same call waits: its caller has its end.
    pub ended: bool,
}

impl Frames<Answer> {
    /// Drops the answers to a call that are left. Returns what they were charged, and how many carried something.
    fn forget(&mut self, call: CallId) -> (usize, usize) {
        let (mut charged, mut carrying) = (0_usize, 0_usize);
        self.items
            .drain(..std::mem::take(&mut self.next).min(self.items.len()));
        let batch = &self.batch;
        self.items.retain(|item| {
            // What a caller sends to this peer lies here as well, under a ticket.
            let header = batch.header(item.frame as usize);
            let answers =
                header.filter(|header| matches!(header.kind, Kind::Reply | Kind::ReplyPiece | Kind::Error));
            let Some(header) = answers.filter(|_| item.call == call) else {
                return true;
            };
            charged = charged.saturating_add(charge(header.wire_len()));
            carrying = carrying.saturating_add(usize::from(
                header.attachments > 0 && !batch.attachments(item.frame as usize).is_empty(),
            ));
            false
        });
        (charged, carrying)
    }
}

impl Lane {
    /// Drops what waits of the answers to a call.
    pub(in crate::actors::connection::outbox) fn forget_answers(&mut self, call: CallId) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let Some(queue) = &mut self.queue else {
            return forgotten;
        };
        let mut gone = 0_usize;
        queue.runs.retain_mut(|run| {
            match run {
                Run::Own(frame) => forgotten.ended |= is_error(frame, call),
                Run::Forwards(frames) => {
                    let (charged, carrying) = frames.forget(call);
                    forgotten.charged = forgotten.charged.saturating_add(charged);
                    gone = gone.saturating_add(carrying);
                    return !frames.is_done();
                }
                _ => {}
            }
            true
        });
        queue.carrying = queue.carrying.saturating_sub(gone);
        queue.compacted = 0;
        if queue.runs.is_empty() {
            self.queue.take().into_iter().for_each(keep);
        }
        forgotten
    }
}

/// Whether a frame of the broker's own is the error that ends this call.
fn is_error(frame: &[u8], call: CallId) -> bool {
    let header = frame
        .first_chunk()
        .and_then(|head| parse_header(head, usize::MAX).ok()?.ok());
    header.is_some_and(|header| header.kind == Kind::Error && header.id == call.0)
}
