//! Frames with descriptors: which may carry how many, and the answer when what they carry was refused.
//!
//! Owns what holds before such a frame is handled like any other. Whether descriptors are refused is decided where they
//! arrive. A step of [`Session`], in a file of its own.

use super::pieces::publish_window_exceeded;
use super::{Closing, Effects, Session, Stop, protocol};
use crate::actors::peer::error_frame;
use crate::error::{CallError, ErrorCode};
use crate::message::{Batch, CallId, Draft, Flags, Header, Kind, Ticket};

impl Session {
    /// `true`: the frame goes on with what it carries. `false`: it has been answered.
    pub(super) fn attached(
        &mut self,
        batch: &Batch,
        frame: u32,
        header: &Header,
        effects: &mut Effects,
    ) -> Result<bool, Closing> {
        if u32::from(header.attachments) > self.me.max_attachments() {
            return Err(protocol(&format!(
                "a frame declares {} attachments; at most {} travel over this connection (limits.attachments)",
                header.attachments,
                self.me.max_attachments()
            )));
        }
        let carries = matches!(header.kind, Kind::Call | Kind::Reply | Kind::Publish | Kind::Send);
        if !carries && !header.is_region() {
            return Err(protocol(
                "only calls, replies, publishes and messages carry attachments, and pieces that bring a region",
            ));
        }
        if let Some(why) = batch.refused_attachments(frame as usize) {
            if header.kind == Kind::Send {
                return self.send_refused(header).map(|()| false);
            }
            if header.kind == Kind::PublishPiece {
                // TopicHub knows who waits for it.
                return Ok(true);
            }
            let text = format!("what the reply carries was refused: {}", why.message);
            self.refuse_message(header, why, text, effects)?;
            if matches!(header.kind, Kind::Call | Kind::Publish) {
                self.note_refused(effects, frame, header, why.clone());
            }
            return Ok(false);
        }
        if batch.attachments(frame as usize).len() != usize::from(header.attachments) {
            return Err(protocol(
                "the attachments that a frame declares did not come with it",
            ));
        }
        Ok(true)
    }

    /// Refuses a call, a publish or an answer, each to whom it is owed; `lost` is for who waits for an answer.
    pub(super) fn refuse_message(
        &mut self,
        header: &Header,
        why: &CallError,
        lost: String,
        effects: &mut Effects,
    ) -> Stop {
        if header.kind == Kind::Publish {
            if !self.publish.spend(header.wire_len()) {
                return Err(publish_window_exceeded());
            }
            self.me.grant(header.wire_len());
            // Told without being asked, as when the policy denies it: that the event is lost must not look as if nobody listened.
            effects.send.push(error_frame(header.id, why));
            return Ok(());
        }
        if header.kind == Kind::CallPiece {
            self.cancel_with(CallId(header.id), why, effects);
            return Ok(());
        }
        if header.kind == Kind::Call {
            if !header.flags.has(Flags::NO_REPLY) {
                effects.send.push(error_frame(header.id, why));
            }
            return Ok(());
        }
        let lost = CallError::new(ErrorCode::ReplyLost, lost).ran(true);
        let ticket = Ticket(header.id);
        if self.slots.fail(ticket, &lost) {
            effects.send.push(Draft::new(Kind::Cancel, ticket.0).to_vec());
            self.me.account.set_load(self.slots.len());
        }
        Ok(())
    }
}
