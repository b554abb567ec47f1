//! The messages of ipc-server 0.1.10, as its document shows them.
//!
//! Owns their shapes, and how a document is written so that its readers find its end. What they mean is the codec's.

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// How much its programs read at once, in bytes: what is read in full they take for a part, and wait for the rest.
pub(super) const CHUNK: usize = 4_096;

/// All keys that a document may have; which of them it has tells what it is.
#[derive(Deserialize)]
pub(super) struct Document<'a> {
    #[serde(borrow)]
    pub(super) reg_object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) param: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) response: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) success: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "names")]
    pub(super) list: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    pub(super) event_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) event: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) result: Option<&'a RawValue>,
}

/// Names that a list may have. One more is read, and the others are read over.
pub(super) const NAMES_MAX: usize = 4_096;

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Cow<'de, str>>>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<Cow<'de, str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while names.len() <= NAMES_MAX {
                let Some(Name(name)) = list.next_element()? else {
                    return Ok(names);
                };
                names.push(name);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(names)
        }
    }

    deserializer.deserialize_seq(Names).map(Some)
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value that is `null` is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Serialize)]
pub(super) struct Called<'a> {
    pub(super) object: &'a str,
    pub(super) method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) param: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct Event<'a> {
    pub(super) event: &'a str,
    pub(super) result: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer<'a> {
    Success(&'a str),
    Response(&'a RawValue),
    Error(&'a RawValue),
    List(&'a [Box<str>]),
}

/// What the old server says to a document that is none of its messages.
pub(super) const NO_VARIANT: &str = "data did not match any variant of untagged enum IpcMessage";

/// A document as it is written: never as long as what its reader reads at once, or a multiple.
pub(super) fn document<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    if bytes.len().is_multiple_of(CHUNK) {
        bytes.push(b' ');
    }
    bytes
}
