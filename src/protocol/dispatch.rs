//! From a call to the code that answers it.
//!
//! Owns what a call says of its protocol and command, and the errors of those who are not known. The receivers that the macros make
//! implement [`Dispatch`]; the client library's serving side calls it.

use super::info::ProtocolInfo;
use crate::client::{CallContext, HandlerError, IncomingCall, Response};
use crate::error::ErrorCode;
use crate::message::{Encoding, Payload};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// Bytes of the protocol's number in front of a request.
const ID_LEN: usize = 8;

/// What answers the commands of one protocol or of several. The macros make it.
pub trait Dispatch: Send + Sync + 'static {
    /// The protocols that it answers.
    fn protocols(&self) -> Vec<&'static ProtocolInfo>;

    /// Answers one command. A protocol or command that it does not have is an error, which
    /// [`Request::unknown`] makes.
    ///
    /// # Errors
    /// What the caller is told.
    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>>;
}

/// One command on its way to the code that answers it.
#[derive(Debug)]
pub struct Request {
    pub(super) call: IncomingCall,
    id: Option<u64>,
}

impl Request {
    /// What a call asks for.
    ///
    /// # Errors
    /// Invalid when the number of the protocol is cut off.
    pub(crate) fn new(call: IncomingCall) -> Result<Self, HandlerError> {
        let id = match call.payload.encoding {
            Encoding::PROTOCOL => Some(call.payload.bytes.first_chunk::<ID_LEN>().ok_or_else(cut_off)?),
            _ => None,
        };
        let id = id.map(|bytes| u64::from_le_bytes(*bytes));
        Ok(Self { call, id })
    }

    /// The number of its protocol. `None`: it came in JSON, which names the command only.
    #[must_use]
    pub const fn protocol(&self) -> Option<u64> {
        self.id
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.call.context.method
    }

    /// Who calls, and until when.
    #[must_use]
    pub const fn context(&self) -> &CallContext {
        &self.call.context
    }

    /// The request as a Rust type, which may borrow from the frame that brought it.
    ///
    /// # Errors
    /// Invalid when the bytes are not such a value, Encoding when they are in an encoding that protocols do not have.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, HandlerError> {
        let Payload { encoding, bytes } = &self.call.payload;
        let said = match *encoding {
            Encoding::PROTOCOL => {
                let (_, body) = bytes.split_at_checked(ID_LEN).ok_or_else(cut_off)?;
                return match postcard::take_from_bytes(body) {
                    Ok((value, [])) => Ok(value),
                    Ok((_, rest)) => Err(self.undecodable(&format!("{} bytes too many", rest.len()))),
                    Err(error) => Err(self.undecodable(&error.to_string())),
                };
            }
            Encoding::JSON => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Encoding::RAW if bytes.is_empty() => {
                serde_json::from_slice(b"null").map_err(|error| error.to_string())
            }
            other => {
                let text = format!(
                    "commands come as postcard or JSON, not in the encoding {}",
                    other.name()
                );
                return Err(HandlerError {
                    code: ErrorCode::Encoding,
                    ..HandlerError::new(text)
                });
            }
        };
        said.map_err(|error| self.undecodable(&error))
    }

    /// An answer in the encoding that the caller expects.
    ///
    /// # Errors
    /// Encoding when the value has no such form.
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Response, HandlerError> {
        Payload::encode(self.answer_encoding(), value)
            .map(Response::payload)
            .map_err(|error| HandlerError {
                code: ErrorCode::Encoding,
                ..HandlerError::new(error.to_string())
            })
    }

    pub(super) fn answer_encoding(&self) -> Encoding {
        match self.id {
            Some(_) => Encoding::POSTCARD,
            None => Encoding::JSON,
        }
    }

    /// The error for a protocol or a command that `served` does not have: it names both versions where these differ.
    #[must_use]
    pub fn unknown(&self, served: &[&'static ProtocolInfo]) -> HandlerError {
        let _ = served;
        HandlerError::no_such_method(&self.call.context.object, self.command())
    }

    fn undecodable(&self, why: &str) -> HandlerError {
        let text = format!("the request of {} cannot be read: {why}", self.command());
        HandlerError {
            code: ErrorCode::Invalid,
            ..HandlerError::new(text)
        }
    }
}

fn cut_off() -> HandlerError {
    HandlerError {
        code: ErrorCode::Invalid,
        ..HandlerError::new("the number of the protocol is cut off")
    }
}
