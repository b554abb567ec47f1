//! The codec against `docs/vectors.json`, in both directions, and the tables of `docs/protocol.md` against the code.
//!
//! Owns no vector: they are written from the document, so that a codec that disagrees with the document fails here.
//! It refuses to know sockets and the broker; `tests/transcript.rs` does those.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "vectors/reading.rs"]
mod reading;

use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::bus::{Join, Outcome};
use actix_ipc::message::codec::body_limit;
use actix_ipc::message::handshake::{PREFACE, PROTOCOL_VERSION, choose_version};
use actix_ipc::message::selector::Selector;
use actix_ipc::message::{
    Decoder, Draft, Encoding, Epoch, Flags, FrameError, Hello, Kind, Meet, Metadata, ObjectName, Origin,
    Pattern, PeerId, Served, Terms, Token, Welcome, metadata,
};
use reading::{flag, hex, kind, list, number, text, vectors};
use serde_json::Value;

const LIMIT: usize = 16 * 1024 * 1024;

/// The fields of a vector, owned, in the codec's types.
struct Expected {
    kind: Kind,
    encoding: Encoding,
    flags: Flags,
    id: u64,
    aux: u32,
    attachments: u8,
    origin: Option<Origin>,
    meta: Metadata,
    key: Vec<u8>,
    payload: Vec<u8>,
}

impl Expected {
    fn read(frame: &Value) -> Self {
        let origin = frame.get("origin").map(|origin| Origin {
            peer: PeerId(number(origin, "peer")),
            uid: number(origin, "uid").try_into().unwrap(),
            pid: number(origin, "pid").try_into().unwrap(),
        });
        let mut meta = Metadata::new();
        for entry in frame["meta"].as_array().unwrap() {
            meta.insert(entry[0].as_str().unwrap(), hex(entry[1].as_str().unwrap()))
                .unwrap();
        }
        let names = frame["flags"].as_array().unwrap().iter();
        Self {
            kind: kind(text(frame, "kind")),
            encoding: Encoding(number(frame, "encoding").try_into().unwrap()),
            flags: names.fold(Flags::NONE, |flags, name| {
                flags.with(flag(name.as_str().unwrap()))
            }),
            id: number(frame, "id"),
            aux: number(frame, "aux").try_into().unwrap(),
            attachments: number(frame, "attachments").try_into().unwrap(),
            origin,
            meta,
            key: hex(text(frame, "key_hex")),
            payload: hex(text(frame, "payload_hex")),
        }
    }

    fn check_decoded(&self, name: &str, bytes: &[u8]) {
        let batch = Decoder::new(body_limit(LIMIT))
            .decode(bytes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(batch.len(), 1, "{name}");
        let view = batch.view(0).unwrap();
        assert_eq!(view.header.kind, self.kind, "{name}");
        assert_eq!(view.header.encoding, self.encoding, "{name}");
        let looked_at = Flags::MANDATORY.with(self.flags);
        assert_eq!(view.header.flags.0 & looked_at.0, self.flags.0, "{name}");
        assert_eq!((view.header.id, view.header.aux), (self.id, self.aux), "{name}");
        assert_eq!(view.header.attachments, self.attachments, "{name}");
        assert_eq!(view.origin, self.origin, "{name}");
        assert_eq!(view.meta, self.meta.as_bytes(), "{name}");
        assert_eq!(
            (view.key, view.payload),
            (&self.key[..], &self.payload[..]),
            "{name}"
        );
    }

    fn encode(&self) -> Vec<u8> {
        let mut draft = Draft::new(self.kind, self.id)
            .aux(self.aux)
            .flags(self.flags)
            .key(&self.key)
            .meta(self.meta.as_bytes())
            .payload(self.encoding, &self.payload);
        draft.attachments = self.attachments;
        draft.origin = self.origin;
        draft.to_vec()
    }
}

#[test]
fn every_frame_decodes_to_its_fields_and_encodes_to_its_bytes() {
    let file = vectors();
    for vector in list(&file, "frames") {
        let (name, bytes) = (text(vector, "name"), hex(text(vector, "hex")));
        let expected = Expected::read(&vector["frame"]);
        expected.check_decoded(name, &bytes);
        assert_eq!(expected.encode(), bytes, "{name}");
    }
    for vector in list(&file, "read_only") {
        Expected::read(&vector["frame"]).check_decoded(text(vector, "name"), &hex(text(vector, "hex")));
    }
}

#[test]
fn every_kind_has_a_vector() {
    let file = vectors();
    let seen: Vec<Kind> = list(&file, "frames")
        .iter()
        .map(|v| kind(text(&v["frame"], "kind")))
        .collect();
    let missing: Vec<&Kind> = Kind::ALL.iter().filter(|kind| !seen.contains(kind)).collect();
    assert!(missing.is_empty(), "kinds without a vector: {missing:?}");
}

#[test]
fn optional_unknown_kinds_are_skipped() {
    let pong = Draft::new(Kind::Pong, 6).to_vec();
    for vector in list(&vectors(), "skipped") {
        let bytes = [hex(text(vector, "hex")), pong.clone()].concat();
        let batch = Decoder::new(LIMIT).decode(&bytes).unwrap();
        let kinds: Vec<Kind> = batch.headers().map(|header| header.kind).collect();
        assert_eq!(kinds, [Kind::Pong], "{}", text(vector, "name"));
    }
}

#[test]
fn bad_frames_are_refused_for_the_stated_reason() {
    for vector in list(&vectors(), "refused") {
        let limit = vector
            .get("limit")
            .map_or(LIMIT, |limit| usize::try_from(limit.as_u64().unwrap()).unwrap());
        let name = text(vector, "name");
        let error = Decoder::new(limit)
            .decode(&hex(text(vector, "hex")))
            .expect_err(name);
        let (refusal, about) = match error {
            FrameError::UnknownKind(code) => {
                assert_eq!(u64::from(code), number(vector, "code"), "{name}");
                ("unknown_kind", None)
            }
            FrameError::UnknownFlags(kind, flags) => {
                assert_eq!(u64::from(flags.0), number(vector, "flags"), "{name}");
                ("unknown_flags", Some(kind))
            }
            // An unknown kind has no name to be checked.
            FrameError::TooLarge { kind, .. } => ("too_large", vector.get("kind").map(|_| kind)),
            FrameError::Malformed(kind) => ("malformed", Some(kind)),
            FrameError::Metadata { kind, .. } => ("metadata", Some(kind)),
        };
        assert_eq!(refusal, text(vector, "refusal"), "{name}: {error}");
        assert_eq!(
            about.map(Kind::name),
            vector.get("kind").map(|kind| kind.as_str().unwrap()),
            "{name}: {error}"
        );
    }
    for vector in list(&vectors(), "refused_from_clients") {
        let block = hex(text(vector, "meta_hex"));
        assert!(metadata::check(&block).is_ok(), "{vector}");
        assert!(metadata::check_from_peer(&block).is_err(), "{vector}");
    }
}

#[test]
fn a_frame_that_is_not_complete_is_waited_for() {
    for vector in list(&vectors(), "frames") {
        let bytes = hex(text(vector, "hex"));
        let mut decoder = Decoder::new(LIMIT);
        assert!(
            decoder.decode(&bytes[..bytes.len() - 1]).unwrap().is_empty(),
            "{}",
            text(vector, "name")
        );
        assert_eq!(
            decoder.decode(&bytes[bytes.len() - 1..]).unwrap().len(),
            1,
            "{}",
            text(vector, "name")
        );
    }
}

fn is_true(field: Option<&Value>) -> bool {
    field.is_some_and(|field| field.as_bool().unwrap())
}

#[test]
fn handshake_payloads_have_their_fields() {
    let file = vectors();
    assert_eq!(hex(text(&file, "preface")), PREFACE);
    assert_eq!(number(&file, "protocol"), u64::from(PROTOCOL_VERSION));
    for vector in list(&file, "hello") {
        let payload = hex(text(vector, "payload_hex"));
        let fields = vector["fields"].as_object();
        let expected = fields.map(|fields| Hello {
            name: fields["name"].as_str().unwrap().to_owned(),
            token: fields
                .get("token_hex")
                .map(|token| Token::from_wire(&hex(token.as_str().unwrap())).unwrap()),
            regions: is_true(fields.get("regions")),
            handles: is_true(fields.get("handles")),
        });
        assert_eq!(Hello::decode(&payload), expected, "{vector}");
        if let Some(hello) = expected.filter(|_| vector.get("read_only").is_none()) {
            assert_eq!(hello.encode(), payload, "{vector}");
        }
    }
    for vector in list(&file, "welcome") {
        let payload = hex(text(vector, "payload_hex"));
        let expected = vector["fields"].as_object().map(|_| welcome(&vector["fields"]));
        assert_eq!(Welcome::decode(&payload), expected, "{vector}");
        if let Some(welcome) = expected.filter(|_| vector.get("read_only").is_none()) {
            assert_eq!(welcome.encode(), payload, "{vector}");
        }
    }
    for vector in list(&file, "meet") {
        let payload = hex(text(vector, "payload_hex"));
        let expected = vector["fields"].as_object().map(|_| meet(&vector["fields"]));
        assert_eq!(Meet::decode(&payload), expected, "{vector}");
        if let Some(meet) = expected {
            assert_eq!(meet.encode(), Some(payload), "{vector}");
        }
    }
    for vector in list(&file, "versions") {
        let chosen = vector["chosen"]
            .as_u64()
            .map(|version| u32::try_from(version).unwrap());
        let highest = u32::try_from(number(vector, "highest")).unwrap();
        assert_eq!(
            choose_version(number(vector, "lowest"), highest),
            chosen,
            "{vector}"
        );
    }
}

fn meet(fields: &Value) -> Meet {
    let field = |name: &str| u32::try_from(number(fields, name)).unwrap();
    let protocols = fields["protocols"].as_array().unwrap().iter();
    Meet {
        epoch: Epoch(hex(text(fields, "epoch_hex")).try_into().unwrap()),
        terms: Terms {
            frame_bytes: field("frame_bytes"),
            message_bytes: field("message_bytes"),
            stream_window: field("stream_window"),
            open_calls: field("open_calls"),
            call_window: field("call_window"),
            attachments: field("attachments"),
        },
        name: text(fields, "name").to_owned(),
        token: None,
        protocols: protocols
            .map(|served| Served {
                id: u64::from_le_bytes(hex(text(served, "id")).try_into().unwrap()),
                name: text(served, "name").into(),
            })
            .collect(),
    }
}

fn welcome(fields: &Value) -> Welcome {
    let field = |name: &str| u32::try_from(number(fields, name)).unwrap();
    Welcome {
        epoch: Epoch(hex(text(fields, "epoch_hex")).try_into().unwrap()),
        frame_bytes: field("frame_bytes"),
        message_bytes: field("message_bytes"),
        publish_window: field("publish_window"),
        stream_window: field("stream_window"),
        open_calls: field("open_calls"),
        names: field("names"),
        subscriptions: field("subscriptions"),
        default_deadline_ms: field("default_deadline_ms"),
        max_deadline_ms: field("max_deadline_ms"),
        attachments: field("attachments"),
        ring_bytes: field("ring_bytes"),
        send_window: field("send_window"),
        region_bytes: fields.get("region_bytes").map_or(0, |_| field("region_bytes")),
    }
}

#[test]
fn names_and_patterns_follow_the_document() {
    let file = vectors();
    for vector in list(&file, "names") {
        let name = String::from_utf8(hex(text(vector, "hex")))
            .ok()
            .and_then(|name| ObjectName::new(name).ok());
        assert_eq!(name.is_some(), vector["valid"].as_bool().unwrap(), "{vector}");
    }
    for vector in list(&file, "patterns") {
        let pattern = Pattern::new(text(vector, "pattern"));
        if vector.get("valid").is_some_and(|valid| valid == false) {
            assert!(pattern.is_err(), "{vector}");
            continue;
        }
        let pattern = pattern.unwrap();
        for (field, expected) in [("selects", true), ("not", false)] {
            for name in vector[field].as_array().unwrap() {
                assert_eq!(
                    pattern.matches(name.as_str().unwrap()),
                    expected,
                    "{pattern:?} on {name}"
                );
            }
        }
    }
}

#[test]
fn payloads_and_selectors_of_the_bus_follow_the_document() {
    let file = vectors();
    for vector in list(&file, "join") {
        let payload = hex(text(vector, "payload_hex"));
        let Some(fields) = vector["fields"].as_object() else {
            assert!(Join::decode(&payload).is_err(), "{vector}");
            continue;
        };
        let labels = fields["labels"].as_array().unwrap();
        let join = Join {
            version: u16::try_from(fields["version"].as_u64().unwrap()).unwrap(),
            token: fields["token"].as_str().unwrap().as_bytes(),
            labels: labels.iter().map(|label| label.as_str().unwrap()).collect(),
        };
        assert_eq!(Join::decode(&payload).as_ref(), Ok(&join), "{vector}");
        assert_eq!(join.encode().unwrap(), payload, "{vector}");
    }
    for vector in list(&file, "selectors") {
        let bytes = hex(text(vector, "hex"));
        if vector.get("valid").is_some_and(|valid| valid == false) {
            assert!(Selector::parse(&bytes).is_err(), "{vector}");
            continue;
        }
        let selector = Selector::parse(&bytes).unwrap();
        assert_eq!(selector.mode() as u64, number(vector, "mode"), "{vector}");
        for (field, expected) in [("matches", true), ("not", false)] {
            for labels in vector[field].as_array().unwrap() {
                let labels: Vec<&str> = labels
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|it| it.as_str().unwrap())
                    .collect();
                let matches = selector.matches(|label| labels.contains(&label));
                assert_eq!(matches, expected, "{vector} for {labels:?}");
            }
        }
    }
}

/// The rows of every table of the document: cells without blanks at their ends.
fn table_rows() -> Vec<Vec<&'static str>> {
    include_str!("../docs/protocol.md")
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_tables_of_the_document_agree_with_the_code() {
    let rows = table_rows();
    for kind in Kind::ALL {
        let code = format!("{:02x}", *kind as u8);
        let row = rows.iter().find(|row| row[0] == code && row[1] == kind.name());
        let row = row.unwrap_or_else(|| panic!("no row {code} {} in the table of kinds", kind.name()));
        let names = row[5].split(", ").filter(|name| !name.is_empty());
        let flags = names.fold(Flags::NONE, |flags, name| flags.with(flag(name)));
        assert_eq!(flags, kind.allowed_flags(), "flags of {}", kind.name());
    }
    for code in ErrorCode::ALL {
        let row = rows
            .iter()
            .find(|row| row[0] == code.code().to_string() && row[1] == code.name());
        let row =
            row.unwrap_or_else(|| panic!("no row {} {} in the table of errors", code.code(), code.name()));
        let may_have_run = if code.may_have_run() { "yes" } else { "no" };
        assert!(
            row[2].starts_with(may_have_run),
            "{} may have run: {}",
            code.name(),
            row[2]
        );
    }
    for outcome in Outcome::ALL {
        let code = (*outcome as u8).to_string();
        let found = rows.iter().any(|row| row[0] == code && row[1] == outcome.name());
        assert!(found, "no row {code} {} in the table of outcomes", outcome.name());
    }
    for reason in CloseReason::ALL {
        let found = rows
            .iter()
            .any(|row| row[0] == reason.code().to_string() && row[1] == reason.name());
        assert!(
            found,
            "no row {} {} in the table of reasons",
            reason.code(),
            reason.name()
        );
    }
}

#[test]
fn the_examples_of_the_document_are_the_vectors() {
    // Three blanks separate the bytes of a line from what is said of them.
    let document = include_str!("../docs/protocol.md")
        .lines()
        .map(|line| line.split("   ").next().unwrap());
    let document: String = document
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    for vector in list(&vectors(), "frames") {
        if vector.get("document").is_some() {
            let bytes: String = text(vector, "hex")
                .chars()
                .filter(|c| !c.is_whitespace())
                .collect();
            assert!(
                document.contains(&bytes),
                "{} is not in the document",
                text(vector, "name")
            );
        }
    }
}
