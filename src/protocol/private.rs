//! What the code of the macros needs besides the public parts.
//!
//! Owns nothing: names that must not change under programs that were compiled with other versions of the macros. Called by generated code
//! only; a program that names them itself may break with any version.

use crate::client::{HandlerError, Response};
use futures::future::BoxFuture;

pub use actix;
pub use futures::Stream;
pub use serde;

/// The answer to one command, on its way.
pub type Answering<'a> = BoxFuture<'a, Result<Response, HandlerError>>;

/// An answer that is an error from the start.
#[must_use]
pub fn refuse(error: HandlerError) -> Answering<'static> {
    Box::pin(std::future::ready(Err(error)))
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
