//! The rooms of the client library: slots of open requests, the event queue of a subscription, the out-buffer.
//!
//! Owns the scenes. The rooms are taken in as files.

// Where the files expect each other.
#[path = "../../src/client/dead.rs"]
mod dead;
#[allow(dead_code, unused_imports, reason = "the library and its tests use the rest")]
#[path = "../../src/client/event.rs"]
mod event;
#[allow(dead_code, unused_imports, reason = "the library and its tests use the rest")]
#[path = "../../src/client/event_queue.rs"]
mod event_queue;
#[allow(dead_code, unused_imports, reason = "the library and its tests use the rest")]
#[path = "../../src/client/outbox.rs"]
mod outbox;
#[allow(dead_code, unused_imports, reason = "the library and its tests use the rest")]
#[path = "../../src/client/request.rs"]
mod request;
#[allow(dead_code, unused_imports, reason = "the library and its tests use the rest")]
#[path = "../../src/client/slab.rs"]
mod slab;
#[allow(dead_code, unused_imports, reason = "the library and its tests use the rest")]
#[path = "../../src/client/waiters.rs"]
mod waiters;
mod peer {
    use std::time::{Duration, Instant};

    /// The library's own asks the clock for short deadlines between programs; there are none here.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Again(pub(crate) Instant);

    impl Again {
        pub(crate) fn until(self, patience: Duration) -> Instant {
            self.0 + patience
        }
    }
}
mod subscription {
    /// The library's own, which others may not match to the end.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) enum SlowPolicy {
        #[default]
        Hold,
        Disconnect,
        DropOldest,
        Latest,
    }
}

use crate::scene::batch;
use actix_ipc::message::{Attachments, Draft, Encoding, Header, Kind};
use dead::Dead;
use divan::Bencher;
use divan::counter::ItemsCount;
use event_queue::{EventQueue, Reader, Run};
use outbox::Outbox;
use request::{Request, Step};
use slab::Slab;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use subscription::SlowPolicy;

/// So many requests are open together.
const OPEN: usize = 64;
const MESSAGE: usize = 1 << 24;

/// A key given out, found and given back, beside 64 that stay.
#[divan::bench]
fn slab(bencher: Bencher<'_, '_>) {
    let mut slab = Slab::new(0);
    (0..OPEN).for_each(|value| assert!(slab.insert(value).is_some()));
    bencher.bench_local(|| {
        let key = slab.insert(7).unwrap();
        *slab.get_mut(key).unwrap() += 1;
        slab.remove(key)
    });
}

/// 64 requests opened, and completed by the replies of one read.
#[divan::bench(args = [16, 16 * 1024])]
fn request(bencher: Bencher<'_, '_>, size: usize) {
    let payload = vec![7; size];
    let reply = Draft::new(Kind::Reply, 1).payload(Encoding::RAW, &payload);
    let batch = batch(&reply.to_vec().repeat(OPEN));
    let (mut slab, mut keys) = (Slab::new(0), Vec::with_capacity(OPEN));
    let (expires, mut dead) = (Instant::now(), Dead::default());
    bencher.counter(ItemsCount::new(OPEN)).bench_local(|| {
        for _ in 0..OPEN {
            let request = Request::new(expires, Duration::from_secs(30), 1 << 20);
            keys.push(slab.insert(request).unwrap());
        }
        for (index, key) in keys.drain(..).enumerate() {
            let request = slab.get_mut(key).unwrap();
            let view = batch.view(index).unwrap();
            assert_eq!(
                request.reply(&batch, &view, Attachments::new(), MESSAGE, &mut dead),
                Step::Wake
            );
            assert!(slab.remove(key).unwrap().answer.is_some());
        }
    });
}

/// 64 events of one read, queued and read.
#[divan::bench(args = [SlowPolicy::Hold, SlowPolicy::Disconnect, SlowPolicy::DropOldest, SlowPolicy::Latest])]
fn event_queue(bencher: Bencher<'_, '_>, policy: SlowPolicy) {
    let event = Draft::new(Kind::Event, 5).payload(Encoding::RAW, &[7; 16]);
    let batch = batch(&event.to_vec().repeat(64));
    let run = Run::whole(&batch, 0);
    assert_eq!(run.count, 64);
    let queue = Arc::new(EventQueue::new("sensors", "kitchen", 1 << 20, policy));
    let bytes = batch.headers().map(Header::wire_len).sum();
    let run = Run {
        first: 0,
        count: 64,
        bytes,
    };
    let (mut reader, mut woken, mut dead) = (Reader::new(queue.clone()), Vec::new(), Dead::default());
    let cx = Context::from_waker(Waker::noop());
    bencher.counter(ItemsCount::new(64_usize)).bench_local(|| {
        queue.push(&batch, run, &mut woken, &mut dead);
        woken.clear();
        dead.clear();
        let mut read = 0;
        while let Poll::Ready(Some(_)) = reader.poll_event(&cx) {
            read += 1;
        }
        assert_eq!(read, 64);
    });
}

/// A frame added, claimed and written.
#[divan::bench(args = [16, 1024])]
fn outbox(bencher: Bencher<'_, '_>, size: usize) {
    let payload = vec![7; size];
    let mut outbox = Outbox::new(256 * 1024);
    let call = Draft::new(Kind::Call, 7)
        .aux(30_000)
        .pair("math", "add")
        .payload(Encoding::RAW, &payload);
    bencher.bench_local(|| {
        outbox.encode(&call);
        let mut claim = outbox.claim().unwrap();
        let length = claim.part().0.len();
        assert!(claim.advance(length));
        outbox.release(claim, false);
    });
}
