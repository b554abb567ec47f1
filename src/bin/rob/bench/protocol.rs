//! What the process that measures and the processes that do the work say to each other: one JSON value a line.
//!
//! Owns the words, and how long a wait for them may be. It opens no socket and starts no process: `team` has the measuring end,
//! `role` the working one.

use crate::exit::{Exit, Failure};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which way messages take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// The bare relay.
    Floor,
    /// The broker, through the client library.
    Broker,
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Part {
    /// A private broker.
    Broker,
    /// The bare relay.
    Relay,
    /// Answers calls.
    Worker,
    /// Calls.
    Caller,
    /// Publishes.
    Publisher,
    /// Listens.
    Subscriber,
    /// Holds connections.
    Holder,
}

impl Part {
    /// Its name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Broker => "the private broker",
            Self::Relay => "the bare relay",
            Self::Worker => "the worker",
            Self::Caller => "a caller",
            Self::Publisher => "a publisher",
            Self::Subscriber => "a subscriber",
            Self::Holder => "the holder of connections",
        }
    }
}

/// The first line to each process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// What it is.
    pub(super) part: Part,
    /// The temporary folder, to be removed when the measuring process is gone without having done so.
    pub(super) folder: PathBuf,
    /// Where the private broker listens; empty when there is none.
    pub(super) broker: String,
    /// Where the relay listens; not known to the relay itself.
    pub(super) relay: String,
    /// The object's name at the broker.
    pub(super) object: String,
    /// Bytes of a message.
    pub(super) payload: usize,
    /// Answers are empty, and what comes is read through.
    pub(super) bulk: bool,
    /// Calls of one caller that are open at the same time.
    pub(super) in_flight: u64,
    /// Callers, for whom the worker has a connection each at the relay.
    pub(super) callers: u64,
    /// Workers that share the object: one has room for so many open calls only.
    pub(super) workers: u64,
    /// Topics that are published to in turn.
    pub(super) topics: u64,
    /// Connections of one process that the broker must have room for.
    pub(super) connections: u64,
    /// Processes that the broker must have room for.
    pub(super) processes: u64,
}

/// What a process is told to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Callers and publishers: work for so long.
    Run { way: Way, nanos: u64 },
    /// Subscribers: count from now on.
    Listen { way: Way },
    /// Subscribers: wait until so many events have come.
    Expect { events: u64 },
    /// Holders: open so many connections. Those to the relay are closed again.
    Open { way: Way, count: u64 },
    /// Holders: count the connections to the broker that still stand.
    Count,
}

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// It is set up, and where it listens if it does.
    Ready { address: String },
    /// It counts.
    Listening,
    /// An order is carried out.
    Done(Slice),
    /// It cannot go on.
    Failed {
        exit: u8,
        message: String,
        /// The code of the call or connection that failed, and whether the call may have run.
        call: Option<(u32, bool)>,
    },
}

/// What one process did in one slice of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slice {
    /// Calls answered, events sent or received, connections made.
    pub(super) done: u64,
    /// How much of that was done in `nanos`: the clock may be read less often than something is done.
    pub(super) timed: u64,
    /// The time that `timed` took.
    pub(super) nanos: u64,
    /// What was lost.
    pub(super) lost: u64,
    /// Latencies: values in ns, and how often each was seen.
    pub(super) latencies: Vec<(u64, u64)>,
}

/// What a failure becomes on its way to the measuring process.
pub(super) fn failed(failure: &Failure) -> Said {
    Said::Failed {
        exit: failure.exit as u8,
        message: failure.message.clone(),
        call: failure
            .call
            .as_ref()
            .map(|call| (call.code.code(), call.may_have_run)),
    }
}

/// The failure of a conversation that did not go as it must.
pub(super) fn confused(what: &str) -> Failure {
    Failure::new(
        Exit::Remote,
        format!("bench: {what}; all its processes must be of one version of rob"),
    )
}
