//! What is kept of an old client, and given up: each bound where it begins to hold.

use super::tests::{BOUNDS, Talk};
use super::timed_tests::timed;
use super::{BITE, Bounds, Dialect};
use crate::error::ErrorCode;
use crate::message::{Draft, Encoding, Kind};
use std::time::Instant;

#[test]
fn as_many_calls_wait_for_an_owner_as_may() {
    // The first one is its turn.
    for (calls, bytes, waiting) in [(3, 10_000, 3), (10, 300, 3), (10, 299, 2), (1, 10, 1), (0, 0, 1)] {
        let bounds = Bounds {
            calls,
            call_bytes: bytes,
            ..BOUNDS
        };
        let mut talk = Talk::bounded(Dialect::IpcServer, bounds);
        // Each has 100 bytes as it is written.
        let args = format!(
            "\"{}\"",
            "x".repeat(100 - r#"{"object":"o","method":"m","param":""}"#.len())
        );
        let mut given = 0;
        let refusal = loop {
            given += 1;
            let call = Draft::new(Kind::Call, given).pair("o", "m");
            talk.broker(call.payload(Encoding::JSON, args.as_bytes()));
            let told = talk.told();
            if let Some(view) = told.view(0) {
                assert_eq!((view.header.kind, view.header.id), (Kind::Error, given));
                break String::from_utf8(view.payload.to_vec()).unwrap();
            }
        };
        assert_eq!(given - 1, 1 + waiting, "{calls} {bytes}");
        let name = if waiting as usize == calls.max(1) {
            "limits.dialect_calls"
        } else {
            "limits.dialect_call_bytes"
        };
        assert!(refusal.contains(name), "{refusal}");
    }
}

#[test]
fn answers_come_together_up_to_their_limit() {
    for (most, room, at_once) in [(1_000, usize::MAX, 1_000), (64_000, 0, BITE), (1_000, 0, 1_000)] {
        let bounds = Bounds {
            unread_bytes: most,
            ..BOUNDS
        };
        let mut talk = Talk::bounded(Dialect::IpcServer, bounds);
        talk.gateway.set_room(room);
        talk.bare(&"{}".repeat(10_000));
        let (mut answers, mut parts) = (0, 0);
        loop {
            let heard = talk.heard().concat();
            // One more answer than fits, at most.
            assert!(heard.len() <= at_once + 100, "{} of {at_once}", heard.len());
            answers += heard.matches("error").count();
            parts += 1;
            if !talk.gateway.is_behind() {
                break;
            }
            assert!(
                talk.gateway.held() <= 20_000 - BITE,
                "what is left aside is counted"
            );
            talk.bare("");
        }
        assert!(answers == 10_000 && parts > 1, "{answers} in {parts} parts");
    }
}

#[test]
fn a_document_beyond_its_limit_is_answered_and_read_over() {
    const MOST: usize = 300;
    let bounds = Bounds {
        document_bytes: MOST,
        ..BOUNDS
    };
    let filled = |head: &str, tail: &str, length: usize| {
        let text = "x".repeat(length - head.len() - tail.len());
        format!("{head}{text}{tail}")
    };
    for part in [1, 7, 299, 300, 301, 10_000] {
        for (length, fits) in [(MOST, true), (MOST + 1, false), (5 * MOST, false)] {
            let mut talk = Talk::bounded(Dialect::IpcServer, bounds);
            let said = |talk: &mut Talk, text: &str| {
                for bytes in text.as_bytes().chunks(part) {
                    talk.gateway.take(bytes).unwrap();
                }
            };
            said(
                &mut talk,
                &filled(r#"{"object":"o","method":"m","param":""#, "\"}", length),
            );
            assert_eq!(talk.told().len(), usize::from(fits), "{part} {length}");
            let heard = talk.heard().concat();
            assert_eq!(heard.contains("limits.dialect_document_bytes"), !fits, "{heard}");
            // An answer of an owner is an error to its caller.
            let mut owner = Talk::bounded(Dialect::IpcServer, bounds);
            owner.broker(Draft::new(Kind::Call, 9).pair("o", "m"));
            owner.heard();
            said(&mut owner, &filled(r#"{"response":""#, "\"}", length));
            let (kind, id, _, text) = owner.one();
            let expected = if fits { Kind::Reply } else { Kind::Error };
            assert_eq!((kind, id), (expected, 9), "{text}");
            // And what follows is understood.
            said(&mut owner, r#"{"reg_object":"again"}"#);
            assert_eq!(owner.one().0, Kind::Register);
        }
    }
}

#[test]
fn a_list_is_waited_for_as_long_as_the_limit_says() {
    for ms in [1, 250, 4_000] {
        let bounds = Bounds {
            patience_ms: ms,
            ..BOUNDS
        };
        let (mut talk, start) = (Talk::bounded(Dialect::IpcServer, bounds), Instant::now());
        talk.gateway.clock(start);
        talk.bare(r#"{"list":["o"]}"#);
        let batch = talk.told();
        let wait = batch.view(0).unwrap().header;
        assert_eq!((wait.kind, wait.aux), (Kind::Wait, ms));
        talk.broker(Draft::new(Kind::Error, wait.id).aux(ErrorCode::Denied.code()));
        let told = talk.later(start, 10_000);
        assert_eq!(told, [(u64::from(ms), r#"{"list":[]}"#.to_owned())]);
    }
}

/// Text that fits as it came and not as JSON.
#[test]
fn a_value_that_grows_beyond_the_limit_is_refused() {
    const MOST: usize = 300;
    let bounds = Bounds {
        document_bytes: MOST,
        ..BOUNDS
    };
    // A control character has six bytes in JSON, and two quotes are around all.
    for (length, fits) in [(49, true), (50, false), (MOST, false)] {
        let text = vec![1; length];
        let mut talk = Talk::bounded(Dialect::IpcServer, bounds);
        talk.bare(r#"{"object":"o","method":"m"}"#);
        talk.told();
        talk.broker(Draft::new(Kind::Reply, 1).payload(Encoding::RAW, &text));
        let heard = talk.heard().concat();
        assert_eq!(heard.contains("response"), fits, "{heard}");
        assert!(heard.len() < 2 * MOST, "{heard}");
        talk.broker(
            Draft::new(Kind::Call, 9)
                .pair("o", "m")
                .payload(Encoding::RAW, &text),
        );
        assert_eq!(
            (talk.heard().len(), talk.told().len()),
            (usize::from(fits), usize::from(!fits))
        );
        talk.bare(r#"{"event_name":"e"}"#);
        let id = talk.one().1;
        talk.broker(Draft::new(Kind::Event, id).payload(Encoding::RAW, &text));
        assert_eq!(talk.gateway.take_unshown(), u64::from(!fits));
        // An error is told with as much of its text as there may be.
        let mut failed = Talk::bounded(Dialect::IpcServer, bounds);
        failed.bare(r#"{"object":"o","method":"m"}"#);
        failed.broker(
            Draft::new(Kind::Error, 1)
                .aux(ErrorCode::Handler.code())
                .payload(Encoding::RAW, &text),
        );
        let heard = failed.heard().concat();
        assert!(
            heard.starts_with(r#"{"error":"#) && heard.len() <= MOST + 20,
            "{heard}"
        );
    }
}

#[test]
fn documents_follow_each_other_as_the_limit_says() {
    for (gap_ms, at_once) in [(0, 50), (1, 1), (7, 1)] {
        let bounds = Bounds { gap_ms, ..BOUNDS };
        let (mut talk, start) = (Talk::bounded(Dialect::IpcServer, bounds), Instant::now());
        talk.gateway.clock(start);
        talk.bare(r#"{"event_name":"e"}"#);
        let id = talk.one().1;
        for _ in 0..50 {
            talk.broker(Draft::new(Kind::Event, id).payload(Encoding::JSON, b"1"));
        }
        assert_eq!(talk.heard().concat().matches("event").count(), at_once);
        let later = talk.later(start, 10_000);
        let last = later.last().map_or(0, |(ms, _)| *ms);
        assert_eq!(last, u64::from(gap_ms) * 49, "{later:?}");
    }
}

/// What a client piles up costs as much for each of them, however many there are: a square of these would not end.
#[test]
fn lists_that_are_never_there_are_refused_one_by_one() {
    const LISTS: u64 = 200_000;
    let (mut talk, start) = timed(Dialect::IpcServer);
    for _ in 0..LISTS {
        talk.bare(r#"{"list":["nope"]}"#);
        talk.told();
    }
    for id in 1..=LISTS {
        talk.broker(Draft::new(Kind::Error, id).aux(ErrorCode::TooMany.code()));
        assert!(talk.gateway.due().is_some());
    }
    let held = talk.gateway.held();
    assert!(held >= 128 * 200_000, "{held}");
    assert_eq!(talk.gateway.relieve(usize::MAX, ""), Ok(0));
    let told = talk.later(start, 1_000);
    let answers: usize = told.iter().map(|(_, text)| text.matches("list").count()).sum();
    assert_eq!((answers as u64, talk.gateway.held()), (LISTS, 0));
}

/// Behind one that is never answered, answers are kept; they are given up one by one.
#[test]
fn answers_whose_turn_has_not_come_are_given_up_from_the_last() {
    let mut talk = Talk::new(Dialect::IpcServer);
    const CALLS: u64 = 50_000;
    for _ in 0..=CALLS {
        talk.bare(r#"{"object":"o","method":"m"}"#);
        talk.told();
    }
    let text = vec![b'x'; 300];
    for id in 2..=CALLS + 1 {
        talk.broker(Draft::new(Kind::Reply, id).payload(Encoding::RAW, &text));
    }
    let held = talk.gateway.held();
    let given_up = talk.gateway.relieve(held / 2, "no memory").unwrap();
    assert!(given_up < CALLS && talk.gateway.held() <= held / 2);
    let given_up = given_up + talk.gateway.relieve(0, "no memory").unwrap();
    assert_eq!(given_up, CALLS, "all that is kept");
    talk.broker(Draft::new(Kind::Reply, 1).payload(Encoding::RAW, b"first"));
    let heard = talk.heard().concat();
    assert_eq!(heard.matches("no memory").count() as u64, CALLS);
    assert!(heard.contains("first") && talk.gateway.held() == 0);
}

#[test]
fn who_has_no_credit_is_not_understood_until_it_has() {
    let mut talk = Talk::new(Dialect::IpcBroker);
    let publish = format!(
        r#"{{"Publish":{{"object_name":"s","topic":"t","args":"{}"}}}}"#,
        "x".repeat(600)
    );
    talk.framed(&publish);
    talk.framed(&publish);
    assert_eq!(
        talk.told().len(),
        2,
        "the last one may take the window below zero"
    );
    for _ in 0..4 {
        talk.framed(&publish);
    }
    assert!(!talk.gateway.may_read() && talk.told().is_empty());
    let waiting = 4 * (publish.len() + 4) - BITE;
    assert!(
        talk.gateway.held() == waiting && !talk.gateway.has_begun(),
        "its waiting is not its fault"
    );
    talk.broker(Draft::new(Kind::PublishCredit, 0).aux(1_258));
    assert_eq!(talk.told().len(), 2);
    talk.broker(Draft::new(Kind::PublishCredit, 0).aux(10_000));
    assert_eq!((talk.told().len(), talk.gateway.held()), (2, 0));
    talk.broker(Draft::new(Kind::Ping, 6));
    assert_eq!(talk.one().0, Kind::Pong);
}

#[test]
fn events_are_acknowledged_to_who_waits_for_it() {
    const OK: &str = r#"{"success":"OK"}"#;
    let event = r#"{"event":"e","result":1}"#;
    let told = |talk: &mut Talk, start, until| {
        let mut all: Vec<u64> = talk
            .heard()
            .iter()
            .filter(|text| *text == OK)
            .map(|_| 0)
            .collect();
        all.extend(
            talk.later(start, until)
                .into_iter()
                .filter(|(_, text)| text == OK)
                .map(|(ms, _)| ms),
        );
        all
    };
    for (ack_ms, first) in [(20, vec![20]), (300, vec![300]), (0, vec![0]), (u32::MAX, vec![])] {
        let bounds = Bounds { ack_ms, ..BOUNDS };
        let (mut talk, start) = (Talk::bounded(Dialect::IpcServer, bounds), Instant::now());
        talk.gateway.clock(start);
        talk.bare(event);
        assert_eq!(told(&mut talk, start, 2_000), first);
        // Who has waited once gets them at once.
        talk.bare(event);
        assert_eq!(talk.heard().len(), first.len());
    }
    // A burst, and a socket that is full for a while, say nothing for sure.
    for blocked in [false, true] {
        let (mut talk, start) = timed(Dialect::IpcServer);
        talk.bare(event);
        match blocked {
            true => talk.gateway.unread(),
            false => talk.bare(event),
        }
        if blocked {
            assert_eq!(told(&mut talk, start, 500), [0; 0], "it reads nothing");
            talk.bare(event);
            assert_eq!(told(&mut talk, start, 5_000), [1_500]);
        } else {
            assert!(!talk.gateway.holds_events(), "it may wait for nothing");
            assert_eq!(told(&mut talk, start, 5_000), [1_000]);
        }
        talk.bare(event);
        assert_eq!(talk.heard(), [OK]);
    }
    // Who goes on to ask for something has shown that it does not wait.
    let (mut talk, start) = timed(Dialect::IpcServer);
    talk.bare(event);
    talk.bare(r#"{"reg_object":"o"}"#);
    let register = talk.told().headers().last().unwrap().id;
    talk.broker(Draft::new(Kind::Done, register));
    assert_eq!(talk.heard(), [OK], "of the object");
    talk.bare(event);
    assert_eq!(told(&mut talk, start, 60_000), [0; 0]);
}

/// An owner that registers another object while its first one is called reads the answer alone.
#[test]
fn a_call_leaves_an_answer_the_time_to_be_read() {
    let (mut talk, start) = timed(Dialect::IpcServer);
    let register = |talk: &mut Talk, name: &str| {
        talk.bare(&format!(r#"{{"reg_object":"{name}"}}"#));
        let id = talk.one().1;
        talk.broker(Draft::new(Kind::Done, id));
    };
    let call = |talk: &mut Talk, ticket| talk.broker(Draft::new(Kind::Call, ticket).pair("o", "m"));
    register(&mut talk, "o");
    call(&mut talk, 1);
    assert_eq!(talk.heard(), [r#"{"success":"OK"}"#]);
    assert!(matches!(&talk.later(start, 1_000)[..], [(20, call)] if call.contains("method")));
    // A worker that works is given its calls at once.
    for ticket in 2..100 {
        call(&mut talk, ticket);
        assert!(talk.heard().is_empty());
        talk.bare(r#"{"response":1}"#);
        assert!(talk.heard().concat().contains("method"));
    }
}

/// An owner that listens reads a call and an event apart, whatever comes when; neither is kept from it for long.
#[test]
fn calls_and_events_reach_an_owner_one_at_a_time() {
    let (mut talk, start) = timed(Dialect::IpcServer);
    talk.bare(r#"{"event_name":"e"}"#);
    let id = talk.one().1;
    let (mut now, mut last_told) = (start, None);
    let (mut calls, mut events, mut called) = (0_u64, 0, false);
    let ms = std::time::Duration::from_millis(1);
    for step in 0..3_000_u64 {
        now += ms;
        talk.gateway.clock(now);
        // Calls that are always there, and an event each 20 ms.
        if step % 5 == 0 {
            talk.broker(Draft::new(Kind::Call, step + 1).pair("o", "m"));
        }
        if step % 20 == 0 {
            talk.broker(Draft::new(Kind::Event, id).payload(Encoding::JSON, b"1"));
        }
        if talk.gateway.due().is_some_and(|due| due <= now) {
            talk.gateway.time_passed();
        }
        let heard = talk.heard().concat();
        let is_call = heard.contains("method");
        assert_eq!(heard.matches("}{").count(), 0, "two documents at once: {heard}");
        if is_call {
            let before: Option<std::time::Duration> = last_told.map(|at| now - at);
            assert!(
                before.is_none_or(|before| before >= 20 * ms),
                "{before:?} behind an event"
            );
            calls += 1;
        } else if !heard.is_empty() {
            assert!(!called, "behind a call that is not answered");
            events += 1;
            last_told = Some(now);
        }
        called = called || is_call;
        // It takes 2 ms to answer.
        if called && step % 2 == 0 {
            talk.bare(r#"{"response":1}"#);
            let heard = talk.heard().concat();
            called = heard.contains("method");
            calls += u64::from(called);
            last_told = None;
            if !heard.is_empty() && !called {
                events += 1;
                last_told = Some(now);
            }
        }
    }
    assert!(calls > 500 && events > 100, "{calls} calls, {events} events");
}

/// TopicHub charges its subscriber for one copy.
#[test]
fn the_key_of_a_topic_is_kept_once() {
    let mut talk = Talk::new(Dialect::IpcBroker);
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"t"}}"#);
    let (_, id, ..) = talk.one();
    talk.broker(Draft::new(Kind::Done, id));
    let broker = &talk.gateway.broker;
    let (topic, subscription) = broker.topics.iter().next().unwrap();
    assert_eq!(*subscription, id);
    assert!(std::sync::Arc::ptr_eq(topic, &broker.subscriptions[&id]));
    assert_eq!(std::sync::Arc::strong_count(topic), 2, "nobody else holds it");
}
