//! What can go wrong on the bus, by who must act.
//!
//! Owns the three errors and their texts, and what the codes of the broker mean here. Called by `join`, `endpoint` and `receive`.

use super::message_box::CodecError;
use crate::client::Undelivered;
use crate::error::{CallError, ErrorCode};
use crate::message::bus::BUS_VERSION;
use crate::message::id::MessageId;
use crate::message::selector::SelectorError;

/// Why an endpoint did not join a bus, or was not let in again by a new host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The options are wrong: the identifier, the token or an element of the label is too long, or there are too many elements.
    #[error("these options cannot work: {0}")]
    Invalid(String),
    /// The bus was made with another token.
    #[error("the bus asks for another token")]
    TokenRefused,
    /// The host's program and this one speak different versions of the bus protocol; one must be updated.
    #[error("this program speaks version {ours} of the bus protocol, the host {}", Known(.theirs))]
    Version {
        /// The version of this library.
        ours: u16,
        /// That of the host, when it said so.
        theirs: Option<u16>,
    },
    /// The system or the host's policy does not let this user in.
    #[error("not allowed: {0}")]
    Denied(String),
    /// A limit of the host is reached.
    #[error("the host takes no more endpoints: {0}")]
    TooMany(String),
    /// The time was over before there was a host that let this endpoint in.
    #[error("no host of the bus let this endpoint in in time: {0}")]
    Timeout(String),
    /// This process was forked from one that uses a bus, and shares nothing of that; only a new program (exec) can join.
    #[error("this process was forked from the one that joined; only a new program (exec) can join")]
    Forked,
    /// The process that hosts the bus is stopped (SIGSTOP, a debugger) and answers nobody; it must go on, or be ended.
    #[error("the process {pid}, which hosts the bus, is stopped: continue it or end it")]
    HostStopped {
        /// Its number.
        pid: u32,
    },
    /// The system refused something that joining or hosting needs.
    #[error("{0}")]
    System(String),
    /// `join` was called where it must not block; use `join_async` there.
    #[error("`join` would block a thread that runs an executor; use `join_async` there")]
    Blocking,
}

/// A version that may not be known.
struct Known<'a>(&'a Option<u16>);

impl std::fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(version) => version.fmt(f),
            None => f.write_str("another"),
        }
    }
}

/// Why a message was not sent: it will reach nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The selector is beyond a limit, or an element is not legal.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The message was received, and nobody said where it is to go on.
    #[error("the message has no selector: it was received; set the field to send it on")]
    NoSelector,
    /// The payload cannot be written.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The message is larger than the bus takes. Put large data into a memory region.
    #[error("{0}")]
    TooLarge(String),
    /// What travels with the message cannot travel over this connection.
    #[error("{0}")]
    Attachments(String),
    /// The host was lost, and the new one does not let this endpoint in.
    #[error("the new host of the bus refused this endpoint: {0}")]
    Refused(JoinError),
    /// The endpoint is no longer on the bus; why.
    #[error("the endpoint is no longer on the bus: {0}")]
    Left(String),
    /// This process was forked from the one that joined, and shares nothing of that; only a new program (exec) can join.
    #[error("this process was forked from the one that joined; only a new program (exec) can join")]
    Forked,
    /// A blocking method was called where it must not block; use the async one there.
    #[error("a blocking method was called on a thread that runs an executor; use the async one there")]
    Blocking,
}

/// Why a message is not known to have been delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmError {
    /// It was not sent.
    #[error(transparent)]
    NotSent(#[from] SendError),
    /// It did not reach all whom it was for.
    #[error(transparent)]
    Undelivered(#[from] Undelivered),
    /// The time was over first. What becomes of the message is told as that of any other.
    #[error("message {id} was not taken in time")]
    Timeout {
        /// Its number.
        id: MessageId,
    },
    /// The time was over before there was room to send it; it reaches nobody.
    #[error("there was no room to send the message in time")]
    NoRoom,
}

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// None came in time.
    #[error("no message came in time")]
    Timeout,
    /// One came that is not what its type says. It is gone; the next can be received.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// What came with a message cannot be used: its sender is broken, or this process may open no more. The message is gone; the next
    /// can be received.
    #[error("{0}")]
    Attachments(String),
    /// The host was lost, and the new one does not let this endpoint in.
    #[error("the new host of the bus refused this endpoint: {0}")]
    Refused(JoinError),
    /// The endpoint is no longer on the bus; why.
    #[error("the endpoint is no longer on the bus: {0}")]
    Left(String),
    /// This process was forked from the one that joined, and shares nothing of that; only a new program (exec) can join.
    #[error("this process was forked from the one that joined; only a new program (exec) can join")]
    Forked,
    /// A blocking method was called where it must not block; use the async one there.
    #[error("a blocking method was called on a thread that runs an executor; use the async one there")]
    Blocking,
}

/// What the broker's answer to a Join means; `None` when the next host may answer otherwise.
pub(crate) fn refusal(error: &CallError) -> Option<JoinError> {
    let text = || crate::text::text(&error.message).to_string();
    Some(match error.code {
        ErrorCode::TokenRefused => JoinError::TokenRefused,
        ErrorCode::BusVersion => JoinError::Version {
            ours: BUS_VERSION,
            theirs: error.payload.bytes.first_chunk().copied().map(u16::from_le_bytes),
        },
        ErrorCode::Denied => JoinError::Denied(text()),
        ErrorCode::TooMany | ErrorCode::Overloaded => JoinError::TooMany(text()),
        ErrorCode::Invalid | ErrorCode::TooLarge => JoinError::Invalid(text()),
        ErrorCode::Internal => JoinError::System(text()),
        _ => return None,
    })
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        match (error.code, refusal(&error)) {
            (ErrorCode::TooLarge, _) => Self::TooLarge(error.message),
            (ErrorCode::Invalid, _) => Self::Attachments(error.message),
            (_, Some(refused)) => Self::Refused(refused),
            _ => Self::Left(error.message),
        }
    }
}

impl From<&CallError> for RecvError {
    fn from(error: &CallError) -> Self {
        refusal(error).map_or_else(|| Self::Left(error.message.clone()), Self::Refused)
    }
}
