//! The judge beside a real broker: random clients over a Unix socket, and not one false alarm.
//!
//! The judge's own tests show that it can find faults; this one shows that it finds none where there is none. A frame is told to have
//! arrived when it is written: the earliest that is possible. Owns the ops; `real/wire.rs` owns the connections.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_debug_implementations,
    unreachable_pub,
    missing_docs,
    reason = "what is not as expected fails the test"
)]

#[path = "real/wire.rs"]
mod wire;

use actix_ipc::config::Limits;
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Metadata};
use wire::{Client, World};

/// A small generator: the runs must be the same on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn chance(&mut self, of_100: u64) -> bool {
        self.roll(100) < of_100
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[usize::try_from(self.roll(list.len() as u64)).unwrap()]
    }

    fn flags(&mut self, each: &[Flags]) -> Flags {
        each.iter()
            .fold(Flags::NONE, |all, flag| all.with_if(self.chance(30), *flag))
    }
}

const OBJECTS: &[&str] = &["a", "b", "c.d", "nobody"];
const PATTERNS: &[&str] = &["a", "*", "c.*", "**"];

fn registry_op(world: &mut World, dice: &mut Dice, client: usize) {
    let id = world.id();
    let object = *dice.pick(OBJECTS);
    let key = object.as_bytes();
    match dice.roll(9) {
        0..=2 if object != "nobody" => {
            let (flags, aux) = match object {
                "b" => (Flags::WORKER_GROUP, 0),
                _ => (
                    dice.flags(&[Flags::QUEUE, Flags::REPLACE, Flags::ALLOW_REPLACE]),
                    0,
                ),
            };
            world.send(
                client,
                &Draft::new(Kind::Register, id).flags(flags).aux(aux).key(key),
            );
        }
        3 => world.send(client, &Draft::new(Kind::Unregister, id).key(key)),
        4 => {
            let names = [&[1][..], b"a", &[3], b"c.d"].concat();
            let wait = Draft::new(Kind::Wait, id).aux(40).payload(Encoding::RAW, &names);
            world.send(client, &wait);
        }
        5 => {
            let pattern = *dice.pick(&["", "*", "**", "a"]);
            let watch = Draft::new(Kind::Watch, id).aux(1 + u32::try_from(dice.roll(3)).unwrap());
            world.send(client, &watch.key(pattern.as_bytes()));
            world.clients[client].watches.push(id);
        }
        6 => {
            if let Some(watch) = world.clients[client]
                .watches
                .pop()
                .filter(|watch| !world.clients[client].open.contains(watch))
            {
                world.send(client, &Draft::new(Kind::Unwatch, watch));
            }
        }
        7 => world.send(client, &Draft::new(Kind::List, id)),
        _ => world.send(client, &Draft::new(Kind::Ping, id).payload(Encoding::RAW, b"x")),
    }
}

fn call_op(world: &mut World, dice: &mut Dice, client: usize) {
    let (id, payload) = (world.id(), world.payload());
    let object = *dice.pick(OBJECTS);
    let flags = dice.flags(&[Flags::WAIT, Flags::STREAM]);
    let silent = dice.chance(10);
    let pieces = !silent && dice.chance(20);
    let flags = flags
        .with_if(silent, Flags::NO_REPLY)
        .with_if(pieces, Flags::CONTINUED)
        .with_if(pieces && dice.chance(50), Flags::ITEMS);
    let deadline = if flags.has(Flags::WAIT) {
        30
    } else {
        *dice.pick(&[0, 20, 200])
    };
    let call = Draft::new(Kind::Call, if silent { 0 } else { id })
        .aux(deadline)
        .flags(flags);
    world.send(client, &call.pair(object, "m").payload(Encoding::RAW, &payload));
    if pieces {
        world.send(
            client,
            &Draft::new(Kind::CallPiece, id)
                .flags(Flags::CONTINUED)
                .payload(Encoding::RAW, b"more"),
        );
        let end = if dice.chance(20) {
            Flags::ABORT
        } else {
            Flags::NONE
        };
        // The end of items is empty.
        let last = if flags.has(Flags::ITEMS) { &b""[..] } else { b"end" };
        world.send(
            client,
            &Draft::new(Kind::CallPiece, id)
                .flags(end)
                .payload(Encoding::RAW, last),
        );
    }
    if !silent && dice.chance(15) {
        world.send(client, &Draft::new(Kind::Cancel, id));
    }
}

/// Answers a call that the client was given, or forgets it.
fn answer_op(world: &mut World, dice: &mut Dice, client: usize) {
    let Some((ticket, flags)) = world.clients[client].given.pop() else {
        return;
    };
    let payload = world.payload();
    let reply = Draft::new(Kind::Reply, ticket).payload(Encoding::RAW, &payload);
    if flags.has(Flags::NO_REPLY) {
        return;
    }
    match dice.roll(6) {
        0 => {
            let error = Draft::new(Kind::Error, ticket).aux(3).flags(Flags::MAY_HAVE_RUN);
            world.send(client, &error.payload(Encoding::RAW, &payload));
        }
        1 => world.send(client, &Draft::new(Kind::Error, ticket).aux(2)),
        2 => {
            world.send(client, &reply.flags(Flags::CONTINUED));
            let last = Draft::new(Kind::ReplyPiece, ticket).payload(Encoding::RAW, b"end");
            world.send(
                client,
                &last.flags(Flags::NONE.with_if(dice.chance(20), Flags::ABORT)),
            );
        }
        3 if flags.has(Flags::STREAM) => {
            world.send(client, &reply.flags(Flags::MORE));
            world.send(client, &reply);
        }
        4 => world.clients[client].given.insert(0, (ticket, flags)),
        _ => world.send(client, &reply),
    }
}

fn hub_op(world: &mut World, dice: &mut Dice, client: usize) {
    let (id, mut payload) = (world.id(), world.payload());
    let object = *dice.pick(&["a", "b", "c.d"]);
    match dice.roll(12) {
        0..=2 => {
            let pattern = dice.chance(50);
            let object = if pattern { *dice.pick(PATTERNS) } else { object };
            let flags = dice
                .flags(&[Flags::NO_LOCAL, Flags::NO_RETAINED])
                .with_if(pattern, Flags::PATTERN);
            let mut group = Metadata::new();
            if dice.chance(25) {
                group.insert("group", "g").unwrap();
            }
            let policy = *dice.pick(&[0, 2, 3]);
            let subscribe = Draft::new(Kind::Subscribe, id).flags(flags).aux(policy);
            world.send(client, &subscribe.pair(object, "e").meta(group.as_bytes()));
            world.clients[client].subscriptions.push(id);
        }
        3 => {
            let Client {
                subscriptions, open, ..
            } = &mut world.clients[client];
            if let Some(id) = subscriptions.pop().filter(|id| !open.contains(id)) {
                world.send(client, &Draft::new(Kind::Unsubscribe, id));
            }
        }
        4 => {
            let will = Draft::new(Kind::Will, id).flags(dice.flags(&[Flags::RETAIN]));
            world.send(client, &will.pair(object, "e").payload(Encoding::RAW, &payload));
        }
        5 => {
            let publish =
                Draft::new(Kind::Publish, id).flags(Flags::CONTINUED.with_if(dice.chance(50), Flags::ACK));
            world.send(
                client,
                &publish.pair(object, "e").payload(Encoding::RAW, &payload),
            );
            let end = Flags::NONE.with_if(dice.chance(20), Flags::ABORT);
            world.send(
                client,
                &Draft::new(Kind::PublishPiece, id)
                    .flags(end)
                    .payload(Encoding::RAW, b"end"),
            );
        }
        _ => {
            let flags = dice.flags(&[Flags::ACK, Flags::RETAIN]);
            if flags.has(Flags::RETAIN) && dice.chance(20) {
                payload.clear();
            }
            payload.resize(payload.len() + usize::try_from(dice.roll(3) * 700).unwrap(), 7);
            world.send(
                client,
                &Draft::new(Kind::Publish, id)
                    .flags(flags)
                    .pair(object, "e")
                    .payload(Encoding::RAW, &payload),
            );
        }
    }
}

fn run(seed: u64, limits: Limits, faults: bool) -> Vec<String> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::start(limits);
    (0..4).for_each(|_| world.connect());
    for _ in 0..400 {
        let client = usize::try_from(dice.roll(world.clients.len() as u64)).unwrap();
        if !world.clients[client].is_open() {
            continue;
        }
        match dice.roll(100) {
            0..=24 => registry_op(&mut world, &mut dice, client),
            25..=44 => call_op(&mut world, &mut dice, client),
            45..=59 => answer_op(&mut world, &mut dice, client),
            60..=97 => hub_op(&mut world, &mut dice, client),
            _ if !faults || world.clients.len() > 9 => {}
            98 => {
                world.leave(client);
                world.connect();
            }
            _ => {
                world.break_off(client);
                world.connect();
            }
        }
        if dice.chance(40) {
            let reader = usize::try_from(dice.roll(world.clients.len() as u64)).unwrap();
            world.read(reader);
        }
    }
    world.finish()
}

/// So many runs, or as many as JUDGE_SEEDS says.
fn seeds(from: u64, count: u64) -> std::ops::Range<u64> {
    let count = std::env::var("JUDGE_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(count);
    let from = std::env::var("JUDGE_FROM")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(from);
    from..from + count
}

#[test]
fn random_clients_of_a_real_broker_raise_no_alarm() {
    for seed in seeds(0, 6) {
        let found = run(seed, Limits::default(), seed % 3 != 0);
        assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
    }
}

#[test]
fn readers_too_slow_for_their_queue_raise_no_alarm() {
    for seed in seeds(1_000_000, 6) {
        let limits = Limits {
            outbox_bytes: 16 * 1024,
            ..Limits::default()
        };
        let found = run(seed, limits, seed % 3 != 0);
        assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
    }
}
