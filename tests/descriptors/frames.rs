//! Frames and the descriptors that they declare: limits, cuts, counts, and what no frame takes.

use super::*;

#[test]
fn attachments_right_behind_the_last_frame_on_the_socket_belong_to_the_first_in_the_memory() {
    let ring = |aux| Draft::new(Kind::Ring, 0).aux(aux);
    // What comes behind the frame that takes, how many descriptors with it, and whether that is in order.
    for (behind, descriptors, fits) in [(0, 0, true), (1, 1, true), (1, 0, false), (2, 1, false)] {
        let running = Running::start(limits(|_| {}));
        let mut raw = running.connect();
        raw.send(&ring(0));
        assert!(raw.expect(Kind::Ring).aux > 1);
        let mut bytes = ring(1).to_vec();
        bytes.resize(bytes.len() + behind, 0);
        send(&raw, &bytes, &pipes(descriptors).0);
        let case = format!("{behind} bytes, {descriptors} descriptors");
        if fits {
            assert_eq!(raw.expect(Kind::Ring).aux, 1, "{case}");
        } else {
            assert_eq!(raw.goodbye().0, CloseReason::Protocol, "{case}");
        }
        running.stop();
    }
}

#[test]
fn each_limit_of_one_frame_at_minus_one_zero_and_plus_one() {
    for most in [1, 3, 16] {
        let broker = Running::start(limits(|limits| limits.attachments = most));
        for count in [most - 1, most] {
            let (caller, mut callee, mut reader) = pair(&broker);
            assert_eq!(caller.welcome.as_ref().unwrap().attachments as usize, most);
            let (sent, readers) = pipes(count);
            send(&caller, &call(1, "o", count, b""), &sent);
            drop(sent);
            let (got, came) = reader.read(&mut callee);
            assert_eq!(got.kind, Kind::Call);
            same(came, readers);
        }
        let mut caller = broker.connect();
        let (sent, readers) = pipes(most + 1);
        send(&caller, &call(1, "o", most + 1, b""), &sent);
        drop(sent);
        let (reason, text) = caller.goodbye();
        assert_eq!(reason, CloseReason::Protocol, "{text}");
        let told = if most < 16 {
            "limits.attachments"
        } else {
            "16 descriptors"
        };
        assert!(text.contains(told), "{text}");
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
        broker.stop();
    }
}

#[test]
fn descriptors_come_early_wherever_their_frame_is_cut() {
    let broker = Running::start(limits(|_| {}));
    let (caller, mut callee, mut reader) = pair(&broker);
    let frame = call(1, "o", 2, b"payload");
    for cut in 1..=frame.len() {
        let (sent, readers) = pipes(2);
        let id = u64::try_from(cut).unwrap() + 1;
        let frame = call_with(id, "o", 2, b"payload", Flags::NO_REPLY);
        send(&caller, &frame[..cut], &sent);
        drop(sent);
        if cut < frame.len() {
            // The broker has read the first part when this was answered... by another connection, after it.
            broker.connect();
            send(&caller, &frame[cut..], &[]);
        }
        let (got, came) = reader.read(&mut callee);
        assert_eq!(
            (got.kind, &got.payload[..]),
            (Kind::Call, &b"payload"[..]),
            "{cut}"
        );
        same(came, readers);
    }
    broker.stop();
}

#[test]
fn frames_take_their_own_by_count() {
    let broker = Running::start(limits(|_| {}));
    let (caller, mut callee, mut reader) = pair(&broker);
    let (sent, mut readers) = pipes(3);
    let mut bytes = call_with(1, "o", 2, b"two", Flags::NO_REPLY);
    bytes.extend(call_with(2, "o", 0, b"none", Flags::NO_REPLY));
    bytes.extend(call_with(3, "o", 1, b"one", Flags::NO_REPLY));
    // All with the first byte of all, and then each with its own frame, back to back.
    send(&caller, &bytes, &sent);
    let (first, own) = pipes(2);
    send(&caller, &call_with(4, "o", 2, b"two", Flags::NO_REPLY), &first);
    let (second, own_too) = pipes(1);
    send(&caller, &call_with(5, "o", 1, b"one", Flags::NO_REPLY), &second);
    drop((sent, first, second));
    let last = readers.split_off(2);
    for (text, readers) in [
        ("two", readers),
        ("none", Vec::new()),
        ("one", last),
        ("two", own),
        ("one", own_too),
    ] {
        let (got, came) = reader.read(&mut callee);
        assert_eq!(got.text(), text);
        same(came, readers);
    }
    broker.stop();
}

#[test]
fn what_no_frame_takes_is_closed_with_its_connection() {
    let broker = Running::start(limits(|limits| limits.descriptor_wait_ms = 50));
    let frame = call(1, "o", 1, b"never complete");
    for sent_part in [
        &frame[..1],
        &frame[..frame.len() - 1],
        &Draft::new(Kind::Pong, 1).to_vec()[..],
    ] {
        let mut caller = broker.connect();
        let (sent, readers) = pipes(1);
        send(&caller, sent_part, &sent);
        drop(sent);
        let (reason, text) = caller.goodbye();
        assert_eq!(reason, CloseReason::Protocol);
        assert!(text.contains("limits.descriptor_wait_ms"), "{text}");
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
    }
    assert_eq!(broker.handle.metrics().attachments_refused, 3);
    broker.stop();
}

#[test]
fn more_than_may_wait_without_a_frame_end_the_connection() {
    let broker = Running::start(limits(|limits| (limits.attachments, limits.descriptors) = (2, 4)));
    for (count, ends) in [(4, false), (5, true)] {
        let mut caller = broker.connect();
        let (sent, readers) = pipes(count);
        for one in &sent {
            send(
                &caller,
                &[Draft::new(Kind::Pong, 1).to_vec()].concat(),
                std::slice::from_ref(&one.try_clone().unwrap()),
            );
        }
        drop(sent);
        if !ends {
            caller.ping();
            drop(caller);
        } else {
            let (reason, text) = caller.goodbye();
            assert_eq!(reason, CloseReason::TooMany, "{text}");
            assert!(text.contains("limits.descriptors)"), "{text}");
        }
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
    }
    broker.stop();
}

/// A frame that is read over takes its descriptors along, and nobody else's.
#[test]
fn a_frame_that_there_is_no_memory_for_takes_its_own_along() {
    // One process has 1 MiB.
    let broker = Running::start(limits(|limits| limits.memory_bytes_total = 8 << 20));
    let (mut caller, mut callee, mut reader) = pair(&broker);
    let (sent, readers) = pipes(3);
    send(&caller, &call(1, "o", 3, &vec![0; 4 << 20]), &sent);
    drop(sent);
    let refused = caller.answer(1);
    assert_eq!(refused.error(), (ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limits.memory_bytes_total"),
        "{}",
        refused.text()
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    let (sent, readers) = pipes(2);
    send(&caller, &call(2, "o", 2, b"the next"), &sent);
    drop(sent);
    let (got, came) = reader.read(&mut callee);
    assert_eq!(got.text(), "the next");
    same(came, readers);
    let metrics = broker.handle.metrics();
    assert_eq!((metrics.refused_for_memory, metrics.attachments_refused), (1, 3));
    assert_eq!(metrics.closed_over_limit, 0);
    broker.stop();
}

#[test]
fn descriptors_are_refused_where_none_are_expected() {
    let broker = Running::start(limits(|_| {}));
    let (sent, readers) = pipes(1);
    let declared = |kind| Draft {
        attachments: 1,
        ..Draft::new(kind, 1)
    };
    // A frame that says one and brings none, a piece of an event, and before the handshake.
    let mut caller = broker.connect();
    send(&caller, &call(1, "o", 1, b""), &[]);
    let (reason, text) = caller.goodbye();
    assert!(
        reason == CloseReason::Protocol && text.contains("did not come"),
        "{text}"
    );
    let mut publisher = broker.connect();
    send(&publisher, &declared(Kind::PublishPiece).to_vec(), &sent);
    let (reason, text) = publisher.goodbye();
    assert!(
        reason == CloseReason::Protocol && text.contains("only calls, replies, publishes and messages"),
        "{text}"
    );
    let mut stranger = Raw::open(&broker.path);
    send(&stranger, &actix_ipc::message::handshake::PREFACE[..4], &sent);
    assert_eq!(stranger.try_read(), None, "not a byte for a stranger");
    drop(sent);
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    broker.stop();
}
