//! What a slow program costs in memory, at both ends of a connection without a broker: nothing beyond the windows.
//!
//! How it works: both ends are in this process, whose allocator counts the bytes that are held.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "peers/calc.rs"]
mod calc;

use actix_ipc::Endpoint;
use actix_ipc::protocol::RpcClient;
use calc::{Calc, Service, within};
use futures::FutureExt;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The windows and out-buffers of both ends together, and as much again for what surrounds each command.
const MOST: usize = 7 << 19;

#[actix::test]
async fn a_slow_program_costs_nobody_more_than_the_windows() {
    let service = Service::new(true);
    let endpoint = Endpoint::Memory(format!("peers-memory-{}", std::process::id()));
    let server = service.bind(endpoint).await;
    let client = RpcClient::<Calc>::connect(server.endpoint().clone(), ())
        .await
        .unwrap();
    let before = HELD.load(Ordering::Relaxed);
    let sent = Arc::new(AtomicUsize::new(0));
    // Small ones, of which the most lie in a window, from several tasks.
    let tasks = (0..4).map(|_| {
        let (sender, sent) = (client.clone_sender(), Arc::clone(&sent));
        actix_rt::spawn(async move {
            loop {
                sender.note(1, 10).await.unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    service.answers.waited(1).await;
    // As soon as nobody gets further, all that can wait does.
    let mut last = 0;
    let still = async {
        loop {
            client.sender.0.peer().unwrap();
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            let now = sent.load(Ordering::Relaxed);
            if now == last {
                break now;
            }
            last = now;
        }
    };
    let stuck = within("the window", still).await;
    let window = 256 * 1024;
    assert!(
        (1_000..=window / 40).contains(&stuck),
        "{stuck} commands under way"
    );
    let held = HELD.load(Ordering::Relaxed).saturating_sub(before);
    assert!(held <= MOST, "{held} bytes are held for {stuck} commands");
    assert!(tasks.iter().all(|task| !task.is_finished()));
    // Let go, they get further, and memory does not grow with what goes through.
    service.answers.gate.add_permits(20_000);
    let mut waiting = service.answers.waiting.subscribe();
    within("going on", waiting.wait_for(|count| *count > 20_000))
        .await
        .unwrap();
    let held = HELD.load(Ordering::Relaxed).saturating_sub(before);
    assert!(held <= MOST, "{held} bytes are held after 20,000 commands");
    tasks.iter().for_each(|task| task.abort());
    assert!(client.closed().now_or_never().is_none());
}
