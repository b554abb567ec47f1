//! What a JSON message is whose end has not come: its first keys, as far as they are there.
//!
//! Owns the reading of such a beginning, for a message of which nothing more is to be kept. Pure; called by the codecs.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The keys of a beginning in their order, with the texts behind them that are whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Begun<'a>(Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>);

/// So many keys are looked at: no message has more, with those of what it carries.
const KEYS_MAX: usize = 16;

impl<'a> Begun<'a> {
    /// What `bytes` begin; keys are looked at so many levels deep.
    pub(super) fn of(bytes: &'a [u8], levels: u8) -> Self {
        let mut begun = Self::default();
        let mut text = serde_json::Deserializer::from_slice(bytes);
        // It ends somewhere in the middle; what was there counts.
        let _ = Keys(&mut begun, levels).deserialize(&mut text);
        begun
    }

    /// Whether this key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// The text behind this key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.and_then(|(_, text)| text.as_deref())
    }
}

/// A text, without copying one that has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl<'de> Visitor<'de> for Whole {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(text.into())
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text.to_owned().into())
            }
        }

        deserializer.deserialize_str(Whole).map(Text)
    }
}

/// Any value: the keys of a map, and the text that stands alone.
struct Keys<'b, 'a>(&'b mut Begun<'a>, u8);

impl<'de: 'a, 'a> DeserializeSeed<'de> for Keys<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Keys<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        if let Some((_, last)) = self.0.0.last_mut() {
            *last = Some(text.into());
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if let Some((_, last)) = self.0.0.last_mut() {
            *last = Some(text.to_owned().into());
        }
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            let inner = self.1.checked_sub(1).filter(|_| self.0.0.len() < KEYS_MAX);
            let Some(levels) = inner else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            self.0.0.push((key, None));
            map.next_value_seed(Keys(&mut *self.0, levels))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_is_known_however_it_is_cut() {
        let whole =
            r#"{"Call":{"call_id":"c\n1","object_name":"o","args":{"call_id":"other","x":[1,{"y":2}]}}}"#;
        let id_ends = whole.find(r#"","object"#).unwrap() + 1;
        for cut in 0..=whole.len() {
            let begun = Begun::of(&whole.as_bytes()[..cut], 2);
            assert_eq!(begun.has("Call"), cut >= whole.find(':').unwrap(), "{cut}");
            assert_eq!(begun.text("call_id"), (cut >= id_ends).then_some("c\n1"), "{cut}");
            assert!(!begun.has("y"));
        }
        let bare = Begun::of(br#"{"response":{"error":[1,2"#, 1);
        assert!(bare.has("response") && bare.text("response").is_none() && !bare.has("error"));
        assert_eq!(Begun::of(b"[1,", 2), Begun::default());
        assert_eq!(Begun::of(b"\x00{", 2), Begun::default());
    }
}
