//! The steps of TopicHub: publish, pieces of a publish, subscribe, unsubscribe, will.
//!
//! Each reads one frame, asks the index, and answers. Messages in pieces are followed here from their first frame to their last; what is
//! under way belongs to the actor, not to the index, so a panic of the index does not lose it.

use super::access::matching;
use super::facts::{Policy, Retained, Subscription, subscription_cost};
use super::fan_out::Frames;
use super::index::{Match, SubscribeError};
use super::retained::{RetainError, RetainLimits};
use super::state::{Current, State};
use crate::actors::accounts::Charge;
use crate::actors::connection::session::message_too_large;
use crate::actors::deliver::charge;
use crate::actors::inject;
use crate::actors::messages::{Control, EventItem, EventMark, HubItem};
use crate::actors::peer::ReplyTo;
use crate::actors::peers::Key;
use crate::actors::planted::{self, Bug};
use crate::config::raise;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Batch, Draft, Flags, Kind, PeerId, SubscriptionId, metadata};
use crate::policy::Right;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// What a publish in pieces is charged beside its receivers.
const UPLOAD_OVERHEAD: usize = 512;

/// The largest event text in metadata that names a queue group.
const GROUP_MAX: usize = 255;

/// Publishes in pieces that are under way, by publisher and its number.
pub(super) type Uploads = HashMap<(PeerId, u64), Upload>;

/// One publish in pieces.
#[derive(Debug, Default)]
pub(super) struct Upload {
    total: usize,
    /// The answer that waits for the last piece, and how many subscribers it will name.
    reply: Option<ReplyTo>,
    targets: Vec<Target>,
    /// The publisher pays for what is remembered of each receiver.
    _charge: Option<Charge>,
}

/// One receiver of a publish in pieces.
#[derive(Debug)]
struct Target {
    peer: Key,
    /// Who it was when the message began: keys are given again.
    id: PeerId,
    subscription: SubscriptionId,
    /// The number under which its pieces go.
    message: u32,
    policy: Policy,
    lost: bool,
}

impl State {
    pub(super) fn publish(&mut self, current: &Current, view: &FrameView<'_>, item: HubItem) {
        inject::before(view.key);
        self.fan_out.published(1);
        if view.header.flags.has(Flags::CONTINUED) {
            return self.publish_continued(current, view, item);
        }
        let retained = match view.header.flags.has(Flags::RETAIN) {
            true => self.retain(current, view),
            false => Ok(()),
        };
        let (first, count) = (item.frame, item.count);
        let Self {
            routed,
            index,
            receivers,
            fan_out,
            access,
            ..
        } = self;
        let mut accepted = 0_u32;
        let mut offered = 0_u64;
        // What lasts for the whole run is looked up once; where a group takes turns, that is one event.
        let mut left = count;
        while left > 0 {
            let frame = first.saturating_add(count.saturating_sub(left));
            let (matches, lasts) = matching(index, receivers, access, view.key, current.key);
            if !std::mem::replace(routed, true) {
                fan_out.published(count.saturating_sub(1));
            }
            let run = Frames::new(&current.batch, frame, if lasts { left } else { 1 });
            for to in matches {
                accepted = accepted.saturating_add(fan_out.offer(receivers, to, &run, false));
            }
            offered = offered.saturating_add((matches.len() as u64).saturating_mul(u64::from(run.count)));
            left = left.saturating_sub(run.count);
        }
        if offered > u64::from(accepted) {
            let missed = offered.saturating_sub(u64::from(accepted));
            self.shared.metrics.events_missed.add(missed);
        }
        if item.reply.is_some() {
            // Who is told that it was published may look at the counter.
            self.fan_out.count_published(&self.shared.metrics);
        }
        match (item.reply, retained) {
            (Some(reply), Ok(())) => reply.answer(|id| Draft::new(Kind::Accepted, id).aux(accepted).to_vec()),
            (Some(reply), Err(error)) => {
                let text =
                    format!("the event was delivered to {accepted} subscribers, but not retained: {error}");
                reply.fail(&CallError::new(ErrorCode::TooLarge, text).ran(true));
            }
            (None, _) => {}
        }
        inject::after(view.key);
    }

    fn retain(&mut self, current: &Current, view: &FrameView<'_>) -> Result<(), RetainError> {
        let value = Retained {
            encoding: view.header.encoding,
            // Copied: a retained value must not keep the buffer that it was read with.
            meta: Bytes::copy_from_slice(view.meta),
            payload: Bytes::copy_from_slice(view.payload),
            origin: current.from.origin,
        };
        let (ticket, limits) = (self.ticket(), self.retain_limits());
        self.index
            .retain(ticket, view.key, value, limits, &mut self.effects)?;
        self.commit();
        Ok(())
    }

    pub(super) fn retain_limits(&self) -> RetainLimits {
        RetainLimits {
            value: self.shared.limits.retained_bytes,
            total: self.shared.limits.retained_bytes_total,
            user_part: self.shared.limits.user_part,
        }
    }

    /// The first frame of a publish in pieces: each receiver gets an event of its own, which names its pieces.
    fn publish_continued(&mut self, current: &Current, view: &FrameView<'_>, mut item: HubItem) {
        if view.header.flags.has(Flags::RETAIN) {
            if let Some(reply) = item.reply {
                let text = "a retained value is sent in one frame, of at most limits.retained_bytes";
                reply.fail(&CallError::new(ErrorCode::TooLarge, text).ran(false));
            }
            return;
        }
        let place = (current.from.id(), view.header.id);
        if self.uploads.contains_key(&place) {
            return;
        }
        let matches = self.who_hears(view.key, current.key);
        let charged = charge(view.header.wire_len());
        let Some(cost) = charge_upload(current, matches.len(), &mut item) else {
            return;
        };
        let mut targets = Vec::with_capacity(matches.len());
        for to in &matches {
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
                frame: item.frame,
                count: 1,
                missed: message,
                subscription: to.subscription,
                mark,
            };
            if self
                .fan_out
                .offer_item(&mut self.receivers, to.peer, event, charged, policy)
            {
                let (peer, subscription) = (to.peer, to.subscription);
                targets.push(Target {
                    peer,
                    id,
                    subscription,
                    message,
                    policy,
                    lost: false,
                });
            }
        }
        self.uploads.insert(
            place,
            Upload {
                total: view.payload.len(),
                reply: item.reply,
                targets,
                _charge: cost,
            },
        );
    }

    /// A later frame of a publish in pieces.
    pub(super) fn piece(&mut self, current: &Current, view: &FrameView<'_>, frame: u32) {
        let place = (current.from.id(), view.header.id);
        let Some(mut upload) = self.uploads.remove(&place) else {
            return;
        };
        upload.total = upload.total.saturating_add(view.payload.len());
        let given_up = view.header.flags.has(Flags::ABORT);
        if upload.total > self.shared.limits.message_bytes || given_up {
            let error = if given_up {
                CallError::from(ErrorCode::Cancelled)
            } else {
                message_too_large(&self.shared.limits)
            };
            if let Some(reply) = upload.reply.take() {
                reply.fail(&error.ran(false));
            }
            return self.abort(&mut upload);
        }
        let charged = charge(view.header.wire_len());
        for target in &mut upload.targets {
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
        } else if let Some(reply) = upload.reply {
            let whole = upload.targets.iter().filter(|target| !target.lost).count();
            reply.answer(|id| {
                Draft::new(Kind::Accepted, id)
                    .aux(u32::try_from(whole).unwrap_or(u32::MAX))
                    .to_vec()
            });
        }
    }

    fn abort(&mut self, upload: &mut Upload) {
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
                self.abort(&mut upload);
            }
        }
        // Nothing of a batch is gathered between two messages: what is there now are these ends.
        self.fan_out
            .flush(&Arc::default(), &mut self.receivers, &self.shared.metrics);
    }

    pub(super) fn request(&mut self, current: &Current, view: &FrameView<'_>, reply: Option<ReplyTo>) {
        inject::before(view.key);
        let Some(reply) = reply else { return };
        match view.header.kind {
            Kind::Subscribe => self.subscribe(current, view, reply),
            Kind::Unsubscribe => {
                let id = SubscriptionId(view.header.id);
                let result = self.index.unsubscribe(current.key, id, &mut self.effects);
                self.commit();
                match result {
                    Ok(()) => reply.done(0),
                    Err(_) => reply
                        .fail(&CallError::new(ErrorCode::NotRegistered, "no such subscription").ran(false)),
                }
            }
            _ => self.will(current, view, reply),
        }
        inject::after(view.key);
    }

    fn subscribe(&mut self, current: &Current, view: &FrameView<'_>, reply: ReplyTo) {
        let key = self.receivers.add(&current.from);
        let subscription = match self.parse(key, view) {
            Ok(subscription) => subscription,
            Err(error) => return reply.fail(&error),
        };
        if let Err(error) = self.check_subscribe(&current.from, &subscription) {
            return reply.fail(&error);
        }
        if let Err(error) = self.room(current, key, subscription_cost(&subscription)) {
            return reply.fail(&error);
        }
        let (ticket, id) = (self.ticket(), subscription.id);
        // One member of a group hears an event; a retained value would reach each that comes.
        let wants_retained = subscription.group.is_none() && !view.header.flags.has(Flags::NO_RETAINED);
        let (pattern, no_local, policy) = (subscription.pattern, subscription.no_local, subscription.policy);
        if let Err(error) = self.index.subscribe(ticket, subscription, &mut self.effects) {
            return reply.fail(&refused(&error));
        }
        self.commit();
        reply.done(0);
        if wants_retained {
            let to = Match {
                peer: key,
                subscription: id,
                with_key: pattern,
                policy,
            };
            self.send_retained(current, view, &to, no_local);
        }
    }

    fn parse(&self, peer: Key, view: &FrameView<'_>) -> Result<Subscription<Key>, CallError> {
        let invalid = |text: &str| CallError::new(ErrorCode::Invalid, text);
        if self.facts.subscriptions(peer) >= self.shared.limits.subscriptions {
            let (limit, how) = (self.shared.limits.subscriptions, raise("subscriptions"));
            let text = format!(
                "a connection holds at most {limit} subscriptions (limits.subscriptions); end some, or {how}"
            );
            return Err(CallError::new(ErrorCode::TooMany, text).ran(false));
        }
        let policy =
            Policy::from_code(view.header.aux).ok_or_else(|| invalid("unknown slow-subscriber policy"))?;
        let group = match metadata::get(view.meta, metadata::GROUP) {
            None => None,
            Some(name) if name.len() <= GROUP_MAX => Some(
                std::str::from_utf8(name)
                    .map_err(|_| invalid("a group's name must be UTF-8"))?
                    .into(),
            ),
            Some(_) => return Err(invalid("a group's name has at most 255 bytes")),
        };
        let flags = view.header.flags;
        Ok(Subscription {
            peer,
            id: SubscriptionId(view.header.id),
            key: view.key.into(),
            pattern: flags.has(Flags::PATTERN),
            no_local: flags.has(Flags::NO_LOCAL),
            group,
            policy,
        })
    }

    /// Whether the peer's process has memory for another fact.
    pub(super) fn room(&self, current: &Current, key: Key, cost: usize) -> Result<(), CallError> {
        let held = self.facts.counts(key).bytes;
        let memory = current.from.account.memory.topics();
        memory
            .cover(held.saturating_add(cost))
            .map_err(|over| over.error())
    }

    /// What was published before, as events of a batch of their own.
    fn send_retained(&mut self, current: &Current, view: &FrameView<'_>, to: &Match<Key>, no_local: bool) {
        let mut bytes = Vec::new();
        for (key, value) in self.index.retained_for(view.key, to.with_key) {
            if no_local && value.origin.peer == current.from.id() {
                continue;
            }
            if !self.access.may(to.peer, &current.from, Right::Subscribe, key) {
                continue;
            }
            let draft = Draft::new(Kind::Publish, 0);
            draft
                .key(key)
                .meta(&value.meta)
                .payload(value.encoding, &value.payload)
                .encode(&mut bytes);
        }
        if bytes.is_empty() {
            return;
        }
        let Ok(batch) = Batch::from_bytes(bytes.into(), self.shared.limits.frame_bytes) else {
            return;
        };
        // What the turn has gathered so far belongs to another batch and goes first.
        self.fan_out
            .flush(&current.batch, &mut self.receivers, &self.shared.metrics);
        for frame in 0..u32::try_from(batch.len()).unwrap_or(u32::MAX) {
            let frames = Frames::new(&batch, frame, 1);
            self.fan_out.offer(&mut self.receivers, to, &frames, true);
        }
        self.fan_out
            .flush(&Arc::new(batch), &mut self.receivers, &self.shared.metrics);
    }
}

/// Charges the publisher for what is remembered of a message in pieces. `None`: it was refused, and somebody was told.
fn charge_upload(current: &Current, targets: usize, item: &mut HubItem) -> Option<Option<Charge>> {
    let cost = targets
        .saturating_mul(size_of::<Target>())
        .saturating_add(UPLOAD_OVERHEAD);
    match current.from.account.memory.charge(cost) {
        Ok(cost) => Some(cost),
        Err(over) => {
            match item.reply.take() {
                Some(reply) => reply.fail(&over.error()),
                // Nobody else would hear of it: neither the publisher nor, with nothing begun, a subscriber.
                None => current
                    .from
                    .tell(Control::Close(CloseReason::TooMany, over.to_string())),
            }
            None
        }
    }
}

fn refused(error: &SubscribeError) -> CallError {
    CallError::new(ErrorCode::Invalid, error.to_string())
}
