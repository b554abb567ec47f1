//! How long an index is away after a panic: it is made anew from the table of facts.

use super::tables::name;
use super::topics::Shape;
use actix_ipc::actors::registry::{facts as names, index::Index as Registry};
use actix_ipc::actors::topic_hub::{facts as topics, index::Index as TopicHub};
use actix_ipc::message::Ticket;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 5;

fn best(rebuild: impl Fn()) -> f64 {
    let once = |_| {
        let start = Instant::now();
        rebuild();
        start.elapsed().as_secs_f64() * 1000.0
    };
    (0..ROUNDS).map(once).fold(f64::INFINITY, f64::min)
}

fn tell(what: &str, size: usize, ms: f64) {
    println!("  {what:<28} {size:>9} facts: {ms:>8.1} ms");
}

pub fn run() {
    for size in [1_000, 100_000, 1_000_000] {
        let mut facts = names::Facts::new();
        for number in 0..size {
            let ticket = Ticket(number as u64 + 1);
            facts.commit(&mut vec![names::Effect::FactAdded(ticket, name(number))]);
        }
        let ms = best(|| drop(black_box(Registry::rebuild(&facts))));
        tell("Registry, names", size, ms);
        for shape in [Shape::Exact, Shape::Patterns] {
            let mut facts = topics::Facts::new();
            for number in 0..size {
                let fact = topics::Fact::Subscription(shape.subscription(number));
                let ticket = Ticket(number as u64 + 1);
                facts.commit(&mut vec![topics::Effect::FactAdded(ticket, fact)]);
            }
            let ms = best(|| drop(black_box(TopicHub::rebuild(&facts))));
            tell(&format!("TopicHub, {shape:?}"), size, ms);
        }
    }
}
