//! Large payloads from process to process through the library and the broker: in pieces, or as a region.
//!
//! `cargo bench --bench large [-- rounds]`. A producer calls a consumer, or publishes to one or three, with a message of each size. They read
//! all of it (a sum of every word) and answer; one message at a time. The producer has two clients, one that sends everything in
//! pieces and one that offers everything as a region (`ClientBuilder::regions_from`). Both begin with the same bytes in the
//! producer's memory and end when all consumers have read them. The ways take turns; medians are compared.
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
