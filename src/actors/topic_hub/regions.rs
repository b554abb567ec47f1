//! Events whose payload comes as a region: the answer to the offer, and the one piece that brings it.
//!
//! Owns the rule that a payload goes as a region to all receivers of its event or to none: a publisher fills memory only when everybody
//! takes it, and with pieces each gets the same bytes. Steps of [`State`], in a file of their own.

use super::attached::{Attached, Given, accept, tell};
use super::observed::note_ended;
use super::state::{Current, State};
use super::uploads::{Target, Upload};
use crate::actors::deliver::charge;
use crate::actors::messages::{Control, EventItem, EventMark};
use crate::actors::regions::{Seat, takes};
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;

impl State {
    /// Tells the publisher whether those who get the event take its payload as a region.
    pub(super) fn answer_offer(&mut self, current: &Current, view: &FrameView<'_>) {
        let mut seated = 0;
        let place = (current.from.id(), view.header.id);
        if let Some(upload) = self.uploads.get_mut(&place).filter(|upload| upload.total == 0) {
            for target in &mut upload.targets {
                let peer = self.receivers.get(target.peer);
                target.seat = peer.filter(|peer| peer.id() == target.id).and_then(Seat::take);
            }
            if upload.targets.iter().all(|target| target.seat.is_some()) {
                seated = upload.targets.len();
            } else {
                upload.targets.iter_mut().for_each(|target| target.seat = None);
            }
        }
        self.shared.metrics.regions_declined.add(u64::from(seated == 0));
        let receivers = u32::try_from(seated).unwrap_or(u32::MAX);
        current
            .from
            .tell(Control::Frame(takes(view.header.id, receivers, false).into()));
    }

    /// The region of a publish: each receiver gets a copy of its own. Who has no seat was not asked, came to another number, or has got
    /// other pieces of the message; it misses the event.
    pub(super) fn region(&mut self, current: &Current, view: &FrameView<'_>, frame: u32, mut upload: Upload) {
        if let Some(why) = current.batch.refused_attachments(frame as usize) {
            self.abort(&mut upload, why.code);
            return tell(current, view, upload.reply.take(), why);
        }
        let attached = match Attached::of(current, view, frame, upload.targets.len()) {
            Ok(Some(attached)) => attached,
            Ok(None) => return self.abort(&mut upload, ErrorCode::Invalid),
            Err(error) => return self.fail(current, view, upload, &error),
        };
        let charged = charge(view.header.wire_len());
        for target in &mut upload.targets {
            let seat = target.seat.take();
            let gone = self
                .receivers
                .get(target.peer)
                .is_none_or(|peer| peer.id() != target.id);
            if target.lost || gone {
                target.lost = true;
                continue;
            }
            let item = region_item(target);
            let offer = (item, charged, target.policy);
            let given = match seat {
                Some(seat) => self.hand_out_with(current, &attached, target.peer, offer, Some(seat)),
                None => Given::Cannot,
            };
            if given != Given::Queued {
                target.lost = true;
                // What `hand_out` has refused is counted as missed already.
                self.fan_out
                    .void(&mut self.receivers, target.peer, item, given == Given::Cannot);
            }
        }
        drop(attached);
        note_ended(upload.gathered.take(), Ok(()));
        if let Some(reply) = upload.reply {
            let whole = upload.targets.iter().filter(|target| !target.lost).count();
            accept(reply, u32::try_from(whole).unwrap_or(u32::MAX), upload.untaken);
        }
    }

    fn fail(&mut self, current: &Current, view: &FrameView<'_>, mut upload: Upload, error: &CallError) {
        self.abort(&mut upload, error.code);
        tell(current, view, upload.reply.take(), error);
    }
}

/// The piece as a receiver gets it, alone in a batch of its own.
fn region_item(target: &Target) -> EventItem {
    EventItem {
        frame: 0,
        count: 1,
        missed: target.message,
        subscription: target.subscription,
        mark: EventMark::default().with_if(true, EventMark::NUMBERED),
    }
}
