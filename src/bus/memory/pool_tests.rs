//! Tests of which memory of a registry is used again, against a model.

use super::pool::{Free, Pool, size_class};
use super::registry::RegistryLimits;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_size_is_at_most_a_quarter_more_or_a_page() {
    for (min, class) in [
        (0, 4096),
        (1, 4096),
        (4096, 4096),
        (4097, 8192),
        (20_000, 20_480),
        (8 << 20, 8 << 20),
        ((8 << 20) + 1, 10 << 20),
        ((15 << 20) + 1, 16 << 20),
    ] {
        assert_eq!(size_class(min), Some(class), "{min}");
    }
    assert_eq!(size_class(usize::MAX), None);
    assert_eq!(size_class(usize::MAX / 2 + 2), None);
}

proptest! {
    #[test]
    fn a_class_holds_what_it_is_for(min in 0_usize..1 << 40) {
        let class = size_class(min).unwrap();
        prop_assert!(class >= min && class.is_multiple_of(4096));
        prop_assert!(class <= min + min / 4 + 4096);
        prop_assert_eq!(size_class(class), Some(class), "a class is its own class");
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Size in pages, tag, whether with a callback.
    Alloc(usize, u8, bool),
    /// One of those in use is done.
    Done(prop::sample::Index),
    Maintain,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..9, 0_u8..2, any::<bool>()).prop_map(|(pages, tag, free)| Step::Alloc(pages, tag, free)),
        4 => any::<prop::sample::Index>().prop_map(Step::Done),
        1 => Just(Step::Maintain),
        1 => (0_u64..8).prop_map(Step::Pass),
    ]
}

/// What the model knows about one region.
struct Known {
    size: usize,
    tag: u8,
    in_use: bool,
    /// How often the callbacks of its uses ran, and how many uses had one.
    called: Arc<AtomicUsize>,
    expected: usize,
    pending: bool,
}

const LIMITS: RegistryLimits = RegistryLimits {
    bytes: 40 * 4096,
    regions: 12,
    idle: Duration::from_secs(5),
};

struct Model {
    pool: Pool<usize>,
    known: BTreeMap<usize, Known>,
    now: Instant,
    next: usize,
}

impl Model {
    fn alloc(&mut self, pages: usize, tag: u8, with_free: bool) {
        let size = size_class(pages * 4096).unwrap();
        let label = tag.to_string();
        let called = Arc::new(AtomicUsize::new(0));
        let counter = called.clone();
        let mut free = with_free.then(|| {
            Box::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
            }) as Free
        });
        let in_use: BTreeSet<usize> = self
            .known
            .iter()
            .filter(|(_, known)| known.in_use)
            .map(|(id, _)| *id)
            .collect();
        let mut due = Vec::new();
        let lent = self
            .pool
            .lend(size, &label, &mut free, &mut due, |id| !in_use.contains(id))
            .copied();
        due.into_iter().for_each(|free| free());
        let Some(id) = lent else {
            self.make(size, tag, free, (called, with_free));
            return;
        };
        let known = self.known.get_mut(&id).unwrap();
        assert!(!known.in_use, "region {id} was lent twice");
        assert!(known.tag == tag && known.size >= size && known.size < 2 * size);
        assert_eq!(
            known.called.load(Ordering::Relaxed),
            known.expected + usize::from(known.pending)
        );
        *known = Known {
            in_use: true,
            called,
            expected: 0,
            pending: with_free,
            ..Known {
                size: known.size,
                tag,
                in_use: true,
                called: Arc::default(),
                expected: 0,
                pending: false,
            }
        };
    }

    fn make(
        &mut self,
        size: usize,
        tag: u8,
        free: Option<Free>,
        (called, pending): (Arc<AtomicUsize>, bool),
    ) {
        if !self.pool.has_room(size) {
            return;
        }
        self.pool.add(size, &tag.to_string(), self.next, free);
        let known = Known {
            size,
            tag,
            in_use: true,
            called,
            expected: 0,
            pending,
        };
        self.known.insert(self.next, known);
        self.next += 1;
    }

    fn maintain(&mut self) {
        let mut due = Vec::new();
        let known = &self.known;
        let (mut asked, now) = (BTreeSet::new(), self.now);
        self.pool.maintain(now, false, &mut due, |id| {
            asked.insert(*id);
            !known[id].in_use
        });
        due.into_iter().for_each(|free| free());
        // What is not asked about any more was given up before.
        self.known.retain(|id, _| asked.contains(id));
        for known in self.known.values_mut().filter(|known| !known.in_use) {
            known.expected += usize::from(std::mem::take(&mut known.pending));
        }
    }

    fn check(&self) {
        let (regions, bytes) = self.pool.held();
        assert!(regions <= LIMITS.regions && bytes <= LIMITS.bytes);
        let in_use = self.known.values().filter(|known| known.in_use);
        assert!(
            regions >= in_use.clone().count(),
            "what is used is never given up"
        );
        for known in in_use {
            assert_eq!(known.called.load(Ordering::Relaxed), 0, "called while it is used");
        }
    }
}

proptest! {
    #[test]
    fn nothing_in_use_is_lent_or_given_up_and_every_callback_runs_once(steps in proptest::collection::vec(step(), 0..120)) {
        let mut model = Model { pool: Pool::new(LIMITS), known: BTreeMap::new(), now: Instant::now(), next: 0 };
        for step in steps {
            match step {
                Step::Alloc(pages, tag, free) => model.alloc(pages, tag, free),
                Step::Done(index) => {
                    let mut used: Vec<&mut Known> = model.known.values_mut().filter(|known| known.in_use).collect();
                    if !used.is_empty() {
                        let at = index.index(used.len());
                        used[at].in_use = false;
                    }
                }
                Step::Maintain => model.maintain(),
                Step::Pass(seconds) => model.now += Duration::from_secs(seconds),
            }
            model.check();
        }
        let called: Vec<_> = model.known.values().map(|known| (known.called.clone(), known.expected + usize::from(known.pending))).collect();
        model.known.values_mut().for_each(|known| known.in_use = false);
        let mut due = Vec::new();
        model.pool.maintain(model.now, true, &mut due, |_| true);
        due.into_iter().for_each(|free| free());
        prop_assert_eq!(model.pool.held(), (0, 0));
        for (called, expected) in called {
            prop_assert_eq!(called.load(Ordering::Relaxed), expected);
        }
    }
}

#[test]
fn one_that_is_never_done_does_not_keep_others_from_being_used() {
    let mut pool = Pool::new(RegistryLimits {
        regions: 64,
        ..LIMITS
    });
    (0..30).for_each(|id| pool.add(4096, "", id, None));
    let mut asked = 0;
    let (mut due, mut free) = (Vec::new(), None);
    let found = (0..4).find_map(|_| {
        pool.lend(4096, "", &mut free, &mut due, |id| {
            asked += 1;
            *id == 29
        })
        .copied()
    });
    assert_eq!((found, asked), (Some(29), 30), "eight at a time, each once");
}

#[test]
fn idle_memory_goes_after_its_time_and_no_sooner() {
    let mut pool = Pool::new(LIMITS);
    let start = Instant::now();
    pool.add(4096, "a", 1, None);
    let mut due = Vec::new();
    let mut maintain = |pool: &mut Pool<i32>, seconds, done: bool| {
        pool.maintain(start + Duration::from_secs(seconds), false, &mut due, |_| done);
        pool.held()
    };
    assert_eq!(maintain(&mut pool, 60, false), (1, 4096), "in use for a minute");
    assert_eq!(maintain(&mut pool, 60, true), (1, 4096), "done since now");
    assert_eq!(maintain(&mut pool, 64, true), (1, 4096));
    assert_eq!(maintain(&mut pool, 65, true), (0, 0));
}
