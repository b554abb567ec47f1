//! Each event as it comes to a subscription.
//!
//! Owns the rules `unknown-id`, `event-invented`, `event-topic`, `event-key`, `event-once`, `event-order`, `event-early`, `no-local`,
//! `gap-untold`, `group-once`, `event-pieces`, `will`.

use super::{Events, Subscription};
use crate::Frame;
use crate::run::{Found, Moment, Run, show};
use actix_ipc::message::{Flags, Kind};

impl Events {
    /// A frame that a client read.
    pub(crate) fn received(&mut self, run: &Run, client: u32, frame: &Frame, now: Moment, found: &mut Found) {
        if !matches!(frame.kind, Kind::Event | Kind::EventPiece | Kind::Gap) {
            return;
        }
        let Some(index) = self.numbers.get(&(client, frame.id)).copied() else {
            let text = format!(
                "{:?} for subscription {}, which was not answered yet",
                frame.kind, frame.id
            );
            return found.add("unknown-id", client, now.at, text);
        };
        let Some(subscription) = self.all.get_mut(index) else {
            return;
        };
        // After Unsubscribe's Done some may still be on their way.
        if subscription.left {
            return;
        }
        match frame.kind {
            Kind::Gap => {
                subscription.missed = subscription.missed.saturating_add(u64::from(frame.aux));
                if frame.aux == 0 {
                    found.add("gap-untold", client, now.at, "a Gap of nothing");
                }
            }
            Kind::EventPiece => self.piece(index, frame, now, found),
            _ => self.event(run, index, frame, now, found),
        }
    }

    fn event(&mut self, run: &Run, index: usize, frame: &Frame, now: Moment, found: &mut Found) {
        let Some(subscription) = self.all.get_mut(index) else {
            return;
        };
        let (client, retained) = (subscription.client, frame.has(Flags::RETAINED));
        let what = format!(
            "event {} of subscription {}",
            show(&frame.payload),
            subscription.id
        );
        if !frame.has(Flags::CONTINUED) {
            subscription.missed = subscription.missed.saturating_add(u64::from(frame.aux));
        }
        if subscription.pattern == frame.key.is_empty() {
            let text = format!("{what} has the key {}, against what was asked", show(&frame.key));
            found.add("event-key", client, now.at, text);
        }
        let keyed = |topic: &[u8]| frame.key.is_empty() || topic == frame.key;
        let all = self.publishes.candidates(frame, keyed);
        if all.is_empty() {
            return found.add(
                "event-invented",
                client,
                now.at,
                format!("{what} was published by nobody"),
            );
        }
        let matching: Vec<usize> = all
            .into_iter()
            .filter(|at| {
                self.publishes
                    .all
                    .get(*at)
                    .is_some_and(|publish| subscription.selects(&publish.topic))
            })
            .collect();
        if matching.is_empty() {
            let text = format!(
                "{what} was published on no topic that {} selects",
                show(&subscription.key)
            );
            return found.add("event-topic", client, now.at, text);
        }
        let heard = if retained {
            &subscription.retained
        } else {
            &subscription.live
        };
        let Some(which) = matching.iter().copied().find(|at| !heard.contains(at)) else {
            return found.add("event-once", client, now.at, format!("{what} came before"));
        };
        let lone = matching.len() == 1;
        if frame.has(Flags::CONTINUED) {
            let message = (which, frame.payload.clone());
            if subscription.open.insert(frame.aux, message).is_some() {
                let text = format!("{what}: message {} is under way already", frame.aux);
                found.add("event-pieces", client, now.at, text);
            }
        }
        self.left_behind(run, index, which, lone, now, found);
        if retained {
            self.retained_came(run, index, which, lone, now, found);
        } else {
            self.live_came(run, index, which, lone, now, found);
        }
    }

    /// A will is published for those only who left without a word.
    fn left_behind(&self, run: &Run, index: usize, which: usize, lone: bool, now: Moment, found: &mut Found) {
        let (Some(subscription), Some(publish)) = (self.all.get(index), self.publishes.all.get(which)) else {
            return;
        };
        let Some(will) = publish.will.as_ref().filter(|_| lone) else {
            return;
        };
        let author = run.client(publish.publisher);
        let text = match author {
            Some(author) if author.opened.honest && author.goodbye.is_some() => "its author said Goodbye",
            _ if will.replaced => "its author had replaced it",
            _ if publish.failed.is_some_and(|(_, may)| !may) => "it was refused",
            _ => return,
        };
        let text = format!("the will {} was published, and {text}", show(&publish.bytes));
        found.add("will", subscription.client, now.at, text);
    }

    fn live_came(
        &mut self,
        run: &Run,
        index: usize,
        which: usize,
        lone: bool,
        now: Moment,
        found: &mut Found,
    ) {
        let (Some(subscription), Some(publish)) = (self.all.get_mut(index), self.publishes.all.get(which))
        else {
            return;
        };
        let client = subscription.client;
        let what = format!(
            "event {} of subscription {}",
            show(&publish.bytes),
            subscription.id
        );
        subscription.live.insert(which);
        subscription.any_live = true;
        subscription.blurred |= !lone;
        let group = subscription.group_key();
        let first = group.is_none_or(|group| self.groups.entry(group).or_default().insert(which));
        if !lone {
            return;
        }
        if !first {
            found.add(
                "group-once",
                client,
                now.at,
                format!("{what} went to another member too"),
            );
        }
        if subscription.no_local && publish.publisher == client {
            found.add("no-local", client, now.at, format!("{what} is its own"));
        }
        if publish.is_void() {
            found.add("event-invented", client, now.at, format!("{what} was refused"));
        }
        if self
            .publishes
            .by(run, publish)
            .is_some_and(|by| by < subscription.arrived)
        {
            let text = format!("{what} was handled before the subscription was asked for");
            found.add("event-early", client, now.at, text);
        }
        if publish.will.is_none() {
            self.in_order(run, index, which, now, found);
        }
    }

    /// Order of one publisher and topic; what was overtaken has been told as missed by now.
    fn in_order(&mut self, run: &Run, index: usize, which: usize, now: Moment, found: &mut Found) {
        let (Some(subscription), Some(publish)) = (self.all.get_mut(index), self.publishes.all.get(which))
        else {
            return;
        };
        let line = (publish.publisher, publish.topic.clone());
        let list = self.publishes.lines.get(&line).map_or(&[][..], Vec::as_slice);
        let place = list.partition_point(|at| *at < which);
        let from = subscription.passed.get(&line).copied().unwrap_or(0);
        if place < from {
            let text = format!(
                "event {} of subscription {} came behind a later one",
                show(&publish.bytes),
                subscription.id
            );
            found.add("event-order", subscription.client, now.at, text);
        }
        let since = subscription
            .since
            .get(&publish.publisher)
            .copied()
            .unwrap_or(u64::MAX);
        for at in list.get(from..place).unwrap_or(&[]) {
            let Some(other) = self.publishes.all.get(*at) else {
                continue;
            };
            let answered = !other.wants_ack || other.accepted.is_some();
            let meant = other.arrived > subscription.done || other.turn > since;
            let own = subscription.no_local && other.publisher == subscription.client;
            let lost = answered && meant && !own && other.is_sound(run) && !subscription.live.contains(at);
            if lost && subscription.group.is_none() && !subscription.blurred {
                subscription.overtaken.insert(*at);
            }
        }
        subscription
            .passed
            .insert(line, from.max(place.saturating_add(1)));
        subscription
            .since
            .insert(publish.publisher, since.min(publish.turn));
        let untold = subscription.overtaken.len() as u64;
        let in_pieces = subscription.open.values().any(|(open, _)| *open == which);
        // What was missed before a message in pieces may be told behind it, with the next whole event.
        if untold > subscription.missed && !in_pieces {
            let text = format!(
                "event {} of subscription {} came, {untold} before it had not, {} were told",
                show(&publish.bytes),
                subscription.id,
                subscription.missed
            );
            found.add("gap-untold", subscription.client, now.at, text);
        }
        self.publishes
            .was_handled(publish.publisher, publish.turn, now.at);
    }

    fn piece(&mut self, index: usize, frame: &Frame, now: Moment, found: &mut Found) {
        let Some(subscription) = self.all.get_mut(index) else {
            return;
        };
        let Subscription {
            client,
            open,
            live,
            blurred,
            ..
        } = subscription;
        let Some((which, mut bytes)) = open.remove(&frame.aux) else {
            let text = format!("a piece of message {}, which is not under way", frame.aux);
            return found.add("event-pieces", *client, now.at, text);
        };
        if frame.has(Flags::ABORT) {
            // It counts as missed, and a Gap tells it.
            live.remove(&which);
            return;
        }
        bytes.extend_from_slice(&frame.payload);
        let last = !frame.has(Flags::CONTINUED);
        let sent = self.publishes.all.get(which);
        let fits = sent.is_some_and(|publish| match last {
            true => publish.whole && publish.bytes == bytes,
            false => publish.bytes.starts_with(&bytes),
        });
        if !fits && !*blurred {
            let text = format!("message {} is not what was published", frame.aux);
            found.add("event-pieces", *client, now.at, text);
        }
        if !last {
            open.insert(frame.aux, (which, bytes));
        }
    }
}
