//! The gateway of an old client: any bytes from it, any frames from the broker, in any order.
//!
//! Owns what must hold of it whatever comes: what it says to the broker are frames whose requests have numbers of their own, what it
//! says to the client is its format, what it keeps is no more than what came, and it never panics.

use crate::allocation::measure;
use crate::input::Input;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Draft, Encoding, Flags, Kind, Welcome};
use actix_ipc::transport::dialect::{Bounds, Dialect, Gateway};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// What an old client says when it keeps to its format; `%` is a number.
const SAYS: [&[&str]; 2] = [
    &[
        r#"{"RegisterObject":{"object_name":"o%"}}"#,
        r#"{"Call":{"call_id":"c","object_name":"o","method":"m","args":{"a":%}}}"#,
        r#"{"HasObject":{"object_name":"o"}}"#,
        r#"{"Subscribe":{"object_name":"s","topic":"t%"}}"#,
        r#"{"Publish":{"object_name":"s","topic":"t","args":[%]}}"#,
        r#"{"Result":{"call_id":"%","object_name":"o","value":%}}"#,
        r#"{"Error":{"call_id":"%","object_name":"o","message":"no"}}"#,
    ],
    &[
        r#"{"reg_object":"o%"}"#,
        r#"{"object":"o","method":"m","param":%}"#,
        r#"{"list":["o","o%"]}"#,
        r#"{"event_name":"e%"}"#,
        r#"{"event":"e","result":%}"#,
        r#"{"response":%}"#,
        r#"{"error":"no"}"#,
    ],
];

const KINDS: [Kind; 16] = [
    Kind::Welcome,
    Kind::Reply,
    Kind::Reply,
    Kind::Error,
    Kind::Done,
    Kind::Call,
    Kind::Call,
    Kind::CallPiece,
    Kind::ReplyPiece,
    Kind::Event,
    Kind::EventPiece,
    Kind::Cancel,
    Kind::PublishCredit,
    Kind::Ping,
    Kind::Notice,
    Kind::Gap,
];

/// What one input may make the gateway keep beyond what came, in bytes: its tables, and output up to where it stops.
const OWN: usize = 512 * 1024;

/// Input: the format, then steps.
pub(crate) fn gateway(data: &[u8]) {
    let ((), peak) = measure(|| steps(data));
    assert!(
        peak < OWN + 64 * data.len(),
        "{peak} bytes for an input of {}",
        data.len()
    );
}

fn steps(data: &[u8]) {
    let mut input = Input::new(data);
    let old = input.below(2);
    let dialect = [Dialect::IpcBroker, Dialect::IpcServer][old];
    let bounds = Bounds {
        unread_bytes: 1 << 16,
        document_bytes: 1 << input.below(25),
        patience_ms: 1_000,
        gap_ms: input.below(2) as u32,
        ack_ms: 20,
        calls: input.below(4),
        call_bytes: 1 << 10,
    };
    let mut gateway = Gateway::new(dialect, bounds);
    let greeting = std::mem::take(gateway.native());
    let mut told = Decoder::new(1 << 24);
    told.decode(greeting.strip_prefix(&PREFACE[..]).expect("the preface"))
        .expect("a Hello");
    let mut numbers = HashSet::new();
    let welcome = Welcome {
        publish_window: 1 << 16,
        frame_bytes: 1 << 16,
        ..Welcome::default()
    };
    let draft = Draft::new(Kind::Welcome, 1);
    gateway
        .give(&draft.payload(Encoding::RAW, &welcome.encode()).to_vec())
        .expect("nothing waits");
    let mut now = Instant::now();
    while !input.is_empty() {
        let went_on = match input.below(10) {
            9 => {
                let room = input.below(200);
                gateway.set_room(if input.flag() { room } else { usize::MAX });
                gateway.relieve(room, "no memory").map(drop)
            }
            8 => {
                now += Duration::from_millis(input.below(300) as u64);
                gateway.clock(now);
                if gateway.due().is_some_and(|due| due <= now) {
                    gateway.time_passed();
                }
                if input.below(8) == 0 {
                    gateway.unread();
                }
                Ok(())
            }
            0 => {
                let count = input.below(300);
                let bytes = input.bytes(count);
                gateway.take(bytes)
            }
            1..4 => {
                let text = input.pick(SAYS[old]).replace('%', &input.below(8).to_string());
                let length = u32::try_from(text.len()).expect("short").to_be_bytes();
                let bytes = [if old == 0 { &length[..] } else { &[] }, text.as_bytes()].concat();
                gateway.take(&bytes)
            }
            _ => {
                let (kind, id) = (input.pick(&KINDS), input.below(8) as u64);
                let flags = Flags(if input.flag() {
                    input.number() as u16 & 0xffe
                } else {
                    0
                });
                let encoding = Encoding([0, 1, 1, 2][input.below(4)]);
                let payload = [&b"1"[..], b"{}", b"[1,", b"2]", b"\xff", b"\"\\ud800\"", b""];
                let payload = match input.below(8) {
                    at @ 0..7 => payload[at],
                    _ => input.bytes(40),
                };
                let draft = Draft::new(kind, id).aux(input.below(16) as u32).flags(flags);
                let draft = match kind {
                    Kind::Call => draft.pair("o", "m"),
                    _ => draft,
                };
                gateway.give(&draft.payload(encoding, payload).to_vec())
            }
        };
        judge(dialect, &mut gateway, &mut told, &mut numbers);
        if went_on.is_err() {
            return;
        }
    }
}

fn judge(dialect: Dialect, gateway: &mut Gateway, told: &mut Decoder, numbers: &mut HashSet<u64>) {
    let native = std::mem::take(gateway.native());
    let batch = told.decode(&native).expect("frames for the broker");
    assert_eq!(told.buffered(), 0, "whole frames");
    for header in batch.headers() {
        let asks = matches!(
            header.kind,
            Kind::Call | Kind::Register | Kind::Describe | Kind::Wait | Kind::Subscribe | Kind::Unwatch
        );
        assert!(!asks || numbers.insert(header.id), "{} again", header.id);
    }
    let output = std::mem::take(gateway.output());
    let mut rest = &output[..];
    while !rest.is_empty() {
        let body = match dialect {
            Dialect::IpcBroker => {
                let (head, behind) = rest.split_first_chunk::<4>().expect("a length");
                let length = u32::from_be_bytes(*head) as usize;
                assert!(length <= 65_536);
                let (body, behind) = behind.split_at(length);
                rest = behind;
                body
            }
            _ => std::mem::take(&mut rest),
        };
        let documents = serde_json::Deserializer::from_slice(body).into_iter::<serde_json::Value>();
        for document in documents {
            assert!(document.expect("JSON for the client").is_object());
        }
    }
}
