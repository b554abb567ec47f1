//! How a payload is encoded, behind serde.
//!
//! Owns the three encodings that this library reads and writes. The broker forwards payloads unread, in any
//! encoding; only the ends call this module.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fmt;

/// The declared encoding of a payload: a byte of the header. Values above 3 are the peers' own business.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Encoding(pub u8);

impl Encoding {
    /// Bytes without a declared meaning.
    pub const RAW: Self = Self(0);
    /// JSON text, UTF-8.
    pub const JSON: Self = Self(1);
    /// The postcard format of serde data.
    pub const POSTCARD: Self = Self(2);
    /// A command of a typed protocol: the number of the protocol, 8 bytes little-endian, and the request in postcard behind it.
    pub const PROTOCOL: Self = Self(3);

    /// The encoding's name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RAW => "raw",
            Self::JSON => "JSON",
            Self::POSTCARD => "postcard",
            Self::PROTOCOL => "protocol",
            _ => "unknown",
        }
    }

    /// Encodes a value. In [`Encoding::RAW`] a value must serialise as a string or as bytes.
    ///
    /// # Errors
    /// [`PayloadError::Encode`] when the value cannot be written in this encoding.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, PayloadError> {
        let failed = |reason: String| PayloadError::Encode {
            encoding: self,
            reason,
        };
        match self {
            Self::JSON => serde_json::to_vec(value).map_err(|error| failed(error.to_string())),
            Self::POSTCARD => postcard::to_stdvec(value).map_err(|error| failed(error.to_string())),
            Self::RAW => match serde_json::to_value(value) {
                Ok(serde_json::Value::String(text)) => Ok(text.into_bytes()),
                Ok(serde_json::Value::Array(items)) => items
                    .iter()
                    .map(|item| item.as_u64().and_then(|n| u8::try_from(n).ok()))
                    .collect::<Option<Vec<u8>>>()
                    .ok_or_else(|| failed("only strings and bytes are raw".into())),
                _ => Err(failed("only strings and bytes are raw".into())),
            },
            _ => Err(failed("this library does not know the encoding".into())),
        }
    }

    /// Decodes a value.
    ///
    /// # Errors
    /// [`PayloadError::Decode`] when the bytes are not such a value in this encoding.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, PayloadError> {
        let failed = |reason: String| PayloadError::Decode {
            encoding: self,
            reason,
        };
        match self {
            Self::JSON => serde_json::from_slice(bytes).map_err(|error| failed(error.to_string())),
            Self::POSTCARD => match postcard::take_from_bytes(bytes) {
                Ok((value, [])) => Ok(value),
                Ok((_, rest)) => Err(failed(format!("{} bytes too many", rest.len()))),
                Err(error) => Err(failed(error.to_string())),
            },
            Self::RAW => {
                use serde::de::value::{BytesDeserializer, Error};
                T::deserialize(BytesDeserializer::<Error>::new(bytes))
                    .map_err(|error| failed(error.to_string()))
            }
            _ => Err(failed("this library does not know the encoding".into())),
        }
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// Why a value and bytes do not match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The value cannot be written.
    #[error("the value cannot be encoded as {}: {reason}", .encoding.name())]
    Encode {
        /// The encoding asked for.
        encoding: Encoding,
        /// What the serialiser said.
        reason: String,
    },
    /// The bytes cannot be read.
    #[error("the {} payload cannot be decoded: {reason}", .encoding.name())]
    Decode {
        /// The declared encoding.
        encoding: Encoding,
        /// What the deserialiser said.
        reason: String,
    },
}

impl From<PayloadError> for std::io::Error {
    fn from(error: PayloadError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Bytes with their declared encoding. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// How the bytes are to be read.
    pub encoding: Encoding,
    /// The bytes.
    pub bytes: Bytes,
}

impl Payload {
    /// Bytes without a declared meaning.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self {
            encoding: Encoding::RAW,
            bytes: bytes.into(),
        }
    }

    /// A value in JSON.
    ///
    /// # Errors
    /// [`PayloadError::Encode`] when the value has no JSON form.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        Self::encode(Encoding::JSON, value)
    }

    /// A value in the given encoding.
    ///
    /// # Errors
    /// [`PayloadError::Encode`] when the value has no such form.
    pub fn encode<T: Serialize + ?Sized>(encoding: Encoding, value: &T) -> Result<Self, PayloadError> {
        let bytes = match encoding {
            Encoding::POSTCARD => written(&[], value)?,
            other => other.encode(value)?.into(),
        };
        Ok(Self { encoding, bytes })
    }

    /// A command of a typed protocol: its number, and the value in postcard.
    ///
    /// # Errors
    /// [`PayloadError::Encode`] when the value has no such form.
    #[cfg(feature = "protocol")]
    pub(crate) fn command<T: Serialize + ?Sized>(protocol: u64, value: &T) -> Result<Self, PayloadError> {
        Ok(Self {
            encoding: Encoding::PROTOCOL,
            bytes: written(&protocol.to_le_bytes(), value)?,
        })
    }

    /// The value that the bytes stand for.
    ///
    /// # Errors
    /// [`PayloadError::Decode`] when they do not.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        self.encoding.decode(&self.bytes)
    }
}

/// What the buffer of a thread keeps between two values, in bytes.
const KEPT_MAX: usize = 64 * 1024;

thread_local! {
    /// Values are written here first, so that each asks for memory once, and for as much as it needs.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A value in postcard behind `front`, in memory of its own size.
fn written<T: Serialize + ?Sized>(front: &[u8], value: &T) -> Result<Bytes, PayloadError> {
    // While it is away, a value that writes another one in its turn finds an empty buffer.
    let mut buffer = BUFFER.take();
    buffer.clear();
    buffer.extend_from_slice(front);
    let buffer = postcard::to_extend(value, buffer).map_err(|error| PayloadError::Encode {
        encoding: Encoding::POSTCARD,
        reason: error.to_string(),
    })?;
    if buffer.capacity() > KEPT_MAX {
        return Ok(buffer.into());
    }
    let bytes = Bytes::copy_from_slice(&buffer);
    BUFFER.set(buffer);
    Ok(bytes)
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.encoding, std::str::from_utf8(&self.bytes)) {
            (Encoding::JSON, Ok(text)) => write!(f, "JSON {text}"),
            _ => write!(f, "{} {} bytes", self.encoding.name(), self.bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postcard_is_the_same_through_the_buffer_of_the_thread() {
        for length in [0, 1, 3, 200, KEPT_MAX, KEPT_MAX + 1, 3] {
            let text = "x".repeat(length);
            let plain = Encoding::POSTCARD.encode(&text).unwrap();
            let payload = Payload::encode(Encoding::POSTCARD, &text).unwrap();
            assert_eq!(payload.bytes, plain, "{length}");
            assert_eq!(written(&[7; 8], &text).unwrap(), [&[7; 8][..], &plain].concat());
            assert!(BUFFER.take().capacity() <= KEPT_MAX);
        }
    }

    #[test]
    fn values_survive_each_encoding() {
        for encoding in [Encoding::JSON, Encoding::POSTCARD] {
            let payload = Payload::encode(encoding, &(7_u32, "x".to_owned())).unwrap();
            assert_eq!(
                payload.decode::<(u32, String)>().unwrap(),
                (7, "x".to_owned()),
                "{encoding:?}"
            );
        }
        let raw = Payload::encode(Encoding::RAW, "text").unwrap();
        assert_eq!(
            (&raw.bytes[..], raw.decode::<String>().unwrap()),
            (&b"text"[..], "text".to_owned())
        );
        assert!(Payload::encode(Encoding::RAW, &7).is_err());
        assert!(Payload::raw(&b"\xff"[..]).decode::<String>().is_err());
        assert!(Encoding(9).decode::<u8>(b"1").is_err());
        for encoding in [Encoding::JSON, Encoding::POSTCARD] {
            let mut longer = encoding.encode(&7_u8).unwrap();
            longer.push(b'1' - 32);
            assert!(
                encoding.decode::<u8>(&longer).is_err(),
                "{encoding:?} takes no more than the value"
            );
        }
    }
}
