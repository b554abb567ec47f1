//! Counters that every room feeds and anybody may read.
//!
//! Owns plain atomic counters, no names of peers and no clock. Read by `BrokerHandle::metrics`, logs and `sys.broker`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lines that the log of this process lost. It is the process's and no broker's, so every broker's counters show it.
pub static LOST_LOGS: Counter = Counter(AtomicU64::new(0));

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Live counters; all start at zero and only grow, except where a counter says it is a level.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[doc = $doc])* pub $name: Counter,)* }

        /// The values of [`Metrics`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Snapshot { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Metrics {
            /// The name of every counter, in the order of the fields, and what it says of itself. A level says there that it is one.
            pub const DESCRIPTIONS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc),*)),)*];

            /// Reads every counter.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                let own = Snapshot { $($name: self.$name.get(),)* };
                Snapshot { lost_logs: own.lost_logs.saturating_add(LOST_LOGS.get()), ..own }
            }
        }
    };
}

counters! {
    /// Connections that finished their handshake.
    connections_opened,
    /// Connections that ended, of those that finished their handshake.
    connections_closed,
    /// Connections that ended because their peer gave no sign any more, of those that ended.
    vanished,
    /// Connections that were refused or ended before their handshake was done.
    connections_refused,
    /// Connections closed, without a byte, because their first bytes were another protocol's.
    foreign_openings,
    /// Events that a client of an older format was not told, because its format cannot say them.
    dialect_unshown,
    /// Starts of services that were ordered because somebody wanted an object of theirs.
    services_started,
    /// Times that a service failed those who waited for an object of it.
    services_failed,
    /// Services that clients of ipc-broker 1.1.5 named and that no description lists.
    services_refused,
    /// Connections over TCP whose client had left before the system could be asked whose it was: what they said is not heard.
    unidentified_left,
    /// Connections closed because their share of the broker's memory, or another limit, did not cover what they sent.
    closed_over_limit,
    /// Messages of peers that were read over because their share of the broker's memory did not cover them; who waits for one is told.
    refused_for_memory,
    /// Connections closed because they did not read what was for them.
    closed_unread,
    /// Connections closed because a handshake, or a message that had begun, took too long.
    closed_late,
    /// Open connections that speak the format of ipc-broker 1.1.5. A level.
    dialect_ipc_broker,
    /// Open connections that speak the format of ipc-server 0.1.10. A level.
    dialect_ipc_server,
    /// Calls cancelled because the client of an older format that had made them was gone.
    dialect_cancelled,
    /// Connections refused because they showed no proof of who they are, or a wrong one.
    unproven_peers,
    /// Connections whose bytes go through shared memory now, or are about to. A level.
    rings,
    /// Connections that asked for shared memory and did not get it.
    rings_refused,
    /// Bytes read from peers.
    bytes_in,
    /// Bytes written to peers.
    bytes_out,
    /// Reads that brought at least one frame.
    batches,
    /// Calls that were given to a callee.
    calls_routed,
    /// Calls that found no object.
    calls_unrouted,
    /// Calls that the broker refused before an owner had them: no object, a full queue, a limit, the policy, or they waited in vain.
    calls_refused,
    /// Calls without reply that did not fit their callee's queue: nobody could be told.
    one_way_dropped,
    /// Answers that nobody waited for any more.
    late_answers,
    /// Events published.
    events_published,
    /// Events queued to subscribers.
    events_delivered,
    /// Events that a subscriber missed.
    events_missed,
    /// Times a publisher was held back for a slow subscriber.
    holds,
    /// Times a subscriber was declared lagging.
    lagging,
    /// Endpoints of the label bus. A level.
    endpoints,
    /// Times an endpoint took nothing for so long that what it had was given up.
    endpoints_stalled,
    /// Messages of the label bus that were sent.
    messages_sent,
    /// Messages of which their senders were told that all receivers took them.
    messages_taken,
    /// Messages of which their senders were told that nobody matched.
    dead_letters,
    /// Messages of which their senders were told that a receiver ended before it took them.
    messages_lost,
    /// Messages of which their senders were told that a receiver's queue was full.
    messages_overflowed,
    /// Messages of which their senders were told that they were refused: their attachments, their size, a limit or the policy.
    messages_refused,
    /// Messages of which their senders were told that the broker stopped or failed.
    messages_cancelled,
    /// Panics of Registry and TopicHub that were survived.
    panics,
    /// Times that Registry was restarted after a panic.
    registry_restarts,
    /// Times that TopicHub was restarted after a panic.
    topic_hub_restarts,
    /// Connections that ended by a protocol error.
    protocol_errors,
    /// What peers asked for and the policy denied, connections included.
    denied,
    /// Accepts that failed for lack of descriptors or memory.
    accept_failures,
    /// Listeners that pause now because an accept failed: a level.
    accept_pausing,
    /// Clients that were accepted only to be sent away, because no descriptor was left for them.
    turned_away,
    /// Attachments received.
    attachments_in,
    /// Attachments written.
    attachments_out,
    /// Attachments that were refused by a limit, or that no frame took, and closed.
    attachments_refused,
    /// Messages (calls, answers, events) that came in pieces, and whole.
    messages_in_pieces,
    /// Messages that brought sealed memory: their payload did not pass through the broker.
    messages_in_regions,
    /// Payloads that were offered as regions and went in pieces: a receiver does not take them, or has enough on their way.
    regions_declined,
    /// Lines that the log of this process lost: standard error was full, closed or failed.
    lost_logs,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes back, where the counter is a level.
    pub fn lower(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Reads.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
