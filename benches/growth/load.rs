//! Whole processes under load: what the broker delivers in a second, and what it pays for each call or event.

use super::process::{Broker, Role};
use super::tables::SIZES;
use super::topics::Shape;

const ROUNDS: usize = 3;
/// Calls under way where the broker shall be busy.
const MANY: usize = 64;

/// What one run has shown.
#[derive(Clone, Copy)]
pub struct Run {
    /// Calls or events in a second, all clients together.
    pub rate: f64,
    /// Processor time of the broker in microseconds for one of them: the first thread, and all others.
    pub core: f64,
    pub others: f64,
    /// Processor time of everybody else.
    pub clients: f64,
}

/// Lets all of them run at the same time.
fn run(broker: &Broker, bystander: &Role, active: &mut [Role]) -> Run {
    let spent = |active: &[Role]| active.iter().map(Role::processor).sum::<f64>() + bystander.processor();
    let (before, clients) = (broker.processor(), spent(active));
    active.iter_mut().for_each(Role::go);
    let (mut rate, mut all) = (0.0, 0.0);
    for role in active.iter_mut() {
        let figures = role.figures();
        rate += figures["rate"];
        all += figures["all"];
    }
    let after = broker.processor();
    Run {
        rate,
        core: (after.0 - before.0) / all,
        others: (after.1 - before.1) / all,
        clients: (spent(active) - clients) / all,
    }
}

/// The run of the median rate.
fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    runs[runs.len() / 2]
}

/// Runs every case in every round, and tells the medians beside the best.
fn compare<C>(cases: &[C], name: impl Fn(&C) -> String, once: impl Fn(&C) -> Run) {
    let mut runs: Vec<Vec<Run>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (case, runs) in cases.iter().zip(&mut runs) {
            runs.push(once(case));
        }
    }
    let medians: Vec<Run> = runs.into_iter().map(median).collect();
    let best = medians.iter().map(|run| run.rate).fold(0.0, f64::max);
    for (case, run) in cases.iter().zip(medians) {
        println!(
            "  {:<44} {:>9.0}/s ({:>3.0} % of the best); broker {:.2} µs each (first thread {:.2}), the others {:.2}",
            name(case),
            run.rate,
            run.rate / best * 100.0,
            run.core + run.others,
            run.core,
            run.clients,
        );
    }
}

pub fn routing() {
    for (at, shape) in Shape::ALL.into_iter().enumerate() {
        println!("events to one of many topics, {shape:?}, through ipc-broker:");
        compare(
            &SIZES,
            |size| format!("{size} subscriptions"),
            |size| {
                let broker = Broker::start(0);
                let subscriber = Role::start(&broker.socket(), "subscriptions", &[at, *size]);
                let mut publisher = [Role::start(&broker.socket(), "publisher", &[*size])];
                run(&broker, &subscriber, &mut publisher)
            },
        );
    }
}

pub fn calls() {
    for in_flight in [1, MANY] {
        println!("calls of one of many objects, {in_flight} under way, through ipc-broker:");
        compare(
            &SIZES,
            |size| format!("{size} objects"),
            |size| call(0, *size, 1, in_flight),
        );
    }
}

fn call(arbiters: usize, objects: usize, callers: usize, in_flight: usize) -> Run {
    let broker = Broker::start(arbiters);
    let worker = Role::start(&broker.socket(), "objects", &[objects]);
    let start = |_| Role::start(&broker.socket(), "caller", &[in_flight, objects]);
    let mut callers: Vec<Role> = (0..callers).map(start).collect();
    run(&broker, &worker, &mut callers)
}

/// The median of some runs with one object.
pub fn call_run(arbiters: usize, callers: usize, in_flight: usize) -> Run {
    median(
        (0..ROUNDS)
            .map(|_| call(arbiters, 1, callers, in_flight))
            .collect(),
    )
}

/// The median of some runs with one subscriber.
pub fn publish_run(arbiters: usize, publishers: usize) -> Run {
    median((0..ROUNDS).map(|_| publish(arbiters, publishers)).collect())
}

fn publish(arbiters: usize, publishers: usize) -> Run {
    let broker = Broker::start(arbiters);
    let subscriber = Role::start(&broker.socket(), "subscriptions", &[0, 1]);
    let start = |_| Role::start(&broker.socket(), "publisher", &[1]);
    let mut publishers: Vec<Role> = (0..publishers).map(start).collect();
    run(&broker, &subscriber, &mut publishers)
}

pub fn callers() {
    for in_flight in [1, MANY] {
        compare(
            &[1, 2, 4, 8],
            |callers| format!("{callers} callers, {in_flight} calls under way each"),
            |callers| call(0, 1, *callers, in_flight),
        );
    }
}

pub fn publishers() {
    compare(
        &[1, 2, 4, 8],
        |publishers| format!("{publishers} publishers, one subscriber"),
        |publishers| publish(0, *publishers),
    );
}

pub fn connections() {
    for events in [false, true] {
        for under_way in [1, MANY] {
            compare(
                &[1_usize, 10, 100, 1_000, 10_000],
                |count| {
                    let what = if events { "events" } else { "calls" };
                    let active = count.min(&100);
                    format!("{count} connections, {active} active, {under_way} {what} under way each")
                },
                |count| connected(*count, under_way, events),
            );
        }
    }
}

/// At most a hundred connections are active; the others are silent.
fn connected(count: usize, under_way: usize, events: bool) -> Run {
    let broker = Broker::start(0);
    let active = count.min(100);
    let _idle = Role::start(&broker.socket(), "idle", &[count - active]);
    let (role, numbers): (_, &[usize]) = if events {
        ("subscriptions", &[0, 1])
    } else {
        ("objects", &[1])
    };
    let other = Role::start(&broker.socket(), role, numbers);
    let numbers = [active, under_way * active, usize::from(events)];
    let mut active = [Role::start(&broker.socket(), "connections", &numbers)];
    run(&broker, &other, &mut active)
}

pub fn arbiters() {
    for (callers, in_flight) in [(1, 1), (8, 1), (1, MANY), (4, MANY)] {
        compare(
            &[0, 1, 2],
            |arbiters| format!("--arbiters {arbiters}: {callers} callers, {in_flight} calls under way each"),
            |arbiters| call(*arbiters, 1, callers, in_flight),
        );
    }
    for publishers in [1, 4] {
        compare(
            &[0, 1, 2],
            |arbiters| format!("--arbiters {arbiters}: {publishers} publishers, one subscriber"),
            |arbiters| publish(*arbiters, publishers),
        );
    }
}
