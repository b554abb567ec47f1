//! What each pure room of the broker and of the client costs, without sockets, actors and other threads: time and allocations.
//!
//! `cargo bench --bench rooms [-- FILTER]`; `-- --test` runs everything once. `whole` drives the rooms together, as a call and an
//! event go through them; `tables` takes the broker's rooms one by one, `client` those of the client library. Rooms of the
//! library that are private to it are taken in as files, as the fuzz targets do it, so that nothing is made public for a bench.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "what is not as expected ends the run"
)]

#[path = "rooms/client.rs"]
mod client;
#[path = "rooms/scene.rs"]
mod scene;
#[path = "rooms/tables.rs"]
mod tables;
#[path = "rooms/whole.rs"]
mod whole;

// What the client's files name from the root of their crate.
use actix_ipc::{error, message};
#[path = "../src/sync/slips.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the files taken in use a part of it, and its tests are not here"
)]
mod slips;
mod sync {
    pub(crate) use crate::slips;
}

use divan::AllocProfiler;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}
