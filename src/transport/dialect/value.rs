//! Payloads of any encoding as JSON texts.
//!
//! Owns what can be shown to a client that knows JSON only: what its own parser would refuse would take the whole message with it.
//! Called by the gateway.

use crate::message::Encoding;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// How deep a value may be nested. Parsers of old clients stop at 128, of which the message around the value takes some.
const DEPTH_MAX: u8 = 120;

/// A payload as JSON text: JSON as it is, raw text as a string, nothing as `null`.
///
/// # Errors
/// Why JSON cannot say it.
pub(super) fn json(encoding: Encoding, bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    match encoding {
        Encoding::RAW if bytes.is_empty() => Ok("null".into()),
        Encoding::RAW => std::str::from_utf8(bytes)
            .map_err(|_| "the value is bytes that are no text, which JSON cannot say".to_owned())
            .and_then(|text| serde_json::to_string(text).map_err(|error| error.to_string()))
            .map(Cow::Owned),
        Encoding::JSON => {
            let mut text = serde_json::Deserializer::from_slice(bytes);
            Shown(DEPTH_MAX)
                .deserialize(&mut text)
                .and_then(|()| text.end())
                .map_err(|error| format!("the value is marked as JSON and is not: {error}"))?;
            std::str::from_utf8(bytes)
                .map(|text| Cow::Borrowed(text.trim_ascii()))
                .map_err(|error| error.to_string())
        }
        other => Err(format!(
            "the value is in the encoding {}, which JSON cannot say",
            other.name()
        )),
    }
}

/// A JSON text to be written inside another; `null` when it is none.
pub(super) fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap_or(RawValue::NULL)
}

/// Any value that a parser takes which makes numbers and texts of it, at most so deep. Nothing is kept of it.
#[derive(Clone, Copy)]
struct Shown(u8);

impl Shown {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let inner = self.0.checked_sub(1).map(Self);
        inner.ok_or_else(|| E::custom(format_args!("it is nested deeper than {DEPTH_MAX}")))
    }
}

impl<'de> DeserializeSeed<'de> for Shown {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shown {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while values.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while entries.next_key_seed(inner)?.is_some() {
            entries.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_can_say() {
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        let (deepest, deeper) = (deep(120), deep(121));
        for (encoding, bytes, expected) in [
            (Encoding::RAW, &b""[..], Some("null")),
            (Encoding::RAW, b"a\"b\n", Some(r#""a\"b\n""#)),
            (Encoding::RAW, b"\xff", None),
            (
                Encoding::JSON,
                br#" {"b":-1,"a":[1e40,true,null,"\u00e9"]} "#,
                Some(r#"{"b":-1,"a":[1e40,true,null,"\u00e9"]}"#),
            ),
            (Encoding::JSON, b"{}}", None),
            (Encoding::JSON, b"", None),
            (Encoding::JSON, b"1e400", None),
            (Encoding::JSON, br#"{"a":"\ud800"}"#, None),
            (Encoding::JSON, br#"{"\udc00":1}"#, None),
            (Encoding::JSON, b"\"\xff\"", None),
            (Encoding::JSON, &deepest, std::str::from_utf8(&deepest).ok()),
            (Encoding::JSON, &deeper, None),
            (Encoding::POSTCARD, b"\x01", None),
            (Encoding(7), b"1", None),
        ] {
            assert_eq!(
                json(encoding, bytes).ok().as_deref(),
                expected,
                "{encoding:?} {bytes:?}"
            );
        }
    }
}
