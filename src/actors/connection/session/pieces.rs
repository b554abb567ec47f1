//! Pieces and credit: messages that go on after their first frame.
//!
//! Owns when a message in pieces may begin, go on and end, and what waits until its receiver is known. Whom it goes to is Registry's and TopicHub's business. Steps of
//! [`Session`], in a file of their own.

use super::{Closing, Effects, Session, Stop, protocol};
use crate::actors::connection::open_calls::Upload;
use crate::actors::deliver::{Class, Verdict};
use crate::actors::messages::{Control, HubItem, Route};
use crate::actors::regions::Seat;
use crate::config::{Limits, raise};
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Attachment, Batch, CallId, Flags, Header, Kind, Ticket};
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// Whether a publish in pieces of this number may begin.
    pub(super) fn may_begin(&self, id: u64) -> Stop {
        if self.publishes(id) {
            return Err(protocol(&format!("publish {id} in pieces is still open")));
        }
        if self.publishing() >= self.limits.open_calls {
            let (open, how) = (self.publishing(), raise("open_calls"));
            let text = format!(
                "{open} publishes in pieces are open (limits.open_calls); finish some first, or {how}"
            );
            return Err(protocol(&text));
        }
        self.cover_calls(1, 0)
            .map_err(|over| (CloseReason::TooMany, over.to_string()))?;
        Ok(())
    }

    /// Whether the publish in pieces of this number has begun and not ended.
    fn publishes(&self, id: u64) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| rare.publishing.contains(&id))
    }

    /// More of a call or of a publish.
    pub(super) fn piece(
        &mut self,
        batch: &Arc<Batch>,
        frame: u32,
        view: &FrameView<'_>,
        effects: &mut Effects,
    ) -> Stop {
        if view.header.kind == Kind::PublishPiece {
            self.publish_piece(frame, view.header, effects)
        } else {
            self.call_piece(batch, frame, view, effects)
        }
    }

    fn publish_piece(&mut self, frame: u32, header: &Header, effects: &mut Effects) -> Stop {
        if !self.publish.spend(header.wire_len()) {
            return Err(publish_window_exceeded());
        }
        let open = if header.flags.has(Flags::CONTINUED) {
            self.publishes(header.id)
        } else {
            let rare = self.rare.as_mut();
            rare.is_some_and(|rare| rare.publishing.remove(&header.id))
        };
        if open {
            effects.hub.push(HubItem::new(frame, None));
        } else {
            // Its publish was refused: nobody handles this, so its bytes come back from here.
            self.me.grant(header.wire_len());
        }
        Ok(())
    }

    fn call_piece(
        &mut self,
        batch: &Arc<Batch>,
        frame: u32,
        view: &FrameView<'_>,
        effects: &mut Effects,
    ) -> Stop {
        let header = view.header;
        let call = CallId(header.id);
        let Some(open) = self.open.get_mut(call).filter(|open| !open.cancelled) else {
            return Ok(());
        };
        let Some(upload) = open.upload.as_mut().filter(|upload| !upload.complete) else {
            return Err(protocol(
                "a piece of a call that was not announced to be continued",
            ));
        };
        if !upload.window.spend(header.wire_len()) {
            return Err((
                CloseReason::Window,
                format!("the window of call {call} was exceeded (limits.stream_window); wait for CallCredit"),
            ));
        }
        if header.flags.has(Flags::ABORT) {
            self.cancel(call, effects);
            return Ok(());
        }
        upload.complete = !header.flags.has(Flags::CONTINUED);
        seat(upload, header, batch.attachments(frame as usize))?;
        if upload.items.is_none() {
            upload.total = upload.total.saturating_add(view.brings().unwrap_or(usize::MAX));
        } else if upload.complete && !view.payload.is_empty() {
            return Err(protocol("the end of a call's items is an empty piece"));
        }
        if upload.total > self.limits.message_bytes {
            let error = message_too_large(&self.limits);
            self.cancel_with(call, &error, effects);
            return Ok(());
        }
        match &open.callee {
            Some(callee) => {
                let piece = Control::CallPiece(open.ticket, batch.clone(), frame);
                if callee.account.admit(Class::Call, header.wire_len()) == Verdict::Delivered {
                    effects.tell.push((callee.clone(), piece));
                } else {
                    let error = CallError::new(ErrorCode::Overloaded, callee.account.why_full());
                    self.cancel_with(call, &error.ran(true), effects);
                }
            }
            None => {
                let room = self.me.account.room().bytes;
                if let Err(over) = self.cover_calls(0, header.wire_len()) {
                    self.cancel_with(call, &over.error(), effects);
                } else if !self.open.hold_piece(call, batch, frame, room) {
                    let how = raise("outbox_bytes");
                    let text = format!(
                        "{room} bytes of calls wait until their objects are known (limits.outbox_bytes); send slower, or {how}"
                    );
                    let error = CallError::new(ErrorCode::Overloaded, text);
                    self.cancel_with(call, &error.ran(false), effects);
                }
            }
        }
        Ok(())
    }

    /// Registry tells where a call went: pieces that came before it follow.
    pub fn routed(&mut self, route: Route, effects: &mut Effects) {
        let Route { call, ticket, callee } = route;
        let Some(open) = self.open.get_mut(call).filter(|open| open.ticket == ticket) else {
            // Its deadline has passed meanwhile, or it is answered already: then nobody has this ticket, and nothing follows.
            effects.tell.push((callee, Control::Cancel(ticket)));
            return;
        };
        if open.cancelled {
            effects.tell.push((callee, Control::Cancel(ticket)));
            self.open.remove(call);
            return;
        }
        open.callee = Some(callee.clone());
        if let Some(upload) = open.upload.as_mut().filter(|upload| upload.offered) {
            upload.seat = Seat::take(&callee).filter(|_| upload.total == 0);
            effects.answer_offer(call.0, upload.seat.is_some(), false);
        }
        for (batch, frame) in self.open.held_pieces(call) {
            let bytes = batch.header(frame as usize).map_or(0, Header::wire_len);
            if callee.account.admit(Class::Call, bytes) == Verdict::Overflow {
                let error = CallError::new(ErrorCode::Overloaded, callee.account.why_full());
                self.cancel_with(call, &error.ran(true), effects);
                return;
            }
            effects
                .tell
                .push((callee.clone(), Control::CallPiece(ticket, batch, frame)));
        }
    }

    /// Credit for the pieces of a call or for its replies goes to the other side.
    pub(super) fn credit(&mut self, now: Instant, header: &Header, effects: &mut Effects) {
        if header.kind == Kind::ReplyCredit {
            if let Some(open) = self.open.get_mut(CallId(header.id))
                && let Some(callee) = &open.callee
            {
                effects
                    .tell
                    .push((callee.clone(), Control::ReplyCredit(open.ticket, header.aux)));
            }
        } else if let Some((caller, call)) = self.slots.credited(now, Ticket(header.id), header.aux) {
            effects
                .tell
                .push((caller.clone(), Control::CallCredit(call, header.aux)));
        }
    }
}

/// Gives a region the seat that was kept for it; with any other piece of the call that is given up.
fn seat(upload: &mut Upload, header: &Header, attachments: &[Attachment]) -> Stop {
    let kept = upload.seat.take();
    if header.is_region() {
        let kept = kept.filter(|_| upload.total == 0);
        kept.ok_or_else(region_not_taken)?.keep_with(attachments);
    }
    Ok(())
}

/// A region came for a receiver that had not said that it takes it.
pub(super) fn region_not_taken() -> Closing {
    protocol(
        "a region was sent that was not offered, or not taken (Takes), or behind other pieces of its message",
    )
}

/// A publish was sent without credit.
pub(super) fn publish_window_exceeded() -> Closing {
    let text = "the publish window was exceeded (limits.publish_window); wait for PublishCredit";
    (CloseReason::Window, text.into())
}

/// A message in pieces is larger than the limit.
pub(in crate::actors) fn message_too_large(limits: &Limits) -> CallError {
    let text = format!(
        "a message has at most {} bytes in all its pieces (limits.message_bytes); send several, or {}",
        limits.message_bytes,
        raise("message_bytes")
    );
    CallError::new(ErrorCode::TooLarge, text)
}
