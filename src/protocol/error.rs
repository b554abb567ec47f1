//! What a handler of a command says when it cannot do it.
//!
//! Owns the way from any error, with `?`, to what the caller is told. Made by users' handlers, taken by the code of the macros.

use crate::client::HandlerError;
use crate::error::CallError;
use std::fmt;

/// What a handler returns. With two types it is the standard library's, so that `use actix_ipc::protocol::*` takes nothing away.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command was not done, for its caller. Made by `?` from any error: its text crosses the wire, and from a [`HandlerError`]
/// or a [`CallError`] also its name and value. It is no [`std::error::Error`] itself, as that would make `?` ambiguous.
pub struct Error(HandlerError);

impl Error {
    /// An error with a text.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(HandlerError::new(message))
    }

    /// The same error with a name, which the caller can branch on.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self(self.0.named(name))
    }

    /// What is told to the caller.
    #[must_use]
    pub fn into_inner(self) -> HandlerError {
        self.0
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        match boxed.downcast::<HandlerError>() {
            Ok(own) => Self(*own),
            Err(other) => match other.downcast::<CallError>() {
                Ok(call) => Self((*call).into()),
                Err(other) => Self(HandlerError::new(other.to_string())),
            },
        }
    }
}
