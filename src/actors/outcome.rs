//! How a broker's life ends, and why it may not begin.
//!
//! Owns the two types and their texts, for whoever embeds a broker; [`super::broker`] decides which it is.

use crate::transport::{BindError, Endpoint, PassedError};

/// Why a broker has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It was asked to stop, and everything queued was written.
    Drained,
    /// It was asked to stop; this many connections did not take what was queued for them in time.
    DrainedExcept(usize),
    /// It cannot go on; the text says why.
    Failed(&'static str),
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drained => f.write_str("drained"),
            Self::DrainedExcept(count) => write!(f, "drained, except {count} connections that did not read"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An endpoint that was asked for cannot be bound.
    #[error("cannot listen: {source}")]
    Bind {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        source: BindError,
    },
    /// A socket that was passed is of no use.
    #[error("cannot listen: {0}")]
    Passed(#[from] PassedError),
    /// None of the default endpoints can be bound.
    #[error("none of the default endpoints can be bound: {0}")]
    NoEndpoint(String),
    /// There is no actix System on this thread.
    #[error("a broker runs inside an actix System; start one, or use #[actix::main]")]
    NoSystem,
    /// The operating system gives no random bytes.
    #[error("no random bytes for the broker's epoch: {0}")]
    Random(String),
}
