//! Last wills: what a connection leaves to be published when it dies.
//!
//! Owns the keeping and the publishing; whether its author may publish that is asked both times, because the policy may have
//! changed in between. Steps of TopicHub, in a file of their own.

use super::facts::{Will, will_cost};
use super::state::{Current, State};
use crate::actors::messages::HubItem;
use crate::actors::peer::{PeerRef, ReplyTo};
use crate::actors::peers::NOBODY;
use crate::actors::supervise::Progress;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Batch, Draft, Flags, Kind};
use bytes::Bytes;
use std::sync::Arc;

impl State {
    pub(super) fn will(&mut self, current: &Current, view: &FrameView<'_>, reply: ReplyTo) {
        if let Err(error) = self.check_publish(&current.from, view.key) {
            return reply.fail(&error);
        }
        let peer = self.receivers.add(&current.from);
        let will = Will {
            key: view.key.into(),
            retain: view.header.flags.has(Flags::RETAIN),
            encoding: view.header.encoding,
            meta: Bytes::copy_from_slice(view.meta),
            payload: Bytes::copy_from_slice(view.payload),
        };
        if let Err(error) = self.room(current, peer, will_cost(&will)) {
            return reply.fail(&error);
        }
        let (ticket, limits) = (self.ticket(), self.retain_limits());
        let result = self.index.set_will(ticket, peer, will, limits, &mut self.effects);
        self.commit();
        match result {
            Ok(()) => reply.done(0),
            Err(error) => reply.fail(&CallError::new(ErrorCode::TooLarge, error.to_string()).ran(false)),
        }
    }

    /// Publishes the will of a peer whose connection died.
    pub(super) fn publish_will(&mut self, author: PeerRef, will: &Will) -> Progress {
        if let Err(error) = self.check_publish(&author, &will.key) {
            tracing::warn!(
                peer = author.id().0,
                "a will was not published; {}",
                error.message
            );
            return Progress::Done;
        }
        let flags = Flags::NONE.with_if(will.retain, Flags::RETAIN);
        let draft = Draft::new(Kind::Publish, 0)
            .flags(flags)
            .key(&will.key)
            .meta(&will.meta);
        let bytes = draft.payload(will.encoding, &will.payload).to_vec();
        let Ok(batch) = Batch::from_bytes(bytes.into(), self.shared.limits.frame_bytes) else {
            return Progress::Done;
        };
        let items = vec![HubItem::new(0, None)].into_iter();
        let batch = Arc::new(batch);
        self.current = Some(Current {
            from: author,
            key: NOBODY,
            batch,
            items,
            rest: None,
            published: 0,
            will: true,
            _permit: None,
        });
        self.run()
    }
}
