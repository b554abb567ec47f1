//! What the broker keeps for a connection that does nothing: a bound in bytes, however many there are, and the same again after it was
//! busy.
//!
//! Counted by the allocator and not by the system, so that the machine does not matter: bytes that live in blocks which other threads
//! than the test's own have allocated. One test, because the count is of the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part; an allocator cannot be safe"
)]
#![cfg(unix)]

#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::config::Limits;
use actix_ipc::message::{Draft, Flags, Kind};
use raw::Raw;
use running::Running;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Bytes that an idle connection may cost, with its part of all tables: a few more than it does.
const IDLE: isize = 1_280;
/// Bytes that it may keep when it was busy: the first places of the tables that it needed, and the counters of the object that it had, a
/// kilobyte each, of which the broker keeps 1,024 when nobody has them any more.
const AFTERWARDS: isize = 3_584;
/// Connections that are busy before others are measured.
const SHARED: usize = 20;

/// What the blocks of the runtime are aligned to, on the machines for which `connection/context.rs` fits its own beside them.
const ALIGNED: usize = 128;

static LIVE: AtomicIsize = AtomicIsize::new(0);
/// Blocks of 128 bytes, of 256 and of other sizes that are aligned so.
static BLOCKS: [AtomicIsize; 3] = [const { AtomicIsize::new(0) }; 3];

thread_local! {
    /// Whether this thread's blocks are not the broker's.
    static APART: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count(layout: Layout, sign: isize) {
    if APART.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    LIVE.fetch_add(layout.size().cast_signed() * sign, Ordering::SeqCst);
    if layout.align() == ALIGNED {
        let which = match layout.size() {
            128 => 0,
            256 => 1,
            _ => 2,
        };
        BLOCKS[which].fetch_add(sign, Ordering::SeqCst);
    }
}

fn blocks() -> [isize; 3] {
    [0, 1, 2].map(|which: usize| BLOCKS[which].load(Ordering::SeqCst))
}

// SAFETY: every request goes to the system's allocator as it is; the count touches no block.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What lives once the broker has nothing more to do.
fn live(any: &mut Raw) -> isize {
    any.after_hub();
    any.after_registry();
    any.ping();
    LIVE.load(Ordering::SeqCst)
}

/// How many connections this process may have with both ends.
fn room() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    limit.unwrap_or(20_100).saturating_sub(100) / 2
}

fn connect(broker: &Running, count: usize) -> Vec<Raw> {
    (0..count).map(|_| Raw::connect(&broker.path)).collect()
}

/// Calls in both directions, among them large ones, and events.
fn work(raw: &mut Raw, number: usize) {
    let object = format!("o{number}");
    assert_eq!(raw.register(&object).kind, Kind::Done);
    for size in [16, 16, 256 * 1024, 16] {
        let call = raw.call(&object, Flags::NONE, &vec![7; size]);
        let got = raw.expect(Kind::Call);
        raw.reply(&got, &got.payload);
        assert_eq!(raw.answer(call).payload.len(), size);
    }
    let subscription = raw.subscribe(&object, "e");
    for _ in 0..50 {
        raw.publish(&object, "e", &[1; 1024]);
    }
    let heard = raw.kept().iter().filter(|got| got.kind == Kind::Event).count();
    assert_eq!(heard, 50);
    let done = raw.ask(&Draft::new(Kind::Unsubscribe, subscription));
    assert_eq!(done.kind, Kind::Done);
    let id = raw.id();
    let done = raw.ask(&Draft::new(Kind::Unregister, id).key(object.as_bytes()));
    assert_eq!(done.kind, Kind::Done);
}

#[test]
fn an_idle_connection_costs_little_and_again_after_it_was_busy() {
    APART.set(true);
    let broker = Running::start(Limits {
        connections: 65_536,
        handshakes: 65_536,
        memory_bytes_total: 8 << 30,
        ..Limits::default()
    });
    let mut all = connect(&broker, SHARED);
    let room = room().saturating_sub(all.len());
    for count in [400, 1_000, 4_000] {
        let more = count.min(room).saturating_sub(all.len() - SHARED);
        if more == 0 {
            continue;
        }
        let before = live(&mut all[0]);
        let blocks_before = blocks();
        all.extend(connect(&broker, more));
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            live(&mut all[0]);
            let new: Vec<isize> = blocks()
                .iter()
                .zip(blocks_before)
                .map(|(now, then)| now - then)
                .collect();
            let one = more.cast_signed();
            assert_eq!(
                new,
                [one, one, 0],
                "a task of 128 bytes and a registration of 256 for each connection, as `connection/context.rs` takes for granted"
            );
        }
        let each = (live(&mut all[0]) - before) / more.cast_signed();
        println!("{each} bytes each of {more} more");
        assert!(each <= IDLE, "{each} bytes each of {more} more connections");
    }
    // The first ones pay for tables of the broker as a whole.
    let busy = (all.len() - SHARED).min(200);
    for (number, raw) in all.iter_mut().take(SHARED).enumerate() {
        work(raw, number);
    }
    let before = live(&mut all[0]);
    for (number, raw) in all.iter_mut().enumerate().skip(SHARED).take(busy) {
        work(raw, number);
    }
    let each = (live(&mut all[0]) - before) / busy.cast_signed();
    println!("{each} bytes more each that was busy");
    assert!(each <= AFTERWARDS, "{each} bytes more each that was busy");
    drop(all);
    broker.stop();
}
