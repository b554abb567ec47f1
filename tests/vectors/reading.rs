//! Reads `docs/vectors.json`: its lists and their fields, and names of kinds and flags as the document writes them.

use actix_ipc::message::{Flags, Kind};
use serde_json::Value;

pub fn vectors() -> Value {
    serde_json::from_str(include_str!("../../docs/vectors.json")).unwrap()
}

pub fn list<'a>(file: &'a Value, section: &str) -> &'a [Value] {
    let list = file[section].as_array().unwrap();
    assert!(!list.is_empty(), "{section} is empty");
    list
}

pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field:?} in {value}"))
}

pub fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {field:?} in {value}"))
}

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(
        digits.len(),
        text.chars().filter(|c| !c.is_whitespace()).count(),
        "not hex: {text}"
    );
    assert_eq!(digits.len() % 2, 0, "half a byte: {text}");
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

pub fn kind(name: &str) -> Kind {
    *Kind::ALL
        .iter()
        .find(|kind| kind.name() == name)
        .unwrap_or_else(|| panic!("no kind {name:?}"))
}

pub fn flag(name: &str) -> Flags {
    match name {
        "META" => Flags::META,
        "ORIGIN" => Flags::ORIGIN,
        "CONTINUED" => Flags::CONTINUED,
        "MORE" => Flags::MORE,
        "NO_REPLY" => Flags::NO_REPLY,
        "WAIT" => Flags::WAIT,
        "STREAM" => Flags::STREAM,
        "ITEMS" => Flags::ITEMS,
        "MAY_HAVE_RUN" => Flags::MAY_HAVE_RUN,
        "QUEUE" => Flags::QUEUE,
        "REPLACE" => Flags::REPLACE,
        "ALLOW_REPLACE" => Flags::ALLOW_REPLACE,
        "WORKER_GROUP" => Flags::WORKER_GROUP,
        "PATTERN" => Flags::PATTERN,
        "NO_LOCAL" => Flags::NO_LOCAL,
        "NO_RETAINED" => Flags::NO_RETAINED,
        "ACK" => Flags::ACK,
        "RETAIN" => Flags::RETAIN,
        "RETAINED" => Flags::RETAINED,
        "ABORT" => Flags::ABORT,
        "SHARE" => Flags::SHARE,
        "REGION" => Flags::REGION,
        "OF_REPLY" => Flags::OF_REPLY,
        "OFFER" => Flags::OFFER,
        other => panic!("no flag {other:?}"),
    }
}
