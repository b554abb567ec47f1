//! Publishes in pieces, from their first frame to their last.
//!
//! Owns what is remembered of one that is under way: who gets its pieces, and the answer that waits for the last. It belongs to the
//! actor, not to the index, so a panic of the index does not lose it. Steps of [`State`], in a file of their own.

use super::attached::{Attached, Given, accept, tell};
use super::facts::Policy;
use super::index::Match;
use super::observed::note_ended;
use super::state::{Current, State};
use crate::actors::accounts::Charge;
use crate::actors::connection::session::message_too_large;
use crate::actors::deliver::charge;
use crate::actors::messages::{Control, EventItem, EventMark, HubItem};
use crate::actors::observe::gathered::Gathered;
use crate::actors::peer::ReplyTo;
use crate::actors::peers::Key;
use crate::actors::planted::{self, Bug};
use crate::actors::regions::Seat;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Flags, PeerId, SubscriptionId};
use std::collections::HashMap;
use std::sync::Arc;

/// What a publish in pieces is charged beside its receivers.
const UPLOAD_OVERHEAD: usize = 512;

/// Publishes in pieces that are under way, by publisher and its number.
pub(super) type Uploads = HashMap<(PeerId, u64), Upload>;

/// One publish in pieces.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) total: usize,
    /// The answer that waits for the last piece, and how many subscribers it will name.
    pub(super) reply: Option<ReplyTo>,
    pub(super) targets: Vec<Target>,
    /// Who would hear it and cannot take what is attached.
    pub(super) untaken: usize,
    /// For those who watch, as long as it is not whole.
    pub(super) gathered: Option<Box<Gathered>>,
    /// The publisher pays for what is remembered of each receiver.
    _charge: Option<Charge>,
}

/// One receiver of a publish in pieces.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) peer: Key,
    /// Who it was when the message began: keys are given again.
    pub(super) id: PeerId,
    pub(super) subscription: SubscriptionId,
    /// The number under which its pieces go.
    pub(super) message: u32,
    pub(super) policy: Policy,
    pub(super) lost: bool,
    /// It takes the payload as a region.
    pub(super) seat: Option<Seat>,
}

impl State {
    /// The first frame of a publish in pieces: each receiver gets an event of its own, which names its pieces.
    ///
    /// # Errors
    /// It was refused, and its publisher was told.
    pub(super) fn publish_continued(
        &mut self,
        current: &Current,
        view: &FrameView<'_>,
        mut item: HubItem,
    ) -> Result<(), ErrorCode> {
        if view.header.flags.has(Flags::RETAIN) {
            let text = "a retained value is sent in one frame, of at most limits.retained_bytes";
            let error = CallError::new(ErrorCode::TooLarge, text).ran(false);
            tell(current, view, item.reply, &error);
            return Err(error.code);
        }
        let place = (current.from.id(), view.header.id);
        if self.uploads.contains_key(&place) {
            return Err(ErrorCode::Invalid);
        }
        let matches = self.who_hears(view.key, current.key);
        let charged = charge(view.header.wire_len());
        let cost = charge_upload(current, matches.len(), &mut item)?;
        let attached = match Attached::of(current, view, item.frame, matches.len()) {
            Ok(attached) => attached,
            Err(error) => {
                self.withhold_all(&matches);
                tell(current, view, item.reply, &error);
                return Err(error.code);
            }
        };
        let gathered = self.note_begun(current, view, matches.len());
        let (targets, untaken) = self.begin(current, item.frame, charged, attached.as_ref(), &matches);
        self.uploads.insert(
            place,
            Upload {
                total: view.payload.len(),
                reply: item.reply,
                targets,
                untaken,
                gathered,
                _charge: cost,
            },
        );
        Ok(())
    }

    /// The first event of a message in pieces, for each that hears it. Returns who gets the others, and how many cannot take what
    /// is attached.
    fn begin(
        &mut self,
        current: &Current,
        frame: u32,
        charged: usize,
        attached: Option<&Attached<'_>>,
        matches: &[Match<Key>],
    ) -> (Vec<Target>, usize) {
        let mut untaken = 0_usize;
        let mut targets = Vec::with_capacity(matches.len());
        for to in matches {
            let Some(id) = self.receivers.get(to.peer).map(|peer| peer.id()) else {
                continue;
            };
            let message = self.message_number();
            // Pieces cannot be dropped from the middle: such a subscription is held like any other.
            let policy = if to.policy == Policy::Disconnect {
                Policy::Disconnect
            } else {
                Policy::Hold
            };
            let mark = EventMark::default()
                .with_if(to.with_key, EventMark::WITH_KEY)
                .with_if(true, EventMark::NUMBERED);
            let event = EventItem {
                frame,
                count: 1,
                missed: message,
                subscription: to.subscription,
                mark,
            };
            let offer = (event, charged, policy);
            let given = match attached {
                Some(attached) => self.hand_out(current, attached, to.peer, offer),
                None => self.offer_one(to.peer, offer),
            };
            untaken = untaken.saturating_add(usize::from(given == Given::Cannot));
            if given == Given::Queued {
                let (peer, subscription) = (to.peer, to.subscription);
                if let Some(local) = self.receivers.get(peer).filter(|peer| peer.is_local()) {
                    // Ahead of the first frame, which goes at the end of the turn: it keeps what has come as this publisher's.
                    local.tell(Control::Begins(subscription, message, current.from.clone()));
                }
                targets.push(Target {
                    peer,
                    id,
                    subscription,
                    message,
                    policy,
                    lost: false,
                    seat: None,
                });
            }
        }
        (targets, untaken)
    }

    /// A later frame of a publish in pieces.
    pub(super) fn piece(&mut self, current: &Current, view: &FrameView<'_>, frame: u32) {
        let place = (current.from.id(), view.header.id);
        let Some(mut upload) = self.uploads.remove(&place) else {
            return;
        };
        upload.total = upload.total.saturating_add(view.brings().unwrap_or(usize::MAX));
        let given_up = view.header.flags.has(Flags::ABORT);
        if upload.total > self.shared.limits.message_bytes || given_up {
            let error = if given_up {
                CallError::from(ErrorCode::Cancelled)
            } else {
                message_too_large(&self.shared.limits)
            };
            let code = error.code;
            if let Some(reply) = upload.reply.take() {
                reply.fail(&error.ran(false));
            }
            return self.abort(&mut upload, code);
        }
        if let Some(gathered) = &mut upload.gathered {
            gathered.add(view, current.batch.attachments(frame as usize));
        }
        if view.header.is_region() {
            // Wherever it comes: what it carries is looked at nowhere else. Behind another piece nobody has a seat, so all miss it.
            return self.region(current, view, frame, upload);
        }
        let charged = charge(view.header.wire_len());
        for target in &mut upload.targets {
            target.seat = None;
            if target.lost
                || self
                    .receivers
                    .get(target.peer)
                    .is_none_or(|peer| peer.id() != target.id)
            {
                target.lost = true;
                continue;
            }
            let mark = EventMark::default().with_if(true, EventMark::NUMBERED);
            let item = EventItem {
                frame,
                count: 1,
                missed: target.message,
                subscription: target.subscription,
                mark,
            };
            if !self
                .fan_out
                .offer_item(&mut self.receivers, target.peer, item, charged, target.policy)
            {
                target.lost = true;
                self.fan_out.void(&mut self.receivers, target.peer, item, false);
            }
        }
        if view.header.flags.has(Flags::CONTINUED) {
            self.uploads.insert(place, upload);
            return;
        }
        note_ended(upload.gathered.take(), Ok(()));
        if let Some(reply) = upload.reply {
            let whole = upload.targets.iter().filter(|target| !target.lost).count();
            accept(reply, u32::try_from(whole).unwrap_or(u32::MAX), upload.untaken);
        }
    }

    /// What has come of it is void, for this reason.
    pub(super) fn abort(&mut self, upload: &mut Upload, why: ErrorCode) {
        note_ended(upload.gathered.take(), Err(why));
        for target in upload.targets.drain(..) {
            if !target.lost
                && self
                    .receivers
                    .get(target.peer)
                    .is_some_and(|peer| peer.id() == target.id)
            {
                let Target {
                    subscription,
                    message: missed,
                    ..
                } = target;
                let item = EventItem {
                    frame: 0,
                    count: 1,
                    missed,
                    subscription,
                    mark: EventMark::default(),
                };
                self.fan_out.void(&mut self.receivers, target.peer, item, true);
            }
        }
    }

    /// Numbers messages in pieces: distinct among those that are under way.
    fn message_number(&self) -> u32 {
        if planted::is(Bug::PiecesMixed) {
            return 1;
        }
        u32::try_from(self.ticket().0 & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// A publisher is gone: what it had begun is void.
    pub(super) fn abort_uploads(&mut self, publisher: PeerId) {
        let mut begun: Vec<(PeerId, u64)> = self
            .uploads
            .keys()
            .filter(|(peer, _)| *peer == publisher)
            .copied()
            .collect();
        // In the order of their numbers, not of a table: what happens next must not depend on chance.
        begun.sort_unstable();
        for place in begun {
            if let Some(mut upload) = self.uploads.remove(&place) {
                if let Some(reply) = upload.reply.take() {
                    reply.fail(&CallError::from(ErrorCode::Cancelled).ran(false));
                }
                self.abort(&mut upload, ErrorCode::Cancelled);
            }
        }
        // Nothing of a batch is gathered between two messages: what is there now are these ends.
        self.fan_out
            .flush(&Arc::default(), &mut self.receivers, &self.shared.metrics);
    }
}

/// Charges the publisher for what is remembered of a message in pieces. An error: it was refused, and somebody was told.
fn charge_upload(current: &Current, targets: usize, item: &mut HubItem) -> Result<Option<Charge>, ErrorCode> {
    let cost = targets
        .saturating_mul(size_of::<Target>())
        .saturating_add(UPLOAD_OVERHEAD);
    current.from.account.memory.charge(cost).map_err(|over| {
        let error = over.error();
        let code = error.code;
        match item.reply.take() {
            Some(reply) => reply.fail(&error),
            // Nobody else would hear of it: neither the publisher nor, with nothing begun, a subscriber.
            None => current
                .from
                .tell(Control::Close(CloseReason::TooMany, over.to_string())),
        }
        code
    })
}
