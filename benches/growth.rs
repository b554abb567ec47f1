//! What growth costs: subscriptions, objects, publishers, callers, connections, threads.
//!
//! `cargo bench --bench growth [-- routing|calls|labels|rebuild|callers|publishers|connections|arbiters|model] [pure|broker]`.
//! `routing` and `calls` ask the pure indexes first (`pure`), then a real `ipc-broker` (`broker`); the other parts are whole
//! processes: the broker is the program itself, every role a process (this program again) that speaks bare frames.
//! Sizes are measured in turns, round after round; the best round of each counts for times, the median for rates.
#![allow(
    unreachable_pub,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

#[cfg(unix)]
#[path = "growth/mod.rs"]
mod growth;

fn main() {
    #[cfg(unix)]
    growth::main();
    #[cfg(not(unix))]
    println!("the processes of this bench meet on Unix sockets; there are none here");
}
