//! Sequences of pushes and writes: every event is received or counted, in order, and what is dropped costs nothing.

use super::*;
use crate::message::Encoding;
use proptest::prelude::*;

const HOLD: u64 = 1;
const DROP_OLDEST: u64 = 2;
const LATEST: u64 = 3;
const SUBSCRIPTIONS: [u64; 3] = [HOLD, DROP_OLDEST, LATEST];

#[derive(Clone, Debug)]
enum Op {
    /// Events of one delivery: the subscription and the topic of each.
    Push(Vec<(u64, u8)>),
    Fill(usize),
    Take,
    Compact,
}

fn op() -> impl Strategy<Value = Op> {
    let event = (proptest::sample::select(&SUBSCRIPTIONS[..]), 0..4_u8);
    prop_oneof![
        6 => proptest::collection::vec(event, 1..40).prop_map(Op::Push),
        2 => (1..1_000_usize).prop_map(Op::Fill),
        1 => Just(Op::Take),
        1 => Just(Op::Compact),
    ]
}

fn mark(subscription: u64) -> EventMark {
    EventMark::default()
        .with_if(subscription == DROP_OLDEST, EventMark::DROP_OLDEST)
        .with_if(subscription == LATEST, EventMark::LATEST)
}

/// What went in and came out, by subscription.
#[derive(Default)]
struct Model {
    events: Events,
    /// Bytes that are charged now.
    queued: usize,
    next: u32,
    pushed: HashMap<u64, u32>,
    received: HashMap<u64, Vec<(u8, u32)>>,
    missed: HashMap<u64, u32>,
    /// The last value of each topic that was pushed to the subscription that wants only that.
    latest: HashMap<u8, u32>,
}

impl Model {
    fn push(&mut self, pushed: &[(u64, u8)], room: &Room) {
        let (mut bytes, mut items, mut count) = (Vec::new(), Vec::<EventItem>::new(), 0);
        for (subscription, topic) in pushed {
            let number = self.next.to_le_bytes();
            let key = [b's', 0, b'a' + topic];
            let draft = Draft::new(Kind::Publish, 0).key(&key);
            draft.payload(Encoding::RAW, &number).encode(&mut bytes);
            let frame = count;
            count += 1;
            if let Some(last) = items.last_mut().filter(|_| *subscription == HOLD)
                && last.subscription.0 == HOLD
            {
                last.count += 1;
                *self.pushed.entry(HOLD).or_default() += 1;
                self.next += 1;
                continue;
            }
            items.push(EventItem {
                frame,
                count: 1,
                missed: 0,
                subscription: SubscriptionId(*subscription),
                // Keys are written so that the topic is seen.
                mark: mark(*subscription).with_if(true, EventMark::WITH_KEY),
            });
            if *subscription == LATEST {
                self.latest.insert(*topic, self.next);
            }
            *self.pushed.entry(*subscription).or_default() += 1;
            self.next += 1;
        }
        let batch = Arc::new(Batch::from_bytes(bytes.into(), 1_000).unwrap());
        self.queued += items.iter().map(|item| event_charge(&batch, item)).sum::<usize>();
        let (dropped, gaps) = self.events.push(batch, items, self.queued, room);
        self.queued -= dropped;
        for (subscription, count) in gaps {
            *self.missed.entry(subscription.0).or_default() += count;
        }
    }

    fn got(&mut self, batch: &Batch, frame: usize, subscription: u64, missed: u32) {
        let view = batch.view(frame).unwrap();
        let number = u32::from_le_bytes(view.payload.try_into().unwrap());
        *self.missed.entry(subscription).or_default() += missed;
        let received = self.received.entry(subscription).or_default();
        received.push((view.key[2] - b'a', number));
    }

    fn fill(&mut self, max: usize) {
        let mut out = WriteBuf::default();
        self.queued -= self.events.fill(max, &mut out);
        let batch = Batch::from_bytes(out.copied.into(), 1_000).unwrap();
        for (frame, header) in batch.headers().enumerate() {
            self.got(&batch, frame, header.id, header.aux);
        }
    }

    fn take(&mut self) {
        if let Some((batch, item)) = self.events.take() {
            self.queued -= event_charge(&batch, &item);
            self.got(&batch, item.frame as usize, item.subscription.0, item.missed);
        }
    }

    /// Nothing is lost or counted twice, and little is kept of what was dropped.
    fn check(&self) {
        let mut counted = self.missed.clone();
        let (mut live, mut kept) = (0, 0);
        for run in &self.events.runs {
            let rest = run.items.get(run.next..).unwrap();
            let living: Vec<_> = rest.iter().filter(|item| is_live(item)).collect();
            assert_eq!(living.len(), run.live);
            live += living.len();
            // One that is being written goes as a whole, soon.
            kept += if run.next == 0 { rest.len() } else { 0 };
            for item in living {
                *counted.entry(item.subscription.0).or_default() += item.missed + item.count;
            }
        }
        for subscription in SUBSCRIPTIONS {
            let received = self.received.get(&subscription).map_or(0, Vec::len);
            let counted = counted.get(&subscription).copied().unwrap_or(0);
            let pushed = self.pushed.get(&subscription).copied().unwrap_or(0);
            assert_eq!(u32::try_from(received).unwrap() + counted, pushed);
        }
        assert!(kept <= 2 * live, "{kept} items are kept for {live}");
        let dead = self.events.runs.iter().filter(|run| run.live == 0).count();
        assert_eq!(dead, self.events.dead);
        assert!(
            dead <= DEAD_MAX + live + 1,
            "{dead} empty runs between {live} events"
        );
    }
}

proptest! {
    #[test]
    fn every_event_is_received_or_counted(ops in proptest::collection::vec(op(), 1..60), small in any::<bool>()) {
        let soft = if small { 2_000 } else { usize::MAX };
        let room = Room { bytes: usize::MAX, events: usize::MAX, events_soft: soft };
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Push(events) => {
                    model.push(&events, &room);
                    let held = model.events.runs.iter().flat_map(|run| &run.items[run.next..]);
                    let droppable = held.filter(|item| is_live(item) && item.mark.0 & DROPPABLE != 0).count();
                    prop_assert!(model.queued <= soft || droppable == 0);
                }
                Op::Fill(max) => model.fill(max),
                Op::Take => model.take(),
                Op::Compact => model.events.compact(),
            }
            model.check();
        }
        model.fill(usize::MAX);
        model.check();
        prop_assert_eq!(model.queued, 0);
        prop_assert!(model.events.is_empty());
        for received in model.received.values() {
            prop_assert!(received.is_sorted_by_key(|(_, number)| *number));
        }
        prop_assert_eq!(model.missed.get(&HOLD).copied().unwrap_or(0), 0);
        if !small {
            prop_assert_eq!(model.missed.get(&DROP_OLDEST).copied().unwrap_or(0), 0);
            let last: HashMap<u8, u32> = model.received.remove(&LATEST).into_iter().flatten().collect();
            prop_assert_eq!(last, model.latest);
        }
    }
}

#[test]
fn topics_of_dropped_values_are_forgotten() {
    let room = Room {
        bytes: 4_000,
        events: 2_000,
        events_soft: 1_000,
    };
    let (mut events, mut queued) = (Events::default(), 0_usize);
    for topic in 0..20_000_u32 {
        let bytes = Draft::new(Kind::Publish, 0).key(&topic.to_le_bytes()).to_vec();
        let item = EventItem {
            frame: 0,
            count: 1,
            missed: 0,
            subscription: SubscriptionId(LATEST),
            mark: mark(LATEST),
        };
        let batch = Arc::new(Batch::from_bytes(bytes.into(), 100).unwrap());
        queued += event_charge(&batch, &item);
        queued -= events.push(batch, vec![item], queued, &room).0;
        let places = events.latest.as_ref().map_or(0, |latest| latest.places.len());
        assert!(places <= PLACES_MIN, "{places} places after {topic} topics");
    }
    assert!(queued <= 1_064);
}
