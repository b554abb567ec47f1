//! How often the broker and the client library ask for memory, per call and per event, in the steady state.
//!
//! Owns the bounds; the scenes are `counts/scene.rs`'s. What is counted is what one thread asks for (new memory or larger, not what it gives back), in
//! lockstep, so that neither the machine's mood nor the optimizer changes it. `-- --nocapture` prints every count, a failure prints its own.
//! Who lowers a count lowers its bound.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(unix)]

#[path = "counts/allocator.rs"]
mod allocator;
#[path = "counts/parts.rs"]
mod parts;
#[path = "support/raw.rs"]
mod raw;
#[path = "counts/scene.rs"]
mod scene;

use parts::{Part, Tally, Thing, play};
use scene::Cost;
use std::hint::black_box;

/// The broker, for one call and its reply that come alone. Measured: 23.00.
const BROKER_CALL: f64 = 23.3;
/// The same, of 64 that come with one write and are answered with one. Measured: 1.00.
const BROKER_CALL_OF_64: f64 = 1.1;
/// The broker, for one event to one subscriber. Measured: 12.00.
const BROKER_EVENT: f64 = 12.3;
/// The same, of 64 that come with one write. Measured: 0.32.
const BROKER_EVENT_OF_64: f64 = 0.4;
/// The broker, for one event to eight subscribers: all eight. Measured: 41.00.
const BROKER_EVENT_TO_8: f64 = 41.5;
/// The same, of 64. Measured: 0.91.
const BROKER_EVENT_OF_64_TO_8: f64 = 1.0;

/// A caller with one call in flight. Measured: 5.00.
const CALLER: f64 = 5.2;
/// A caller with 64 in flight, for each. Measured: 2.11.
const CALLER_OF_64: f64 = 2.3;
/// A worker with a handler of its own, whose calls come one at a time. Measured: 10.00.
const WORKER: f64 = 10.3;
/// The same, of 64 that come at once. Measured: 6.19.
const WORKER_OF_64: f64 = 6.4;
/// A publisher that flushes (a round trip) after one event: both. Measured: 4.00.
const PUBLISHER: f64 = 4.3;
/// The same after 64, for each. Measured: 1.05.
const PUBLISHER_OF_64: f64 = 1.2;
/// A subscriber, for an event that comes alone. Measured: 4.02.
const SUBSCRIBER: f64 = 4.3;
/// The same, of 64 that come at once. Measured: 0.13.
const SUBSCRIBER_OF_64: f64 = 0.2;

/// The cost of one is within its bound, and something was counted.
fn holds(what: &str, cost: &Cost, part: Part, most: f64) {
    let each = cost.each(part, Thing::Allocation);
    println!("{what}: {each:.3} allocations, at most {most}");
    assert!(
        each <= most,
        "{what}: {each:.3} allocations, more than {most}; `cargo test --test counts_allocations -- --nocapture` shows all"
    );
    assert!(each > 0.0, "{what}: nothing was counted");
}

#[test]
fn the_counter_counts_what_a_thread_asks_for() {
    let _turn = scene::turn();
    let thread = std::thread::spawn(|| {
        play(Part::Client);
        let before = Tally::now();
        drop(black_box(Box::new(7)));
        let mut grows: Vec<u8> = black_box(Vec::with_capacity(1));
        grows.extend([1; 1_000]);
        drop(black_box(grows));
        drop(black_box(vec![0; 1_000]));
        Tally::now().since(&before)
    });
    assert_eq!(thread.join().unwrap().of(Part::Client, Thing::Allocation), 4);
}

#[test]
fn a_call_costs_the_broker_so_many_allocations() {
    let one = scene::broker_calls(1, 0);
    holds("broker, one call", &one, Part::Broker, BROKER_CALL);
    let many = scene::broker_calls(64, 0);
    holds("broker, a call of 64", &many, Part::Broker, BROKER_CALL_OF_64);
}

#[test]
fn an_event_costs_the_broker_so_many_allocations() {
    let one = scene::broker_events(1, 1);
    holds("broker, one event", &one, Part::Broker, BROKER_EVENT);
    let many = scene::broker_events(64, 1);
    holds("broker, an event of 64", &many, Part::Broker, BROKER_EVENT_OF_64);
    let one = scene::broker_events(1, 8);
    holds("broker, one event to 8", &one, Part::Broker, BROKER_EVENT_TO_8);
    let many = scene::broker_events(64, 8);
    holds(
        "broker, an event of 64 to 8",
        &many,
        Part::Broker,
        BROKER_EVENT_OF_64_TO_8,
    );
}

#[test]
fn a_call_costs_its_caller_and_its_worker_so_many_allocations() {
    holds("caller, one call", &scene::caller(1), Part::Client, CALLER);
    holds(
        "caller, a call of 64",
        &scene::caller(64),
        Part::Client,
        CALLER_OF_64,
    );
    holds("worker, one call", &scene::worker(1), Part::Client, WORKER);
    holds(
        "worker, a call of 64",
        &scene::worker(64),
        Part::Client,
        WORKER_OF_64,
    );
}

#[test]
fn an_event_costs_its_publisher_and_its_subscribers_so_many_allocations() {
    let one = scene::publisher(1);
    holds("publisher, one event and a flush", &one, Part::Client, PUBLISHER);
    let many = scene::publisher(64);
    holds("publisher, an event of 64", &many, Part::Client, PUBLISHER_OF_64);
    for subscribers in [1, 8] {
        let what = |events| format!("subscriber ({subscribers} of them), {events}");
        let one = scene::subscribers(1, subscribers);
        holds(&what("one event"), &one, Part::Client, SUBSCRIBER);
        let many = scene::subscribers(64, subscribers);
        holds(&what("an event of 64"), &many, Part::Client, SUBSCRIBER_OF_64);
    }
}
