//! What outlives a connection: registrations, subscriptions, waits, watches and the will.
//!
//! Owns the list, with the frame that asks for each, in the order in which they were made; and the count of answers
//! that a restored connection still waits for. Knows no socket. Used under the connection's lock.

use super::event_queue::EventQueue;
use super::presence::Notice;
use super::queue::Queue;
use super::slab::Slab;
use crate::error::CallError;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// The bit that tells keys of this list from those of calls.
const TAG: u64 = 1 << 63;
/// A name that our own lost connection still holds comes free soon: so often a refused registration is tried again.
pub(crate) const RETRIES: u32 = 8;

/// Where a frame holds `aux`.
const AUX: std::ops::Range<usize> = 16..20;

/// What is to be restored.
#[derive(Debug)]
pub(crate) enum Fact {
    /// An object under a name.
    Object {
        name: Arc<str>,
        standing: Arc<tokio::sync::watch::Sender<Standing>>,
    },
    /// A subscription.
    Subscription(Arc<EventQueue>),
    /// A wait for names; the answer comes when they are there. Until when, if at all.
    Wait { until: Option<Instant> },
    /// A watch over names or connections.
    Watch(Arc<Queue<Notice>>),
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

/// One entry of the list.
#[derive(Debug)]
pub(crate) struct Entry {
    order: u64,
    /// The whole frame that asks for it, with its key as id.
    pub(crate) frame: Vec<u8>,
    pub(crate) what: Fact,
    /// Whoever made it and waits for the first answer.
    pub(crate) first: Option<oneshot::Sender<Result<u32, CallError>>>,
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
    /// The frame that sets the will.
    pub(crate) will: Option<Vec<u8>>,
    pub(crate) restoration: Option<Restoration>,
}

/// What is known of a restoration while answers come in.
#[derive(Debug, Default)]
pub(crate) struct Restoration {
    pub(crate) waiting: usize,
    pub(crate) restored: usize,
    pub(crate) lost: Vec<(String, CallError)>,
}

impl Lasting {
    pub(crate) const fn new() -> Self {
        Self {
            table: Slab::new(TAG),
            next_order: 0,
            will: None,
            restoration: None,
        }
    }

    /// Whether `id` is one of this list's.
    pub(crate) const fn is_key(id: u64) -> bool {
        id & TAG != 0
    }

    /// Adds an entry; `frame` makes its frame from its key.
    pub(crate) fn add(
        &mut self,
        what: Fact,
        first: Option<oneshot::Sender<Result<u32, CallError>>>,
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

    /// Starts a restoration: every entry in its order, for the caller to send its frame.
    pub(crate) fn restore(&mut self, mut send: impl FnMut(&mut Entry)) {
        let mut entries: Vec<&mut Entry> = self.table.iter_mut().map(|(_, entry)| entry).collect();
        entries.sort_unstable_by_key(|entry| entry.order);
        let mut waiting = 0_usize;
        for entry in entries {
            // Who still waits for the first answer gets it; the others are counted.
            entry.restoring = entry.first.is_none() && !matches!(entry.what, Fact::Wait { .. });
            entry.retry_at = None;
            entry.retries = RETRIES;
            waiting = waiting.saturating_add(usize::from(entry.restoring));
            send(entry);
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
    /// How reports name it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Object { name, .. } => format!("object {name}"),
            Self::Subscription(queue) => format!("subscription {} {}", queue.object, queue.topic),
            Self::Wait { .. } => "wait".to_owned(),
            Self::Watch(_) => "watch".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn object(lasting: &mut Lasting, name: &str) -> u64 {
        let standing = Arc::new(tokio::sync::watch::channel(Standing::Asked).0);
        let what = Fact::Object {
            name: name.into(),
            standing,
        };
        lasting.add(what, None, |key| key.to_le_bytes().to_vec()).unwrap()
    }

    #[test]
    fn restoration_goes_in_the_old_order_and_reports_once() {
        let mut lasting = Lasting::new();
        let first = object(&mut lasting, "a");
        let second = object(&mut lasting, "b");
        lasting.forget(first);
        let third = object(&mut lasting, "c");
        assert_eq!(
            first & 0xffff_ffff,
            third & 0xffff_ffff,
            "the slot of a is used again"
        );
        let mut sent = Vec::new();
        lasting.restore(|entry| sent.push(entry.frame.clone()));
        assert_eq!(sent, [second.to_le_bytes(), third.to_le_bytes()]);
        lasting.note_restored(third, Err(CallError::from(ErrorCode::NameTaken)));
        assert!(lasting.take_restoration().is_none());
        lasting.note_restored(second, Ok(()));
        lasting.note_restored(second, Ok(()));
        let outcome = lasting.take_restoration().unwrap();
        assert_eq!((outcome.restored, outcome.lost.len()), (1, 1));
        assert!(outcome.lost[0].0.contains("object c"));
        assert!(lasting.take_restoration().is_none());
    }

    #[test]
    fn what_goes_away_is_not_waited_for() {
        let mut lasting = Lasting::new();
        let key = object(&mut lasting, "a");
        lasting.restore(|_| ());
        lasting.forget(key);
        assert!(lasting.take_restoration().is_some());
    }
}
