//! Messages with descriptors: to one receiver, or to several when their sender says so.

use crate::descriptors::{Reader, closed, pipes, same, send};
use crate::raw::Raw;
use crate::running::Running;
use crate::*;
use actix_ipc::config::Limits;
use actix_ipc::message::bus::TAKES_UNIX_SOCKETS;
use rustix::fd::OwnedFd;
use std::os::unix::net::UnixStream;

fn with(draft: Draft<'_>, count: u8) -> Vec<u8> {
    Draft {
        attachments: count,
        ..draft
    }
    .to_vec()
}

#[test]
fn descriptors_go_to_one_receiver_in_their_place_among_the_others() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth"]);
    let (key, payload) = (to("earth"), body("m"));
    let (writers, readers) = pipes(3);
    let mut bytes = message(1, &key, &payload).to_vec();
    bytes.extend(with(message(2, &key, &payload), 3));
    bytes.extend(message(3, &key, &payload).to_vec());
    send(&sender, &bytes, &writers);
    drop(writers);
    let mut reader = Reader::default();
    let mut came = Vec::new();
    for expected in [0, 3, 0] {
        let (got, descriptors) = reader.read(&mut receiver);
        assert_eq!((got.kind, got.id), (Kind::Message, endpoint));
        assert_eq!(descriptors.len(), expected);
        came.extend(descriptors);
    }
    same(came, readers);
    take(&mut receiver, endpoint, 3);
    let told = outcomes(&mut sender, 3);
    assert!(told.iter().all(|it| it.1 == Outcome::Taken), "{told:?}");
}

#[test]
fn several_receivers_get_them_only_when_the_sender_says_so() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut one, mut two] = broker.connect_all();
    let ends = [join(&mut one, &["x"]), join(&mut two, &["x"])];
    let (key, payload) = (all("x"), body("m"));
    let (writers, mut readers) = pipes(1);
    send(&sender, &with(message(1, &key, &payload), 1), &writers);
    drop(writers);
    assert_eq!(outcome(&mut sender), (1, 1, Outcome::NotShareable, false, 0));
    assert_eq!(closed(readers.remove(0)), b"");
    one.send(&Draft::new(Kind::Leave, ends[0]));
    one.after_registry();
    let (writers, readers) = pipes(1);
    send(&sender, &with(message(2, &key, &payload), 1), &writers);
    drop(writers);
    let (got, descriptors) = Reader::default().read(&mut two);
    assert_eq!(got.id, ends[1], "one receiver of a multicast is one");
    same(descriptors, readers);
}

#[test]
fn who_cannot_take_them_gets_nothing_and_the_sender_is_told() {
    let broker = Running::start(Limits {
        attachments: 2,
        attach_unix_sockets: true,
        ..Limits::default()
    });
    let [mut sender, mut receiver, mut open] = broker.connect_all();
    join(&mut receiver, &["plain"]);
    let id = open.id();
    let payload = join_payload(b"", &["open"]);
    let draft = Draft::new(Kind::Join, id).aux(TAKES_UNIX_SOCKETS);
    assert_eq!(open.ask(&draft.payload(Encoding::RAW, &payload)).kind, Kind::Done);
    let payload = body("m");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let socket = |to: &Raw, id, key: &[u8]| {
        let one = [OwnedFd::from(theirs.try_clone().unwrap())];
        send(to, &with(message(id, key, &payload), 1), &one);
    };
    socket(&sender, 1, &to("plain"));
    assert_eq!(outcome(&mut sender), (1, 1, Outcome::Attachments, false, 0));
    socket(&sender, 2, &to("open"));
    let (got, came) = Reader::default().read(&mut open);
    assert_eq!((got.id, came.len()), (id, 1));
    drop((ours, came));
    take(&mut open, id, 1);
    assert_eq!(outcome(&mut sender), (2, 1, Outcome::Taken, true, 1));
}

#[test]
fn what_is_refused_on_its_arrival_is_told_like_all_else() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut receiver] = broker.connect_all();
    let endpoint = join(&mut receiver, &["earth"]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (key, payload) = (to("earth"), body("m"));
    // Unix sockets are not let in by default.
    send(
        &sender,
        &with(message(1, &key, &payload), 1),
        &[OwnedFd::from(theirs)],
    );
    assert_eq!(outcome(&mut sender), (1, 1, Outcome::Attachments, false, 0));
    drop(ours);
    sender.send(&message(2, &key, &payload));
    hear(&mut receiver, endpoint);
    let metrics = broker.handle.metrics();
    assert_eq!(metrics.messages_refused, 1);
}

/// A message of the same write, for a receiver that reads nothing: it keeps what it came in.
fn pinned(sender: &Raw, number: u64, carrying: &[u8], descriptors: &[OwnedFd]) {
    let payload = [&[7; 16], vec![1; 20_000].as_slice()].concat();
    let mut bytes = message(number, &to("slow"), &payload).to_vec();
    bytes.extend(carrying);
    send(sender, &bytes, descriptors);
}

#[test]
fn what_a_message_carries_is_closed_with_its_end_and_not_with_that_of_its_neighbours() {
    let broker = Running::start(Limits::default());
    let [mut sender, mut slow, mut one, mut two] = broker.connect_all();
    join(&mut slow, &["slow"]);
    join(&mut one, &["x"]);
    join(&mut two, &["x", "gone"]);
    let (payload, nobody, both) = (body("m"), to("nobody"), all("x"));
    // Until its socket takes no more, what it is sent is not written.
    let filling = [&[7; 16], vec![0; 600_000].as_slice()].concat();
    sender.send(&message(1, &to("slow"), &filling));
    let cases = [
        (message(2, &nobody, &payload), Outcome::NoMatch, 2),
        (message(4, &nobody, &payload).aux(20), Outcome::NoMatch, 4),
        (message(6, &both, &payload), Outcome::NotShareable, 6),
    ];
    for (draft, expected, number) in cases {
        let (writers, mut readers) = pipes(1);
        pinned(&sender, number + 1, &with(draft, 1), &writers);
        drop(writers);
        let told = outcome(&mut sender);
        assert_eq!((told.0, told.2), (number, expected));
        assert_eq!(closed(readers.remove(0)), b"");
    }
    // Given to an endpoint that has left: the others of the connection read nothing, so it waits to be written until that ends.
    let (writers, mut readers) = pipes(1);
    pinned(&sender, 9, &with(message(8, &to("slow"), &payload), 1), &writers);
    drop(writers);
    sender.after_registry();
    drop(slow);
    assert_eq!(closed(readers.remove(0)), b"");
    assert_eq!(broker.handle.metrics().messages_taken, 0);
}
