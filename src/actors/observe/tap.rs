//! Who watches the traffic, and what waits for each of them.
//!
//! Owns the monitors: what each wants to see, a queue, and how many records it may be given. While nobody monitors, a step pays one load.
//! A monitor never holds anybody up: what exceeds its rate or its queue is dropped and counted. Records are made here from what steps
//! offer; who takes them out and tells them is the built-in object `sys.broker`. The time is the system's: records are compared with others'.

use super::record::Record;
use super::said::{Presence, Said, What};
use crate::message::{Pattern, PeerId};
use serde::Deserialize;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Monitors at the same time.
pub const MONITORS_MAX: usize = 8;
/// Of these, the most of users that are neither the operator nor root, so that these find a place.
const OTHERS_MAX: usize = 6;
/// The most of one such user.
const OF_ONE_MAX: usize = 3;
/// What may wait for one monitor, in bytes.
const QUEUE_BYTES: usize = 4 << 20;
/// What it may be given in a second, in bytes: records are made where the traffic passes.
const BYTES_A_SECOND: u64 = 16 << 20;
/// What may be kept of messages in pieces that have not come to their end, for all monitors together.
pub const GATHERED_BYTES: usize = 8 << 20;
/// The object that tells monitors what they see.
const TELLS: &str = "sys.broker";
/// Records a second, when the filter does not say.
const RATE: u32 = 5_000;
/// The most that a filter may ask for.
pub const RATE_MAX: u32 = 1_000_000;
/// The most of a payload that a record shows, in bytes.
pub const PAYLOAD_MAX: usize = 1 << 20;

/// What somebody wants to see. Everything when nothing is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Which kinds of records.
    pub kinds: Option<Vec<RecordKind>>,
    /// A pattern over objects.
    pub object: Option<String>,
    /// A pattern over methods and topics.
    pub member: Option<String>,
    /// A connection, at either end.
    pub peer: Option<u64>,
    /// A process, at either end.
    pub pid: Option<u32>,
    /// So many bytes of each payload.
    pub payloads: usize,
    /// So many records a second at most.
    pub rate: Option<u32>,
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// Calls.
    Call,
    /// Answers.
    Reply,
    /// Events.
    Event,
    /// What comes and goes.
    Presence,
}

/// A filter that was understood.
#[derive(Debug)]
struct Wanted {
    kinds: Option<Vec<RecordKind>>,
    object: Option<Pattern>,
    member: Option<Pattern>,
    peer: Option<PeerId>,
    /// The connections of the process, as they come and go.
    payloads: usize,
    rate: u32,
}

/// Who wants to monitor, as far as places go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// Root, the user that the broker runs as, or an actor of its own process.
    Operator,
    /// Somebody else, as users are counted; without a user where the system does not know one.
    User(Option<u32>),
}

/// Everybody who monitors.
#[derive(Debug)]
pub struct Tap {
    watching: AtomicU32,
    monitors: Mutex<Arc<[Arc<Monitor>]>>,
    /// Bytes of messages in pieces.
    gathered: AtomicUsize,
}

/// One who monitors.
#[derive(Debug)]
pub struct Monitor {
    wanted: Wanted,
    who: Watcher,
    /// Connections of the process that is asked for; `None`: any.
    peers: Option<Mutex<Vec<PeerId>>>,
    pid: Option<u32>,
    allowance: AtomicU32,
    /// What is earned of the next record, in millionths: between two drains it may be less than one.
    earned: AtomicU64,
    dropped: AtomicU64,
    queue: Mutex<Queue>,
    stirred: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Record>,
    bytes: usize,
    /// Bytes that it has had and has not earned yet.
    owed: usize,
}

/// Why a filter is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A pattern is none.
    #[error("{0}: {1}")]
    Pattern(&'static str, crate::message::PatternError),
    /// A number is out of its range.
    #[error("{0} is a number from {1} to {2}")]
    Range(&'static str, u32, u32),
    /// There are enough monitors.
    #[error("{0} monitors are at work already{1}; end one of them")]
    Full(usize, &'static str),
}

impl Filter {
    fn understood(self) -> Result<Wanted, FilterError> {
        let pattern = |what, text: Option<String>| {
            text.map(|text| Pattern::new(&text).map_err(|error| FilterError::Pattern(what, error)))
                .transpose()
        };
        let rate = self.rate.unwrap_or(RATE);
        if !(1..=RATE_MAX).contains(&rate) {
            return Err(FilterError::Range("rate", 1, RATE_MAX));
        }
        if self.payloads > PAYLOAD_MAX {
            return Err(FilterError::Range("payloads", 0, PAYLOAD_MAX as u32));
        }
        Ok(Wanted {
            kinds: self.kinds,
            object: pattern("object", self.object)?,
            member: pattern("member", self.member)?,
            peer: self.peer.map(PeerId),
            payloads: self.payloads,
            rate,
        })
    }
}

impl Wanted {
    fn selects(&self, said: &Said<'_>) -> bool {
        let kind = match said.what {
            What::Call { .. } => RecordKind::Call,
            What::Reply { .. } => RecordKind::Reply,
            What::Event { .. } => RecordKind::Event,
            What::Presence { .. } => RecordKind::Presence,
        };
        // An answer does not say its method: whoever asks for one sees all answers of the object, and those of its calls by their numbers.
        let has_member = kind != RecordKind::Reply;
        let matches = |pattern: &Option<Pattern>, name: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(name))
        };
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && matches(&self.object, said.object)
            && (!has_member || matches(&self.member, said.member))
            && self
                .peer
                .is_none_or(|peer| said.from == Some(peer) || said.to == Some(peer))
    }
}

/// Whether there is a place for one more.
fn place(monitors: &[Arc<Monitor>], who: Watcher) -> Result<(), FilterError> {
    if monitors.len() >= MONITORS_MAX {
        return Err(FilterError::Full(MONITORS_MAX, ""));
    }
    let count = |counts: &dyn Fn(Watcher) -> bool| monitors.iter().filter(|one| counts(one.who)).count();
    if who == Watcher::Operator {
        return Ok(());
    }
    if count(&|other| other == who) >= OF_ONE_MAX {
        return Err(FilterError::Full(OF_ONE_MAX, " for this user"));
    }
    if count(&|other| other != Watcher::Operator) >= OTHERS_MAX {
        let text = " for users other than the broker's own and root";
        return Err(FilterError::Full(OTHERS_MAX, text));
    }
    Ok(())
}

/// Whether it is what a monitor is told: told to monitors as well, each word would be the subject of the next.
fn is_told(said: &Said<'_>) -> bool {
    let item = matches!(said.what, What::Reply { last: false, .. });
    item && said.from == Some(PeerId::BROKER) && said.object == TELLS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tap {
    /// Nobody monitors.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            watching: AtomicU32::new(0),
            monitors: Mutex::new(Arc::new([])),
            gathered: AtomicUsize::new(0),
        })
    }

    /// Whether anybody monitors: else nothing needs to be offered.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.watching.load(Ordering::Relaxed) != 0
    }

    /// How many monitor.
    #[must_use]
    pub fn watching(&self) -> u32 {
        self.watching.load(Ordering::Relaxed)
    }

    /// How much of the payload of something somebody wants to see; `None`: nobody wants to see it at all.
    #[must_use]
    pub fn wanted_of(&self, said: &Said<'_>) -> Option<usize> {
        let monitors = lock(&self.monitors).clone();
        let wanting = monitors.iter().filter(|monitor| monitor.selects(said));
        wanting.map(|monitor| monitor.wanted.payloads).max()
    }

    /// Whether so many bytes more may be kept of messages in pieces; they are to be given back.
    #[must_use]
    pub fn reserve(&self, bytes: usize) -> bool {
        let more = |kept: usize| kept.checked_add(bytes).filter(|kept| *kept <= GATHERED_BYTES);
        let kept = self
            .gathered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        kept.is_ok()
    }

    /// So many bytes are kept no more.
    pub fn give_back(&self, bytes: usize) {
        let less = |kept: usize| Some(kept.saturating_sub(bytes));
        let _ = self
            .gathered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Somebody monitors from now on. The connections that a process has already are told later ([`Monitor::knows`]).
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn watch(&self, filter: Filter, who: Watcher) -> Result<Arc<Monitor>, FilterError> {
        let pid = filter.pid;
        let wanted = filter.understood()?;
        let monitor = Arc::new(Monitor {
            allowance: AtomicU32::new(wanted.rate),
            earned: AtomicU64::new(0),
            wanted,
            who,
            peers: pid.map(|_| Mutex::default()),
            pid,
            dropped: AtomicU64::new(0),
            queue: Mutex::default(),
            stirred: Notify::new(),
        });
        let mut monitors = lock(&self.monitors);
        place(&monitors, who)?;
        *monitors = monitors.iter().chain([&monitor]).cloned().collect();
        self.count(&monitors);
        Ok(monitor)
    }

    /// It does not monitor any more.
    pub fn leave(&self, monitor: &Arc<Monitor>) {
        let mut monitors = lock(&self.monitors);
        let others = monitors.iter().filter(|other| !Arc::ptr_eq(other, monitor));
        *monitors = others.cloned().collect();
        self.count(&monitors);
    }

    fn count(&self, monitors: &[Arc<Monitor>]) {
        let count = u32::try_from(monitors.len()).unwrap_or(u32::MAX);
        self.watching.store(count, Ordering::Relaxed);
    }

    /// Something passes. Each monitor that wants to see it gets it, or counts it as dropped.
    pub fn offer(&self, said: &Said<'_>) {
        if !is_told(said) {
            self.offer_run(1, |_| Some(*said));
        }
    }

    /// So many things pass that are alike but for their contents: whoever wants to see the first one wants to see all. Those that nobody
    /// has room for are not looked at.
    pub fn offer_run<'s>(&self, count: u32, said: impl Fn(u32) -> Option<Said<'s>>) {
        let Some(first) = said(0) else { return };
        // Not under the lock: records may be large.
        let monitors = lock(&self.monitors).clone();
        for monitor in monitors.iter().filter(|monitor| monitor.selects(&first)) {
            let allowed = monitor.allow(count);
            if allowed > 0 {
                let at_us = unix_us();
                let records = (0..allowed).filter_map(&said);
                monitor.take(records.map(|said| said.record(at_us, monitor.wanted.payloads)));
            }
        }
    }
}

impl Monitor {
    fn selects(&self, said: &Said<'_>) -> bool {
        // What it wants to see does not matter for what it has to know.
        let concerned = self
            .peers
            .as_ref()
            .is_none_or(|peers| self.concerns(said, &mut lock(peers)));
        concerned && self.wanted.selects(said)
    }

    /// The process that it asks for, if it does, has these connections.
    pub fn knows(&self, peers: impl IntoIterator<Item = PeerId>) {
        if let Some(known) = &self.peers {
            let mut known = lock(known);
            for peer in peers {
                if !known.contains(&peer) {
                    known.push(peer);
                }
            }
        }
    }

    /// The process that it asks for.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether it concerns the process that is asked for. Its connections are learned as they come.
    fn concerns(&self, said: &Said<'_>, peers: &mut Vec<PeerId>) -> bool {
        let known = |peer: Option<PeerId>| peer.is_some_and(|peer| peers.contains(&peer));
        let (from, to) = (known(said.from), known(said.to));
        let What::Presence { what, who, .. } = said.what else {
            return from || to;
        };
        let own = self.pid == Some(who.pid);
        match what {
            Presence::Connected if own && !from => peers.push(who.peer),
            Presence::Disconnected => peers.retain(|peer| *peer != who.peer),
            _ => {}
        }
        own
    }

    /// How many of so many it may be given; the rest is dropped.
    fn allow(&self, count: u32) -> u32 {
        let mut allowed = 0;
        // Without anything left, as mostly when much passes, nothing is written that threads share but the count.
        if self.allowance.load(Ordering::Relaxed) > 0 {
            let less = |left: u32| Some(left.saturating_sub(count));
            let left = self
                .allowance
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            allowed = left.unwrap_or_default().min(count);
        }
        if let dropped @ 1.. = count.saturating_sub(allowed) {
            self.dropped.fetch_add(u64::from(dropped), Ordering::Relaxed);
        }
        allowed
    }

    /// Records are made here, as long as there is room; the rest of them is not looked at.
    fn take(&self, mut records: impl Iterator<Item = Record>) {
        let mut queue = lock(&self.queue);
        let was_empty = queue.records.is_empty();
        while queue.bytes <= QUEUE_BYTES
            && queue.owed <= QUEUE_BYTES
            && let Some(record) = records.next()
        {
            queue.bytes = queue.bytes.saturating_add(record.cost());
            queue.owed = queue.owed.saturating_add(record.cost());
            queue.records.push(record);
        }
        let (least, most) = records.size_hint();
        drop(queue);
        let left = most.unwrap_or(least);
        if left > 0 {
            self.dropped.fetch_add(left as u64, Ordering::Relaxed);
        }
        if was_empty {
            self.stirred.notify_one();
        }
    }

    /// Returns when something waits. Cancel safe.
    pub async fn stirred(&self) {
        if lock(&self.queue).records.is_empty() {
            self.stirred.notified().await;
        }
    }

    /// Takes out what waits, and how many records were dropped since the last time. `since`: so long ago that was, which is what it may be
    /// given next.
    #[must_use]
    pub fn drain(&self, since: Duration) -> (Vec<Record>, u64) {
        let rate = u64::from(self.wanted.rate);
        let before = self.earned.load(Ordering::Relaxed);
        let millionths = micros(since).saturating_mul(rate).saturating_add(before);
        self.earned
            .store(millionths.rem_euclid(1_000_000), Ordering::Relaxed);
        let earned = millionths.div_euclid(1_000_000).min(rate);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        let more = |left: u32| Some(left.saturating_add(earned).min(self.wanted.rate));
        let _ = self
            .allowance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let mut queue = lock(&self.queue);
        queue.bytes = 0;
        let paid = micros(since).saturating_mul(BYTES_A_SECOND).div_euclid(1_000_000);
        queue.owed = queue
            .owed
            .saturating_sub(usize::try_from(paid).unwrap_or(usize::MAX));
        let records = std::mem::take(&mut queue.records);
        drop(queue);
        (records, self.dropped.swap(0, Ordering::Relaxed))
    }
}

/// Microseconds since 1970. Asked each time: what counts from the start stands still while the machine sleeps, and knows of no correction.
#[must_use]
pub fn unix_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
