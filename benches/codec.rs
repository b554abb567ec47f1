//! What frames cost to write and to read, without sockets: time and allocations of each.
//!
//! `cargo bench --bench codec [-- FILTER]`; `-- --test` runs everything once. Owns the shapes: one small frame, a batch as one
//! read brings it, a large frame in reads of the broker's size, and a frame cut at every byte. Knows the codec only.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a frame that does not decode ends the run"
)]

use actix_ipc::message::codec::body_limit;
use actix_ipc::message::{Decoder, Draft, Encoding, Kind, Metadata};
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Frames that come together.
const BATCH: usize = 64;
/// What a connection reads at once.
const READ: usize = 128 * 1024;
const LARGE: usize = 1024 * 1024;
const LIMIT: usize = body_limit(16 * 1024 * 1024);

fn main() {
    divan::main();
}

fn call(id: u64, payload: &[u8]) -> Draft<'_> {
    Draft::new(Kind::Call, id)
        .aux(30_000)
        .pair("math", "add")
        .payload(Encoding::RAW, payload)
}

/// Calls with payloads of this size, end to end.
fn frames(count: usize, payload: usize) -> Vec<u8> {
    let payload = vec![7; payload];
    let mut bytes = Vec::new();
    (0..count).for_each(|id| call(id as u64, &payload).encode(&mut bytes));
    bytes
}

/// Into a buffer that has room.
#[divan::bench(args = [16, 1024, 16 * 1024])]
fn encode_one(bencher: Bencher<'_, '_>, size: usize) {
    let payload = vec![7; size];
    let mut out = Vec::with_capacity(2 * size + 1024);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        call(black_box(7), &payload).encode(&mut out);
        black_box(out.len())
    });
}

#[divan::bench]
fn encode_batch(bencher: Bencher<'_, '_>) {
    let mut out = Vec::with_capacity(READ);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        out.clear();
        (0..BATCH).for_each(|id| call(id as u64, &[7; 16]).encode(&mut out));
        black_box(out.len())
    });
}

/// The head alone, as for a large payload that is written from where it lies.
#[divan::bench]
fn encode_head_of_large(bencher: Bencher<'_, '_>) {
    let payload = vec![7; LARGE];
    let mut out = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        out.clear();
        call(black_box(7), &payload).encode_head(&mut out);
        black_box(out.len())
    });
}

#[divan::bench(args = [16, 1024, 16 * 1024])]
fn decode_one(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = frames(1, size);
    let mut decoder = Decoder::new(LIMIT);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| decoder.decode(black_box(&bytes)).unwrap());
}

#[divan::bench(args = [16, 1024])]
fn decode_batch(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = frames(BATCH, size);
    let mut decoder = Decoder::new(LIMIT);
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| decoder.decode(black_box(&bytes)).unwrap());
}

/// The parts of every frame of a batch that is decoded.
#[divan::bench]
fn view_batch(bencher: Bencher<'_, '_>) {
    let batch = Decoder::new(LIMIT).decode(&frames(BATCH, 16)).unwrap();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let views = (0..BATCH).filter_map(|index| batch.view(black_box(index)));
        views
            .map(|view| view.payload.len() + view.key.len())
            .sum::<usize>()
    });
}

/// A frame of 1 MiB in reads as large as the broker's.
#[divan::bench]
fn decode_large_in_reads(bencher: Bencher<'_, '_>) {
    let bytes = frames(1, LARGE);
    let mut decoder = Decoder::new(LIMIT);
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let batches = bytes.chunks(READ).map(|read| decoder.decode(read).unwrap());
        assert_eq!(batches.map(|batch| batch.len()).sum::<usize>(), 1);
    });
}

/// Three frames, cut in two at each byte in turn.
#[divan::bench]
fn decode_split_at_every_byte(bencher: Bencher<'_, '_>) {
    let bytes = frames(3, 16);
    let mut decoder = Decoder::new(LIMIT);
    bencher.counter(ItemsCount::new(3 * bytes.len())).bench_local(|| {
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let found = decoder.decode(head).unwrap().len() + decoder.decode(tail).unwrap().len();
            assert_eq!(found, 3, "split at {at}");
        }
    });
}

/// One frame that comes byte by byte.
#[divan::bench]
fn decode_byte_by_byte(bencher: Bencher<'_, '_>) {
    let bytes = frames(1, 16);
    let mut decoder = Decoder::new(LIMIT);
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let batches = bytes.chunks(1).map(|byte| decoder.decode(byte).unwrap());
        assert_eq!(batches.map(|batch| batch.len()).sum::<usize>(), 1);
    });
}

/// A frame with metadata: every entry is checked.
#[divan::bench]
fn decode_with_metadata(bencher: Bencher<'_, '_>) {
    let mut meta = Metadata::new();
    for key in ["trace", "span", "tenant"] {
        meta.insert(key, "0123456789abcdef").unwrap();
    }
    let bytes = call(7, &[7; 16]).meta(meta.as_bytes()).to_vec();
    let mut decoder = Decoder::new(LIMIT);
    bencher.bench_local(|| decoder.decode(black_box(&bytes)).unwrap());
}
