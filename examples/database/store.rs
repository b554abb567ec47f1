//! The key-value store and its transactions.
//!
//! Owns the versions of each key, what a transaction sees, and which commits are refused. Pure: it knows no connection, no clock and
//! no task; who may use a transaction it tells by a number of its owner. `main.rs` calls it under a lock.
//!
//! # Isolation
//!
//! Serialisable. A transaction reads the state as it was when it began (its snapshot) and its own writes, and nobody sees its writes
//! before it commits. It commits only if nobody has committed a change since its snapshot to a key that it read, wrote or looked for:
//! the first committer wins, the other one gets [`StoreError::Conflict`] and begins again. So every transaction behaves as if it had
//! run alone at the moment of its commit. One that only read never conflicts: it behaves as if it had run alone when it began.
//!
//! A scan reads page by page, as its reader comes along, and shows one state all the same: the one it began with, whatever is committed
//! meanwhile and however its transaction ends.

use super::log::Change;
use super::scan::Scan;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Longest key, in bytes.
pub(crate) const KEY_MAX: usize = 1024;
/// Longest value, in bytes.
pub(crate) const VALUE_MAX: usize = 64 * 1024;
/// Most bytes that one transaction may write: so one commit fits into a message.
pub(crate) const WRITES_MAX: usize = 1024 * 1024;
/// Most keys and prefixes that one transaction may read.
pub(crate) const READS_MAX: usize = 10_000;
/// Most transactions, and most scans, that one connection may have open.
pub(crate) const OPEN_MAX: usize = 64;

/// Why the store refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("this connection has no transaction {0} open: begin one")]
    NoTransaction(u64),
    #[error(
        "`{key}` was changed by commit {sequence}, after this transaction began at {snapshot}: begin again"
    )]
    Conflict {
        key: String,
        sequence: u64,
        snapshot: u64,
    },
    #[error("what is read began {behind} commits ago, and the store keeps {kept}: begin again")]
    Expired { behind: u64, kept: u64 },
    #[error("this connection has {OPEN_MAX} transactions open: end some")]
    TooManyTransactions,
    #[error("this connection has {OPEN_MAX} scans open: read some to their ends, or drop them")]
    TooManyScans,
    #[error("{what} is {bytes} bytes long, and {most} are the most")]
    TooLong {
        what: &'static str,
        bytes: usize,
        most: usize,
    },
    #[error("the transaction has read {READS_MAX} keys: commit it and begin another")]
    TooManyReads,
    #[error("the store holds {holds} bytes of {most}, and this needs {needs} more: delete something")]
    Full { holds: usize, most: usize, needs: usize },
}

impl StoreError {
    /// The name by which a caller tells it from others.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::NoTransaction(_) => "NoTransaction",
            Self::Conflict { .. } => "Conflict",
            Self::Expired { .. } => "Expired",
            Self::TooManyTransactions => "TooManyTransactions",
            Self::TooManyScans => "TooManyScans",
            Self::TooLong { .. } => "TooLong",
            Self::TooManyReads => "TooManyReads",
            Self::Full { .. } => "Full",
        }
    }
}

/// How much a store keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of keys and values, old versions included.
    pub(crate) bytes: usize,
    /// A transaction or a scan that began more commits ago than this has expired, so that it does not keep old versions for ever.
    pub(crate) history: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 256 * 1024 * 1024,
            history: 10_000,
        }
    }
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The number of the state that it made; of the state that it read, when it wrote nothing.
    pub(crate) sequence: u64,
    /// What it changed, by key.
    pub(crate) changes: Vec<Change>,
}

/// One value of a key, from one commit on.
#[derive(Debug)]
struct Version {
    sequence: u64,
    /// `None`: deleted.
    value: Option<String>,
}

#[derive(Debug, Default)]
struct Transaction {
    owner: u64,
    snapshot: u64,
    reads: BTreeSet<String>,
    prefixes: BTreeSet<String>,
    writes: BTreeMap<String, Option<String>>,
    bytes: usize,
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    bounds: Bounds,
    /// Ascending by sequence; never empty.
    keys: BTreeMap<String, Vec<Version>>,
    /// The keys of which a commit made a version obsolete, by that commit.
    obsolete: BTreeMap<u64, Vec<String>>,
    sequence: u64,
    bytes: usize,
    open: BTreeMap<u64, Transaction>,
    /// Who reads, and from which state, by the number of the scan.
    scans: BTreeMap<u64, (u64, u64)>,
    /// How many transactions and scans there were.
    begun: u64,
}

impl Store {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// The number of the newest state: how many commits have changed something.
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many transactions are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// How many values are kept, old versions and marks of deletion included.
    pub(crate) fn versions(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    /// Begins a transaction: its number, and that of the state that it reads.
    pub(crate) fn begin(&mut self, owner: u64) -> Result<(u64, u64), StoreError> {
        let held = self.open.values().filter(|open| open.owner == owner).count();
        if held >= OPEN_MAX {
            return Err(StoreError::TooManyTransactions);
        }
        self.begun += 1;
        let transaction = Transaction {
            owner,
            snapshot: self.sequence,
            ..Transaction::default()
        };
        self.open.insert(self.begun, transaction);
        Ok((self.begun, self.sequence))
    }

    /// The value of a key, in a transaction or now.
    pub(crate) fn get(
        &mut self,
        owner: u64,
        transaction: Option<u64>,
        key: &str,
    ) -> Result<Option<String>, StoreError> {
        let Some(id) = transaction else {
            return Ok(seen(&self.keys, key, self.sequence));
        };
        let open = running(&mut self.open, self.sequence, self.bounds, owner, id)?;
        if let Some(written) = open.writes.get(key) {
            return Ok(written.clone());
        }
        if !open.reads.contains(key) {
            open.room_for_a_read()?;
            open.reads.insert(limited(key)?.to_owned());
        }
        Ok(seen(&self.keys, key, open.snapshot))
    }

    /// Begins to read every pair whose key begins with the prefix, by key, in a transaction or now. In a transaction the absence of
    /// other keys is read as well: one that somebody adds is a conflict.
    pub(crate) fn scan(
        &mut self,
        owner: u64,
        transaction: Option<u64>,
        prefix: &str,
    ) -> Result<Scan, StoreError> {
        limited(prefix)?;
        if self.scans.values().filter(|(whose, _)| *whose == owner).count() >= OPEN_MAX {
            return Err(StoreError::TooManyScans);
        }
        let (snapshot, own) = match transaction {
            None => (self.sequence, BTreeMap::new()),
            Some(id) => {
                let open = running(&mut self.open, self.sequence, self.bounds, owner, id)?;
                if !open.prefixes.contains(prefix) {
                    open.room_for_a_read()?;
                    open.prefixes.insert(prefix.to_owned());
                }
                let own = with_prefix(&open.writes, prefix);
                let own = own.map(|(key, value)| (key.clone(), value.clone())).collect();
                (open.snapshot, own)
            }
        };
        self.begun += 1;
        self.scans.insert(self.begun, (owner, snapshot));
        Ok(Scan::new(self.begun, snapshot, prefix.to_owned(), own))
    }

    /// The next pairs of a scan, until they are `bytes` or more together; none when it has shown all.
    pub(crate) fn page(&self, scan: &mut Scan, bytes: usize) -> Result<Vec<(String, String)>, StoreError> {
        not_expired(self.sequence, self.bounds, scan.snapshot)?;
        let state = scan.rest(&self.keys);
        let state = state.filter_map(|(key, versions)| Some((key, visible(versions, scan.snapshot)?)));
        let page = scan.page(state, bytes);
        scan.shown(&page);
        Ok(page)
    }

    /// Gives back what was kept for a scan, whether it has come to its end or not.
    pub(crate) fn scanned(&mut self, scan: &Scan) {
        self.scans.remove(&scan.id);
        self.forget_obsolete();
    }

    /// Writes a value, or deletes the key when it is `None`: in a transaction, or as one of its own, whose commit is returned.
    pub(crate) fn put(
        &mut self,
        owner: u64,
        transaction: Option<u64>,
        key: &str,
        value: Option<String>,
    ) -> Result<Option<Commit>, StoreError> {
        limited(key)?;
        let bytes = value.as_ref().map_or(0, String::len);
        at_most("the value", bytes, VALUE_MAX)?;
        let Some(id) = transaction else {
            return self.apply(BTreeMap::from([(key.to_owned(), value)])).map(Some);
        };
        let open = running(&mut self.open, self.sequence, self.bounds, owner, id)?;
        let freed = match open.writes.get(key) {
            Some(before) => key.len() + before.as_ref().map_or(0, String::len),
            None => 0,
        };
        let total = open.bytes - freed + key.len() + bytes;
        at_most("what the transaction writes", total, WRITES_MAX)?;
        open.bytes = total;
        open.writes.insert(key.to_owned(), value);
        Ok(None)
    }

    /// Ends a transaction and makes its writes visible, all at once. When it is refused, it is ended as well and nothing is written.
    pub(crate) fn commit(&mut self, owner: u64, id: u64) -> Result<Commit, StoreError> {
        let checked = running(&mut self.open, self.sequence, self.bounds, owner, id).map(|_| ());
        if matches!(checked, Err(StoreError::NoTransaction(_))) {
            return Err(StoreError::NoTransaction(id));
        }
        let Some(open) = self.open.remove(&id) else {
            return Err(StoreError::NoTransaction(id));
        };
        let ended = checked.and_then(|()| match open.writes.is_empty() {
            true => Ok(Commit {
                sequence: open.snapshot,
                changes: Vec::new(),
            }),
            false => {
                self.check(&open)?;
                self.apply(open.writes)
            }
        });
        self.forget_obsolete();
        ended
    }

    /// Ends a transaction without a trace: how many writes were discarded.
    pub(crate) fn rollback(&mut self, owner: u64, id: u64) -> Result<usize, StoreError> {
        match self.open.get(&id) {
            Some(open) if open.owner == owner => {}
            _ => return Err(StoreError::NoTransaction(id)),
        }
        let discarded = self.open.remove(&id).map_or(0, |open| open.writes.len());
        self.forget_obsolete();
        Ok(discarded)
    }

    /// Rolls back everything that an owner has open, because it is gone: how many transactions.
    pub(crate) fn forget(&mut self, owner: u64) -> usize {
        let before = self.open.len();
        self.open.retain(|_, open| open.owner != owner);
        self.forget_obsolete();
        before - self.open.len()
    }

    /// The whole newest state with its number, for a replica: not page by page, since a slow one must not keep old versions, nor begin
    /// again when they have expired.
    pub(crate) fn snapshot(&self) -> (u64, Vec<(String, String)>) {
        let pairs = self.keys.iter().filter_map(|(key, versions)| {
            let value = visible(versions, self.sequence)?;
            Some((key.clone(), value.clone()))
        });
        (self.sequence, pairs.collect())
    }

    /// Whether anything that the transaction read or wrote was changed since.
    fn check(&self, open: &Transaction) -> Result<(), StoreError> {
        let touched = open.reads.iter().chain(open.writes.keys());
        let single = touched.filter_map(|key| self.keys.get_key_value(key));
        let ranges = open
            .prefixes
            .iter()
            .flat_map(|prefix| with_prefix(&self.keys, prefix));
        let newest = single.chain(ranges).filter_map(|(key, versions)| {
            let newest = versions.last()?;
            (newest.sequence > open.snapshot).then_some((key, newest.sequence))
        });
        match newest.min_by_key(|(_, sequence)| *sequence) {
            None => Ok(()),
            Some((key, sequence)) => Err(StoreError::Conflict {
                key: key.clone(),
                sequence,
                snapshot: open.snapshot,
            }),
        }
    }

    /// Makes a new state. A deletion of what is not there changes nothing, but counts as a write.
    fn apply(&mut self, writes: BTreeMap<String, Option<String>>) -> Result<Commit, StoreError> {
        let size =
            |(key, value): (&String, &Option<String>)| key.len() + value.as_ref().map_or(0, String::len);
        let needs: usize = writes.iter().map(size).sum();
        let grows = writes.values().any(Option::is_some);
        if grows && self.bytes.saturating_add(needs) > self.bounds.bytes {
            return Err(StoreError::Full {
                holds: self.bytes,
                most: self.bounds.bytes,
                needs,
            });
        }
        self.sequence += 1;
        self.bytes += needs;
        let (sequence, mut changes) = (self.sequence, Vec::with_capacity(writes.len()));
        let obsolete = self.obsolete.entry(sequence).or_default();
        for (key, value) in writes {
            let versions = self.keys.entry(key.clone()).or_default();
            if !versions.is_empty() || value.is_none() {
                obsolete.push(key.clone());
            }
            versions.push(Version {
                sequence,
                value: value.clone(),
            });
            changes.push(Change { key, value });
        }
        self.forget_obsolete();
        Ok(Commit { sequence, changes })
    }

    /// Drops the versions that no open transaction can see any more.
    fn forget_obsolete(&mut self) {
        let oldest = self.sequence.saturating_sub(self.bounds.history);
        let open = self.open.values().map(|open| open.snapshot);
        let snapshots = open.chain(self.scans.values().map(|(_, snapshot)| *snapshot));
        let horizon = snapshots
            .filter(|snapshot| *snapshot >= oldest)
            .min()
            .unwrap_or(self.sequence);
        while let Some(entry) = self.obsolete.first_entry() {
            if *entry.key() > horizon {
                break;
            }
            for key in entry.remove() {
                self.prune(&key, horizon);
            }
        }
    }

    /// Keeps of a key the newest version up to the horizon and those behind it.
    fn prune(&mut self, key: &str, horizon: u64) {
        let Some(versions) = self.keys.get_mut(key) else {
            return;
        };
        let up_to = versions.partition_point(|version| version.sequence <= horizon);
        let mut dropped = up_to.saturating_sub(1);
        // A mark of deletion says what its absence says as well.
        if versions.get(dropped).is_some_and(|oldest| oldest.value.is_none()) && up_to > 0 {
            dropped += 1;
        }
        for version in versions.drain(..dropped) {
            self.bytes -= key.len() + version.value.map_or(0, |value| value.len());
        }
        if versions.is_empty() {
            self.keys.remove(key);
        }
    }
}

impl Transaction {
    fn room_for_a_read(&self) -> Result<(), StoreError> {
        match self.reads.len() + self.prefixes.len() < READS_MAX {
            true => Ok(()),
            false => Err(StoreError::TooManyReads),
        }
    }
}

/// An open transaction of this owner, which has not expired.
fn running(
    open: &mut BTreeMap<u64, Transaction>,
    newest: u64,
    bounds: Bounds,
    owner: u64,
    id: u64,
) -> Result<&mut Transaction, StoreError> {
    let found = open.get_mut(&id).filter(|open| open.owner == owner);
    let found = found.ok_or(StoreError::NoTransaction(id))?;
    not_expired(newest, bounds, found.snapshot).map(|()| found)
}

const fn not_expired(newest: u64, bounds: Bounds, snapshot: u64) -> Result<(), StoreError> {
    let (behind, kept) = (newest - snapshot, bounds.history);
    match behind > kept {
        true => Err(StoreError::Expired { behind, kept }),
        false => Ok(()),
    }
}

/// The value of a key in the state with this number.
fn seen(keys: &BTreeMap<String, Vec<Version>>, key: &str, snapshot: u64) -> Option<String> {
    visible(keys.get(key)?, snapshot).cloned()
}

fn visible(versions: &[Version], snapshot: u64) -> Option<&String> {
    let mut newest_first = versions.iter().rev();
    let newest = newest_first.find(|version| version.sequence <= snapshot)?;
    newest.value.as_ref()
}

fn with_prefix<'a, V>(
    map: &'a BTreeMap<String, V>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a V)> {
    map.range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}

fn limited(key: &str) -> Result<&str, StoreError> {
    at_most("the key", key.len(), KEY_MAX).map(|()| key)
}

const fn at_most(what: &'static str, bytes: usize, most: usize) -> Result<(), StoreError> {
    match bytes <= most {
        true => Ok(()),
        false => Err(StoreError::TooLong { what, bytes, most }),
    }
}
