//! Events with attachments: each subscriber that may and can take them gets a copy of its own; the others miss the event.
//!
//! Owns what the publisher is told of those who could not. Who may share what, and what a copy is charged, is `copies`'
//! business. Steps of [`State`], in a file of their own.

use super::facts::Policy;
use super::index::Match;
use super::state::{Current, State};
use crate::actors::copies::{can_take, copy_for, may_go_to};
use crate::actors::deliver::charge;
use crate::actors::inject;
use crate::actors::messages::{Control, EventItem, HubItem};
use crate::actors::peer::{ReplyTo, error_frame};
use crate::actors::peers::Key;
use crate::actors::regions::Seat;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Attachment, Batch, Draft, Flags, Kind};
use crate::transport::passing;
use std::sync::Arc;

/// A frame, and what is attached to it.
#[derive(Debug)]
pub(super) struct Attached<'a> {
    alone: Batch,
    attachments: &'a [Attachment],
}

/// What became of an event for one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Queued,
    Missed,
    /// Its connection does not carry what is attached.
    Cannot,
}

impl<'a> Attached<'a> {
    /// What is attached to a publish for so many subscribers; `None`: nothing.
    pub(super) fn of(
        current: &'a Current,
        view: &FrameView<'_>,
        frame: u32,
        subscribers: usize,
    ) -> Result<Option<Self>, CallError> {
        if view.header.attachments == 0 {
            return Ok(None);
        }
        let attachments = current.batch.attachments(frame as usize);
        may_go_to(subscribers, view.header, attachments)?;
        let alone = current.batch.only(frame as usize);
        Ok(Some(Self { alone, attachments }))
    }
}

impl Drop for Attached<'_> {
    /// Everybody has a copy: what the publisher was charged for it goes back, whoever keeps other frames of the batch.
    fn drop(&mut self) {
        self.attachments.iter().for_each(passing::release);
    }
}

impl State {
    /// Returns how many subscriptions select it.
    ///
    /// # Errors
    /// It was refused, and its publisher was told.
    pub(super) fn publish_attached(
        &mut self,
        current: &Current,
        view: &FrameView<'_>,
        item: HubItem,
    ) -> Result<usize, ErrorCode> {
        if view.header.flags.has(Flags::RETAIN) {
            let text = "a retained value carries no attachments; publish it without RETAIN";
            let error = CallError::new(ErrorCode::Invalid, text).ran(false);
            tell(current, view, item.reply, &error);
            return Err(error.code);
        }
        let matches = self.who_hears(view.key, current.key);
        self.routed = true;
        let attached = match Attached::of(current, view, item.frame, matches.len()) {
            Ok(Some(attached)) => attached,
            Ok(None) => return Ok(0),
            Err(error) => {
                self.withhold_all(&matches);
                tell(current, view, item.reply, &error);
                return Err(error.code);
            }
        };
        let charged = charge(view.header.wire_len());
        let (mut accepted, mut untaken) = (0_u32, 0_usize);
        for to in &matches {
            let event = EventItem {
                frame: 0,
                count: 1,
                missed: 0,
                subscription: to.subscription,
                mark: to.mark(),
            };
            match self.hand_out(current, &attached, to.peer, (event, charged, to.policy)) {
                Given::Queued => accepted = accepted.saturating_add(1),
                Given::Missed => self.shared.metrics.events_missed.add(1),
                Given::Cannot => {
                    self.shared.metrics.events_missed.add(1);
                    untaken = untaken.saturating_add(1);
                }
            }
        }
        drop(attached);
        match item.reply {
            Some(reply) => {
                // Who is told that it was published may look at the counter.
                self.fan_out.count_published(&self.shared.metrics);
                accept(reply, accepted, untaken);
            }
            None if untaken > 0 => tell(current, view, None, &cannot(accepted, untaken)),
            None => {}
        }
        inject::after(view.key);
        Ok(matches.len())
    }

    /// Offers an event of the current batch without attachments.
    pub(super) fn offer_one(&mut self, to: Key, (item, charge, policy): (EventItem, usize, Policy)) -> Given {
        match self
            .fan_out
            .offer_item(&mut self.receivers, to, item, charge, policy)
        {
            true => Given::Queued,
            false => Given::Missed,
        }
    }

    /// Offers an event with attachments; `item.frame` is not looked at.
    pub(super) fn hand_out(
        &mut self,
        current: &Current,
        attached: &Attached<'_>,
        to: Key,
        offer: (EventItem, usize, Policy),
    ) -> Given {
        self.hand_out_with(current, attached, to, offer, None)
    }

    /// The same with the seat of a region, kept until it is sent on.
    pub(super) fn hand_out_with(
        &mut self,
        current: &Current,
        attached: &Attached<'_>,
        to: Key,
        (item, charge, policy): (EventItem, usize, Policy),
        seat: Option<Seat>,
    ) -> Given {
        let Some(peer) = self.receivers.get(to) else {
            return Given::Missed;
        };
        if !can_take(peer, attached.attachments) {
            self.fan_out
                .withhold(&mut self.receivers, (to, item.subscription), 1);
            return Given::Cannot;
        }
        let Ok(copies) = copy_for(peer, &self.shared, attached.attachments) else {
            self.fan_out
                .withhold(&mut self.receivers, (to, item.subscription), 1);
            return Given::Missed;
        };
        if let Some(seat) = seat {
            seat.keep_with(&copies);
        }
        let own = Arc::new(attached.alone.carrying(copies));
        let offer = (EventItem { frame: 0, ..item }, charge, policy);
        let taken = self
            .fan_out
            .offer_own(&mut self.receivers, to, offer, &current.batch, &own);
        match taken {
            true => Given::Queued,
            false => Given::Missed,
        }
    }

    /// Nobody gets it.
    pub(super) fn withhold_all(&mut self, matches: &[Match<Key>]) {
        self.shared.metrics.events_missed.add(matches.len() as u64);
        for to in matches {
            self.fan_out
                .withhold(&mut self.receivers, (to.peer, to.subscription), 1);
        }
    }
}

/// Answers an acknowledged publish.
pub(super) fn accept(reply: ReplyTo, accepted: u32, untaken: usize) {
    match untaken {
        0 => reply.answer(|id| Draft::new(Kind::Accepted, id).aux(accepted).to_vec()),
        untaken => reply.fail(&cannot(accepted, untaken)),
    }
}

/// Tells the publisher, whether it has asked or not: a lost event must not look as if nobody listened.
pub(super) fn tell(current: &Current, view: &FrameView<'_>, reply: Option<ReplyTo>, error: &CallError) {
    match reply {
        Some(reply) => reply.fail(error),
        None => {
            let frame = error_frame(view.header.id, error);
            current.from.tell(Control::Frame(frame.into()));
        }
    }
}

fn cannot(accepted: u32, untaken: usize) -> CallError {
    let text = format!(
        "the connections of {untaken} subscribers do not carry what is attached (descriptors travel over Unix sockets only): \
         they missed the event; {accepted} others got it"
    );
    CallError::new(ErrorCode::TooLarge, text).ran(accepted > 0)
}
