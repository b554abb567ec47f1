//! The steps of TopicHub: publish, subscribe, unsubscribe, will.
//!
//! Each reads one frame, asks the index, and answers. Messages in pieces are followed in `uploads`, events with attachments
//! handed out in `attached`.

use super::access::matching;
use super::facts::{Policy, Retained, Subscription, subscription_cost};
use super::frames::Frames;
use super::index::{Match, SubscribeError};
use super::observed::note_events;
use super::retained::{RetainError, RetainLimits};
use super::state::{Current, State};
use crate::actors::deliver::charge;
use crate::actors::inject;
use crate::actors::messages::HubItem;
use crate::actors::peer::ReplyTo;
use crate::actors::peers::Key;
use crate::config::raise;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Batch, Draft, Flags, Kind, SubscriptionId, metadata};
use crate::policy::Right;
use bytes::Bytes;
use std::sync::Arc;

/// The largest event text in metadata that names a queue group.
const GROUP_MAX: usize = 255;

impl State {
    pub(super) fn publish(&mut self, current: &Current, view: &FrameView<'_>, item: HubItem) {
        inject::before(view.key);
        self.fan_out.published(1);
        if view.header.flags.has(Flags::CONTINUED) {
            return self.publish_first(current, view, item);
        }
        if view.header.attachments > 0 {
            let heard = self.publish_attached(current, view, item);
            return self.note_one(current, view, heard);
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
            shared,
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
            let heard = matches.len() as u64;
            for to in matches {
                accepted = accepted.saturating_add(fan_out.offer(receivers, to, &run, false));
            }
            index.count_more(run.count.saturating_sub(1));
            offered = offered.saturating_add(heard.saturating_mul(u64::from(run.count)));
            left = left.saturating_sub(run.count);
        }
        if shared.tap.is_on() {
            note_events(shared, current, (item.frame, item.count), index.last_matches());
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

    /// The first frame of an event in pieces.
    fn publish_first(&mut self, current: &Current, view: &FrameView<'_>, item: HubItem) {
        if let Err(code) = self.publish_continued(current, view, item) {
            self.note_one(current, view, Err(code));
        }
        if view.header.is_offer() {
            self.answer_offer(current, view);
        }
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

    /// What was published before, as events of a batch of their own: as much as its queue has room for, because copying the rest costs
    /// all others their time. That is missed, and told; who wants none missed is disconnected, as if it had been offered.
    fn send_retained(&mut self, current: &Current, view: &FrameView<'_>, to: &Match<Key>, no_local: bool) {
        let account = &current.from.account;
        let room = account.room().events.saturating_sub(account.events());
        let (mut bytes, mut charged, mut beyond) = (Vec::new(), 0_usize, 0_u32);
        for (key, value) in self.index.retained_for(view.key, to.with_key) {
            if no_local && value.origin.peer == current.from.id() {
                continue;
            }
            if !self.access.may(to.peer, &current.from, Right::Subscribe, key) {
                continue;
            }
            let draft = Draft::new(Kind::Publish, 0)
                .key(key)
                .meta(&value.meta)
                .payload(value.encoding, &value.payload);
            // As the queue decides: by what is in it before. One is offered in any case, for it may empty meanwhile.
            if bytes.is_empty() || charged < room {
                charged = charged.saturating_add(charge(draft.wire_len()));
                draft.encode(&mut bytes);
            } else {
                beyond = beyond.saturating_add(1);
            }
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
        if beyond > 0 {
            self.fan_out.beyond(&mut self.receivers, to, beyond);
        }
        self.fan_out
            .flush(&Arc::new(batch), &mut self.receivers, &self.shared.metrics);
    }
}

fn refused(error: &SubscribeError) -> CallError {
    CallError::new(ErrorCode::Invalid, error.to_string())
}
