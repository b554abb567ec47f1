//! What was published: every Publish and every will that may have been published, and by when it was handled.
//!
//! Owns the order of one publisher's publishes. It refuses to know subscriptions.

use crate::asks::Ask;
use crate::run::{Client, Run};
use crate::{Core, Frame, matcher};
use actix_ipc::message::{Flags, Kind};
use std::collections::HashMap;

/// How many bytes of a payload find its publish again; what is compared then is the whole.
const MARK: usize = 8;

/// One publish.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) publisher: u32,
    pub(super) id: u64,
    /// Its place among its publisher's publishes.
    pub(super) turn: u64,
    pub(super) topic: Vec<u8>,
    pub(super) encoding: u8,
    pub(super) meta: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    pub(super) arrived: u64,
    pub(super) retain: bool,
    pub(super) wants_ack: bool,
    /// All of it has arrived.
    pub(super) whole: bool,
    /// Its publisher gave it up.
    pub(super) void: bool,
    pub(super) in_pieces: bool,
    /// When its publisher read Accepted, and to how many it went.
    pub(super) accepted: Option<(u64, u32)>,
    /// How it failed: the code, and whether it may have been published.
    pub(super) failed: Option<(u32, bool)>,
    /// It is what a client left behind.
    pub(super) will: Option<Will>,
}

/// What became of a will.
#[derive(Debug, Default)]
pub(super) struct Will {
    /// It was answered with Done.
    pub(super) stands: bool,
    /// A later one was answered with Done.
    pub(super) replaced: bool,
    /// A later one has arrived.
    doubtful: bool,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Publishes {
    pub(super) all: Vec<Publish>,
    marks: HashMap<Vec<u8>, Vec<usize>>,
    /// The publishes of one publisher on one topic in their order, wills apart.
    pub(super) lines: HashMap<(u32, Vec<u8>), Vec<usize>>,
    counts: HashMap<u32, u64>,
    /// For each publisher: by this step, all up to this turn were handled. Both grow.
    handled: HashMap<u32, Vec<(u64, u64)>>,
}

fn mark(encoding: u8, meta: &[u8], bytes: &[u8]) -> Vec<u8> {
    let head = bytes.get(..bytes.len().min(MARK)).unwrap_or(bytes);
    let length = (meta.len() as u64).to_le_bytes();
    [&[encoding][..], &length, meta, head].concat()
}

impl Publish {
    /// Whether the broker takes it at all, by what can be seen of the frame.
    fn is_legal(&self, run: &Run) -> bool {
        matcher::pair(&self.topic).is_some()
            && !(self.retain && self.in_pieces)
            && self.bytes.len() as u64 <= u64::from(run.setup.message_bytes)
    }

    /// Whether it was surely not published. One in pieces may have begun before it failed.
    pub(super) fn is_void(&self) -> bool {
        let refused = matches!(self.failed, Some((_, false))) && !self.in_pieces;
        refused || matcher::pair(&self.topic).is_none() || self.retain && self.in_pieces
    }

    /// Whether it was surely published if it was handled: nothing that is known speaks against it.
    pub(super) fn is_sound(&self, run: &Run) -> bool {
        let panicked = self.accepted.is_none() && run.panicked(Core::TopicHub, self.publisher, self.arrived);
        self.is_legal(run) && self.whole && !self.void && self.failed.is_none() && !panicked
    }
}

impl Publishes {
    pub(super) fn arrived(&mut self, client: u32, frame: &Frame, at: u64) {
        match frame.kind {
            Kind::PublishPiece => {
                let last = self.all.iter_mut().rev().find(|publish| {
                    publish.publisher == client
                        && publish.id == frame.id
                        && publish.in_pieces
                        && publish.will.is_none()
                });
                if let Some(publish) = last.filter(|publish| !publish.whole && !publish.void) {
                    publish.piece(frame);
                }
            }
            Kind::Will => {
                for will in self.wills_of(client) {
                    will.doubtful = true;
                }
                if !frame.key.is_empty() {
                    self.add(client, frame, at);
                }
            }
            _ => self.add(client, frame, at),
        }
    }

    fn add(&mut self, client: u32, frame: &Frame, at: u64) {
        let is_will = frame.kind == Kind::Will;
        let turn = self.counts.entry(client).or_default();
        *turn = turn.saturating_add(u64::from(!is_will));
        let (turn, index) = (*turn, self.all.len());
        let continued = !is_will && frame.has(Flags::CONTINUED);
        self.marks
            .entry(mark(frame.encoding, &frame.meta, &frame.payload))
            .or_default()
            .push(index);
        if !is_will {
            self.lines
                .entry((client, frame.key.clone()))
                .or_default()
                .push(index);
        }
        self.all.push(Publish {
            publisher: client,
            id: frame.id,
            turn,
            topic: frame.key.clone(),
            encoding: frame.encoding,
            meta: frame.meta.clone(),
            bytes: frame.payload.clone(),
            arrived: at,
            retain: frame.has(Flags::RETAIN),
            wants_ack: !is_will && frame.has(Flags::ACK),
            whole: !continued,
            void: false,
            in_pieces: continued,
            accepted: None,
            failed: None,
            will: is_will.then(Will::default),
        });
    }

    fn wills_of(&mut self, client: u32) -> impl Iterator<Item = &mut Will> {
        let own = self
            .all
            .iter_mut()
            .filter(move |publish| publish.publisher == client);
        own.filter_map(|publish| publish.will.as_mut())
    }

    pub(super) fn answered(&mut self, client: u32, ask: &Ask, answer: &Frame, at: u64) {
        let wanted = |publish: &&mut Publish| {
            publish.publisher == client
                && publish.will.is_none()
                && publish.arrived == ask.asked.at
                && publish.id == answer.id
        };
        let Some(publish) = self.all.iter_mut().rev().find(wanted) else {
            return;
        };
        let turn = publish.turn;
        if answer.kind == Kind::Accepted {
            publish.accepted = Some((at, answer.aux));
            self.was_handled(client, turn, at);
        } else {
            publish.failed = Some((answer.aux, answer.has(Flags::MAY_HAVE_RUN)));
        }
    }

    pub(super) fn will_answered(&mut self, client: u32, ask: &Ask, answer: &Frame) {
        let done = answer.kind == Kind::Done;
        for publish in self.all.iter_mut().filter(|publish| publish.publisher == client) {
            let Some(will) = publish.will.as_mut() else {
                continue;
            };
            if publish.arrived == ask.asked.at && publish.id == ask.frame.id {
                will.stands = done;
                publish.failed = (!done).then_some((answer.aux, answer.has(Flags::MAY_HAVE_RUN)));
            } else if publish.arrived < ask.asked.at {
                will.replaced |= done;
            }
        }
    }

    /// All of the publisher's publishes up to this turn were handled by `at`.
    pub(super) fn was_handled(&mut self, publisher: u32, turn: u64, at: u64) {
        let list = self.handled.entry(publisher).or_default();
        if list.last().is_none_or(|(_, last)| *last < turn) {
            list.push((at, turn));
        }
    }

    /// All that the client had published before step `asked` was handled by `at`.
    pub(super) fn handled_before(&mut self, publisher: u32, asked: u64, at: u64) {
        let own = self
            .all
            .iter()
            .rev()
            .filter(|publish| publish.publisher == publisher && publish.will.is_none());
        if let Some(turn) = own
            .clone()
            .find(|publish| publish.arrived < asked)
            .map(|publish| publish.turn)
        {
            self.was_handled(publisher, turn, at);
        }
    }

    /// By when it was surely handled (or dropped for good).
    pub(super) fn by(&self, run: &Run, publish: &Publish) -> Option<u64> {
        if publish.will.is_some() {
            return None;
        }
        let settled = run.settled_after(publish.arrived);
        self.evidence(publish).into_iter().chain(settled).min()
    }

    /// When it was first seen that the broker handled it, or one behind it.
    pub(super) fn evidence(&self, publish: &Publish) -> Option<u64> {
        let list = self.handled.get(&publish.publisher)?;
        let first = list.partition_point(|(_, turn)| *turn < publish.turn);
        list.get(first).map(|(at, _)| *at)
    }

    /// Whether `early` was surely handled before `late`.
    pub(super) fn precedes(&self, run: &Run, early: &Publish, late: &Publish) -> bool {
        let same = early.publisher == late.publisher && early.will.is_none();
        same && (late.will.is_some() || early.turn < late.turn)
            || self.by(run, early).is_some_and(|by| by < late.arrived) && late.will.is_none()
    }

    /// The publishes that an event may be: same encoding, metadata and topic, same bytes as far as they came.
    pub(super) fn candidates(&self, frame: &Frame, topic: impl Fn(&[u8]) -> bool) -> Vec<usize> {
        let marked = self.marks.get(&mark(frame.encoding, &frame.meta, &frame.payload));
        let continued = frame.has(Flags::CONTINUED);
        let fits = |index: &usize| {
            self.all.get(*index).is_some_and(|publish| {
                let bytes = match continued {
                    true => publish.bytes.starts_with(&frame.payload),
                    false => publish.whole && publish.bytes == frame.payload,
                };
                bytes && topic(&publish.topic)
            })
        };
        marked.into_iter().flatten().copied().filter(fits).collect()
    }

    /// Whether this will surely was published, and from when on.
    pub(super) fn will_published(run: &Run, client: &Client, publish: &Publish) -> Option<u64> {
        let will = publish.will.as_ref()?;
        let panicked = run.panicked(Core::TopicHub, publish.publisher, 0);
        let alone = will.stands && !will.replaced && !will.doubtful;
        let abnormal = !client.lives() && client.goodbye.is_none();
        (alone && abnormal && !panicked && publish.failed.is_none()).then(|| client.surely_until())
    }
}

impl Publish {
    fn piece(&mut self, frame: &Frame) {
        if frame.has(Flags::ABORT) {
            self.void = true;
            return;
        }
        self.bytes.extend_from_slice(&frame.payload);
        self.whole = !frame.has(Flags::CONTINUED);
    }
}
