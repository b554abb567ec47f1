//! Which types can be messages, and how they become bytes.
//!
//! Owns the two traits, their implementations for the types of the standard library, and the encoding: postcard, written straight into
//! the bytes of the frame. It refuses to know selectors and endpoints. Called by `endpoint` and `receive`, and by the code that
//! `#[derive(MessageBox)]` makes.

use crate::message::payload::Append;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A UUID in its sixteen bytes, in the order in which it is written.
pub type Uuid = [u8; 16];

/// A type that both ends of a message know by its UUID. Derive it: [`derive(TypeUuid)`](macro@crate::bus::TypeUuid).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no UUID by which the receivers of a message know its type",
    note = "derive it: #[derive(actix_ipc::bus::TypeUuid)] and #[uuid = \"…\"], with what `uuidgen` prints"
)]
pub trait TypeUuid {
    /// The UUID: a new one for each type, and for each change that older programs could not read.
    const UUID: Uuid;
}

/// What an endpoint sends or receives: one message type, or an enum of several
/// ([`derive(MessageBox)`](macro@crate::bus::MessageBox)).
///
/// A type that has a UUID and implements serde's `Serialize` and `Deserialize` is a box of itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a message nor a box of messages",
    note = "a message type derives TypeUuid, serde::Serialize and serde::Deserialize",
    note = "an enum with one message type in each variant derives MessageBox"
)]
pub trait MessageBox: Sized + Send + 'static {
    /// Whether messages of this type can be in the box. Others are skipped by a receiver, and counted.
    fn accepts(uuid: &Uuid) -> bool;

    /// The type of the message that is in the box.
    fn uuid(&self) -> Uuid;

    /// Appends the message.
    ///
    /// # Errors
    /// [`CodecError::Encode`] when it has no such form. What was appended by then is of no use.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a message of the type.
    ///
    /// # Errors
    /// [`CodecError::Decode`] when the bytes are none, [`CodecError::Unknown`] when the box does not accept the type.
    fn decode(uuid: &Uuid, body: &[u8]) -> Result<Self, CodecError>;
}

/// Why a message and bytes do not match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The message cannot be written; the sender's type must change.
    #[error("the message cannot be encoded: {0}")]
    Encode(String),
    /// The bytes are no such message; sender and receiver use one UUID for different types.
    #[error("the message cannot be decoded: {0}; is its type the same at both ends?")]
    Decode(String),
    /// The box does not hold messages of this type.
    #[error("no message of the type {} is expected here", Hyphenated(.0))]
    Unknown(Uuid),
}

impl CodecError {
    /// The error for a type that a box does not hold.
    #[must_use]
    pub const fn unknown(uuid: &Uuid) -> Self {
        Self::Unknown(*uuid)
    }
}

/// A UUID as people write it.
struct Hyphenated<'a>(&'a Uuid);

impl std::fmt::Display for Hyphenated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// Whether no two are the same: asked while an enum of messages is compiled.
#[doc(hidden)]
#[must_use]
pub const fn are_distinct(uuids: &[Uuid]) -> bool {
    let mut rest = uuids;
    while let Some((first, others)) = rest.split_first() {
        let first = u128::from_ne_bytes(*first);
        let mut behind = others;
        while let Some((other, more)) = behind.split_first() {
            if first == u128::from_ne_bytes(*other) {
                return false;
            }
            behind = more;
        }
        rest = others;
    }
    true
}

impl<T: TypeUuid + Serialize + DeserializeOwned + Send + 'static> MessageBox for T {
    #[inline]
    fn accepts(uuid: &Uuid) -> bool {
        *uuid == T::UUID
    }

    #[inline]
    fn uuid(&self) -> Uuid {
        T::UUID
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        postcard::serialize_with_flavor(self, Append(out))
            .map_err(|error| CodecError::Encode(error.to_string()))
    }

    #[inline]
    fn decode(uuid: &Uuid, body: &[u8]) -> Result<Self, CodecError> {
        if *uuid != T::UUID {
            return Err(CodecError::unknown(uuid));
        }
        let (message, rest) =
            postcard::take_from_bytes(body).map_err(|error| CodecError::Decode(error.to_string()))?;
        match rest.len() {
            0 => Ok(message),
            left => Err(CodecError::Decode(format!("{left} bytes follow it"))),
        }
    }
}

macro_rules! uuids {
    ($($type:ty = $uuid:literal;)*) => {
        $(impl TypeUuid for $type {
            const UUID: Uuid = u128::to_be_bytes($uuid);
        })*

        #[cfg(test)]
        const STANDARD: &[Uuid] = &[$(<$type>::UUID),*];
    };
}

uuids! {
    () = 0xd976d140deea478cb1f104f5c710fc14;
    bool = 0x62214360506543419387f5c560e97975;
    u8 = 0xa2162941133541d9b00014d0906a2b9f;
    u16 = 0x4d57d3bb337e4833a0f527539bdbdb4f;
    u32 = 0x2eacad64c6fe49c98a61b1871def5fb1;
    u64 = 0xab395ccce5474b3c88eef27d78fa2fac;
    u128 = 0x8e61fdf61d8c4f16a4e987da0a173e14;
    i8 = 0x266e2bc5711d4a4aace4e1cf25f1372b;
    i16 = 0xc0f0efaeb6ad4b1782943a736ebb5a1b;
    i32 = 0x6cb04c0cf8074aa5b2b3ce43a22e03e4;
    i64 = 0x23c10ea95f934422b9977cecf0f62ece;
    i128 = 0xe32e33e6095644a8824dd223d9d4d03a;
    f32 = 0xd284035e8bed4cab87798679bdd7e39a;
    f64 = 0xf85007c1757f48219b8ab69b8171af36;
    char = 0x53ffcd65b2c447b5a699ed48ec355367;
    String = 0xef6ade9fd4504d50ac02b106550b3264;
    Vec<u8> = 0x9a5a0af9aaba468ab8ca3932f00a7387;
    Vec<String> = 0x51885d5653e74a8dbfc68daeded32da0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_types_have_the_same_uuid() {
        assert!(are_distinct(STANDARD) && are_distinct(&[]));
        assert!(!are_distinct(&[[1; 16], [2; 16], [1; 16]]));
    }

    #[test]
    fn a_message_is_read_as_what_it_was_and_as_nothing_else() {
        let mut bytes = b"before".to_vec();
        let text = "hello".to_owned();
        MessageBox::encode(&text, &mut bytes).unwrap();
        let body = &bytes[6..];
        assert_eq!(String::decode(&String::UUID, body).as_ref(), Ok(&text));
        assert!(String::accepts(&text.uuid()) && !String::accepts(&i32::UUID));
        assert!(matches!(
            String::decode(&i32::UUID, body),
            Err(CodecError::Unknown(_))
        ));
        for wrong in [&body[..3], &[body, b"!"].concat(), &[2, 0xff, 0xfe]] {
            let error = String::decode(&String::UUID, wrong).unwrap_err();
            assert!(error.to_string().contains("the same at both ends"), "{error}");
        }
    }

    #[test]
    fn a_uuid_is_shown_as_people_write_it() {
        let text = CodecError::unknown(&[0xab; 16]).to_string();
        assert!(text.contains("abababab-abab-abab-abab-abababababab"), "{text}");
    }
}
