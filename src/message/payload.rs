//! How a payload is encoded, behind serde.
//!
//! Owns the three encodings that this library reads and writes. The broker forwards payloads unread, in any
//! encoding; only the ends call this module.

use bytes::Bytes;
use postcard::ser_flavors::Flavor;
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
        // JSON grows byte by byte.
        let mut out = Vec::with_capacity(if self == Self::JSON { 128 } else { 0 });
        self.write(value, &mut out)?;
        Ok(out)
    }

    /// Appends a value, as [`encode`](Self::encode) makes it; nothing of it when it cannot be written.
    pub(crate) fn write<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), PayloadError> {
        let from = out.len();
        let written = match self {
            Self::JSON => serde_json::to_writer(&mut *out, value).map_err(|error| error.to_string()),
            Self::POSTCARD => {
                postcard::serialize_with_flavor(value, Append(out)).map_err(|error| error.to_string())
            }
            Self::RAW => match raw(value) {
                Some(bytes) => {
                    out.extend_from_slice(&bytes);
                    Ok(())
                }
                None => Err("only strings and bytes are raw".to_owned()),
            },
            _ => Err("this library does not know the encoding".to_owned()),
        };
        written.map_err(|reason| {
            out.truncate(from);
            PayloadError::Encode {
                encoding: self,
                reason,
            }
        })
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

/// The bytes of a string, or of a list of bytes.
fn raw<T: Serialize + ?Sized>(value: &T) -> Option<Vec<u8>> {
    match serde_json::to_value(value).ok()? {
        serde_json::Value::String(text) => Some(text.into_bytes()),
        serde_json::Value::Array(items) => items
            .iter()
            .map(|item| item.as_u64().and_then(|n| u8::try_from(n).ok()))
            .collect(),
        _ => None,
    }
}

/// What postcard writes goes to the end of a buffer that has other things in it.
pub(crate) struct Append<'a>(pub(crate) &'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
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
            Encoding::POSTCARD => written(value)?,
            other => other.encode(value)?.into(),
        };
        Ok(Self { encoding, bytes })
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

/// A value in postcard, in memory of its own size.
fn written<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, PayloadError> {
    // While it is away, a value that writes another one in its turn finds an empty buffer.
    let mut buffer = BUFFER.take();
    buffer.clear();
    Encoding::POSTCARD.write(value, &mut buffer)?;
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
