//! How much the broker adds to bare sockets: calls and events through it, beside a blocking relay, in separate processes.
//!
//! `cargo bench --bench floor [-- calls|events] [raw|client]`, or `-- idle` for the memory of idle connections. Every role is a process of its own (this program again). The
//! floor is a blocking Unix-socket relay between the same two processes, which reads and writes one 16-byte message (or frame) at a time. Runs are
//! interleaved: floor, broker, floor, broker…; the medians are compared.
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
#[path = "floor/mod.rs"]
mod floor;

fn main() {
    #[cfg(unix)]
    floor::main();
    #[cfg(not(unix))]
    println!("the floor is made of Unix sockets; there are none here");
}
