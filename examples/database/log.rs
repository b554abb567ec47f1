//! The log of commits, from which replicas catch up, and what a replica makes of it.
//!
//! Owns the numbers: which commits a replica still needs, whether the log has them or a snapshot must be sent, and that a replica
//! takes each commit once and in order. Pure; `primary.rs` sends what it says, `replica.rs` applies what comes.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What a commit did to one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) key: String,
    /// `None`: deleted.
    pub(crate) value: Option<String>,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its number; the next commit has the next one.
    pub(crate) sequence: u64,
    pub(crate) changes: Vec<Change>,
}

impl Entry {
    fn bytes(&self) -> usize {
        let change = |change: &Change| change.key.len() + change.value.as_ref().map_or(0, String::len);
        self.changes.iter().map(change).sum()
    }
}

/// The newest commits, as many as fit.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    newest: u64,
    entries_max: usize,
    bytes_max: usize,
}

/// What a replica needs next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until there is another commit.
    Nothing,
    /// These commits.
    Entries(Vec<Entry>),
    /// The whole state: the log no longer reaches back that far.
    Snapshot,
}

impl Log {
    pub(crate) const fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            newest: 0,
            entries_max,
            bytes_max,
        }
    }

    /// Takes the next commit, and drops the oldest ones that do not fit beside it.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.newest = entry.sequence;
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > self.entries_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
        }
    }

    /// How many commits are kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What a replica that has everything up to `after` needs, at most about `bytes` of it at once. One that claims to be ahead
    /// has another history and needs the whole state.
    pub(crate) fn next(&self, after: u64, bytes: usize) -> Next {
        if after == self.newest {
            return Next::Nothing;
        }
        let first = self.entries.front().map(|entry| entry.sequence);
        let Some(first) = first.filter(|first| (*first..=self.newest).contains(&after.saturating_add(1)))
        else {
            return Next::Snapshot;
        };
        let skip = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let mut room = bytes;
        let fits = |entry: &&Entry| {
            let fitted = room > 0;
            room = room.saturating_sub(entry.bytes().max(1));
            fitted
        };
        Next::Entries(self.entries.iter().skip(skip).take_while(fits).cloned().collect())
    }
}

/// Why a replica refuses what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplicaError {
    #[error("commit {came} came, and commit {expected} is the next: follow again from {}", expected - 1)]
    Gap { expected: u64, came: u64 },
    #[error("a part of a snapshot came that was not begun")]
    NotLoading,
    #[error("this is of the primary's life {came}, and the replica follows {expected}")]
    OtherLife { expected: u64, came: u64 },
}

impl ReplicaError {
    /// The name by which the primary tells it from others.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "Gap",
            Self::NotLoading => "NotLoading",
            Self::OtherLife { .. } => "OtherLife",
        }
    }
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The state that it is a part of.
    pub(crate) sequence: u64,
    pub(crate) first: bool,
    pub(crate) last: bool,
    pub(crate) pairs: Vec<(String, String)>,
}

/// A copy of the store. A snapshot becomes visible when all of it is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Which life of the primary: a store that has started anew counts its commits from 0 again.
    life: u64,
    sequence: u64,
    pairs: BTreeMap<String, String>,
    loading: Option<BTreeMap<String, String>>,
}

impl Replica {
    /// What the replica says when it follows: the life of the primary, and the last commit that it has.
    pub(crate) const fn position(&self) -> (u64, u64) {
        (self.life, self.sequence)
    }

    /// The copy.
    pub(crate) const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.pairs
    }

    /// Applies commits. Those that it has already are skipped, so that sending twice does no harm: how many were new.
    pub(crate) fn apply(&mut self, life: u64, entries: Vec<Entry>) -> Result<usize, ReplicaError> {
        if life != self.life {
            let expected = self.life;
            return Err(ReplicaError::OtherLife { expected, came: life });
        }
        let mut applied = 0;
        for entry in entries {
            let expected = self.sequence + 1;
            if entry.sequence > expected {
                let came = entry.sequence;
                return Err(ReplicaError::Gap { expected, came });
            }
            if entry.sequence < expected {
                continue;
            }
            for Change { key, value } in entry.changes {
                match value {
                    Some(value) => self.pairs.insert(key, value),
                    None => self.pairs.remove(&key),
                };
            }
            self.sequence = entry.sequence;
            applied += 1;
        }
        Ok(applied)
    }

    /// Takes a part of a snapshot: whether it is whole now.
    pub(crate) fn load(&mut self, life: u64, part: Part) -> Result<bool, ReplicaError> {
        if part.first {
            self.loading = Some(BTreeMap::new());
        }
        let loading = self.loading.as_mut().ok_or(ReplicaError::NotLoading)?;
        loading.extend(part.pairs);
        if part.last {
            self.pairs = self.loading.take().unwrap_or_default();
            (self.life, self.sequence) = (life, part.sequence);
        }
        Ok(part.last)
    }
}

/// A snapshot in parts of about `bytes` each; at least one, even of nothing.
pub(crate) fn parts(sequence: u64, pairs: Vec<(String, String)>, bytes: usize) -> Vec<Part> {
    let new = |first| Part {
        sequence,
        first,
        last: false,
        pairs: Vec::new(),
    };
    let (mut parts, mut part, mut held) = (Vec::new(), new(true), 0);
    for (key, value) in pairs {
        let size = key.len() + value.len();
        if held > 0 && held + size > bytes {
            parts.push(std::mem::replace(&mut part, new(false)));
            held = 0;
        }
        held += size;
        part.pairs.push((key, value));
    }
    part.last = true;
    parts.push(part);
    parts
}
