//! The label bus in raw frames: what each frame does, in every order that matters.
//!
//! Owns what senders and receivers see; which endpoints a selector means is tested at the index, and the library in tests of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[cfg(unix)]
#[path = "../support/descriptors.rs"]
mod descriptors;
#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/until.rs"]
mod until;
#[path = "../support/wire.rs"]
mod wire;

#[cfg(unix)]
mod attachments;
mod ends;
mod joining;
mod outcomes;
#[cfg(feature = "inject-panics")]
mod panics;
mod transports;
mod waiting;

use actix_ipc::message::bus::{BUS_VERSION, Join, Outcome, Settlement};
use actix_ipc::message::selector::{Expression, Label, Mode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::{Got, Raw};

/// The expression of one label.
pub fn labelled(label: &str) -> Expression {
    Expression::label(&Label::new(label).unwrap())
}

/// The key of a message to the first endpoint with this label.
pub fn to(label: &str) -> Vec<u8> {
    labelled(label).encode(Mode::First).unwrap().into()
}

/// The key of a message to every endpoint with this label.
pub fn all(label: &str) -> Vec<u8> {
    labelled(label).encode(Mode::Multicast).unwrap().into()
}

pub fn join_payload(token: &[u8], labels: &[&str]) -> Vec<u8> {
    let join = Join {
        version: BUS_VERSION,
        token,
        labels: labels.to_vec(),
    };
    join.encode().unwrap()
}

/// Joins; returns the endpoint's number.
pub fn join(raw: &mut Raw, labels: &[&str]) -> u64 {
    let id = raw.id();
    let payload = join_payload(b"", labels);
    let got = raw.ask(&Draft::new(Kind::Join, id).payload(Encoding::RAW, &payload));
    assert_eq!(got.kind, Kind::Done, "{got:?} {}", got.text());
    id
}

/// A payload: sixteen bytes of a type, and a body.
pub fn body(text: &str) -> Vec<u8> {
    [&[7; 16], text.as_bytes()].concat()
}

pub fn message<'a>(id: u64, key: &'a [u8], payload: &'a [u8]) -> Draft<'a> {
    Draft::new(Kind::Send, id)
        .key(key)
        .payload(Encoding::RAW, payload)
}

/// Says that the application of an endpoint has taken so many.
pub fn take(raw: &mut Raw, endpoint: u64, count: u32) {
    raw.send(&Draft::new(Kind::Taken, endpoint).aux(count));
}

/// Reads a message for the endpoint; returns what is behind its type.
pub fn hear(raw: &mut Raw, endpoint: u64) -> String {
    let got = raw.expect(Kind::Message);
    assert_eq!((got.id, got.aux, got.key.len()), (endpoint, 0, 0), "{got:?}");
    assert_eq!(got.payload[..16], [7; 16]);
    String::from_utf8_lossy(&got.payload[16..]).into_owned()
}

/// What a Settled tells: first, count, outcome, whether it may have arrived, receivers.
pub type Told = (u64, u32, Outcome, bool, u16);

pub fn entries(got: &Got) -> Vec<Told> {
    assert_eq!(
        (got.kind, got.id, got.aux),
        (Kind::Settled, 0, 0),
        "{got:?} {}",
        got.text()
    );
    let entries = Settlement::all(&got.payload).map(Option::unwrap);
    entries
        .map(|it| (it.first, it.count, it.outcome, it.may_have_arrived, it.receivers))
        .collect()
}

/// Reads what became of so many messages, each with its number, in the order in which it is told.
pub fn outcomes(raw: &mut Raw, count: u32) -> Vec<(u64, Outcome, bool, u16)> {
    let mut all = Vec::new();
    while all.len() < count as usize {
        for (first, count, outcome, arrived, receivers) in entries(&raw.expect(Kind::Settled)) {
            all.extend((first..first + u64::from(count)).map(|id| (id, outcome, arrived, receivers)));
        }
    }
    assert_eq!(all.len(), count as usize, "{all:?}");
    all
}

/// The next frame is a Settled with one entry.
pub fn outcome(raw: &mut Raw) -> Told {
    let all = entries(&raw.expect(Kind::Settled));
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}
