//! Payloads of any encoding as JSON texts.
//!
//! Owns what can be shown to a client that knows JSON only. Called by the gateway.

use crate::message::Encoding;
use serde_json::value::RawValue;
use std::borrow::Cow;

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
        Encoding::JSON => serde_json::from_slice::<&RawValue>(bytes)
            .map(|value| Cow::Borrowed(value.get()))
            .map_err(|error| format!("the value is marked as JSON and is not: {error}")),
        other => Err(format!(
            "the value is in the encoding {}, which JSON cannot say",
            other.name()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_can_say() {
        for (encoding, bytes, expected) in [
            (Encoding::RAW, &b""[..], Some("null")),
            (Encoding::RAW, b"a\"b\n", Some(r#""a\"b\n""#)),
            (Encoding::RAW, b"\xff", None),
            (
                Encoding::JSON,
                br#" {"b":1,"a":[1e400]} "#,
                Some(r#"{"b":1,"a":[1e400]}"#),
            ),
            (Encoding::JSON, b"{}}", None),
            (Encoding::JSON, b"", None),
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
