//! Conversations of old clients with a broker that is played by the test, frame by frame.

use super::{Bounds, Dialect, Dialects, Gateway, Opening};
use crate::error::ErrorCode;
use crate::message::codec::body_limit;
use crate::message::handshake::PREFACE;
use crate::message::{Batch, Decoder, Draft, Encoding, Flags, Kind, Welcome};
use proptest::prelude::*;

/// The usual ones.
pub(super) const BOUNDS: Bounds = Bounds {
    unread_bytes: 64 << 10,
    document_bytes: (16 << 20) - (8 << 10),
    patience_ms: 1_000,
    gap_ms: 1,
    ack_ms: 20,
    calls: 1_024,
    call_bytes: 16 << 20,
};

/// An old client's gateway, and both ends of it.
pub(super) struct Talk {
    pub(super) gateway: Gateway,
    decoder: Decoder,
}

impl Talk {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self::bounded(dialect, BOUNDS)
    }

    pub(super) fn bounded(dialect: Dialect, bounds: Bounds) -> Self {
        let mut gateway = Gateway::new(dialect, bounds);
        let greeting = std::mem::take(gateway.native());
        let hello = greeting
            .strip_prefix(&PREFACE[..])
            .expect("the preface comes first");
        let mut decoder = Decoder::new(body_limit(1 << 24));
        assert_eq!(
            decoder.decode(hello).unwrap().header(0).unwrap().kind,
            Kind::Hello
        );
        assert!(!gateway.may_read(), "nothing is understood before the welcome");
        let welcome = Welcome {
            publish_window: 1_000,
            frame_bytes: 1 << 24,
            max_deadline_ms: 77,
            ..Welcome::default()
        };
        let mut talk = Self { gateway, decoder };
        talk.broker(Draft::new(Kind::Welcome, 1).payload(Encoding::RAW, &welcome.encode()));
        assert!(talk.gateway.may_read());
        talk
    }

    /// The broker says this.
    pub(super) fn broker(&mut self, draft: Draft<'_>) {
        self.gateway.give(&draft.to_vec()).unwrap();
    }

    /// What the broker has been told.
    pub(super) fn told(&mut self) -> Batch {
        let bytes = std::mem::take(self.gateway.native());
        self.decoder.decode(&bytes).unwrap()
    }

    /// The only frame that the broker has been told: kind, number, key and payload.
    pub(super) fn one(&mut self) -> (Kind, u64, String, String) {
        let batch = self.told();
        assert_eq!(batch.len(), 1, "{batch:?}");
        let view = batch.view(0).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace('\0', "/");
        (
            view.header.kind,
            view.header.id,
            text(view.key),
            text(view.payload),
        )
    }

    /// The old client says this JSON, as ipc-broker's clients do.
    pub(super) fn framed(&mut self, json: &str) {
        let length = u32::try_from(json.len()).unwrap().to_be_bytes();
        self.gateway
            .take(&[&length[..], json.as_bytes()].concat())
            .unwrap();
    }

    pub(super) fn bare(&mut self, json: &str) {
        self.gateway.take(json.as_bytes()).unwrap();
    }

    /// What the old client has been told, without lengths.
    pub(super) fn heard(&mut self) -> Vec<String> {
        let bytes = std::mem::take(self.gateway.output());
        let mut rest = &bytes[..];
        let mut all = Vec::new();
        while let Some((head, body)) = rest.split_first_chunk::<4>().filter(|(head, _)| head[0] == 0) {
            let (body, behind) = body.split_at(u32::from_be_bytes(*head) as usize);
            all.push(String::from_utf8(body.to_vec()).unwrap());
            rest = behind;
        }
        if !rest.is_empty() {
            all.push(String::from_utf8(rest.to_vec()).unwrap());
        }
        all
    }
}

#[test]
fn formats_are_told_by_their_first_byte_and_can_be_switched_off() {
    let only = |ipc_broker, ipc_server| Dialects {
        ipc_broker,
        ipc_server,
    };
    for (dialects, first, expected) in [
        (Dialects::NONE, 0xac, Opening::Native),
        (Dialects::ALL, 0xac, Opening::Native),
        (Dialects::ALL, 0, Opening::Old(Dialect::IpcBroker)),
        (only(false, true), 0, Opening::Foreign),
        (Dialects::ALL, b'{', Opening::Old(Dialect::IpcServer)),
        (Dialects::ALL, b'n', Opening::Old(Dialect::IpcServer)),
        (only(true, false), b'{', Opening::Foreign),
        (Dialects::ALL, b'G', Opening::Foreign),
        (Dialects::ALL, 0x16, Opening::Foreign),
        (Dialects::ALL, 1, Opening::Foreign),
    ] {
        assert_eq!(dialects.opening(first), expected, "{dialects:?} {first:#x}");
    }
}

#[test]
fn an_object_of_an_old_worker_is_called_and_answers_by_the_calls_number() {
    let mut talk = Talk::new(Dialect::IpcBroker);
    talk.framed(r#"{"RegisterObject":{"object_name":"a b","more":1}}"#);
    assert!(talk.gateway.holds_events());
    let batch = talk.told();
    let header = batch.header(0).unwrap();
    let flags = Flags::REPLACE.with(Flags::ALLOW_REPLACE);
    assert_eq!((header.kind, header.id, header.flags), (Kind::Register, 1, flags));
    talk.broker(Draft::new(Kind::Done, 1));
    assert_eq!(talk.heard(), [r#"{"Registered":{"object_name":"a b"}}"#]);
    assert!(!talk.gateway.holds_events());

    let call = |id| Draft::new(Kind::Call, id).pair("a b", "add");
    talk.broker(call(40).payload(Encoding::JSON, br#"{"b":1,"a":2}"#));
    talk.broker(call(41).payload(Encoding::RAW, b"text"));
    assert_eq!(
        talk.heard(),
        [
            r#"{"Call":{"call_id":"40","object_name":"a b","method":"add","args":{"b":1,"a":2}}}"#,
            r#"{"Call":{"call_id":"41","object_name":"a b","method":"add","args":"text"}}"#,
        ]
    );
    // The order is the worker's; a number that it was not given is nobody's.
    for forged in ["42", "x", "-1"] {
        talk.framed(&format!(
            r#"{{"Result":{{"call_id":"{forged}","object_name":"a b","value":1}}}}"#
        ));
        assert_eq!(talk.told().len(), 0, "{forged}");
    }
    talk.framed(r#"{"Result":{"call_id":"41","object_name":"a b","value":{"sum":3}}}"#);
    assert_eq!(
        talk.one(),
        (Kind::Reply, 41, String::new(), r#"{"sum":3}"#.into())
    );
    talk.framed(r#"{"Error":{"call_id":"40","object_name":"a b","message":"no"}}"#);
    assert_eq!(talk.one(), (Kind::Error, 40, String::new(), "no".into()));
    talk.framed(r#"{"Result":{"call_id":"40","object_name":"a b","value":1}}"#);
    assert_eq!(talk.told().len(), 0, "a second answer");
    // Cancelled, and answered all the same.
    talk.broker(call(43));
    talk.broker(Draft::new(Kind::Cancel, 43));
    talk.framed(r#"{"Result":{"call_id":"43","object_name":"a b","value":1}}"#);
    assert_eq!(talk.told().len(), 0);
}

#[test]
fn a_call_that_an_old_worker_cannot_be_told_is_refused_unrun() {
    let mut talk = Talk::new(Dialect::IpcBroker);
    let large = vec![b'1'; 70_000];
    for (encoding, payload, code) in [
        (Encoding::POSTCARD, &b"\x01"[..], ErrorCode::Encoding),
        (Encoding::JSON, b"{", ErrorCode::Encoding),
        (Encoding::RAW, b"\xff", ErrorCode::Encoding),
        (Encoding::JSON, &large, ErrorCode::TooLarge),
    ] {
        talk.broker(
            Draft::new(Kind::Call, 9)
                .pair("o", "m")
                .payload(encoding, payload),
        );
        let batch = talk.told();
        let header = batch.header(0).unwrap();
        assert_eq!(
            (header.kind, header.id, header.aux),
            (Kind::Error, 9, code.code())
        );
        assert!(!header.flags.has(Flags::MAY_HAVE_RUN) && talk.heard().is_empty());
        let unheard = Draft::new(Kind::Call, 0).pair("o", "m").flags(Flags::NO_REPLY);
        talk.broker(unheard.payload(encoding, payload));
        assert_eq!(talk.told().len(), 0, "nobody waits for an answer");
    }
    // In pieces: their credit goes back, and too many end the call.
    talk.broker(
        Draft::new(Kind::Call, 5)
            .pair("o", "m")
            .flags(Flags::CONTINUED)
            .payload(Encoding::JSON, b"[1,"),
    );
    talk.broker(
        Draft::new(Kind::CallPiece, 5)
            .flags(Flags::CONTINUED)
            .payload(Encoding::RAW, b"2,"),
    );
    assert_eq!(talk.one().0, Kind::CallCredit);
    talk.broker(Draft::new(Kind::CallPiece, 5).payload(Encoding::RAW, b"3]"));
    assert_eq!(
        talk.heard(),
        [r#"{"Call":{"call_id":"5","object_name":"o","method":"m","args":[1,2,3]}}"#]
    );
}

#[test]
fn an_old_caller_gets_one_answer_and_nothing_else_before_it() {
    let mut talk = Talk::new(Dialect::IpcBroker);
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"*"}}"#);
    assert_eq!(talk.one(), (Kind::Subscribe, 1, "s/*".into(), String::new()));
    assert!(!talk.gateway.holds_events(), "nobody waits for Subscribed");
    talk.framed(r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":null}}"#);
    assert_eq!(talk.one(), (Kind::Call, 2, "o/m".into(), "null".into()));
    talk.broker(Draft::new(Kind::Done, 1));
    assert!(
        talk.gateway.holds_events() && talk.heard().is_empty(),
        "Subscribed waits for the answer"
    );
    talk.broker(Draft::new(Kind::Reply, 2).payload(Encoding::JSON, br#"{"sum":42}"#));
    assert_eq!(
        talk.heard(),
        [
            r#"{"Result":{"call_id":"c","object_name":"o","value":{"sum":42}}}"#,
            r#"{"Subscribed":{"object_name":"s","topic":"*"}}"#,
        ]
    );
    talk.framed(r#"{"Subscribe":{"object_name":"s","topic":"*"}}"#);
    assert!(talk.told().is_empty(), "a topic is heard once");
    assert_eq!(
        talk.heard(),
        [r#"{"Subscribed":{"object_name":"s","topic":"*"}}"#]
    );
    talk.broker(Draft::new(Kind::Event, 1).payload(Encoding::JSON, br#""25.6""#));
    assert_eq!(
        talk.heard(),
        [r#"{"Event":{"object_name":"s","topic":"*","args":"25.6"}}"#]
    );
    talk.broker(Draft::new(Kind::Event, 1).payload(Encoding::POSTCARD, b"\x01"));
    assert_eq!((talk.heard().len(), talk.gateway.take_unshown()), (0, 1));
}

#[test]
fn failures_are_said_as_old_clients_expect_them() {
    let too_large = vec![b'1'; 66_000];
    for (reply, message) in [
        (
            Draft::new(Kind::Error, 1).aux(ErrorCode::NoSuchObject.code()),
            "No such object 'o'",
        ),
        (
            Draft::new(Kind::Error, 1)
                .aux(ErrorCode::Deadline.code())
                .payload(Encoding::RAW, b"late"),
            "late",
        ),
        (
            Draft::new(Kind::Error, 1).aux(ErrorCode::CalleeGone.code()),
            ErrorCode::CalleeGone.text(),
        ),
        (
            Draft::new(Kind::Error, 1)
                .aux(ErrorCode::Handler.code())
                .payload(Encoding::JSON, br#"{"a":1}"#),
            r#"the handler returned an error: {"a":1}"#,
        ),
        (
            Draft::new(Kind::Reply, 1).payload(Encoding::JSON, &too_large),
            "the result has 66000 bytes; this client takes values of at most 65536",
        ),
        (
            Draft::new(Kind::Reply, 1).payload(Encoding::POSTCARD, b"\x01"),
            "the call ran, but the value is in the encoding postcard, which JSON cannot say",
        ),
    ] {
        let mut talk = Talk::new(Dialect::IpcBroker);
        talk.framed(r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":1}}"#);
        talk.broker(reply);
        let expected = serde_json::json!({"Error": {"call_id": "c", "object_name": "o", "message": message}});
        let heard: serde_json::Value = serde_json::from_str(&talk.heard()[0]).unwrap();
        assert_eq!(heard, expected);
        assert!(!talk.gateway.holds_events());
    }
    let mut talk = Talk::new(Dialect::IpcBroker);
    talk.framed(r#"{"HasObject":{"object_name":"o"}}"#);
    talk.broker(Draft::new(Kind::Error, 1).aux(ErrorCode::NoSuchObject.code()));
    assert_eq!(
        talk.heard(),
        [r#"{"HasObjectResult":{"object_name":"o","exists":false}}"#]
    );
    talk.framed(r#"{"HasObject":{"object_name":"o"}}"#);
    talk.broker(Draft::new(Kind::Reply, 3).payload(Encoding::JSON, b"{}"));
    assert_eq!(
        talk.heard(),
        [r#"{"HasObjectResult":{"object_name":"o","exists":true}}"#]
    );
    talk.told();
    talk.framed(r#"{"Call":{"call_id":"c","object_name":"a\u0007","method":"m","args":1}}"#);
    assert!(talk.told().is_empty() && talk.heard()[0].contains("control characters"));
}

#[test]
fn what_is_no_message_is_passed_over_and_what_is_no_frame_ends_it() {
    let mut talk = Talk::new(Dialect::IpcBroker);
    for nothing in [
        "",
        "{",
        "null",
        r#"{"Ping":{}}"#,
        r#"{"Call":{"call_id":"c"}}"#,
        "\u{feff}{}",
    ] {
        talk.framed(nothing);
        assert!(talk.told().is_empty() && talk.heard().is_empty(), "{nothing:?}");
    }
    talk.framed(r#"{"HasObject":{"object_name":"o"}}"#);
    let kinds: Vec<Kind> = talk.told().headers().map(|header| header.kind).collect();
    assert_eq!(kinds, [Kind::Describe, Kind::Wait], "it goes on behind them");
    let publish = r#"{"Publish":{"object_name":"s","topic":"t","args":1}}"#;
    let before = [
        &u32::try_from(publish.len()).unwrap().to_be_bytes()[..],
        publish.as_bytes(),
    ]
    .concat();
    let broken = 65_537_u32.to_be_bytes();
    assert!(talk.gateway.take(&[&before[..], &broken].concat()).is_err());
    assert_eq!(talk.one().0, Kind::Publish, "what came before it counts");
    let held = talk.gateway.held();
    assert_eq!(talk.gateway.take(&before), Ok(()));
    assert!(
        talk.told().is_empty() && talk.gateway.held() == held,
        "nothing behind it is read"
    );
}

#[test]
fn who_asks_for_a_topic_twice_is_told_twice_what_became_of_it() {
    let mut talk = Talk::new(Dialect::IpcBroker);
    let subscribe = r#"{"Subscribe":{"object_name":"s","topic":"t"}}"#;
    for (answer, told) in [
        (Draft::new(Kind::Error, 1).aux(ErrorCode::Denied.code()), "Error"),
        (Draft::new(Kind::Done, 2), "Subscribed"),
    ] {
        talk.framed(subscribe);
        talk.framed(subscribe);
        assert_eq!(talk.one().0, Kind::Subscribe, "once");
        assert!(talk.heard().is_empty());
        talk.broker(answer);
        let heard = talk.heard();
        assert!(
            heard.len() == 2 && heard.iter().all(|text| text.contains(told)),
            "{heard:?}"
        );
    }
}

#[test]
fn answers_without_numbers_keep_their_places() {
    let mut talk = Talk::new(Dialect::IpcServer);
    talk.bare(r#"{"object":"o","method":"slow"}{"event":"e","result":1}{"object":"o","method":"quick","param":null}"#);
    let batch = talk.told();
    let kinds: Vec<Kind> = batch.headers().map(|header| header.kind).collect();
    assert_eq!(kinds, [Kind::Call, Kind::Publish, Kind::Call]);
    talk.broker(Draft::new(Kind::Reply, 2).payload(Encoding::JSON, b"2"));
    assert!(talk.heard().is_empty() && talk.gateway.holds_events());
    talk.broker(Draft::new(Kind::Error, 1).aux(ErrorCode::NoSuchObject.code()));
    assert_eq!(
        talk.heard(),
        [r#"{"error":"Object not found"}{"success":"OK"}{"response":2}"#]
    );
    assert!(!talk.gateway.holds_events());
}

#[test]
fn an_old_owner_is_given_one_call_at_a_time_and_a_late_answer_is_nobodys() {
    let mut talk = Talk::new(Dialect::IpcServer);
    talk.bare(r#"{"reg_object":"o"}"#);
    talk.broker(Draft::new(Kind::Done, 1));
    assert_eq!(talk.heard(), [r#"{"success":"OK"}"#]);
    talk.told();
    for id in [10, 11, 12, 13] {
        talk.broker(
            Draft::new(Kind::Call, id)
                .pair("o", "m")
                .payload(Encoding::JSON, b"7"),
        );
    }
    assert_eq!(talk.heard(), [r#"{"object":"o","method":"m","param":7}"#]);
    talk.broker(Draft::new(Kind::Cancel, 10));
    talk.broker(Draft::new(Kind::Cancel, 12));
    talk.bare(r#"{"response":"for 10, too late"}"#);
    assert_eq!(talk.told().len(), 0);
    assert_eq!(talk.heard().len(), 1, "the next call");
    talk.bare(r#"{"response":null}"#);
    assert_eq!(talk.one(), (Kind::Reply, 11, String::new(), "null".into()));
    assert_eq!(
        talk.heard().len(),
        1,
        "the one behind the one that was taken back"
    );
    talk.bare(r#"{"error":{"why":1}}"#);
    assert_eq!(
        talk.one(),
        (Kind::Error, 13, String::new(), r#"{"why":1}"#.into())
    );
    talk.bare(r#"{"response":"to nothing"}"#);
    assert!(talk.told().is_empty() && talk.heard().is_empty());
}

#[test]
fn lists_are_waited_for_and_documents_never_fill_a_read() {
    let mut talk = Talk::new(Dialect::IpcServer);
    talk.bare(r#"{"list":["a","b"]}"#);
    assert_eq!(talk.one(), (Kind::Wait, 1, String::new(), "\u{1}a\u{1}b".into()));
    talk.broker(Draft::new(Kind::Done, 1));
    assert_eq!(talk.heard(), [r#"{"list":["a","b"]}"#]);
    talk.bare(r#"{"list":["a"]}"#);
    talk.broker(Draft::new(Kind::Error, 2).aux(ErrorCode::Deadline.code()));
    assert_eq!(talk.heard(), [r#"{"list":[]}"#]);
    talk.told();
    for length in 4_060..4_110 {
        talk.bare(r#"{"object":"o","method":"m"}"#);
        let id = talk.one().1;
        let text = serde_json::to_vec(&"x".repeat(length)).unwrap();
        talk.broker(Draft::new(Kind::Reply, id).payload(Encoding::JSON, &text));
        let heard = talk.heard().concat();
        assert!(
            !heard.len().is_multiple_of(4_096) && heard.trim_end().ends_with('}'),
            "{length}"
        );
    }
    for (said, heard) in [
        ("[1]", "invalid type"),
        (r#"{"x":1}"#, "did not match any variant"),
        (r#"{"object":1,"method":"m"}"#, "did not match any variant"),
        (r#"{"a":}"#, "expected value"),
    ] {
        talk.bare(said);
        let told = talk.heard().concat();
        assert!(told.starts_with(r#"{"error":""#), "{said}: {told}");
        assert!(
            told.contains(heard) || told.contains("did not match"),
            "{said}: {told}"
        );
    }
    talk.bare("null ");
    assert!(talk.heard().is_empty() && talk.told().is_empty());
}

proptest! {
    #[test]
    fn any_bytes_in_any_parts_come_to_the_same(
        bytes in prop::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'"'), Just(0), Just(9), any::<u8>()], 0..400),
        cut in 1_usize..50,
        old in prop::bool::ANY,
    ) {
        let dialect = if old { Dialect::IpcBroker } else { Dialect::IpcServer };
        let (mut whole, mut parts) = (Talk::new(dialect), Talk::new(dialect));
        let all = whole.gateway.take(&bytes).is_ok();
        let each = bytes.chunks(cut).all(|part| parts.gateway.take(part).is_ok());
        prop_assert_eq!(all, each);
        prop_assert_eq!(whole.gateway.native(), parts.gateway.native());
        prop_assert_eq!(whole.gateway.output(), parts.gateway.output());
    }
}
