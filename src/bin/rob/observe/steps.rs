//! What can be done again of a recording.
//!
//! Owns which record becomes a publish or a call, why another cannot, and how the call ended when it was recorded. It performs nothing
//! and reads no clock. Called by `replay`.

use super::recording::{Entry, Mark};
use super::tap::Record;
use actix_ipc::message::{Encoding, Metadata, Payload};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Names that begin so are the broker's.
const RESERVED: &str = "sys.";

/// Something to do again.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// When it was done, in microseconds since 1970.
    pub(crate) at_us: u64,
    /// The line of the recording.
    pub(crate) line: u64,
    /// The object.
    pub(crate) object: String,
    /// The method or topic.
    pub(crate) member: String,
    /// The value.
    pub(crate) payload: Payload,
    /// What goes beside it.
    pub(crate) metadata: Metadata,
    /// What is done with it.
    pub(crate) action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Publishes an event.
    Publish {
        /// As its topic's last value.
        retain: bool,
        /// How it ended then.
        recorded: Outcome,
    },
    /// Calls and waits for the answer.
    Call {
        /// As many answers as there are are taken, and not only one.
        stream: bool,
        /// How long it might take then.
        deadline: Option<Duration>,
        /// How it ended then, where the recording has that.
        recorded: Option<Outcome>,
    },
    /// Calls without an answer.
    OneWay,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a value, or with all items of a stream.
    Answered,
    /// With an error of this code.
    Failed(String),
}

impl Outcome {
    /// In a word: `ok` or the name of the code.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Answered => "ok",
            Self::Failed(code) => code,
        }
    }
}

/// How the calls of a recording ended: known after it was read through once.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    /// Brokers before: each counts its tickets from the beginning.
    life: u64,
    ended: HashMap<(u64, u64), Outcome>,
}

impl Outcomes {
    /// Learns from the next line, on the first way through.
    pub(crate) fn learn(&mut self, entry: &Entry) {
        self.pass(entry);
        if let Entry::Record(record) = entry
            && record.kind == "reply"
            && record.last != Some(false)
            && let Some(ticket) = record.ticket
        {
            self.ended.insert((self.life, ticket), outcome(record));
        }
    }

    /// Begins again at the first line.
    pub(crate) fn rewind(&mut self) {
        self.life = 0;
    }

    /// Notes a line on any way through.
    pub(crate) fn pass(&mut self, entry: &Entry) {
        if let Entry::Mark(Mark::Interrupted {
            same_broker: false, ..
        }) = entry
        {
            self.life = self.life.saturating_add(1);
        }
    }

    fn of(&self, ticket: Option<u64>) -> Option<Outcome> {
        self.ended.get(&(self.life, ticket?)).cloned()
    }
}

/// Why a call or an event is not done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Skipped {
    /// It was to the broker itself.
    Broker,
    /// The recording does not have its payload.
    NoPayload,
    /// The recording has only a part of its payload.
    Cut,
    /// Items followed it, which the recording does not have.
    Items,
    /// Descriptors were attached to it.
    Attachments,
    /// The recording has only a part of what went beside its payload.
    Metadata,
    /// Its encoding has no name and no number.
    Encoding,
    /// Its payload is not what the line says. A recording with one is refused before anything is done.
    Damaged,
}

impl Skipped {
    /// For people.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Broker => "to the broker itself",
            Self::NoPayload => "recorded without their payloads",
            Self::Cut => "recorded with a part of their payloads",
            Self::Items => "that were followed by items, which a recording does not have",
            Self::Attachments => "with descriptors attached, which a recording does not have",
            Self::Metadata => "recorded with a part of their metadata",
            Self::Encoding => "of an unknown encoding",
            Self::Damaged => "with a payload that cannot be read",
        }
    }

    /// For programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::NoPayload => "no_payload",
            Self::Cut => "cut",
            Self::Items => "items",
            Self::Attachments => "attachments",
            Self::Metadata => "metadata",
            Self::Encoding => "encoding",
            Self::Damaged => "damaged",
        }
    }
}

/// How many were skipped, by the reason.
pub(crate) type SkippedCounts = BTreeMap<Skipped, u64>;

/// What the record becomes; nothing for records that are no call and no event.
///
/// # Errors
/// Why it cannot be done again.
pub(crate) fn step(record: &Record, line: u64, outcomes: &Outcomes) -> Result<Option<Step>, Skipped> {
    let action = match record.kind.as_str() {
        "event" => Action::Publish {
            retain: record.retain,
            recorded: outcome(record),
        },
        "call" if record.one_way => Action::OneWay,
        "call" => Action::Call {
            stream: record.stream,
            deadline: record.deadline_ms.map(Duration::from_millis),
            recorded: outcomes.of(record.ticket),
        },
        _ => return Ok(None),
    };
    let object = record.object.clone().unwrap_or_default();
    if object.starts_with(RESERVED) {
        return Err(Skipped::Broker);
    }
    whole(record)?;
    Ok(Some(Step {
        at_us: record.at_us,
        line,
        object,
        member: record.member.clone().unwrap_or_default(),
        payload: payload(record)?,
        metadata: metadata(record),
        action,
    }))
}

/// Whether the record has everything that is to be sent once more.
fn whole(record: &Record) -> Result<(), Skipped> {
    match record {
        Record { items: true, .. } => Err(Skipped::Items),
        Record { attachments: 1.., .. } => Err(Skipped::Attachments),
        Record {
            meta_left_out: 1.., ..
        } => Err(Skipped::Metadata),
        _ => Ok(()),
    }
}

/// How it ended, by its record.
fn outcome(record: &Record) -> Outcome {
    record.error.clone().map_or(Outcome::Answered, Outcome::Failed)
}

/// Whether the record has a payload that is not what the line says of it.
pub(crate) fn is_damaged(record: &Record) -> bool {
    matches!(record.kind.as_str(), "call" | "event") && matches!(payload(record), Err(Skipped::Damaged))
}

fn payload(record: &Record) -> Result<Payload, Skipped> {
    if record.truncated || record.pieces {
        return Err(Skipped::Cut);
    }
    let bytes = match (&record.payload, &record.payload_hex) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(hex)) => unhex(hex).ok_or(Skipped::Damaged)?,
        (None, None) if record.bytes == 0 => Vec::new(),
        (None, None) => return Err(Skipped::NoPayload),
    };
    if bytes.len() as u64 != record.bytes {
        return Err(Skipped::Damaged);
    }
    let encoding = encoding(record.encoding.as_ref()).ok_or(Skipped::Encoding)?;
    Ok(Payload {
        encoding,
        bytes: bytes.into(),
    })
}

/// By its name, or by its number where it has no name.
fn encoding(value: Option<&Value>) -> Option<Encoding> {
    let name = match value {
        None => return Some(Encoding::RAW),
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
    };
    let named = [
        Encoding::RAW,
        Encoding::JSON,
        Encoding::POSTCARD,
        Encoding::PROTOCOL,
    ];
    named
        .into_iter()
        .find(|encoding| encoding.name().eq_ignore_ascii_case(&name))
        .or_else(|| name.parse().ok().map(Encoding))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect()
}

/// What peers may send beside a payload; the broker's own entries are made anew.
fn metadata(record: &Record) -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in record.meta.iter().filter(|(key, _)| !key.starts_with(RESERVED)) {
        // What does not fit was not sent like that either.
        let _ = value.as_str().map(|value| metadata.insert(key, value));
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(value: Value) -> Record {
        serde_json::from_value(value).unwrap()
    }

    fn of(value: Value) -> Result<Option<Step>, Skipped> {
        step(&record(value), 2, &Outcomes::default())
    }

    #[test]
    fn payloads_come_back_as_they_were() {
        let table = [
            (
                json!({"bytes": 3, "payload": "\"a\"", "encoding": "json"}),
                Ok((Encoding::JSON, &b"\"a\""[..])),
            ),
            (
                json!({"bytes": 3, "payload": "\"a\"", "encoding": "JSON"}),
                Ok((Encoding::JSON, b"\"a\"")),
            ),
            (
                json!({"bytes": 2, "payload_hex": "0aFF", "encoding": "postcard"}),
                Ok((Encoding::POSTCARD, b"\x0a\xff")),
            ),
            (
                json!({"bytes": 1, "payload_hex": "00", "encoding": "200"}),
                Ok((Encoding(200), b"\0")),
            ),
            (json!({"bytes": 0}), Ok((Encoding::RAW, b""))),
            (json!({"bytes": 5}), Err(Skipped::NoPayload)),
            (
                json!({"bytes": 5, "payload": "ab", "truncated": true}),
                Err(Skipped::Cut),
            ),
            (
                json!({"bytes": 2, "payload": "ab", "pieces": true}),
                Err(Skipped::Cut),
            ),
            (json!({"bytes": 3, "payload": "ab"}), Err(Skipped::Damaged)),
            (json!({"bytes": 1, "payload_hex": "0"}), Err(Skipped::Damaged)),
            (json!({"bytes": 1, "payload_hex": "zz"}), Err(Skipped::Damaged)),
            (
                json!({"bytes": 1, "payload": "a", "encoding": "unknown"}),
                Err(Skipped::Encoding),
            ),
        ];
        for (mut value, expected) in table {
            value["kind"] = json!("event");
            value["object"] = json!("o");
            let found = of(value.clone()).map(|step| step.unwrap().payload);
            let expected = expected.map(|(encoding, bytes)| Payload {
                encoding,
                bytes: bytes.to_vec().into(),
            });
            assert_eq!(
                found
                    .as_ref()
                    .map(|payload| (payload.encoding, &payload.bytes[..])),
                expected
                    .as_ref()
                    .map(|payload| (payload.encoding, &payload.bytes[..])),
                "{value}"
            );
        }
    }

    #[test]
    fn records_become_what_they_were() {
        let retained = of(json!({"kind": "event", "object": "o", "member": "t", "retain": true}))
            .unwrap()
            .unwrap();
        let publish = Action::Publish {
            retain: true,
            recorded: Outcome::Answered,
        };
        assert_eq!(retained.action, publish);
        let denied = of(json!({"kind": "event", "object": "o", "member": "t", "error": "Denied"}));
        let publish = Action::Publish {
            retain: false,
            recorded: Outcome::Failed("Denied".into()),
        };
        assert_eq!(denied.unwrap().unwrap().action, publish);
        let streamed =
            of(json!({"kind": "call", "object": "o", "member": "m", "stream": true, "deadline_ms": 250}));
        let call = Action::Call {
            stream: true,
            deadline: Some(Duration::from_millis(250)),
            recorded: None,
        };
        assert_eq!(streamed.unwrap().unwrap().action, call);
        let one_way = of(
            json!({"kind": "call", "object": "o", "member": "m", "one_way": true, "meta": {"a": "b", "sys.name": "x", "n": 1}}),
        );
        let one_way = one_way.unwrap().unwrap();
        assert_eq!(one_way.action, Action::OneWay);
        assert_eq!(one_way.metadata.iter().collect::<Vec<_>>(), [("a", &b"b"[..])]);
        assert_eq!(
            of(json!({"kind": "call", "object": "sys.broker"})).unwrap_err(),
            Skipped::Broker
        );
        for kind in ["reply", "presence", "later"] {
            assert!(of(json!({"kind": kind})).unwrap().is_none());
        }
    }

    #[test]
    fn what_the_recording_lacks_is_not_done_by_half() {
        let table = [
            (json!({"items": true}), Skipped::Items),
            (json!({"attachments": 2}), Skipped::Attachments),
            (json!({"meta_left_out": 1, "meta": {"a": "b"}}), Skipped::Metadata),
        ];
        for (mut value, expected) in table {
            for kind in ["call", "event"] {
                value["kind"] = json!(kind);
                value["object"] = json!("o");
                assert_eq!(of(value.clone()).unwrap_err(), expected, "{value}");
            }
        }
    }

    #[test]
    fn outcomes_belong_to_their_calls_also_of_another_broker() {
        let entry = |value| Entry::Record(Box::new(record(value)));
        let file = [
            entry(json!({"kind": "call", "ticket": 1, "object": "o"})),
            entry(json!({"kind": "reply", "ticket": 1, "last": false})),
            entry(json!({"kind": "reply", "ticket": 1, "last": true, "error": "Handler"})),
            Entry::Mark(Mark::Interrupted {
                at_us: 0,
                reason: String::new(),
                same_broker: false,
            }),
            entry(json!({"kind": "call", "ticket": 1, "object": "o"})),
            entry(json!({"kind": "reply", "ticket": 1, "last": true})),
            entry(json!({"kind": "call", "ticket": 2, "object": "o"})),
        ];
        let mut outcomes = Outcomes::default();
        file.iter().for_each(|entry| outcomes.learn(entry));
        outcomes.rewind();
        let mut found = Vec::new();
        for entry in &file {
            outcomes.pass(entry);
            if let Entry::Record(record) = entry
                && let Some(Step {
                    action: Action::Call { recorded, .. },
                    ..
                }) = step(record, 1, &outcomes).unwrap()
            {
                found.push(recorded);
            }
        }
        assert_eq!(
            found,
            [
                Some(Outcome::Failed("Handler".into())),
                Some(Outcome::Answered),
                None
            ]
        );
    }
}
