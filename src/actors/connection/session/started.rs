//! Frames that have begun, and of which nothing more is kept because there is no memory for them: who is told so.
//!
//! Each kind is answered as when it is refused for another reason. That a frame is given up is decided where its bytes are charged. A
//! step of [`Session`], in a file of its own.

use super::asks::refuse;
use super::pieces::publish_window_exceeded;
use super::{Closing, Effects, Session};
use crate::actors::messages::HubItem;
use crate::error::{CallError, CloseReason};
use crate::message::frame::HEADER_LEN;
use crate::message::{CallId, Draft, Flags, Header, Kind};

impl Session {
    /// Answers a frame of which only the header is known. Returns the frame that ends its message, if that has begun before and others
    /// hear it: what is pushed for TopicHub is about that one.
    ///
    /// # Errors
    /// The end of the connection: nobody could be told otherwise.
    pub fn refuse_started(
        &mut self,
        header: &Header,
        error: &CallError,
        effects: &mut Effects,
    ) -> Result<Option<Vec<u8>>, Closing> {
        self.may_say(header.kind)?;
        match header.kind {
            Kind::Call | Kind::CallPiece | Kind::Publish | Kind::Reply | Kind::ReplyPiece | Kind::Error => {
                let silent = header.kind == Kind::Call && header.flags.has(Flags::NO_REPLY);
                effects.dropped = effects.dropped.saturating_add(u64::from(silent));
                // The first part of a call may be with its callee.
                let error = error.clone().ran(header.kind == Kind::CallPiece);
                let lost = format!("there is no memory for the reply: {}", error.message);
                self.refuse_message(header, &error, lost, effects)?;
            }
            Kind::PublishPiece => return self.void(header, error, effects),
            Kind::Send => self.send_beyond(header)?,
            Kind::Register
            | Kind::Wait
            | Kind::Watch
            | Kind::Describe
            | Kind::List
            | Kind::Subscribe
            | Kind::Will
            | Kind::Join => refuse(effects, header, false, error)?,
            _ => return Err((CloseReason::TooMany, error.message.clone())),
        }
        Ok(None)
    }

    /// A piece of a publish: what others have of the message is void. An acknowledged one is answered when it ends.
    fn void(
        &mut self,
        header: &Header,
        error: &CallError,
        effects: &mut Effects,
    ) -> Result<Option<Vec<u8>>, Closing> {
        if !self.publish.spend(header.wire_len()) {
            return Err(publish_window_exceeded());
        }
        let rare = self.rare.as_mut();
        if !rare.is_some_and(|rare| rare.publishing.remove(&header.id)) {
            self.me.grant(header.wire_len());
            return Ok(None);
        }
        if self.open.get_mut(CallId(header.id)).is_none() {
            refuse(effects, header, false, error)?;
        }
        // TopicHub gives the bytes of the frame that ends it back.
        self.me.grant(header.wire_len().saturating_sub(HEADER_LEN));
        effects.hub.push(HubItem::new(0, None));
        let end = Draft::new(Kind::PublishPiece, header.id).flags(Flags::ABORT);
        Ok(Some(end.to_vec()))
    }
}
