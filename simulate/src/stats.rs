//! How much a run did: figures that show whether seeds mean anything.

use crate::client::Head;
use actix_ipc::message::Kind;
use actix_ipc_model::What;

macro_rules! stats {
    ($($name:ident),* $(,)?) => {
        /// Counts of one run, or of many.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Stats { $(pub $name: u64,)* }

        impl Stats {
            /// Adds another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Names and counts.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

stats! {
    clients, frames, calls, invocations, replies, errors, cancels, registrations, ownerships, notices, waits,
    publishes, events, gaps, pieces, credits, accepted, goodbyes, resets, half_closes, panics, jumps, drains,
    refused, lagging, holds, missed, late,
}

impl Stats {
    /// Counts what was observed.
    pub fn count(&mut self, what: &What) {
        let (frame, arrived) = match what {
            What::Arrived(frame) => (frame, true),
            What::Received(frame) => (frame, false),
            What::HalfClosed => {
                self.half_closes += 1;
                return;
            }
            _ => return,
        };
        self.frames += 1;
        let Some(head) = Head::of(frame) else { return };
        let place = match (arrived, head.kind) {
            (true, Kind::Call) => &mut self.calls,
            (false, Kind::Call) => &mut self.invocations,
            (false, Kind::Reply) => &mut self.replies,
            (false, Kind::Error) => &mut self.errors,
            (true, Kind::Cancel) => &mut self.cancels,
            (true, Kind::Register) => &mut self.registrations,
            (false, Kind::Ownership) => &mut self.ownerships,
            (false, Kind::Notice) => &mut self.notices,
            (true, Kind::Wait) => &mut self.waits,
            (true, Kind::Publish) => &mut self.publishes,
            (false, Kind::Event) => &mut self.events,
            (false, Kind::Gap) => &mut self.gaps,
            (true, Kind::CallPiece | Kind::ReplyPiece | Kind::PublishPiece) => &mut self.pieces,
            (true, Kind::CallCredit | Kind::ReplyCredit) | (false, Kind::PublishCredit) => &mut self.credits,
            (false, Kind::Accepted) => &mut self.accepted,
            (true, Kind::Goodbye) => &mut self.goodbyes,
            _ => return,
        };
        *place += 1;
    }
}
