//! What one client does is not another one's business: memory, turns and time, with clients that take all they can get.

use crate::{Bench, Command, PREFACE, Raw, frame};
use actix_ipc::lazy::{Budget, Limits};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Writes until the socket is full; how much.
fn fill(raw: &Raw, bytes: &[u8], at: &mut usize) -> usize {
    let before = *at;
    loop {
        match (&raw.socket).write(bytes.get(*at % bytes.len()..).unwrap()) {
            Ok(count) => *at += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "it is not ended");
                return *at - before;
            }
        }
    }
}

/// Reads until there is no more; how much.
fn drain(raw: &Raw) -> usize {
    let (mut all, mut into) = (0, vec![0; 1 << 16]);
    while let Ok(count @ 1..) = (&raw.socket).read(&mut into) {
        all += count;
    }
    all
}

fn flood(bench: &Bench) -> (Raw, Vec<u8>) {
    let mut raw = bench.raw();
    raw.send(PREFACE);
    raw.socket.set_nonblocking(true).unwrap();
    let block = (0..5_000)
        .flat_map(|x| frame(&Command::Push { x: x % 100 }))
        .collect();
    (raw, block)
}

#[test]
fn responses_that_nobody_reads_are_bounded_together() {
    let mut bench = Bench::new(Limits {
        message_bytes: MIB,
        memory_bytes: 4 * MIB,
        ..Limits::default()
    });
    let mut raws: Vec<_> = (0..50).map(|_| bench.raw()).collect();
    for raw in &mut raws {
        raw.send(PREFACE);
        raw.send(&frame(&Command::Large { bytes: MIB - 10 }));
    }
    assert_eq!(bench.poll(), 50);
    // What the sockets hold is the clients' own; the rest was the server's.
    for raw in &raws {
        raw.socket.set_nonblocking(true).unwrap();
        drain(raw);
    }
    let mut held = 0;
    for _ in 0..20 {
        bench.poll();
        held += raws.iter().map(drain).sum::<usize>();
    }
    assert!((MIB..=4 * MIB).contains(&held), "{held}");
    let mut good = bench.raw();
    good.send(PREFACE);
    good.send(&frame(&Command::Count));
    assert_eq!(bench.poll(), 1);
    good.done();
}

#[test]
fn whoever_has_to_read_first_is_waited_for_without_polling() {
    let mut bench = Bench::new(Limits {
        message_bytes: MIB,
        memory_bytes: 2 * MIB,
        ..Limits::default()
    });
    let mut raws: Vec<_> = (0..3).map(|_| bench.raw()).collect();
    for (raw, bytes) in raws.iter_mut().zip([MIB - 10, MIB - 10, 50_000]) {
        raw.send(PREFACE);
        let commands = if bytes == 50_000 { 20 } else { 1 };
        for _ in 0..commands {
            raw.send(&frame(&Command::Large { bytes }));
        }
    }
    let handled = bench.poll();
    assert!((3..22).contains(&handled), "{handled}");
    assert_ne!(bench.server.next_timeout(), Some(Duration::ZERO));
    let mut all = handled;
    raws[2].socket.set_nonblocking(true).unwrap();
    for _ in 0..40 {
        drain(&raws[2]);
        all += bench.poll();
    }
    assert_eq!(all, 22);
}

#[test]
fn whoever_holds_most_makes_room_for_the_others() {
    let mut bench = Bench::new(Limits {
        message_bytes: 2 * MIB,
        memory_bytes: 4 * MIB,
        ..Limits::default()
    });
    let mut bad: Vec<_> = (0..3).map(|_| bench.raw()).collect();
    let mut head = PREFACE.to_vec();
    head.extend((2 * MIB as u32).to_le_bytes());
    head.push(0);
    head.resize(MIB + MIB / 3, 0);
    for raw in &mut bad {
        raw.socket.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < head.len() {
            match raw.socket.write(&head[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bench.poll();
                }
                Err(_) => break,
            }
        }
    }
    for _ in 0..8 {
        let mut good = bench.raw();
        good.send(PREFACE);
        good.send(&frame(&Command::Echo("x".repeat(100_000))));
        assert_eq!(bench.poll(), 1);
        good.done();
    }
    bench.poll();
    assert!(bench.server.connections() <= 3);
}

#[test]
fn what_every_client_may_hold_is_taken_from_nobody() {
    let mut bench = Bench::new(Limits {
        message_bytes: 60_000,
        memory_bytes: 120_000,
        ..Limits::default()
    });
    // Together they hold twice as much as `memory_bytes`, and each no more than anyone may.
    let part = frame(&Command::Echo("x".repeat(3_500)));
    let (head, tail) = part.split_at(3_000);
    let mut slow: Vec<_> = (0..80).map(|_| bench.raw()).collect();
    for raw in &mut slow {
        raw.send(PREFACE);
        raw.send(head);
    }
    bench.poll();
    let mut large = bench.raw();
    large.send(PREFACE);
    large.send(&frame(&Command::Echo("x".repeat(50_000))));
    let mut handled = 0;
    for _ in 0..10 {
        handled += bench.poll();
    }
    assert_eq!((handled, bench.server.connections()), (1, 81));
    large.done();
    for raw in &mut slow {
        raw.send(tail);
    }
    assert_eq!(bench.poll(), 80);
    slow.iter_mut().for_each(|raw| drop(raw.done()));
}

#[test]
fn a_flood_and_a_budget_of_time_leave_everybody_a_turn() {
    let mut bench = Bench::new(Limits::default());
    let none = Budget {
        commands: None,
        time: Some(Duration::ZERO),
    };
    let (raw, block) = flood(&bench);
    bench.poll();
    let (mut at, mut answered) = (0, false);
    fill(&raw, &block, &mut at);
    let mut good = bench.raw();
    good.send(PREFACE);
    good.send(&frame(&Command::Count));
    good.socket.set_nonblocking(true).unwrap();
    for _ in 0..10 {
        drain(&raw);
        fill(&raw, &block, &mut at);
        let handled = bench.server.handle_within(&mut bench.values, none).unwrap();
        assert_eq!(handled, 1, "neither none nor more than its turn");
        answered |= drain(&good) > 0;
    }
    assert!(answered);
}

#[test]
fn what_a_budget_does_not_cover_stays_in_the_socket() {
    let mut bench = Bench::new(Limits::default());
    let ten = Budget {
        commands: Some(10),
        time: None,
    };
    let (raw, block) = flood(&bench);
    let (mut at, mut handled) = (0, 0);
    // The socket alone.
    let room = fill(&raw, &block, &mut at);
    for _ in 0..100 {
        handled += bench.server.handle_within(&mut bench.values, ten).unwrap();
        drain(&raw);
        fill(&raw, &block, &mut at);
    }
    assert_eq!(handled, 1_000);
    let taken = at - handled * frame(&Command::Push { x: 1 }).len();
    assert!(taken <= room + room / 2, "{taken} of {room}");
}

#[test]
fn a_loop_that_comes_late_ends_nobody() {
    // In no time at all: every poll comes late.
    let mut bench = Bench::new(Limits {
        transfer_time: Duration::ZERO,
        ..Limits::default()
    });
    let mut raw = bench.raw();
    let bytes = [&PREFACE[..], &frame(&Command::Count)].concat();
    raw.send(&bytes[..10]);
    bench.poll();
    raw.send(&bytes[10..]);
    assert_eq!(bench.poll(), 1);
    raw.done();
    let mut quick = bench.raw();
    quick.send(PREFACE);
    quick.send(&frame(&Command::Large { bytes: 400_000 }));
    assert_eq!(bench.poll(), 1);
    quick.socket.set_nonblocking(true).unwrap();
    let mut got = 0;
    while got < 400_000 {
        let now = drain(&quick);
        assert!(now > 0, "{got}");
        got += now;
        bench.poll();
    }
    // Whole commands that wait for a budget are not late either.
    let one = Budget {
        commands: Some(1),
        time: None,
    };
    let mut many = bench.raw();
    many.send(PREFACE);
    for _ in 0..5 {
        many.send(&frame(&Command::Count));
    }
    for _ in 0..5 {
        assert_eq!(bench.server.handle_within(&mut bench.values, one).unwrap(), 1);
        many.done();
    }
}

#[test]
fn responses_that_the_socket_takes_stop_nothing() {
    let mut bench = Bench::new(Limits {
        message_bytes: 40_000,
        ..Limits::default()
    });
    let mut raw = bench.raw();
    raw.send(PREFACE);
    for _ in 0..4 {
        raw.send(&frame(&Command::Large { bytes: 30_000 }));
    }
    assert_eq!(bench.poll(), 4);
    for _ in 0..4 {
        raw.done();
    }
    assert_eq!(bench.server.next_timeout(), None);
}

#[test]
fn a_new_client_takes_the_place_of_the_one_silent_for_longest() {
    let mut bench = Bench::new(Limits {
        connections: 3,
        ..Limits::default()
    });
    let mut raws: Vec<_> = (0..3).map(|_| bench.raw()).collect();
    bench.poll();
    for place in [0, 2] {
        raws[place].send(PREFACE);
        bench.poll();
    }
    let mut fourth = bench.raw();
    fourth.send(PREFACE);
    fourth.send(&frame(&Command::Count));
    assert_eq!(bench.poll(), 1);
    fourth.done();
    let (status, text) = raws[1].answer();
    assert_eq!(status, 3);
    assert!(String::from_utf8(text).unwrap().contains("silent for longest"));
    for place in [0, 2] {
        raws[place].send(&frame(&Command::Count));
        assert_eq!(bench.poll(), 1);
        raws[place].done();
    }
}
