//! The one decision about a full receiver: delivered, held, missed or overflow.
//!
//! Pure: numbers in, verdict out. Charging and sending are `peer`'s business.

use crate::config::Limits;

/// The least a queued frame is charged, in bytes: what its bookkeeping costs.
pub const CHARGE_MIN: usize = 64;

/// What kind of thing asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A call for this receiver.
    Call,
    /// A call that nobody wants an answer to. No count of open calls bounds those of one caller, so they leave half of the queue
    /// to others.
    OneWay,
    /// An answer that this receiver waits for.
    Answer,
    /// An event.
    Event,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fits.
    Delivered,
    /// It fits, but its publisher is to wait for this receiver.
    Held,
    /// An event that does not fit: counted, told later.
    Missed,
    /// A call or answer that does not fit: its asker gets an error.
    Overflow,
}

/// The limits of one receiver's queue, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Everything together.
    pub bytes: usize,
    /// Events, at most.
    pub events: usize,
    /// Events from which on publishers are held back.
    pub events_soft: usize,
}

impl Room {
    /// The room that the limits grant.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self::of(limits.outbox_bytes)
    }

    /// The room of a queue of so many bytes.
    #[must_use]
    pub const fn of(bytes: usize) -> Self {
        let events = bytes / 2;
        Self {
            bytes,
            events,
            events_soft: events / 2,
        }
    }

    /// Events at which a held or lagging receiver counts as having room again: half of what stopped it.
    #[must_use]
    pub const fn resume(&self) -> usize {
        self.events_soft / 2
    }

    /// Events below which nobody needs to wait for a receiver: a trickle beside what others publish is not work.
    #[must_use]
    pub const fn little(&self) -> usize {
        self.events_soft / 16
    }
}

/// What a frame of `bytes` is charged.
#[must_use]
pub const fn charge(bytes: usize) -> usize {
    if bytes < CHARGE_MIN { CHARGE_MIN } else { bytes }
}

/// Decides by what is queued *before* the frame, so that one legal frame always fits.
#[must_use]
pub const fn decide(class: Class, room: &Room, queued: usize, events: usize) -> Verdict {
    match class {
        Class::Call | Class::Answer if queued < room.bytes => Verdict::Delivered,
        Class::OneWay if queued < room.bytes / 2 => Verdict::Delivered,
        Class::Call | Class::Answer | Class::OneWay => Verdict::Overflow,
        Class::Event if events < room.events_soft => Verdict::Delivered,
        Class::Event if events < room.events => Verdict::Held,
        Class::Event => Verdict::Missed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_at_minus_one_zero_and_plus_one() {
        let room = Room {
            bytes: 1000,
            events: 500,
            events_soft: 250,
        };
        for (class, queued, events, expected) in [
            (Class::Call, 999, 0, Verdict::Delivered),
            (Class::Call, 1000, 0, Verdict::Overflow),
            (Class::Answer, 1001, 0, Verdict::Overflow),
            (Class::OneWay, 499, 0, Verdict::Delivered),
            (Class::OneWay, 500, 0, Verdict::Overflow),
            (Class::OneWay, 501, 0, Verdict::Overflow),
            (Class::Event, 0, 249, Verdict::Delivered),
            (Class::Event, 0, 250, Verdict::Held),
            (Class::Event, 0, 499, Verdict::Held),
            (Class::Event, 0, 500, Verdict::Missed),
        ] {
            assert_eq!(
                decide(class, &room, queued, events),
                expected,
                "{class:?} {queued} {events}"
            );
        }
        assert_eq!((charge(1), charge(64), charge(65)), (64, 64, 65));
    }
}
