//! What TopicHub keeps for a subscription is at most what its owner is charged for it, whatever its pattern shares with others.
//!
//! Counted by the allocator, in each test's own thread, so that nothing else is counted: the table of facts and the index together,
//! without actors.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unsafe_code,
    missing_docs,
    reason = "what is not as expected fails the test; an allocator cannot be safe"
)]

use actix_ipc::actors::topic_hub::facts::{Effect, Facts, Policy, Subscription};
use actix_ipc::actors::topic_hub::index::Index;
use actix_ipc::message::{SubscriptionId, Ticket, key};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: isize) {
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every request goes to the system's allocator as it is; the count touches no block.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes for each that stays in tables that have had places for three times as many.
const KEPT: usize = 1_024;
/// Subscriptions of one shape.
const MANY: u64 = 2_000;

struct Hub {
    index: Index<u32>,
    facts: Facts<u32>,
    effects: Vec<Effect<u32>>,
    charged: usize,
}

impl Hub {
    fn new() -> Self {
        Self {
            index: Index::new(),
            facts: Facts::new(),
            effects: Vec::new(),
            charged: 0,
        }
    }

    fn subscribe(&mut self, number: u64, object: &str, event: &str, pattern: bool) {
        let subscription = Subscription {
            peer: 1,
            id: SubscriptionId(number),
            key: key::join(object, event).into(),
            pattern,
            no_local: false,
            group: None,
            policy: Policy::Hold,
        };
        let ticket = Ticket(number);
        self.index
            .subscribe(ticket, subscription, &mut self.effects)
            .unwrap();
        self.facts.commit(&mut self.effects);
        self.charged = self.facts.counts(1).bytes;
    }

    fn unsubscribe(&mut self, number: u64) {
        self.index
            .unsubscribe(1, SubscriptionId(number), &mut self.effects)
            .unwrap();
        self.facts.commit(&mut self.effects);
        self.charged = self.facts.counts(1).bytes;
    }
}

fn live() -> usize {
    LIVE.get().cast_unsigned()
}

/// Bytes and charge of each subscription that stays.
fn each(before: usize, hub: &Hub, stay: u64) -> (usize, usize) {
    let stay = usize::try_from(stay).unwrap();
    (live().saturating_sub(before) / stay, hub.charged / stay)
}

/// The names of a shape: the number of levels, of which all but the first and the last are `middle`.
fn names(levels: usize, middle: &str, group: u64, last: char) -> String {
    let mut parts = vec![format!("g{group:x}")];
    parts.extend((2..levels).map(|_| middle.to_owned()));
    if levels > 1 {
        parts.push(last.into());
    }
    parts.join(".")
}

#[test]
fn what_a_subscription_keeps_is_charged() {
    for (pattern, middle) in [(false, "x"), (true, "x"), (true, "*")] {
        for levels in [1, 2, 4, 8, 16, 32] {
            for together in [1, 2, 3] {
                let before = live();
                let mut hub = Hub::new();
                for number in 0..MANY {
                    let last = ['a', 'b', 'c'][(number % together) as usize];
                    let object = names(levels, middle, number / together, last);
                    let event = match (levels, pattern) {
                        // They part in the other half.
                        (1, false) => last.to_string(),
                        (1, true) => format!("{last}.*"),
                        (_, false) => "e".to_owned(),
                        (_, true) => "*".to_owned(),
                    };
                    hub.subscribe(number + 1, &object, &event, pattern);
                }
                let shape = format!("pattern {pattern}, {levels} levels of {middle}, {together} together");
                let (bytes, charged) = each(before, &hub, MANY);
                println!("{shape}: {bytes} bytes each, charged {charged}");
                assert!(bytes <= charged, "{shape}: {bytes} bytes, charged {charged}");
                for number in (0..MANY).filter(|number| number % together != 0) {
                    hub.unsubscribe(number + 1);
                }
                let stay = MANY.div_ceil(together);
                let (bytes, charged) = each(before, &hub, stay);
                println!("{shape}, one left: {bytes} bytes, charged {charged}");
                let charged = charged + KEPT;
                assert!(
                    bytes <= charged,
                    "{shape}, one left: {bytes} bytes, charged {charged}"
                );
            }
        }
    }
}

/// Places in the table of one node are not kept for those that have gone.
#[test]
fn what_is_left_of_many_that_part_at_one_node_is_charged() {
    const PREFIXES: u64 = 40;
    const EACH: u64 = 600;
    const LEFT: u64 = 2;
    let before = live();
    let mut hub = Hub::new();
    for prefix in 0..PREFIXES {
        let numbers = prefix * EACH..(prefix + 1) * EACH;
        for number in numbers.clone() {
            hub.subscribe(number, &format!("p{prefix}.n{number}.x"), "*", true);
        }
        numbers
            .skip(LEFT as usize)
            .for_each(|number| hub.unsubscribe(number));
    }
    let (bytes, charged) = each(before, &hub, PREFIXES * LEFT);
    println!("{LEFT} left of {EACH}: {bytes} bytes each, charged {charged}");
    assert!(bytes <= charged + KEPT, "{bytes} bytes each, charged {charged}");
}
