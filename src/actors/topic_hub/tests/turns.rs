//! Subscribers with simulated time: those who are served in turns lose nothing, and one that is much slower than the rest loses its own.
//!
//! The whole of TopicHub without sockets: subscribers take from their inboxes what time allows, the publisher has a window. Each event
//! costs everybody the same.

use super::super::state::State;
use crate::actors::connection::outbox::event_charge;
use crate::actors::core::Shared;
use crate::actors::credit::Window;
use crate::actors::messages::{Control, Deliver, Drained, EventItem, HubBatch, HubItem};
use crate::actors::peer::{Account, Inbox, Peer, PeerRef, ReplyTo, publish_window};
use crate::actors::supervise::Progress;
use crate::config::Limits;
use crate::message::{Batch, CallId, Draft, Encoding, Epoch, Kind, Origin, PeerId, SubscriptionId, Ticket};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn now() -> Instant {
    let now = NOW.get().unwrap_or_else(Instant::now);
    NOW.set(Some(now));
    now
}

fn pass(micros: u64) {
    NOW.set(Some(now() + Duration::from_micros(micros)));
}

/// Events that wait, one by one, and what the peer was told to have missed without an event.
#[derive(Default)]
struct Queue {
    events: VecDeque<(Arc<Batch>, EventItem)>,
    told: u64,
}

#[derive(Clone, Default)]
struct Post(Arc<Mutex<Queue>>);

impl Inbox for Post {
    fn post(&self, delivery: Deliver) {
        let mut queue = self.0.lock().unwrap();
        match delivery {
            Deliver::Events(batch, items) => {
                for item in items {
                    let frames = item.frame..item.frame + item.count;
                    for (at, frame) in frames.enumerate() {
                        let missed = if at == 0 { item.missed } else { 0 };
                        let item = EventItem {
                            frame,
                            count: 1,
                            missed,
                            ..item
                        };
                        queue.events.push_back((batch.clone(), item));
                    }
                }
            }
            Deliver::Control(Control::Gaps(gaps)) => {
                queue.told += gaps.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
            }
            _ => {}
        }
    }
}

struct Subscriber {
    peer: PeerRef,
    post: Post,
    received: u64,
    missed: u64,
}

struct World {
    state: State,
    shared: Arc<Shared>,
    publisher: PeerRef,
    window: Window,
    batch: Arc<Batch>,
    published: u64,
    subscribers: Vec<Subscriber>,
}

/// Events of one batch.
const RUN: u32 = 64;

/// What an event costs whoever handles it, in microseconds.
const COST: u64 = 4;

/// Small queues: they are full after a thousand events.
fn limits() -> Limits {
    Limits {
        outbox_bytes: 256 * 1024,
        publish_window: 32 * 1024,
        ..Limits::default()
    }
}

impl World {
    fn new(subscribers: u64) -> Self {
        let limits = limits();
        let (window, step) = publish_window(limits.publish_window);
        let peer = |id, post: &Post| {
            let account = Account::new(limits.outbox_bytes, step);
            let origin = Origin {
                peer: PeerId(id),
                ..Origin::default()
            };
            Peer::new(origin, "", 0, account, Box::new(post.clone()))
        };
        let shared = Shared::with_clock(limits.clone(), Epoch([1; 16]), now);
        let mut state = State::new(shared.clone());
        let subscribe = Draft::new(Kind::Subscribe, 5).pair("s", "t").to_vec();
        let subscribe = Arc::new(Batch::from_bytes(subscribe.into(), 1_000).unwrap());
        let subscribers = (2..2 + subscribers)
            .map(|id| {
                let post = Post::default();
                let peer = peer(id, &post);
                let reply = Some(ReplyTo::new(peer.clone(), CallId(5), Ticket(id)));
                let _ = state.handle(HubBatch {
                    from: peer.clone(),
                    batch: subscribe.clone(),
                    items: vec![HubItem::new(0, reply)],
                    permit: None,
                });
                Subscriber {
                    peer,
                    post,
                    received: 0,
                    missed: 0,
                }
            })
            .collect();
        let mut bytes = Vec::new();
        for _ in 0..RUN {
            let publish = Draft::new(Kind::Publish, 0).pair("s", "t");
            publish.payload(Encoding::RAW, &[7; 16]).encode(&mut bytes);
        }
        Self {
            state,
            shared,
            publisher: peer(1, &Post::default()),
            window,
            batch: Arc::new(Batch::from_bytes(bytes.into(), 1_000).unwrap()),
            published: 0,
            subscribers,
        }
    }

    /// One batch, when the window is open.
    fn publish(&mut self) -> bool {
        let granted = self.publisher.account.take_grant();
        self.window.refill(u32::try_from(granted).unwrap());
        if !self.window.is_open() {
            return false;
        }
        let bytes = self.batch.headers().map(|header| header.wire_len()).sum();
        assert!(self.window.spend(bytes));
        let mut progress = self.state.handle(HubBatch {
            from: self.publisher.clone(),
            batch: self.batch.clone(),
            items: vec![HubItem {
                count: RUN,
                ..HubItem::new(0, None)
            }],
            permit: None,
        });
        while progress == Progress::Yield {
            progress = self.state.resume();
        }
        assert_eq!(progress, Progress::Done);
        self.published += u64::from(RUN);
        true
    }

    /// Takes up to so many events. Returns how many there were.
    fn read(&mut self, which: usize, most: usize) -> usize {
        let Subscriber {
            peer,
            post,
            received,
            missed,
        } = &mut self.subscribers[which];
        let mut queue = post.0.lock().unwrap();
        let count = queue.events.len().min(most);
        *missed += std::mem::take(&mut queue.told);
        let mut charged = 0;
        for (batch, item) in queue.events.drain(..count) {
            charged += event_charge(&batch, &item);
            *missed += u64::from(item.missed);
            *received += 1;
        }
        drop(queue);
        let account = &peer.account;
        let micros = self.shared.micros(now());
        account
            .idle
            .leaves(account.events(), charged, &account.room(), micros);
        if account.release_events(charged) {
            self.state.drained(Drained(peer.id()));
        }
        count
    }

    fn wait(&mut self, micros: u64) {
        pass(micros);
        if self.state.due().is_some_and(|due| due <= now()) {
            self.state.holds_over();
        }
    }

    /// Everybody reads to the end: what was published is received or told.
    fn settle(&mut self) {
        for _ in 0..2 {
            (0..self.subscribers.len()).for_each(|which| while self.read(which, usize::MAX) > 0 {});
        }
        for subscriber in &self.subscribers {
            assert_eq!(subscriber.received + subscriber.missed, self.published);
        }
    }
}

#[test]
fn a_hold_ends_when_a_later_question_learns_that_there_is_room() {
    let mut world = World::new(1);
    while world.publish() {}
    let subscriber = world.subscribers[0].peer.clone();
    assert!(subscriber.account.events() > subscriber.account.room().resume());
    assert_eq!(world.publisher.account.take_grant(), 0, "it is held");
    // The subscriber's thread has counted what it wrote, and not looked yet whether somebody waits for that.
    subscriber.account.begin_release(subscriber.account.events());
    let key = world.state.receivers.key(subscriber.id()).unwrap();
    let State {
        fan_out, receivers, ..
    } = &mut world.state;
    fan_out.withhold(receivers, (key, SubscriptionId(5)), 1);
    let flushed = world.state.handle(HubBatch {
        from: world.publisher.clone(),
        batch: world.batch.clone(),
        items: Vec::new(),
        permit: None,
    });
    assert_eq!(flushed, Progress::Done);
    assert!(
        !subscriber.account.release_events(0),
        "the hub has taken the question back"
    );
    assert!(world.publisher.account.take_grant() > 0, "nobody waits any more");
}

#[test]
fn a_receiver_that_gets_nothing_is_looked_at_once_a_turn() {
    let mut world = World::new(1);
    let key = world.state.receivers.key(world.subscribers[0].peer.id()).unwrap();
    let State {
        fan_out, receivers, ..
    } = &mut world.state;
    let metrics = &world.shared.metrics;
    for turn in 0..2 {
        for _ in 0..3 {
            fan_out.withhold(receivers, (key, SubscriptionId(5)), 1);
        }
        let slow = fan_out.take_slow(receivers, now(), Duration::ZERO, metrics);
        assert_eq!(slow.receivers, [key], "turn {turn}");
    }
}

#[test]
fn eight_that_take_turns_on_one_processor_lose_nothing() {
    // The order is always the same: the last one is full while all others are idle, each time.
    for quantum in [500_usize, 1_000, 5_000] {
        let mut world = World::new(8);
        for _ in 0..100 {
            let mut left = quantum;
            while left > 0 && world.publish() {
                left = left.saturating_sub(RUN as usize);
                world.wait(u64::from(RUN) * COST);
            }
            for which in 0..8 {
                let mut left = quantum;
                while left > 0 {
                    let read = world.read(which, left.min(100));
                    if read == 0 {
                        break;
                    }
                    left -= read;
                    world.wait(read as u64 * COST);
                }
            }
        }
        let metrics = world.shared.metrics.snapshot();
        assert!(
            metrics.holds > 10,
            "{} holds in turns of {quantum}",
            metrics.holds
        );
        assert_eq!(metrics.events_missed, 0, "turns of {quantum}");
        world.settle();
    }
}

/// What is published in three seconds when one of eight reads only each so many-th time.
fn beside(slow: u64) -> World {
    let mut world = World::new(8);
    for step in 0..3_000_000 / COST / u64::from(RUN) {
        world.publish();
        world.wait(u64::from(RUN) * COST);
        for which in 0..8 {
            if which < 7 || step % slow == 0 {
                world.read(which, RUN as usize);
            }
        }
    }
    world.settle();
    world
}

#[test]
fn one_that_is_ten_times_slower_is_told_and_costs_the_others_a_tenth() {
    let (alone, beside) = (beside(1), beside(10));
    let missed: Vec<u64> = beside
        .subscribers
        .iter()
        .map(|subscriber| subscriber.missed)
        .collect();
    let (slow, others) = missed.split_last().unwrap();
    assert!(others.iter().all(|missed| *missed == 0), "{missed:?}");
    assert!(*slow > beside.published / 2, "{slow} of {}", beside.published);
    assert_eq!(alone.shared.metrics.snapshot().events_missed, 0);
    // A tenth, and one patience of a tenth of a second in three.
    assert!(
        beside.published * 100 >= alone.published * 86,
        "{} beside a slow one, {} without",
        beside.published,
        alone.published
    );
}
