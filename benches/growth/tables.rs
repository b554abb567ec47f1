//! The pure indexes of Registry and TopicHub with 10 to 1,000,000 entries: one look-up of an entry drawn at random.
//!
//! Every size is looked at in every round; the best round counts. The keys lie one behind another in memory, as they do in the
//! batches of a broker, so that only the index is found cold.

use super::topics::{self, Draw, Shape};
use actix_ipc::actors::registry::facts as names;
use actix_ipc::actors::registry::index::Index as Registry;
use actix_ipc::actors::topic_hub::facts as topic;
use actix_ipc::actors::topic_hub::index::Index as TopicHub;
use actix_ipc::message::selector::{Expression, Label, Mode, Selector};
use actix_ipc::message::{RequestId, Ticket};
use std::hint::black_box;
use std::time::Instant;

pub const SIZES: [usize; 4] = [10, 1_000, 100_000, 1_000_000];
const DRAWS: usize = 1 << 18;
const ROUNDS: usize = 9;

/// Keys drawn among the first `size`, one behind another.
struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    fn new(size: usize, key: impl Fn(usize) -> Vec<u8>) -> Self {
        let mut draw = Draw::new(size as u64);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..DRAWS {
            bytes.extend(key(draw.below(size)));
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    fn each(&self, mut look: impl FnMut(&[u8])) {
        let mut start = 0;
        for end in &self.ends {
            look(&self.bytes[start..*end]);
            start = *end;
        }
    }
}

/// Nanoseconds of one look-up for each size.
fn compare<T>(build: impl Fn(usize) -> T, key: impl Fn(usize) -> Vec<u8>, look: impl Fn(&mut T, &[u8])) {
    compare_at(sizes(), build, key, look);
}

fn compare_at<T>(
    sizes: Vec<usize>,
    build: impl Fn(usize) -> T,
    key: impl Fn(usize) -> Vec<u8>,
    look: impl Fn(&mut T, &[u8]),
) {
    let mut all: Vec<(usize, T, Keys, f64)> = sizes
        .into_iter()
        .map(|size| (size, build(size), Keys::new(size, &key), f64::INFINITY))
        .collect();
    for _ in 0..ROUNDS {
        for (_, table, keys, best) in &mut all {
            let start = Instant::now();
            keys.each(|key| look(table, key));
            *best = best.min(start.elapsed().as_nanos() as f64 / DRAWS as f64);
        }
    }
    let least = all.iter().map(|(.., best)| *best).fold(f64::INFINITY, f64::min);
    for (size, .., best) in &all {
        println!("  {size:>9}: {best:>7.1} ns, {:.2} times the least", best / least);
    }
}

/// All sizes, or the one of the environment, for a profile.
fn sizes() -> Vec<usize> {
    let one = std::env::var("GROWTH_SIZE")
        .ok()
        .map(|text| text.parse().unwrap());
    one.map_or_else(|| SIZES.to_vec(), |size| vec![size])
}

pub fn routing() {
    for shape in Shape::ALL {
        println!("index::matching, {shape:?}, one subscription hears each event:");
        compare(
            |size| hub(shape, size),
            topics::key,
            |index, key| {
                let matches = index.matching(key, 7, |_, _| false);
                assert_eq!(black_box(matches).len(), 1);
            },
        );
    }
}

pub fn hub(shape: Shape, size: usize) -> TopicHub<u32> {
    let mut index = TopicHub::new();
    for number in 0..size {
        let fact = topic::Fact::Subscription(shape.subscription(number));
        index.insert_fact(Ticket(number as u64 + 1), &fact);
    }
    index
}

pub fn calls() {
    println!("index::route, a single owner each:");
    compare(
        |size| {
            let mut index = Registry::new();
            for number in 0..size {
                index.insert_fact(Ticket(number as u64 + 1), &name(number));
            }
            index
        },
        |number| topics::object(number).into_bytes(),
        |index, object| assert!(black_box(index.route(object, None, |_| 0)).is_some()),
    );
}

/// A selector of eight terms that one endpoint matches, drawn among as many selectors as there are endpoints, or among ten of them.
pub fn labels() {
    for (what, most) in [("each its own selector", usize::MAX), ("ten selectors", 10)] {
        println!("index::select, eight terms, one endpoint matches, {what}:");
        compare_at(
            vec![10, 100, 1_000, 10_000],
            endpoints,
            |number| selector(number % most),
            |index, key| {
                let selector = Selector::checked(key).unwrap();
                let mut found = 0;
                index.select(&selector, |target| found += target.endpoint.0.min(1));
                assert_eq!(black_box(found), 1);
            },
        );
    }
}

fn endpoints(size: usize) -> Registry<u32> {
    let mut index = Registry::new();
    for number in 0..size {
        let mut labels: Vec<Label> = (0..6).map(|of| label(&format!("common{of}"))).collect();
        labels.push(label(&format!("own{number}")));
        labels.sort_unstable();
        let fact = names::Fact::Endpoint {
            peer: u32::try_from(number % 100).unwrap(),
            request: RequestId(number as u64 + 1),
            labels: labels.into(),
            sockets: false,
        };
        index.insert_fact(Ticket(number as u64 + 1), &fact);
    }
    index
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn selector(number: usize) -> Vec<u8> {
    let of = |text: &str| Expression::label(&label(text));
    let common = (0..6).map(|number| of(&format!("common{number}")));
    let all = common.fold(of(&format!("own{number}")), |all, term| all.and(&term));
    all.and(&of("none").not()).encode(Mode::First).unwrap().into()
}

/// The claim to the name with this number.
pub fn name(number: usize) -> names::Fact<u32> {
    names::Fact::Name(Box::new(names::Named {
        peer: u32::try_from(number % 100).unwrap(),
        request: RequestId(number as u64),
        object: topics::object(number).into(),
        place: Ticket(number as u64 + 1),
        allow_replace: false,
        group: None,
        description: bytes::Bytes::new(),
    }))
}
