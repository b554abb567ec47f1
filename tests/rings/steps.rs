//! What a client in raw frames does to a broker: the four steps, each wrong step, and lies in the memory.

use crate::end::{ATTACHED, End, HEAD, TAIL, TO_BROKER, ask};
use crate::raw::Raw;
use crate::running::Running;
use crate::until::until;
use actix_ipc::config::Limits;
use actix_ipc::error::CloseReason;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use rustix::fd::OwnedFd;
use std::io::Write;

const LEAST: usize = 64 * 1024;

fn small(rings: usize) -> Limits {
    Limits {
        ring_bytes: LEAST,
        // The process that has them all leaves half to others.
        ring_bytes_total: 2 * rings * 2 * LEAST,
        ..Limits::default()
    }
}

#[test]
fn a_connection_goes_to_memory_and_ends_in_order() {
    let broker = Running::start(small(4));
    let raw = broker.connect();
    assert_eq!(raw.welcome.unwrap().ring_bytes as usize, LEAST);
    let charged = broker.handle.levels().charged_memory_bytes;
    let mut end = End::new(raw);
    assert_eq!(end.bytes as usize, LEAST);
    let levels = broker.handle.levels();
    assert_eq!((levels.ring_bytes, broker.handle.metrics().rings), (2 * LEAST, 1));
    // Else those who have rings would take the memory that their own calls need.
    assert!(levels.charged_memory_bytes < charged + LEAST);
    end.ping(7);
    end.send(&[Draft::new(Kind::Goodbye, 0).aux(1)]);
    let last = end.ended().unwrap();
    assert_eq!((last.kind, last.aux), (Kind::Goodbye, 1));
    until("the memory is given back", || {
        broker.handle.levels().ring_bytes == 0 && broker.handle.metrics().rings == 0
    });
}

#[test]
fn a_client_that_cannot_take_it_stays_on_its_socket() {
    let broker = Running::start(small(4));
    let mut raw = broker.connect();
    let (offer, given) = ask(&mut raw);
    assert_eq!((offer.aux as usize, given.len()), (LEAST, 3));
    assert!(is_mapped(&given[0]));
    raw.send(&Draft::new(Kind::Ring, 0).aux(2));
    raw.ping();
    let levels = broker.handle.levels();
    assert_eq!((levels.ring_bytes, broker.handle.metrics().rings), (0, 0));
    assert!(!is_mapped(&given[0]), "it is this process's, as the broker is");
    drop(given);
    raw.ping();
}

/// Whether this process has the memory in its own.
fn is_mapped(memory: &OwnedFd) -> bool {
    let inode = rustix::fs::fstat(memory).unwrap().st_ino.to_string();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .any(|line| line.split_whitespace().nth(4) == Some(&inode))
}

#[test]
fn there_is_only_so_much() {
    let broker = Running::start(small(1));
    let first = End::new(broker.connect());
    let mut second = broker.connect();
    let (answer, given) = ask(&mut second);
    assert_eq!((answer.aux, given.len()), (0, 0));
    second.ping();
    assert_eq!(broker.handle.metrics().rings_refused, 1);
    drop(first);
    until("it is given back", || broker.handle.levels().ring_bytes == 0);
    End::new(broker.connect()).ping(1);
    second.ping();
}

#[test]
fn where_none_is_granted_nobody_asks() {
    for limits in [
        Limits {
            ring_bytes: 0,
            ..Limits::default()
        },
        Limits {
            attachments: 2,
            ..Limits::default()
        },
        // No size of a ring; an embedded broker's limits are not checked.
        Limits {
            ring_bytes: 100_000,
            ..Limits::default()
        },
    ] {
        let broker = Running::start(limits);
        let mut raw = broker.connect();
        assert_eq!(raw.welcome.unwrap().ring_bytes, 0);
        raw.send(&Draft::new(Kind::Ring, 0));
        assert_eq!(raw.goodbye().0, CloseReason::Protocol);
    }
}

/// A step of the wrong kind, after asking and reading the offer where `offered`.
fn refused(broker: &Running, offered: bool, frames: &[u8], named: &str) {
    let mut raw = broker.connect();
    let given = offered.then(|| ask(&mut raw));
    raw.stream.write_all(frames).unwrap();
    let (reason, text) = raw.goodbye();
    assert_eq!(reason, CloseReason::Protocol, "{text}");
    assert!(text.contains(named), "{text}");
    drop(given);
}

#[test]
fn a_wrong_step_ends_who_makes_it() {
    let broker = Running::start(small(4));
    let mut bystander = End::new(broker.connect());
    let ring = |aux| Draft::new(Kind::Ring, 0).aux(aux).to_vec();
    let ping = Draft::new(Kind::Ping, 1).to_vec();
    for (offered, frames, named) in [
        (false, [ring(0), ring(0)].concat(), "asked once"),
        (true, ring(0), "asked once"),
        (false, ring(1), "answers an offer"),
        (false, ring(2), "answers an offer"),
        (false, ring(77), "answers an offer"),
        (true, ring(77), "answers an offer"),
        (true, [ring(2), ring(1)].concat(), "answers an offer"),
        (true, [ring(1), ping.clone()].concat(), "last frame on the socket"),
        (
            true,
            [&ring(1)[..], &ping[..5]].concat(),
            "last frame on the socket",
        ),
        (true, [ring(1), ring(1)].concat(), "last frame on the socket"),
    ] {
        refused(&broker, offered, &frames, named);
    }
    until("all of it is given back", || {
        broker.handle.levels().ring_bytes == 2 * LEAST
    });
    bystander.ping(1);
}

#[test]
fn what_lies_behind_the_last_frame_on_the_socket_is_no_frame() {
    let broker = Running::start(small(4));
    let mut end = End::new(broker.connect());
    for _ in 0..3 {
        end.raw
            .stream
            .write_all(&Draft::new(Kind::Goodbye, 0).aux(1).to_vec())
            .unwrap();
    }
    end.ping(1);
    end.ping(2);
}

#[test]
fn lies_in_the_memory_end_their_author() {
    let broker = Running::start(small(8));
    let mut bystander = End::new(broker.connect());
    let errors = || broker.handle.metrics().protocol_errors;
    for value in [LEAST as u32 + 1, u32::MAX, 1 << 31] {
        let before = errors();
        let mut end = End::new(broker.connect());
        end.set(TO_BROKER + TAIL, value);
        end.ring();
        let last = end.ended().unwrap();
        assert_eq!((last.kind, last.aux), (Kind::Goodbye, 3), "{}", last.text());

        let mut end = End::new(broker.connect());
        end.set(HEAD, value.wrapping_neg());
        end.send(&[Draft::new(Kind::Ping, 1)]);
        assert_eq!(end.ended(), None, "nothing can be told");
        assert_eq!(errors(), before + 2);
    }
    // Everything at once, over and over, while the broker reads and writes.
    let mut end = End::new(broker.connect());
    for round in 0..200_u32 {
        for word in [TAIL, ATTACHED, HEAD, 256, 384] {
            for lane in [0, TO_BROKER] {
                end.set(lane + word, round.wrapping_mul(0x9e37_79b9));
            }
        }
        end.ring();
    }
    while end.raw.stream.write_all(b"x").is_ok() {
        end.set(TO_BROKER + TAIL, 1 << 31);
        end.ring();
    }
    bystander.ping(1);
}

#[test]
fn garbage_in_the_memory_is_garbage_of_its_author() {
    let broker = Running::start(small(4));
    let mut bystander = End::new(broker.connect());
    let mut end = End::new(broker.connect());
    // A header of a kind that is none.
    end.send(&[Draft::new(Kind::Welcome, 1).payload(Encoding::RAW, b"from a client")]);
    let last = end.ended().unwrap();
    assert_eq!((last.kind, last.aux), (Kind::Goodbye, 3));
    bystander.ping(1);
}

#[test]
fn counted_descriptors_that_never_came_cost_nothing() {
    let broker = Running::start(small(4));
    let mut end = End::new(broker.connect());
    end.set(TO_BROKER + ATTACHED, u32::MAX);
    end.ping(1);
    end.set(TO_BROKER + ATTACHED, 3);
    end.ping(2);
    let mut call = Draft::new(Kind::Call, 3).pair("nobody", "m");
    call.attachments = 1;
    end.send(&[call]);
    let last = end.ended().unwrap();
    assert!(last.text().contains("attachments"), "{}", last.text());
}

#[test]
fn bells_without_end_stop_nobody() {
    let broker = Running::start(small(4));
    let mut bystander = broker.connect();
    let mut end = End::new(broker.connect());
    for _ in 0..50 {
        (0..1_000).for_each(|_| end.ring());
        bystander.ping();
    }
    end.ping(1);
    // As full as a counter gets: the broker's own bell to itself is nobody else's trouble, and the client's is its own.
    rustix::io::write(&end.mine, &(u64::MAX - 1).to_ne_bytes()).unwrap_or_default();
    end.ping(2);
}

#[test]
fn a_subscriber_that_reads_no_ring_is_closed_as_on_a_socket() {
    let limits = Limits {
        outbox_bytes: 256 * 1024,
        publish_window: 32 * 1024,
        ..small(4)
    };
    let broker = Running::start(limits);
    let [mut publisher, mut subscriber] = broker.connect_all();
    subscriber.subscribe_as("o", "e", Flags::NONE, 1, &[]);
    let end = End::new(subscriber);
    let payload = vec![7; 8 * 1024];
    let mut published = 0;
    // Its subscription ends with it, before the goodbye that it does not read.
    while publisher.publish("o", "e", &payload).aux > 0 {
        published += 1;
        assert!(published < 10_000, "it is never closed");
    }
    // What waits for it may be as much as for a socket, and what lies in the memory.
    let most = (256 * 1024 + LEAST) / payload.len();
    assert!(published <= most + 16, "{published} of {most}");
    drop(end);
    until("its memory is given back", || {
        broker.handle.levels().ring_bytes == 0
    });
}

#[test]
fn half_of_a_connection_may_end() {
    let broker = Running::start(small(4));
    let mut callee = broker.connect();
    callee.register("o");
    let mut end = End::new(broker.connect());
    end.send(&[Draft::new(Kind::Call, 5).pair("o", "m")]);
    let call = callee.expect(Kind::Call);
    end.raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
    until("the broker has heard the end", || {
        broker.handle.levels().charged_connections == 2
    });
    callee.reply(&call, b"late");
    let mut got = Vec::new();
    while let Some(frame) = end.try_read() {
        got.push((frame.kind, frame.id));
    }
    assert_eq!(got.first(), Some(&(Kind::Reply, 5)));
    assert_eq!(got.last().map(|(kind, _)| *kind), Some(Kind::Goodbye));
}

#[test]
fn a_broker_that_drains_says_so_in_the_memory() {
    let broker = Running::start(small(4));
    let mut end = End::new(broker.connect());
    end.ping(1);
    broker.begin_stop();
    let last = end.ended().unwrap();
    assert_eq!((last.kind, last.aux), (Kind::Goodbye, 2));
    drop(end);
    broker.ended();
}

#[test]
fn a_goodbye_between_offer_and_step_comes_over_the_socket() {
    let broker = Running::start(small(4));
    let mut raw: Raw = broker.connect();
    let (_, given) = ask(&mut raw);
    broker.begin_stop();
    assert_eq!(raw.goodbye().0, CloseReason::Draining);
    drop(given);
    broker.ended();
}
