//! What outlives a connection: registrations, subscriptions, waits, watches and the will.
//!
//! Owns the list, with the frame that asks for each, in the order in which they were made; which of them the broker
//! has been asked for and not answered; and the count of answers that a restored connection still waits for. Knows no
//! socket. Used under the connection's lock.

use super::after::{After, First};
use super::event_queue::EventQueue;
use super::outbox::Outbox;
use super::outgoing::too_large;
use super::peer::Role;
use super::port::Port;
use super::presence::Notice;
use super::queue::Queue;
use super::slab::Slab;
use crate::error::{CallError, ErrorCode};
use crate::message::Batch;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// The bit that tells keys of this list from those of calls.
const TAG: u64 = 1 << 63;
/// A name that our own lost connection still holds comes free soon: so often a refused registration is tried again.
pub(crate) const RETRIES: u32 = 8;

/// Requests of this list that may wait for the broker's answer at once: well below what it allows a connection.
const ASKING_MAX: usize = 1024;
/// Where a frame holds `aux`.
const AUX: std::ops::Range<usize> = 16..20;

/// What is to be restored.
#[derive(Debug)]
pub(crate) enum Fact {
    /// An object under a name.
    Object {
        name: Arc<str>,
        standing: Arc<tokio::sync::watch::Sender<Held>>,
    },
    /// A subscription.
    Subscription(Arc<EventQueue>),
    /// A wait for names; the answer comes when they are there. Until when, if at all.
    Wait { until: Option<Instant> },
    /// A watch over names or connections.
    Watch(Arc<Queue<Notice>>),
    /// What the broker is to publish when the connection dies.
    Will,
    /// An endpoint of the label bus; whether this connection's broker has let it in.
    Endpoint { port: Arc<Port>, joined: bool },
}

/// What a registration holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// The broker has not answered, or the connection is away.
    Asked,
    /// It has the name: calls come here.
    Owner,
    /// It stands in the queue for the name.
    Queued,
    /// It was replaced, or refused after a reconnection; why.
    Lost(String),
}

/// What a registration holds, or the error that took it. Never `Ok` of [`Standing::Lost`], which is how it is told.
pub(crate) type Held = Result<Standing, CallError>;

impl Standing {
    pub(crate) fn of(held: &Held) -> Self {
        match held {
            Ok(standing) => standing.clone(),
            Err(error) => Self::Lost(error.to_string()),
        }
    }
}

/// One entry of the list.
#[derive(Debug)]
pub(crate) struct Entry {
    order: u64,
    /// The whole frame that asks for it, with its key as id.
    pub(crate) frame: Vec<u8>,
    pub(crate) what: Fact,
    /// Whoever made it and waits for the first answer.
    pub(crate) first: Option<First>,
    /// It is one of those that the current restoration waits for.
    pub(crate) restoring: bool,
    /// When to ask again, and how often that may happen.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) retries: u32,
}

/// The list.
#[derive(Debug)]
pub(crate) struct Lasting {
    table: Slab<Entry>,
    next_order: u64,
    /// Those whose frame is sent and not answered.
    asking: HashMap<u64, Asked>,
    /// What of [`Fact::exclusive`] is being asked for: a second question waits in line for the first one's answer,
    /// because giving up the first by its name would give up the second.
    busy: HashSet<Arc<str>>,
    /// Those whose frame is to be sent, in order.
    line: VecDeque<u64>,
    /// How many may be asked at once.
    asking_max: usize,
    /// The key of the will that is in force.
    will: Option<u64>,
    pub(crate) restoration: Option<Restoration>,
}

/// A question that is under way.
#[derive(Debug)]
struct Asked {
    exclusive: Option<Arc<str>>,
    /// The frame that gives up what nobody wants any more.
    give_up: Option<Vec<u8>>,
}

/// What is known of a restoration while answers come in.
#[derive(Debug, Default)]
pub(crate) struct Restoration {
    pub(crate) waiting: usize,
    pub(crate) restored: usize,
    pub(crate) lost: Vec<(String, CallError)>,
}

impl Lasting {
    pub(crate) fn new() -> Self {
        Self {
            table: Slab::new(TAG),
            next_order: 0,
            asking: HashMap::new(),
            busy: HashSet::new(),
            line: VecDeque::new(),
            asking_max: ASKING_MAX,
            will: None,
            restoration: None,
        }
    }

    /// Leaves half of what the broker lets a connection have open for calls.
    pub(crate) fn limit(&mut self, open_calls: u32) {
        self.asking_max = ASKING_MAX.min(open_calls as usize / 2).max(1);
    }

    /// Whether `id` is one of this list's.
    pub(crate) const fn is_key(id: u64) -> bool {
        id & TAG != 0
    }

    /// Adds an entry; `frame` makes its frame from its key.
    pub(crate) fn add(
        &mut self,
        what: Fact,
        first: Option<First>,
        frame: impl FnOnce(u64) -> Vec<u8>,
    ) -> Option<u64> {
        let order = self.next_order;
        let entry = Entry {
            order,
            frame: Vec::new(),
            what,
            first,
            restoring: false,
            retry_at: None,
            retries: RETRIES,
        };
        let key = self.table.insert(entry)?;
        self.next_order = order.saturating_add(1);
        if let Some(entry) = self.table.get_mut(key) {
            entry.frame = frame(key);
        }
        Some(key)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut Entry> {
        self.table.get_mut(key)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&Entry> {
        self.table.get(key)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Entry)> {
        self.table.iter_mut()
    }

    /// Sends the frame of an entry now, or when some of those before it are answered.
    pub(crate) fn ask(&mut self, key: u64, out: &mut Outbox, now: Instant, max_ms: u32) {
        self.line.push_back(key);
        self.pump(out, now, max_ms);
    }

    /// Sends what stands in line, as far as it may. Waits stay unanswered for long and are not counted.
    pub(crate) fn pump(&mut self, out: &mut Outbox, now: Instant, max_ms: u32) {
        let mut held = Vec::new();
        while self.asking.len() < self.asking_max {
            let Some(key) = self.line.pop_front() else { break };
            let Some(entry) = self.table.get_mut(key) else {
                continue;
            };
            let exclusive = entry.what.exclusive();
            if exclusive.as_ref().is_some_and(|name| self.busy.contains(name)) {
                held.push(key);
                continue;
            }
            entry.set_deadline(now, max_ms);
            out.push(&[&entry.frame]);
            if !matches!(entry.what, Fact::Wait { .. }) {
                self.busy.extend(exclusive.clone());
                let give_up = None;
                self.asking.insert(key, Asked { exclusive, give_up });
            }
        }
        held.into_iter().rev().for_each(|key| self.line.push_front(key));
    }

    /// The broker has answered. Returns the frame to send when what it granted is not wanted any more.
    pub(crate) fn answered(&mut self, key: u64) -> Option<Vec<u8>> {
        let asked = self.asking.remove(&key)?;
        if let Some(name) = &asked.exclusive {
            self.busy.remove(name);
        }
        asked.give_up
    }

    /// Takes an entry out. `give_up` tells the broker: now (it is returned), or when the broker has answered, because
    /// until then the number is in use.
    pub(crate) fn give_up(&mut self, key: u64, give_up: Vec<u8>) -> Option<Vec<u8>> {
        match self.asking.get_mut(&key) {
            Some(asked) => {
                asked.give_up = Some(give_up);
                None
            }
            None => Some(give_up),
        }
    }

    /// The connection is gone, and every question with it.
    pub(crate) fn interrupt(&mut self) {
        self.asking.clear();
        self.busy.clear();
        self.line.clear();
        self.restoration = None;
    }

    /// Starts a restoration: every entry stands in line, in its order.
    pub(crate) fn restore(&mut self) {
        let mut entries: Vec<(u64, &mut Entry)> = self.table.iter_mut().collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.order);
        let mut waiting = 0_usize;
        self.line.clear();
        for (key, entry) in entries {
            // Who still waits for the first answer gets it; the others are counted.
            entry.restoring = entry.first.is_none() && !matches!(entry.what, Fact::Wait { .. });
            entry.retry_at = None;
            entry.retries = RETRIES;
            waiting = waiting.saturating_add(usize::from(entry.restoring));
            self.line.push_back(key);
        }
        self.restoration = Some(Restoration {
            waiting,
            ..Restoration::default()
        });
    }

    /// Notes the answer to one entry of a restoration.
    pub(crate) fn note_restored(&mut self, key: u64, result: Result<(), CallError>) {
        let Some(entry) = self.table.get_mut(key).filter(|entry| entry.restoring) else {
            return;
        };
        entry.restoring = false;
        let name = entry.what.describe();
        if let Some(restoration) = self.restoration.as_mut() {
            restoration.waiting = restoration.waiting.saturating_sub(1);
            match result {
                Ok(()) => restoration.restored = restoration.restored.saturating_add(1),
                Err(error) => restoration.lost.push((name, error)),
            }
        }
    }

    /// The broker has taken a will: it is the one in force, unless it was set before that one, or has been taken back since. Returns
    /// the one that is not, to be dropped when no lock is held.
    #[must_use]
    pub(crate) fn set_will(&mut self, key: u64) -> Option<Entry> {
        let order = |key| self.get(key).map(|entry: &Entry| entry.order);
        let own = order(key)?;
        let other = match self.will.and_then(order).is_some_and(|set| own < set) {
            true => Some(key),
            false => self.will.replace(key),
        };
        other.and_then(|other| self.forget(other))
    }

    /// The will is taken back, and every other one that was set before, also where the broker has not been asked or has not answered: it
    /// would be asked for later, or with the next connection. Who waits for its answer is told. Returns them, to be dropped when no
    /// lock is held.
    pub(crate) fn clear_will(&mut self, after: &mut After) -> Vec<Entry> {
        self.will = None;
        let all = self.table.iter_mut();
        let wills = all.filter(|(_, entry)| matches!(entry.what, Fact::Will));
        let keys: Vec<u64> = wills.map(|(key, _)| key).collect();
        let mut taken: Vec<Entry> = keys.into_iter().filter_map(|key| self.forget(key)).collect();
        for first in taken.iter_mut().filter_map(|entry| entry.first.take()) {
            let text = "the will was taken back before the broker had it";
            after.answer(first, Err(CallError::new(ErrorCode::Cancelled, text)));
        }
        taken
    }

    /// An entry goes away while its restoration is under way.
    pub(crate) fn forget(&mut self, key: u64) -> Option<Entry> {
        let entry = self.table.remove(key)?;
        if let (true, Some(restoration)) = (entry.restoring, self.restoration.as_mut()) {
            restoration.waiting = restoration.waiting.saturating_sub(1);
        }
        Some(entry)
    }

    /// The outcome of the restoration, once, when its last answer is there.
    pub(crate) fn take_restoration(&mut self) -> Option<Restoration> {
        self.restoration.take_if(|restoration| restoration.waiting == 0)
    }
}

impl Entry {
    /// Why the broker would end the connection rather than answer: its payload is above `frame_bytes`, and it does not
    /// go in pieces.
    pub(crate) fn too_large(&self, frame_bytes: usize) -> Option<CallError> {
        if self.frame.len() <= frame_bytes {
            return None;
        }
        let batch = Batch::from_bytes(self.frame.clone().into(), self.frame.len()).ok()?;
        let payload = batch.view(0)?.payload.len();
        (payload > frame_bytes).then(|| {
            too_large(
                Role::Broker,
                &self.what.describe(),
                (payload, frame_bytes),
                "frame_bytes",
            )
        })
    }

    /// Writes what is left of a wait's time into its frame; other frames stay as they are.
    pub(crate) fn set_deadline(&mut self, now: Instant, max_ms: u32) {
        let Fact::Wait { until } = self.what else { return };
        let left = until.map_or(max_ms, |until| {
            u32::try_from(until.saturating_duration_since(now).as_millis())
                .unwrap_or(u32::MAX)
                .clamp(1, max_ms.max(1))
        });
        if let Some(aux) = self.frame.get_mut(AUX) {
            aux.copy_from_slice(&left.to_le_bytes());
        }
    }
}

impl Fact {
    /// What the broker holds once per connection and gives up by its name, not by the number of the question. The
    /// will is the only one without a name.
    fn exclusive(&self) -> Option<Arc<str>> {
        match self {
            Self::Object { name, .. } => Some(Arc::clone(name)),
            Self::Will => Some(Arc::from("")),
            Self::Subscription(_) | Self::Wait { .. } | Self::Watch(_) | Self::Endpoint { .. } => None,
        }
    }

    /// How reports name it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Object { name, .. } => format!("object {name}"),
            Self::Subscription(queue) => format!("subscription {}", queue.name()),
            Self::Wait { .. } => "wait".to_owned(),
            Self::Watch(_) => "watch".to_owned(),
            Self::Will => "will".to_owned(),
            Self::Endpoint { .. } => "endpoint of the label bus".to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "lasting_tests.rs"]
mod tests;
