//! The state of the example `database`: its transactions against a model that runs them one by one, and its replicas.

#[path = "../../examples/database/log.rs"]
mod log;
#[path = "../../examples/database/scan.rs"]
mod scan;
#[path = "../../examples/database/store.rs"]
mod store;

use log::{Change, Entry, Log, Next, Replica, ReplicaError, parts};
use proptest::prelude::*;
use scan::Scan;
use std::collections::{BTreeMap, VecDeque};
use store::{Bounds, Store, StoreError};

const KEYS: [&str; 4] = ["a", "ab", "b", "c"];
const PREFIXES: [&str; 3] = ["", "a", "b"];

#[derive(Clone, Debug)]
enum Op {
    Begin,
    Get(usize),
    Scan(usize),
    /// A scan that is read while others write, in the transaction or now.
    Read(usize),
    /// The next pair of a scan that is being read.
    Page(usize),
    Put(usize, u8),
    Delete(usize),
    Commit,
    Rollback,
    /// Outside of any transaction.
    PutNow(usize, u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Begin),
        4 => (0..KEYS.len()).prop_map(Op::Get),
        1 => (0..PREFIXES.len()).prop_map(Op::Scan),
        1 => (0..PREFIXES.len()).prop_map(Op::Read),
        2 => (0..4_usize).prop_map(Op::Page),
        4 => (0..KEYS.len(), any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        1 => (0..KEYS.len()).prop_map(Op::Delete),
        3 => Just(Op::Commit),
        1 => Just(Op::Rollback),
        1 => (0..KEYS.len(), any::<u8>()).prop_map(|(key, value)| Op::PutNow(key, value)),
    ]
}

type Pairs = BTreeMap<String, String>;

/// All that a scan shows, in pages of at least so many bytes, and then it is given back.
fn all(store: &mut Store, mut scan: Scan, bytes: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        let page = store.page(&mut scan, bytes).unwrap();
        if page.is_empty() {
            store.scanned(&scan);
            return found;
        }
        found.extend(page);
    }
}

/// What a transaction did and saw.
#[derive(Clone, Debug)]
enum Step {
    Got(&'static str, Option<String>),
    Scanned(&'static str, Vec<(String, String)>),
    Wrote(&'static str, Option<String>),
}

fn write(state: &mut Pairs, key: &str, value: Option<String>) {
    match value {
        Some(value) => state.insert(key.to_owned(), value),
        None => state.remove(key),
    };
}

fn scanned(state: &Pairs, prefix: &str) -> Vec<(String, String)> {
    let pairs = state.iter().filter(|(key, _)| key.starts_with(prefix));
    pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Runs the steps alone on a state: they must see there what they saw.
fn replay(state: &mut Pairs, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Got(key, seen) => assert_eq!(state.get(*key), seen.as_ref(), "{steps:?}"),
            Step::Scanned(prefix, seen) => assert_eq!(scanned(state, prefix), *seen, "{steps:?}"),
            Step::Wrote(key, value) => write(state, key, value.clone()),
        }
    }
}

/// The store beside every state that it had, and what the open transactions did.
struct Run {
    store: Store,
    states: Vec<Pairs>,
    changed: Vec<Vec<String>>,
    open: BTreeMap<u64, (u64, u64, Vec<Step>)>,
    /// What is being read, and what it still has to show.
    reading: Vec<(Scan, VecDeque<(String, String)>)>,
}

impl Run {
    fn new() -> Self {
        Self {
            store: Store::new(Bounds::default()),
            states: vec![Pairs::new()],
            changed: vec![Vec::new()],
            open: BTreeMap::new(),
            reading: Vec::new(),
        }
    }

    fn read(&mut self, owner: u64, prefix: &str) {
        let id = self.open.get(&owner).map(|(id, ..)| *id);
        let scan = self.store.scan(owner, id, prefix).unwrap();
        let state = match self.open.get_mut(&owner) {
            None => self.newest(),
            Some((_, snapshot, steps)) => {
                let mut state = self.states[*snapshot as usize].clone();
                replay(&mut state, steps);
                steps.push(Step::Scanned(
                    PREFIXES.iter().find(|known| **known == prefix).unwrap(),
                    scanned(&state, prefix),
                ));
                state
            }
        };
        self.reading.push((scan, scanned(&state, prefix).into()));
    }

    /// One pair more of a scan: the one that its state has next, whatever was committed meanwhile.
    fn page(&mut self, which: usize) {
        let Some((scan, rest)) = self.reading.get_mut(which) else {
            return;
        };
        let page = self.store.page(scan, 1).unwrap();
        assert_eq!(page, rest.pop_front().into_iter().collect::<Vec<_>>());
        if page.is_empty() {
            let (scan, _) = self.reading.remove(which);
            self.store.scanned(&scan);
        }
    }

    fn newest(&self) -> Pairs {
        self.states.last().unwrap().clone()
    }

    fn advance(&mut self, sequence: u64, state: Pairs, changes: &[Change]) {
        assert_eq!(sequence, self.states.len() as u64, "each commit makes one state");
        self.states.push(state);
        self.changed
            .push(changes.iter().map(|change| change.key.clone()).collect());
    }

    fn commit(&mut self, owner: u64) {
        let Some((id, snapshot, steps)) = self.open.remove(&owner) else {
            return;
        };
        let writes = steps.iter().any(|step| matches!(step, Step::Wrote(..)));
        match self.store.commit(owner, id) {
            Ok(commit) if writes => {
                let mut state = self.newest();
                replay(&mut state, &steps);
                self.advance(commit.sequence, state, &commit.changes);
            }
            Ok(commit) => {
                assert_eq!(commit.sequence, snapshot);
                replay(&mut self.states[snapshot as usize].clone(), &steps);
            }
            Err(StoreError::Conflict { key, sequence, .. }) => {
                assert!(writes && sequence > snapshot);
                assert!(self.changed[sequence as usize].contains(&key), "{key} {sequence}");
                let touched = steps.iter().any(|step| match step {
                    Step::Got(own, _) | Step::Wrote(own, _) => *own == key,
                    Step::Scanned(prefix, _) => key.starts_with(prefix),
                });
                assert!(touched, "{key} is none of {steps:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self, owner: u64, op: &Op) {
        if let Op::Begin = op {
            if !self.open.contains_key(&owner) {
                let (id, snapshot) = self.store.begin(owner).unwrap();
                assert_eq!(snapshot, self.states.len() as u64 - 1);
                self.open.insert(owner, (id, snapshot, Vec::new()));
            }
            return;
        }
        if let Op::PutNow(key, value) = op {
            let value = Some(value.to_string());
            let commit = self.store.put(owner, None, KEYS[*key], value.clone()).unwrap();
            let mut state = self.newest();
            write(&mut state, KEYS[*key], value);
            let commit = commit.unwrap();
            self.advance(commit.sequence, state, &commit.changes);
            return;
        }
        match op {
            Op::Commit => return self.commit(owner),
            Op::Read(prefix) => return self.read(owner, PREFIXES[*prefix]),
            Op::Page(which) => return self.page(*which),
            _ => {}
        }
        let Some((id, _, steps)) = self.open.get_mut(&owner) else {
            return;
        };
        let id = *id;
        match op {
            Op::Get(key) => steps.push(Step::Got(
                KEYS[*key],
                self.store.get(owner, Some(id), KEYS[*key]).unwrap(),
            )),
            Op::Scan(prefix) => {
                let prefix = PREFIXES[*prefix];
                let scan = self.store.scan(owner, Some(id), prefix).unwrap();
                steps.push(Step::Scanned(prefix, all(&mut self.store, scan, 3)));
            }
            Op::Put(key, _) | Op::Delete(key) => {
                let value = match op {
                    Op::Put(_, value) => Some(value.to_string()),
                    _ => None,
                };
                let none = self
                    .store
                    .put(owner, Some(id), KEYS[*key], value.clone())
                    .unwrap();
                assert_eq!(none, None);
                steps.push(Step::Wrote(KEYS[*key], value));
            }
            _ => {
                let mut written: Vec<_> = steps
                    .iter()
                    .filter_map(|step| match step {
                        Step::Wrote(key, _) => Some(*key),
                        _ => None,
                    })
                    .collect();
                written.sort_unstable();
                written.dedup();
                assert_eq!(self.store.rollback(owner, id), Ok(written.len()));
                self.open.remove(&owner);
            }
        }
    }
}

proptest! {
    /// Whatever commits saw what it would have seen alone, in the order of the commits.
    #[test]
    fn transactions_are_serialisable(ops in prop::collection::vec((0..3_u64, op()), 1..120)) {
        let mut run = Run::new();
        for (owner, op) in &ops {
            run.step(*owner, op);
            let newest: Vec<_> = run.newest().into_iter().collect();
            prop_assert_eq!(run.store.snapshot().1, newest, "nobody sees what is not committed");
        }
        for owner in 0..3 {
            run.commit(owner);
        }
        while !run.reading.is_empty() {
            run.page(0);
        }
        prop_assert_eq!(run.store.open(), 0);
        prop_assert_eq!(run.store.versions(), run.newest().len(), "old versions are gone with who needed them");
    }

    /// However often the connection breaks, and however short the log: a replica ends with what the primary has.
    #[test]
    fn replicas_catch_up(
        keep in 1..6_usize,
        steps in prop::collection::vec((0..KEYS.len(), any::<u8>(), any::<bool>(), 1..40_usize), 1..60),
    ) {
        let (mut store, mut log, mut replica) = (Store::default(), Log::new(keep, 1 << 20), Replica::default());
        let life = 7;
        for (key, value, connected, bytes) in steps {
            let value = (value % 5 > 0).then(|| value.to_string());
            let commit = store.put(0, None, KEYS[key], value).unwrap().unwrap();
            log.push(Entry { sequence: commit.sequence, changes: commit.changes });
            prop_assert!(log.len() <= keep);
            if connected {
                catch_up(&store, &log, &mut replica, life, bytes);
            }
        }
        catch_up(&store, &log, &mut replica, life, 10);
        let (sequence, pairs) = store.snapshot();
        prop_assert_eq!(replica.position(), (life, sequence));
        prop_assert_eq!(replica.pairs().clone().into_iter().collect::<Vec<_>>(), pairs);
    }
}

fn catch_up(store: &Store, log: &Log, replica: &mut Replica, life: u64, bytes: usize) {
    loop {
        let (known, after) = replica.position();
        let next = match known == life {
            true => log.next(after, bytes),
            false => Next::Snapshot,
        };
        match next {
            Next::Nothing => return,
            Next::Entries(entries) => {
                let count = entries.len();
                assert!(count > 0);
                assert_eq!(replica.apply(life, entries.clone()), Ok(count));
                assert_eq!(replica.apply(life, entries), Ok(0), "twice does no harm");
            }
            Next::Snapshot => {
                let (sequence, pairs) = store.snapshot();
                let parts = parts(sequence, pairs, bytes);
                let last = parts.len() - 1;
                for (index, part) in parts.into_iter().enumerate() {
                    assert_eq!(replica.load(life, part), Ok(index == last));
                }
            }
        }
    }
}

#[test]
fn the_first_committer_wins() {
    let mut store = Store::default();
    store.put(1, None, "user", Some("ada".into())).unwrap();
    let (first, snapshot) = store.begin(1).unwrap();
    let (second, _) = store.begin(2).unwrap();
    for (owner, id, value) in [(1, first, "bob"), (2, second, "eve")] {
        assert_eq!(store.get(owner, Some(id), "user").unwrap().unwrap(), "ada");
        store.put(owner, Some(id), "user", Some(value.into())).unwrap();
    }
    assert_eq!(store.commit(1, first).unwrap().sequence, 2);
    let refused = store.commit(2, second).unwrap_err();
    let key = "user".to_owned();
    assert_eq!(
        refused,
        StoreError::Conflict {
            key,
            sequence: 2,
            snapshot
        }
    );
    assert_eq!(
        (refused.name(), store.commit(2, second)),
        ("Conflict", Err(StoreError::NoTransaction(second)))
    );
    assert_eq!(store.get(2, None, "user").unwrap().unwrap(), "bob");
}

#[test]
fn two_that_read_what_the_other_writes_do_not_both_commit() {
    let mut store = Store::default();
    let (first, _) = store.begin(1).unwrap();
    let (second, _) = store.begin(2).unwrap();
    let scan = store.scan(1, Some(first), "doctor/").unwrap();
    assert_eq!(all(&mut store, scan, 1), []);
    assert_eq!(store.get(2, Some(second), "doctor/a").unwrap(), None);
    store.put(1, Some(first), "doctor/a", Some("on".into())).unwrap();
    store.put(2, Some(second), "doctor/b", Some("on".into())).unwrap();
    store.commit(2, second).unwrap();
    assert!(matches!(store.commit(1, first), Err(StoreError::Conflict { key, .. }) if key == "doctor/b"));
}

#[test]
fn a_transaction_is_its_owners_and_goes_with_it() {
    let mut store = Store::default();
    let (id, _) = store.begin(1).unwrap();
    store.put(1, Some(id), "k", Some("v".into())).unwrap();
    let none = Err(StoreError::NoTransaction(id));
    assert_eq!(store.get(2, Some(id), "k"), none);
    assert_eq!(store.commit(2, id).map(|_| None), none);
    assert_eq!(store.rollback(2, id).map(|_| None), none);
    assert_eq!((store.forget(2), store.forget(1), store.open()), (0, 1, 0));
    assert_eq!(store.get(1, None, "k"), Ok(None));
}

#[test]
fn the_store_keeps_its_bounds() {
    let mut store = Store::new(Bounds {
        bytes: 100,
        history: 3,
    });
    let (old, _) = store.begin(1).unwrap();
    assert_eq!(store.get(1, Some(old), "k").unwrap(), None);
    for round in 0..4 {
        let value = format!("{round}").repeat(10);
        store.put(2, None, "k", Some(value)).unwrap();
    }
    let expired = StoreError::Expired { behind: 4, kept: 3 };
    assert_eq!(store.get(1, Some(old), "k"), Err(expired.clone()));
    assert_eq!(store.versions(), 1, "an expired transaction keeps nothing");
    assert_eq!(
        (store.commit(1, old), store.open()),
        (Err(expired), 0),
        "but can be ended"
    );

    let full = store.put(1, None, "l", Some("x".repeat(90))).unwrap_err();
    assert_eq!(
        full,
        StoreError::Full {
            holds: 11,
            most: 100,
            needs: 91
        }
    );
    store.put(1, None, "k", None).unwrap();
    store.put(1, None, "l", Some("x".repeat(90))).unwrap();

    let long = store
        .put(1, None, &"k".repeat(store::KEY_MAX + 1), None)
        .unwrap_err();
    assert_eq!(long.name(), "TooLong");
    for _ in 0..store::OPEN_MAX {
        store.begin(3).unwrap();
    }
    assert_eq!(store.begin(3), Err(StoreError::TooManyTransactions));
    assert!(store.begin(4).is_ok(), "that is another's bound");
}

/// Its end, or its being dropped half-way, gives back what it kept.
#[test]
fn a_scan_keeps_its_state_until_it_is_given_back_or_too_old() {
    let bounds = Bounds {
        history: 3,
        ..Bounds::default()
    };
    let mut store = Store::new(bounds);
    for key in ["a", "b"] {
        store.put(1, None, key, Some("old".into())).unwrap();
    }
    let mut scan = store.scan(1, None, "").unwrap();
    let pair = |key: &str| (key.to_owned(), "old".to_owned());
    assert_eq!(store.page(&mut scan, 1), Ok(vec![pair("a")]));
    store.put(1, None, "a", Some("new".into())).unwrap();
    store.put(1, None, "b", None).unwrap();
    store.put(1, None, "c", Some("new".into())).unwrap();
    assert_eq!(store.versions(), 5);
    assert_eq!(store.page(&mut scan, 1), Ok(vec![pair("b")]));
    assert_eq!(store.page(&mut scan, 1), Ok(Vec::new()));
    store.scanned(&scan);
    assert_eq!(store.versions(), 2);

    let mut slow = store.scan(1, None, "").unwrap();
    for round in 0..4 {
        store.put(1, None, "a", Some(format!("{round}"))).unwrap();
    }
    assert_eq!(store.versions(), 2, "one that has expired keeps nothing");
    let expired = StoreError::Expired { behind: 4, kept: 3 };
    assert_eq!(store.page(&mut slow, 1), Err(expired));

    for _ in 1..store::OPEN_MAX {
        store.scan(1, None, "").unwrap();
    }
    assert_eq!(store.scan(1, None, "").unwrap_err().name(), "TooManyScans");
    assert!(store.scan(2, None, "").is_ok(), "that is another's bound");
    store.scanned(&slow);
    assert!(store.scan(1, None, "").is_ok());
}

#[test]
fn a_page_is_as_long_as_asked_and_one_pair() {
    let mut store = Store::default();
    for key in 0..100 {
        store
            .put(1, None, &format!("{key:03}"), Some("x".repeat(97)))
            .unwrap();
    }
    let mut scan = store.scan(1, None, "").unwrap();
    let pages = std::iter::from_fn(|| {
        let page = store.page(&mut scan, 1000).unwrap();
        (!page.is_empty()).then_some(page.len())
    });
    assert_eq!(pages.collect::<Vec<_>>(), [10; 10]);
}

#[test]
fn a_replica_refuses_what_does_not_follow() {
    let entry = |sequence| Entry {
        sequence,
        changes: Vec::new(),
    };
    let mut replica = Replica::default();
    let gap = ReplicaError::Gap { expected: 1, came: 2 };
    assert_eq!((replica.apply(0, vec![entry(2)]), gap.name()), (Err(gap), "Gap"));
    let other = ReplicaError::OtherLife { expected: 0, came: 9 };
    assert_eq!(replica.apply(9, vec![entry(1)]), Err(other));
    let mut part = parts(3, Vec::new(), 1).remove(0);
    part.first = false;
    assert_eq!(replica.load(9, part), Err(ReplicaError::NotLoading));
    assert_eq!(replica, Replica::default(), "nothing of it was taken");
}
