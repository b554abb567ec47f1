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

mod asks;
mod calls;
mod credit;
mod events;
pub mod journal;
mod matcher;
mod names;
mod observation;
mod run;
mod watches;
mod wire;

pub use matcher::selects;
pub use observation::{Core, Frame, Observation, Opened, Setup, Violation, What};

use actix_ipc::message::Kind;
use observation::Parsed;
use run::{Found, Moment, Run};

/// Judges one run.
#[derive(Debug)]
pub struct Judge {
    run: Run,
    wire: wire::Wire,
    asks: asks::Asks,
    calls: calls::Calls,
    names: names::Names,
    watches: watches::Watches,
    events: events::Events,
    credit: credit::Credit,
    found: Found,
    last: u64,
}

impl Judge {
    /// A judge of a run that has not begun.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            run: Run::new(setup),
            wire: wire::Wire::default(),
            asks: asks::Asks::default(),
            calls: calls::Calls::default(),
            names: names::Names::default(),
            watches: watches::Watches::default(),
            events: events::Events::default(),
            credit: credit::Credit::default(),
            found: Found::default(),
            last: 0,
        }
    }

    /// Takes the next fact of the run.
    pub fn observe(&mut self, observation: Observation) {
        let Observation {
            at,
            now_ms,
            client,
            what,
        } = observation;
        let at = run::place(at, self.last);
        self.last = at;
        let now = Moment { at, ms: now_ms };
        match &what {
            What::Opened(opened) => self.run.open(client, *opened, at),
            What::Sent(bytes) => {
                self.wire.sent(client, bytes);
                if let Parsed::Frame(frame) = Frame::parse(bytes) {
                    self.credit.sent(&self.run, client, &frame);
                }
            }
            What::Arrived(bytes) => self.arrived(client, bytes, now),
            What::Received(bytes) => self.received(client, bytes, now),
            What::HalfClosed | What::Broke | What::Closed => {
                self.run.ended(client, &what, at);
                self.wire.ended(client, &what);
            }
            What::Panicked(core) => self.run.panics.push((at, *core, client)),
            What::Settled => self.run.settled.push(now),
            What::Calm => self.run.calm = Some(now),
        }
    }

    fn arrived(&mut self, client: u32, bytes: &[u8], now: Moment) {
        self.wire.decoded(client, bytes, now.at, &mut self.found);
        let Parsed::Frame(frame) = Frame::parse(bytes) else {
            return;
        };
        // What stands behind a Goodbye is not read.
        if self
            .run
            .client(client)
            .is_some_and(|client| client.goodbye.is_some())
        {
            return;
        }
        self.run.arrived(client, &frame, now.at);
        self.wire.arrived(client, &frame);
        if self.asks.arrived(client, &frame, now) {
            self.run.breaches(client);
        }
        self.calls.arrived(client, &frame, now);
        self.names.arrived(client, &frame, now.at);
        self.events.arrived(client, &frame, now);
        self.credit.arrived(client, &frame);
    }

    fn received(&mut self, client: u32, bytes: &[u8], now: Moment) {
        let Self { run, found, .. } = self;
        let Parsed::Frame(frame) = Frame::parse(bytes) else {
            return found.add("codec", client, now.at, "the broker sent bytes that are no frame");
        };
        self.wire.received(run, client, &frame, now.at, found);
        run.received(client, &frame, now.at);
        self.credit.received(client, &frame, now.at, found);
        match frame.kind {
            Kind::Done | Kind::Accepted => self.answered(client, &frame, now),
            Kind::Error | Kind::Reply if self.asks.is_open(client, frame.id) => {
                self.answered(client, &frame, now)
            }
            Kind::Ownership => {
                self.names.received(client, &frame, now.at, found);
                if let Some(object) = self.names.object_of(client, frame.id).filter(|_| frame.aux == 1) {
                    self.watches.owns(run, client, object, false, now.at, found);
                }
            }
            Kind::Notice => self
                .watches
                .received(run, &self.names, client, &frame, now.at, found),
            Kind::Event | Kind::EventPiece | Kind::Gap => {
                self.events.received(run, client, &frame, now, found)
            }
            _ => self.calls.received(run, client, &frame, now, found),
        }
    }

    fn answered(&mut self, client: u32, frame: &Frame, now: Moment) {
        let Self { run, found, .. } = self;
        let Some(ask) = self.asks.received(run, client, frame, now, found) else {
            return;
        };
        self.names.answered(run, client, &ask, frame, now.at, found);
        self.watches.answered(run, client, &ask, frame, now.at, found);
        self.events.answered(client, &ask, frame, now.at, found);
    }

    /// What was found up to here. Some rules can be judged at the end only.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.found.0
    }

    /// Judges the end of the run and returns everything that was found. `drained`: the run was calm, the broker settled, and
    /// every client that lives has read all there was; then nothing may be open any more.
    #[must_use]
    pub fn finish(self, drained: bool) -> Vec<Violation> {
        let Self {
            run,
            mut found,
            names,
            ..
        } = self;
        self.wire.finish(&run, drained, &mut found);
        self.asks.finish(&run, drained, &mut found);
        self.calls.finish(&run, &names, drained, &mut found);
        names.finish(&run, &mut found);
        self.watches.finish(&run, &names, drained, &mut found);
        self.events.finish(&run, drained, &mut found);
        self.credit.finish(&run, drained, &mut found);
        found.0
    }
}
