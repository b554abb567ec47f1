//! Runs a model under many interleavings and says whether it ever failed.
//!
//! Owns the schedules: the first ones depth first, then random ones, then ones with few, well placed preemptions, all the same in
//! every run. A model that waits for ever fails as well as one that panics. Every atomic is taken as sequentially consistent:
//! what a weaker ordering allows is not tried. Knows no model; called by `models` of the rooms.

use super::slips::{self, Slip};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::{Config, FailurePersistence, Runner};
use std::task::Waker;

/// Schedules of each kind.
const RUNS: usize = 3_000;
/// Preemptions that a schedule of the last kind places.
const PREEMPTIONS: usize = 3;
/// Bytes of each thread's stack: a model may run a whole connection.
const STACK: usize = 512 * 1024;
const SEED: u64 = 0x5eed;

/// The cell of `futures`, with a place on either side of each step where another thread may come in.
#[derive(Debug)]
pub(crate) struct AtomicWaker {
    inner: futures::task::AtomicWaker,
    place: AtomicBool,
}

impl AtomicWaker {
    pub(crate) const fn new() -> Self {
        Self {
            inner: futures::task::AtomicWaker::new(),
            place: AtomicBool::new(false),
        }
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.step();
        self.inner.register(waker);
        self.step();
    }

    pub(crate) fn wake(&self) {
        self.step();
        self.inner.wake();
    }

    fn step(&self) {
        self.place.load(Ordering::SeqCst);
    }
}

/// Every schedule, as long as none fails. Returns how many were tried.
fn explore(model: fn()) -> usize {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.stack_size = STACK;
    // That weaker orderings are taken as the strongest is said in the documentation of this file.
    config.silence_warnings = true;
    let systematic = Runner::new(DfsScheduler::new(Some(RUNS), false), config.clone()).run(model);
    let random = Runner::new(RandomScheduler::new_from_seed(SEED, RUNS), config.clone()).run(model);
    let few = PctScheduler::new_from_seed(SEED, PREEMPTIONS, RUNS);
    systematic + random + Runner::new(few, config).run(model)
}

/// On a thread of its own, because what a failed schedule leaves behind there must not concern anybody.
fn on_a_thread(slip: Option<Slip>, model: fn()) -> std::thread::Result<usize> {
    let explorer = std::thread::spawn(move || {
        slips::choose(slip);
        // Its clock is never driven: a model may make a timer, and none ever rings.
        let timers = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let timers = timers.expect("a runtime");
        let _entered = timers.enter();
        explore(model)
    });
    explorer.join()
}

/// The model holds under every schedule.
pub(crate) fn holds(name: &str, model: fn()) {
    match on_a_thread(None, model) {
        Ok(schedules) => println!("{name}: {schedules} schedules"),
        Err(failure) => std::panic::resume_unwind(failure),
    }
}

/// The model fails under one of the same schedules when this slip is made, with a text that has `symptom` in it.
pub(crate) fn finds(slip: Slip, symptom: &str, model: fn()) {
    let failure = on_a_thread(Some(slip), model).expect_err("no schedule finds the slip");
    let text = failure
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| failure.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    assert!(
        text.contains(symptom),
        "{slip:?} was found by something else: {text}"
    );
}
