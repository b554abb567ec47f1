//! Large payloads from process to process through the broker: in the bytes of their frames and pieces, or in a fresh sealed region.
//!
//! `cargo bench --bench large [-- rounds]`. A producer calls a consumer, or publishes to one or three, with a message of each size. They read
//! all of it (a sum of every word) and answer; one message at a time. `bytes`: the payload of an event. `region`: a new
//! memory file, sized, filled by writing, sealed, attached to a small event, mapped read-only by each consumer. Both begin with the
//! same bytes in the producer's memory and end when all consumers have read them. The ways are interleaved, message by message; medians are compared.
#![allow(
    unreachable_pub,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

#[cfg(target_os = "linux")]
#[path = "large/mod.rs"]
mod large;

fn main() {
    #[cfg(target_os = "linux")]
    large::main();
    #[cfg(not(target_os = "linux"))]
    println!("sealed memory exists on Linux only");
}
