//! What shared memory costs: filling it for the first time and again, reading it, and handing it over.
//!
//! `cargo bench --bench memory [-- FILTER]`; `-- --test` runs everything once. Owns the shapes: memory of the size of a video frame, and
//! eight times that for what must not depend on the size. One process; the socket between the ends is a plain one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "memory that cannot be had ends the run"
)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, unused_imports, reason = "regions go over Unix sockets")
)]

use actix_ipc::bus::memory::{MemoryRegion, MemoryRegistry};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

#[cfg(target_os = "linux")]
#[path = "../tests/regions/passing.rs"]
mod passing;

const FRAME: usize = 8 << 20;
const LARGE: usize = 64 << 20;

fn main() {
    divan::main();
}

fn frame() -> Vec<u8> {
    (0..FRAME).map(|at| (at % 251) as u8).collect()
}

/// New memory, filled where it is mapped, and sealed.
#[divan::bench]
fn fill_fresh_in_place(bencher: Bencher<'_, '_>) {
    let frame = frame();
    bencher.counter(BytesCount::new(FRAME)).bench_local(|| {
        let mut region = MemoryRegion::new(FRAME);
        region.map(..).unwrap().copy_from_slice(&frame);
        region.seal().unwrap();
        region
    });
}

/// New memory, filled by the system, and sealed.
#[divan::bench]
fn fill_fresh_by_copying(bencher: Bencher<'_, '_>) {
    let frame = frame();
    bencher
        .counter(BytesCount::new(FRAME))
        .bench_local(|| MemoryRegion::copy_of(&frame).unwrap());
}

/// Memory of a registry, which was used before.
#[divan::bench]
fn fill_again(bencher: Bencher<'_, '_>) {
    let frame = frame();
    let mut registry = MemoryRegistry::default();
    bencher.counter(BytesCount::new(FRAME)).bench_local(|| {
        let mut region = registry.alloc(FRAME, None);
        region.map(..).unwrap().copy_from_slice(&frame);
        region
    });
}

/// A byte of each line of the processor's cache, so that all memory is brought in.
fn look(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(64).map(|byte| u64::from(*byte)).sum()
}

/// Mapped for each reading, as a receiver does it.
#[cfg(target_os = "linux")]
#[divan::bench]
fn read_in_place(bencher: Bencher<'_, '_>) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let kept = MemoryRegion::copy_of(&frame()).unwrap();
    let received = || {
        passing::send_region(&near, kept.clone(), false);
        passing::receive_region(&far).unwrap()
    };
    bencher
        .counter(BytesCount::new(FRAME))
        .with_inputs(received)
        .bench_local_values(|region| look(region.view(..).unwrap()));
}

/// By copying, as memory of a registry is read.
#[divan::bench]
fn read_by_copying(bencher: Bencher<'_, '_>) {
    let region = MemoryRegion::copy_of(&frame()).unwrap();
    bencher.counter(BytesCount::new(FRAME)).bench_local(|| {
        let (mut reader, mut sum) = (region.reader(..).unwrap(), 0);
        while let Some(chunk) = reader.next_chunk().unwrap() {
            sum += look(chunk);
        }
        sum
    });
}

/// A region that is sealed already: taken apart, sent, received, examined and mapped.
#[cfg(target_os = "linux")]
#[divan::bench(args = [FRAME, LARGE])]
fn hand_over_immutable(bencher: Bencher<'_, '_>, size: usize) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let kept = MemoryRegion::copy_of(&vec![7; size]).unwrap();
    bencher.bench_local(|| {
        passing::send_region(&near, kept.clone(), false);
        let region = passing::receive_region(&far).unwrap();
        black_box(region.view(..1).unwrap()[0]);
    });
}

/// A region of a registry: allocated, lent, sent, received and examined; then it is done.
#[cfg(target_os = "linux")]
#[divan::bench(args = [FRAME, LARGE])]
fn hand_over_pooled(bencher: Bencher<'_, '_>, size: usize) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut registry = MemoryRegistry::default();
    bencher.bench_local(|| {
        passing::send_region(&near, registry.alloc(size, None), false);
        let region = passing::receive_region(&far).unwrap();
        region.read_at(0, &mut [0]).unwrap();
    });
}
