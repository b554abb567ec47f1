//! From a call to the code that answers it.
//!
//! Owns what a call says of its protocol and command: the number in front of a request, or the name in a call from people and
//! scripts, who send JSON and no number. The receivers that the macros make implement [`Dispatch`]; [`super::object`] calls it. What
//! is wrong with a name or a number is [`super::negotiate`]'s to say.

use super::context;
use super::info::{CommandInfo, ProtocolInfo, Shape};
use super::names::{self, Unknown};
use super::negotiate::{self, Served};
use crate::client::{CallContext, HandlerError, IncomingCall, Response, written};
use crate::error::ErrorCode;
use crate::message::{Encoding, Payload};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

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
    id: u64,
    /// What a command in JSON was found to be.
    named: Option<&'static CommandInfo>,
}

impl Request {
    /// What a call asks for, of what is served. A command in JSON is looked for by its name.
    ///
    /// # Errors
    /// Invalid when the number of the protocol is cut off or a name has several meanings; `NoSuchMethod` when a name has none.
    pub(crate) fn new(
        mut call: IncomingCall,
        served: &[&'static ProtocolInfo],
    ) -> Result<Self, HandlerError> {
        if call.payload.encoding == Encoding::PROTOCOL {
            let bytes = call.payload.bytes.first_chunk::<ID_LEN>().ok_or_else(cut_off)?;
            let id = u64::from_le_bytes(*bytes);
            return Ok(Self {
                call,
                id,
                named: None,
            });
        }
        let (info, command) =
            names::find(&call.context.method, served).map_err(|why| unnamed(&call.context.object, why))?;
        if *call.context.method != *command.name {
            call.context.method = command.name.into();
        }
        Ok(Self {
            call,
            id: info.id,
            named: Some(command),
        })
    }

    /// The number of its protocol.
    #[must_use]
    pub const fn protocol(&self) -> u64 {
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

    /// Runs the code that answers, so that it finds the context of this call in [`context`](super::context()).
    pub async fn scope<F: Future>(&self, handler: F) -> F::Output {
        context::within(&self.call.context, handler).await
    }

    /// The request as a Rust type, which may borrow from the frame that brought it.
    ///
    /// # Errors
    /// Invalid when the bytes are not such a value, or in an encoding that protocols do not have. Nothing has run.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, HandlerError> {
        let Payload { encoding, bytes } = &self.call.payload;
        let said = match *encoding {
            Encoding::PROTOCOL => {
                let (_, body) = bytes.split_at_checked(ID_LEN).ok_or_else(cut_off)?;
                match postcard::take_from_bytes(body) {
                    Ok((value, [])) => Ok(value),
                    Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
                    Err(error) => Err(error.to_string()),
                }
            }
            Encoding::JSON => self.decode_json(bytes),
            Encoding::RAW if bytes.is_empty() => self.decode_json(b"null"),
            other => Err(format!(
                "commands come as postcard or JSON, not in the encoding {}",
                other.name()
            )),
        };
        said.map_err(|why| {
            let text = format!("the request of {} cannot be read: {why}", self.command());
            HandlerError {
                code: ErrorCode::Invalid,
                ..HandlerError::new(text)
            }
        })
    }

    fn decode_json<'a, T: Deserialize<'a>>(&self, bytes: &'a [u8]) -> Result<T, String> {
        let shape = self.named.map(|command| &command.request);
        // What has no fields may be written as any kind of nothing, and the type may be a unit or a struct without fields.
        let nothing =
            shape == Some(&Shape::Empty) && matches!(bytes.trim_ascii(), b"null" | b"{}" | b"[]" | b"");
        let said = match nothing {
            true => serde_json::from_slice(b"null").or_else(|_| serde_json::from_slice(b"{}")),
            false => serde_json::from_slice(bytes),
        };
        said.map_err(|error| match shape {
            Some(Shape::Tuple([only])) => {
                format!("{}; it takes {}, not in brackets", plain(&error), only.type_name)
            }
            Some(shape) => format!("{}; it takes {shape}", plain(&error)),
            None => plain(&error),
        })
    }

    /// Looks whether the caller takes a streamed answer, before anything is done for one.
    ///
    /// # Errors
    /// Invalid when it does not. Nothing has run.
    pub fn takes_stream(&self) -> Result<(), HandlerError> {
        match self.call.context.streaming {
            true => Ok(()),
            false => Err(HandlerError {
                code: ErrorCode::Invalid,
                ..HandlerError::new(format!(
                    "{}.{} answers with a stream; the caller must ask for one",
                    self.call.context.object,
                    self.command()
                ))
            }),
        }
    }

    /// Lets go of what the request is read from, once it has been: it may share a buffer with other calls, which a handler that
    /// runs for long would keep.
    pub fn release(&mut self) {
        self.call.payload.bytes = Default::default();
    }

    /// An answer in the encoding that the caller expects.
    ///
    /// # Errors
    /// Encoding when the value has no such form.
    pub fn reply<T: Serialize + ?Sized>(&self, value: &T) -> Result<Response, HandlerError> {
        written(self.answer_encoding(), value).map(Response::content)
    }

    pub(super) fn answer_encoding(&self) -> Encoding {
        match self.named {
            None => Encoding::POSTCARD,
            Some(_) => Encoding::JSON,
        }
    }

    /// The error for a protocol or a command that `served` does not have: it names both versions where these differ, and what there
    /// is otherwise. The call did not run.
    #[must_use]
    pub fn unknown(&self, served: &[&'static ProtocolInfo]) -> HandlerError {
        let who = &*self.call.context.object;
        let (code, text) = match served.iter().find(|info| info.id == self.id) {
            Some(info) => {
                let text = names::no_command(who, self.command(), &[*info]);
                (ErrorCode::NoSuchMethod, text)
            }
            None => {
                let served: Vec<Served<'_>> = served.iter().map(|info| Served::from(*info)).collect();
                negotiate::refused(self.id, &served, who)
            }
        };
        HandlerError {
            code,
            ..HandlerError::new(text)
        }
    }
}

/// What is wrong with JSON, without the words of Rust for it. Where it is wrong is said when it is no JSON at all.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = match error.classify() {
        Category::Data => text.split(" at line ").next().unwrap_or(&text),
        _ => &text,
    };
    let words = [
        ("tuple struct Request", "an array"),
        ("unit struct Request", "nothing"),
        ("struct Request", "an object"),
    ];
    words
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Why a command in JSON is not found.
fn unnamed(who: &str, why: Unknown<'_>) -> HandlerError {
    let (code, text) = match why {
        Unknown::None { command, served } => {
            (ErrorCode::NoSuchMethod, names::no_command(who, command, served))
        }
        Unknown::Several { command, names } => {
            let text = format!(
                "{who} has {command} in several protocols: call {}",
                names.join(" or ")
            );
            (ErrorCode::Invalid, text)
        }
    };
    HandlerError {
        code,
        ..HandlerError::new(text)
    }
}

fn cut_off() -> HandlerError {
    HandlerError {
        code: ErrorCode::Invalid,
        ..HandlerError::new("the number of the protocol is cut off")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Request {
        #[allow(dead_code, reason = "only whether it can be read matters")]
        message: String,
    }

    mod pair {
        #[derive(Debug, serde::Deserialize)]
        pub(super) struct Request(
            #[allow(dead_code, reason = "as above")] u8,
            #[allow(dead_code, reason = "as above")] u8,
        );
    }

    fn said<'a, T: Deserialize<'a> + std::fmt::Debug>(text: &'a str) -> String {
        plain(&serde_json::from_str::<T>(text).unwrap_err())
    }

    #[test]
    fn what_is_wrong_with_json_is_said_in_the_words_of_json() {
        let table = [
            (said::<Request>("{}"), "missing field `message`"),
            (
                said::<Request>("7"),
                "invalid type: integer `7`, expected an object",
            ),
            (
                said::<Request>(r#"{"message": 7}"#),
                "invalid type: integer `7`, expected a string",
            ),
            (
                said::<pair::Request>("{}"),
                "invalid type: map, expected an array",
            ),
            (
                said::<pair::Request>("[1]"),
                "invalid length 1, expected an array with 2 elements",
            ),
            (said::<Request>("{,"), "key must be a string at line 1 column 2"),
        ];
        for (said, expected) in table {
            assert_eq!(said, expected);
        }
    }
}
