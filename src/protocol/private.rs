//! What the code of the macros needs besides the public parts.
//!
//! Owns nothing: names that must not change under programs that were compiled with other versions of the macros. Called by generated code
//! only; a program that names them itself may break with any version.

use crate::client::{HandlerError, Response};
use crate::error::ErrorCode;
use futures::future::BoxFuture;

pub use actix;
pub use futures::Stream;
pub use serde;

/// What follows a request. It is a [`Stream`] and nothing else; the name is there for what the compiler says when something else is given.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream of `{I}`",
    label = "not a stream of `{I}`",
    note = "the items behind a request are a `futures::Stream`: `futures::stream::iter(…)` makes one of a `Vec` or an iterator"
)]
pub trait ItemStream<I>: Stream<Item = I> {}

#[diagnostic::do_not_recommend]
impl<I, S: Stream<Item = I>> ItemStream<I> for S {}

/// The answer to one command, on its way.
pub type Answering<'a> = BoxFuture<'a, Result<Response, HandlerError>>;

/// An answer that is an error from the start.
#[must_use]
pub fn refuse(error: HandlerError) -> Answering<'static> {
    Box::pin(std::future::ready(Err(error)))
}

/// Has a command answered by an actor that gets it as a message. Beyond the actor's capacity it is Overloaded, unrun.
///
/// # Errors
/// The actor's own; Overloaded and `CalleeGone`.
pub async fn ask<A, M, R>(handler: &super::ActorHandler<A>, message: M) -> super::Result<R>
where
    A: actix::Actor + actix::Handler<M>,
    A::Context: actix::dev::ToEnvelope<A, M>,
    M: actix::Message<Result = super::Result<R>> + Send + 'static,
    R: Send + 'static,
{
    handler.command(message).await
}

/// A request that borrows, kept as the bytes that it is read from again: for an actor, whose messages own what they have.
#[derive(Debug)]
pub struct Kept(Vec<u8>);

impl Kept {
    /// Keeps a request.
    ///
    /// # Errors
    /// Invalid: the type of a field cannot be written.
    pub fn new<T: serde::Serialize>(request: &T) -> super::Result<Self> {
        postcard::to_stdvec(request).map(Self).map_err(|error| {
            super::Error::from(HandlerError {
                code: ErrorCode::Invalid,
                ..HandlerError::new(format!("the request cannot be handed to an actor: {error}"))
            })
        })
    }

    /// Reads it again, as often as is wanted.
    ///
    /// # Errors
    /// One of the actor, which may have done something by then: the type of a field does not read what it has written.
    pub fn read<'a, T: serde::Deserialize<'a>>(&'a self) -> super::Result<T> {
        postcard::from_bytes(&self.0).map_err(|error| {
            let text = format!("the request that an actor was handed cannot be read: {error}");
            super::Error::new(text).named("Invalid")
        })
    }
}

/// Checked when the program is compiled: each protocol has a number of its own.
pub const fn assert_distinct(mut numbers: &[u64]) {
    while let [first, rest @ ..] = numbers {
        let mut others = rest;
        while let [other, more @ ..] = others {
            assert!(
                *first != *other,
                "two of these protocols have the same number: which one a call is for, would be by chance; give one of them another \
                 name or version"
            );
            others = more;
        }
        numbers = rest;
    }
}
