//! Waits, watches, connections, and the order in which an end is told.

use super::*;

/// The wait began with this step.
fn present(peer: Peer, request: u64, step: u64) -> Effect<Peer> {
    Effect::Present {
        peer,
        request: RequestId(request),
        ticket: Ticket(step),
    }
}

#[test]
fn a_wait_ends_when_all_names_are_there_at_once() {
    let mut room = Room::default();
    assert_eq!(room.wait(9, 1, &["a", "b", "a"]), (Ok(false), vec![]));
    assert_eq!(room.register(1, "a", PLAIN).1, []);
    assert_eq!(room.unregister(1, "a").1, []);
    assert_eq!(room.register(2, "b", PLAIN).1, [], "a is gone again");
    room.rebuild();
    assert_eq!(room.facts.counts(9).watches, 1);
    assert_eq!(room.register(1, "a", PLAIN).1, [present(9, 1, 1)]);
    assert_eq!(room.facts.counts(9).watches, 0);
    assert_eq!(
        room.wait(9, 1, &["a", "b"]),
        (Ok(true), vec![]),
        "nothing is stored"
    );
    assert_eq!(room.wait(9, 1, &[]), (Ok(true), vec![]));
    assert_eq!(room.facts.len(), 2);
}

#[test]
fn waits_end_in_the_order_in_which_they_began() {
    let mut room = Room::default();
    for request in [7, 3, 5] {
        room.wait(9, request, &["a"]).0.unwrap();
    }
    room.wait(8, 1, &["a"]).0.unwrap();
    assert_eq!(room.wait(9, 3, &["b"]).0, Err(RequestInUse));
    assert!(room.unwait(9, 5) && !room.unwait(9, 5));
    assert_eq!(
        room.register(1, "a", PLAIN).1,
        [present(9, 7, 1), present(9, 3, 2), present(8, 1, 4)]
    );
}

#[test]
fn a_watch_is_told_what_is_there_and_then_what_changes() {
    let mut room = Room::default();
    for (peer, name) in [(2, "z.x"), (1, "a.x"), (3, "a.y")] {
        room.register(peer, name, PLAIN).0.unwrap();
    }
    let appeared = |request, name, origin| told(9, request, Notice::NameAppeared, name, origin);
    assert_eq!(
        room.watch(9, 1, names(Some("*.x"))).1,
        [appeared(1, "a.x", 1), appeared(1, "z.x", 2)]
    );
    assert_eq!(room.watch(9, 2, names(Some("a.y"))).1, [appeared(2, "a.y", 3)]);
    assert_eq!(room.watch(9, 3, names(Some("none"))).1, []);
    assert_eq!(room.watch(9, 3, names(None)).0, Err(RequestInUse));
    assert_eq!(room.register(1, "a.z", PLAIN).1, []);
    assert_eq!(room.register(1, "none", PLAIN).1, [appeared(3, "none", 1)]);
    assert_eq!(
        room.unregister(3, "a.y").1,
        [told(9, 2, Notice::NameVanished, "a.y", 3)]
    );
    assert!(room.unwatch(9, 1) && !room.unwatch(9, 1));
    assert_eq!(room.gone(2), []);
}

#[test]
fn connections_are_watched_by_their_declared_names() {
    let mut room = Room::default();
    assert_eq!(room.connected(2, "ui.left"), []);
    room.connected(1, "ui.right");
    room.connected(3, "");
    let appeared = |request, name, origin| told(9, request, Notice::ConnectionAppeared, name, origin);
    let all = [
        appeared(1, "ui.right", 1),
        appeared(1, "ui.left", 2),
        appeared(1, "", 3),
    ];
    assert_eq!(room.watch(9, 1, connections(None)).1, all);
    assert_eq!(
        room.watch(9, 2, connections(Some("ui.*"))).1,
        all[..2].iter().map(for_two).collect::<Vec<_>>()
    );
    assert_eq!(room.connected(4, "x"), [appeared(1, "x", 4)]);
    assert_eq!(room.connected(4, "y"), [], "a peer connects once");
    let gone = |request| told(9, request, Notice::ConnectionGone, "ui.left", 2);
    assert_eq!(room.gone(2), [gone(1), gone(2)]);
    let left: Vec<_> = room
        .index
        .connections()
        .map(|(peer, _, name)| (peer, name))
        .collect();
    assert_eq!(left, [(1, "ui.right"), (3, ""), (4, "x")]);

    fn for_two(effect: &Effect<Peer>) -> Effect<Peer> {
        let Effect::Notice { name, origin, .. } = effect else {
            unreachable!()
        };
        told(9, 2, Notice::ConnectionAppeared, name, *origin)
    }
}

#[test]
fn a_death_is_told_before_anything_of_it_is_taken() {
    let mut room = Room::default();
    room.connected(1, "worker");
    room.register(1, "b", PLAIN).0.unwrap();
    room.register(1, "a", PLAIN).0.unwrap();
    room.register(2, "b", QUEUE).0.unwrap();
    room.wait(1, 5, &["later"]).0.unwrap();
    room.watch(1, 6, names(None)).0.unwrap();
    let both = Interest {
        names: true,
        connections: true,
        pattern: None,
    };
    room.watch(9, 90, both).0.unwrap();
    let expected = [
        told(9, 90, Notice::NameVanished, "b", 1),
        told(9, 90, Notice::NameVanished, "a", 1),
        told(9, 90, Notice::ConnectionGone, "worker", 1),
        ownership(2, true),
        told(9, 90, Notice::NameAppeared, "b", 2),
    ];
    assert_eq!(room.gone(1), expected);
    assert_eq!(room.gone(1), [], "an end is told once");
    assert_eq!(room.facts.counts(1), Default::default());
}
