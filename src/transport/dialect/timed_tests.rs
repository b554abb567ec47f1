//! What old clients are told when, and what is said of them that was found wrong once.

use super::Dialect;
use super::tests::Talk;
use crate::error::ErrorCode;
use crate::message::{Draft, Encoding, Flags, Kind};
use std::time::{Duration, Instant};

/// A talk whose gateway has a clock.
pub(super) fn timed(dialect: Dialect) -> (Talk, Instant) {
    let (mut talk, start) = (Talk::new(dialect), Instant::now());
    talk.gateway.clock(start);
    (talk, start)
}

impl Talk {
    /// What the client is told by then, and when it is told it, in ms since `start`.
    pub(super) fn later(&mut self, start: Instant, until_ms: u64) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(due) = self.gateway.due() {
            let ms = u64::try_from(due.saturating_duration_since(start).as_millis()).unwrap();
            if ms > until_ms {
                break;
            }
            self.gateway.clock(due);
            self.gateway.time_passed();
            all.extend(self.heard().into_iter().map(|text| (ms, text)));
        }
        self.gateway.clock(start + Duration::from_millis(until_ms));
        all
    }
}

#[test]
fn a_value_may_fill_a_frame() {
    for (length, fits) in [(65_400, true), (65_500, false)] {
        let text = format!("\"{}\"", "x".repeat(length));
        let mut talk = Talk::new(Dialect::IpcBroker);
        let call = Draft::new(Kind::Call, 1).pair("o", "m");
        talk.broker(call.payload(Encoding::JSON, text.as_bytes()));
        assert_eq!(talk.heard().len(), usize::from(fits), "{length}");
        assert_eq!(talk.told().len(), usize::from(!fits), "{length}: it is refused");
    }
}

#[test]
fn any_number_of_open_requests_leaves_the_client_heard() {
    for dialect in [Dialect::IpcBroker, Dialect::IpcServer] {
        let mut talk = Talk::new(dialect);
        for _ in 0..5_000 {
            match dialect {
                Dialect::IpcBroker => {
                    talk.framed(r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":null}}"#);
                }
                Dialect::IpcServer => talk.bare(r#"{"object":"o","method":"m"}"#),
            }
        }
        assert_eq!(talk.told().len(), 5_000);
        assert!(talk.gateway.may_read() && talk.gateway.held() >= 5_000 * 64);
    }
}

#[test]
fn what_is_said_of_a_subscription_is_nobodys_answer() {
    let (mut talk, start) = timed(Dialect::IpcBroker);
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"t"}}"#);
    talk.broker(Draft::new(Kind::Done, 1));
    assert!(talk.heard().is_empty());
    talk.framed(r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":null}}"#);
    talk.broker(Draft::new(Kind::Reply, 2).payload(Encoding::JSON, b"1"));
    let heard = talk.heard();
    assert!(
        heard.len() == 1 && heard[0].contains("Result"),
        "and nothing that the next call would take for its own: {heard:?}"
    );
    let later = talk.later(start, 300);
    assert!(
        matches!(&later[..], [(200, told)] if told.contains("Subscribed")),
        "{later:?}"
    );
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"u"}}"#);
    talk.broker(Draft::new(Kind::Done, 3));
    let later = talk.later(start, 600);
    assert!(
        matches!(&later[..], [(500, told)] if told.contains("Subscribed")),
        "who waits for it gets it: {later:?}"
    );
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"v"}}"#);
    talk.broker(Draft::new(Kind::Done, 4));
    talk.broker(Draft::new(Kind::Event, 4).payload(Encoding::JSON, b"1"));
    let heard = talk.heard();
    assert!(
        heard[0].contains("Subscribed") && heard[1].contains("Event"),
        "{heard:?}"
    );
}

#[test]
fn an_answer_that_was_given_up_is_not_taken_for_the_next() {
    let (mut talk, start) = timed(Dialect::IpcBroker);
    let call =
        |id: u32| format!(r#"{{"Call":{{"call_id":"{id}","object_name":"o","method":"m","args":{id}}}}}"#);
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"t"}}"#);
    talk.broker(Draft::new(Kind::Done, 1));
    talk.broker(Draft::new(Kind::Event, 1).payload(Encoding::JSON, b"1"));
    talk.heard();
    // The event is on its way; its client takes it for the answer to this call, and makes another.
    talk.framed(&call(1));
    talk.broker(Draft::new(Kind::Reply, 2).payload(Encoding::JSON, b"1"));
    assert!(talk.heard().is_empty());
    talk.framed(&call(2));
    talk.broker(Draft::new(Kind::Reply, 3).payload(Encoding::JSON, b"2"));
    let later = talk.later(start, 100);
    let ids: Vec<bool> = later
        .iter()
        .map(|(_, told)| told.contains(r#""call_id":"2""#))
        .collect();
    assert_eq!(ids, [true, false], "the newest first: {later:?}");
    // Without an event on its way nothing is kept.
    talk.framed(&call(3));
    talk.broker(Draft::new(Kind::Reply, 4).payload(Encoding::JSON, b"3"));
    assert_eq!(talk.heard().len(), 1);
}

/// The time of what is kept is not looked at while bytes are unsent.
#[test]
fn an_answer_that_was_kept_for_too_long_is_told_all_the_same() {
    let (mut talk, start) = timed(Dialect::IpcBroker);
    let call =
        |id: u32| format!(r#"{{"Call":{{"call_id":"{id}","object_name":"o","method":"m","args":{id}}}}}"#);
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"t"}}"#);
    talk.broker(Draft::new(Kind::Done, 1));
    talk.broker(Draft::new(Kind::Event, 1).payload(Encoding::JSON, b"1"));
    talk.heard();
    talk.framed(&call(1));
    talk.broker(Draft::new(Kind::Reply, 2).payload(Encoding::JSON, b"1"));
    assert!(talk.heard().is_empty());
    talk.gateway.clock(start + Duration::from_millis(600));
    talk.framed(&call(2));
    talk.broker(Draft::new(Kind::Reply, 3).payload(Encoding::JSON, b"2"));
    let mut heard = talk.heard();
    heard.extend(talk.later(start, 900).into_iter().map(|(_, told)| told));
    for id in ["1", "2"] {
        let of = |told: &&String| told.contains(&format!(r#""call_id":"{id}""#));
        assert_eq!(heard.iter().filter(of).count(), 1, "{heard:?}");
    }
}

#[test]
fn what_is_not_there_is_said_late_to_who_asks_again_at_once() {
    let (mut talk, start) = timed(Dialect::IpcServer);
    for said in [r#"{"list":["a"]}"#, r#"{"list":["","a"]}"#] {
        talk.bare(said);
        for view in talk.told().headers() {
            talk.gateway
                .give(
                    &Draft::new(Kind::Error, view.id)
                        .aux(ErrorCode::ServiceFailed.code())
                        .to_vec(),
                )
                .unwrap();
        }
        assert!(talk.heard().is_empty(), "{said}");
    }
    let later = talk.later(start, 5_000);
    assert_eq!(later.concat_texts(), [r#"{"list":[]}{"list":[]}"#], "{later:?}");
    assert_eq!(later[0].0, 1_000);
}

trait Texts {
    fn concat_texts(&self) -> Vec<String>;
}

impl Texts for Vec<(u64, String)> {
    fn concat_texts(&self) -> Vec<String> {
        vec![self.iter().map(|(_, text)| text.as_str()).collect()]
    }
}

#[test]
fn an_event_is_acknowledged_to_who_waits_for_it() {
    let (mut talk, start) = timed(Dialect::IpcServer);
    let event = r#"{"event":"e","result":1}"#;
    talk.bare(event);
    assert_eq!(talk.later(start, 100), [(20, r#"{"success":"OK"}"#.to_owned())]);
    talk.bare(event);
    assert_eq!(talk.heard(), [r#"{"success":"OK"}"#], "it does wait for it");
    let (mut talk, start) = timed(Dialect::IpcServer);
    // Who goes on at once does not read it, now and later.
    talk.bare(event);
    talk.bare(event);
    talk.bare(r#"{"object":"o","method":"m"}"#);
    let id = talk.told().header(2).unwrap().id;
    talk.broker(Draft::new(Kind::Reply, id).payload(Encoding::JSON, b"7"));
    assert_eq!(talk.heard(), [r#"{"response":7}"#]);
    talk.bare(event);
    assert_eq!(talk.later(start, 1_000), []);
}

#[test]
fn documents_that_nobody_asked_for_come_one_by_one() {
    let (mut talk, start) = timed(Dialect::IpcServer);
    talk.bare(r#"{"event_name":"e"}{"reg_object":"o"}"#);
    talk.broker(Draft::new(Kind::Done, 1));
    talk.broker(Draft::new(Kind::Call, 9).pair("o", "m"));
    talk.broker(Draft::new(Kind::Event, 1).payload(Encoding::JSON, b"1"));
    assert!(talk.heard().is_empty(), "it would take them for the answer");
    talk.broker(Draft::new(Kind::Done, 2));
    assert_eq!(talk.heard(), [r#"{"success":"OK"}"#]);
    let later = talk.later(start, 30);
    assert_eq!(later, [(20, r#"{"object":"o","method":"m"}"#.to_owned())]);
    assert_eq!(
        talk.later(start, 90),
        [],
        "it may be read with the call until that is answered"
    );
    talk.bare(r#"{"response":1}"#);
    assert_eq!(talk.heard(), [r#"{"event":"e","result":1}"#]);
}

#[test]
fn a_large_document_comes_in_parts_that_readers_read_in_full() {
    let (mut talk, start) = timed(Dialect::IpcServer);
    talk.bare(r#"{"object":"o","method":"m"}"#);
    let text = serde_json::to_vec(&"x".repeat(200_000)).unwrap();
    talk.broker(Draft::new(Kind::Reply, 1).payload(Encoding::JSON, &text));
    let mut parts = talk.heard();
    parts.extend(talk.later(start, 1_000).into_iter().map(|(_, part)| part));
    assert_eq!(parts.len(), 4);
    for part in parts.iter().take(3) {
        assert!(
            part.len().is_multiple_of(4_096) && part.len() < 65_483,
            "{}",
            part.len()
        );
    }
    assert!(!parts[3].len().is_multiple_of(4_096) && parts.concat().len() > 200_000);
}

#[test]
fn blanks_between_documents_begin_none() {
    let mut talk = Talk::new(Dialect::IpcServer);
    for blanks in ["\n", " \r\n\t", ""] {
        talk.bare(&format!(r#"{{"object":"o","method":"m"}}{blanks}"#));
        assert_eq!(talk.told().len(), 1, "{blanks:?}");
        assert!(!talk.gateway.has_begun(), "{blanks:?}");
    }
}

#[test]
fn an_aborted_reply_is_no_success_and_items_are_no_arguments() {
    for (dialect, gone) in [
        (Dialect::IpcBroker, r#""Error""#),
        (Dialect::IpcServer, "client connection error"),
    ] {
        let mut talk = Talk::new(dialect);
        match dialect {
            Dialect::IpcBroker => {
                talk.framed(r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":null}}"#);
            }
            Dialect::IpcServer => talk.bare(r#"{"object":"o","method":"m"}"#),
        }
        let reply = Draft::new(Kind::Reply, 1).flags(Flags::CONTINUED);
        talk.broker(reply.payload(Encoding::JSON, b"12"));
        talk.broker(Draft::new(Kind::ReplyPiece, 1).flags(Flags::ABORT));
        let heard = talk.heard().concat();
        assert!(heard.contains(gone) && !heard.contains("12"), "{heard}");
        talk.told();
        let call = Draft::new(Kind::Call, 7).pair("o", "m");
        talk.broker(
            call.flags(Flags::CONTINUED.with(Flags::ITEMS))
                .payload(Encoding::JSON, b"1"),
        );
        for last in [false, true] {
            let item = Draft::new(Kind::CallPiece, 7).flags(Flags::NONE.with_if(!last, Flags::CONTINUED));
            talk.broker(item.payload(Encoding::JSON, b"2"));
        }
        let heard = talk.heard().concat();
        assert!(heard.contains("1") && !heard.contains("2"), "{heard}");
    }
}

#[test]
fn a_list_of_too_many_names_is_read_over() {
    let (mut talk, start) = timed(Dialect::IpcServer);
    talk.bare(&format!(r#"{{"list":[{}"a"]}}"#, r#""a","#.repeat(100_000)));
    assert!(talk.told().is_empty() && talk.gateway.held() < 1_000);
    assert_eq!(talk.later(start, 5_000), [(1_000, r#"{"list":[]}"#.to_owned())]);
}

#[test]
fn a_name_that_fills_a_frame_is_answered_without_it() {
    let name = "x".repeat(65_480);
    for said in [
        format!(r#"{{"HasObject":{{"object_name":"{name}"}}}}"#),
        format!(r#"{{"RegisterObject":{{"object_name":"{name}"}}}}"#),
    ] {
        let mut talk = Talk::new(Dialect::IpcBroker);
        talk.framed(&said);
        let heard = talk.heard();
        assert!(heard.len() == 1 && heard[0].contains("Error"), "{}", &said[..20]);
        assert!(!talk.gateway.holds_events());
    }
}

#[test]
fn pieces_beyond_what_a_client_takes_are_not_waited_for() {
    let part = vec![b'1'; 40_000];
    let piece = |kind, id| {
        Draft::new(kind, id)
            .flags(Flags::CONTINUED)
            .payload(Encoding::RAW, &part)
    };
    let mut talk = Talk::new(Dialect::IpcBroker);
    let call = Draft::new(Kind::Call, 9).pair("o", "m").flags(Flags::CONTINUED);
    talk.broker(call.payload(Encoding::RAW, &part));
    talk.told();
    talk.broker(piece(Kind::CallPiece, 9));
    let refused = talk
        .told()
        .headers()
        .any(|header| (header.kind, header.id) == (Kind::Error, 9));
    assert!(refused && talk.gateway.held() == 0);
    talk.framed(r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":null}}"#);
    talk.told();
    let reply = Draft::new(Kind::Reply, 1).flags(Flags::CONTINUED);
    talk.broker(reply.payload(Encoding::RAW, &part));
    talk.broker(piece(Kind::ReplyPiece, 1));
    let stopped = talk.told().headers().any(|header| header.kind == Kind::Cancel);
    let heard = talk.heard().concat();
    assert!(stopped && heard.contains("at most"), "{heard}");
    talk.broker(piece(Kind::ReplyPiece, 1));
    assert!(talk.heard().is_empty() && talk.told().is_empty());
}

/// A script that matches answers by their numbers, and was taken for the library at first.
#[test]
fn who_has_several_calls_open_gets_all_answers_and_events() {
    let (mut talk, start) = timed(Dialect::IpcBroker);
    let at = |talk: &mut Talk, ms: u64| {
        let mut all = talk.heard();
        all.extend(talk.later(start, ms).into_iter().map(|(_, text)| text));
        talk.gateway.clock(start + Duration::from_millis(ms));
        all
    };
    let call = |talk: &mut Talk| {
        talk.framed(r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":null}}"#);
        talk.one().1
    };
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"t"}}"#);
    let subscription = talk.one().1;
    talk.broker(Draft::new(Kind::Done, subscription));
    assert_eq!(at(&mut talk, 210).len(), 1, "Subscribed");
    // A call each 200 ms, of 300 ms each.
    let mut answers = 0;
    let mut open = Vec::new();
    for round in 0..10_u64 {
        let now = 210 + round * 200;
        answers += at(&mut talk, now)
            .iter()
            .filter(|text| text.contains("Result"))
            .count();
        open.push(call(&mut talk));
        if open.len() > 1 {
            answers += at(&mut talk, now + 100)
                .iter()
                .filter(|text| text.contains("Result"))
                .count();
            let id = open.remove(0);
            talk.broker(Draft::new(Kind::Reply, id).payload(Encoding::JSON, b"1"));
        }
    }
    answers += talk.heard().iter().filter(|text| text.contains("Result")).count();
    assert_eq!(answers, 9, "all but the one that is open");
    assert!(
        !talk.gateway.holds_events(),
        "it would take nothing for an answer"
    );
}
