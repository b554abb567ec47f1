//! Errors by who must act, and the one table from internal reason to wire code.
//!
//! [`ErrorCode`] is what a caller or asker sees; [`CloseReason`] is why a connection ended. Owns the numbers, names
//! and default texts of both. It knows no actor and no socket.

use crate::message::frame::FrameView;
use crate::message::{Encoding, Flags, Payload, metadata};
use std::fmt;

macro_rules! codes {
    ($(#[$type_doc:meta])* $type:ident, unknown $unknown:ident; $($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        $(#[$type_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know.
            $unknown(u32),
        }

        impl $type {
            /// Every code of this version, in numeric order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u32 {
                match self { $(Self::$name => $code,)* Self::$unknown(code) => code }
            }

            /// The code with this number.
            #[must_use]
            pub const fn from_code(code: u32) -> Self {
                match code { $($code => Self::$name,)* other => Self::$unknown(other) }
            }

            /// The name in documents, JSON output and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* Self::$unknown(_) => stringify!($unknown) }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::$unknown(_) => "a code of a later version" }
            }
        }
    };
}

codes! {
    /// Why a call or another request failed. The number crosses the wire.
    ErrorCode, unknown Other;
    /// The caller must name another object, or wait for this one.
    NoSuchObject = 1, "no such object is registered";
    /// The caller must name another method.
    NoSuchMethod = 2, "the object has no such method";
    /// The handler refused; its own value is in the payload.
    Handler = 3, "the handler returned an error";
    /// The handler's author must act.
    HandlerPanicked = 4, "the handler panicked";
    /// The connection that had the call ended.
    CalleeGone = 5, "the connection that had the call ended before it answered";
    /// The caller took the call back.
    Cancelled = 6, "the call was cancelled";
    /// The deadline passed.
    Deadline = 7, "the deadline passed";
    /// The sender must send less, in pieces, or raise the limit.
    TooLarge = 8, "the message is larger than the receiver takes";
    /// The broker is stopping; ask again after it is back.
    Draining = 9, "the broker is shutting down";
    /// Another connection owns the name.
    NameTaken = 10, "the name is taken";
    /// The asker does not hold what it wants to give up.
    NotRegistered = 11, "this connection does not hold it";
    /// The asker has too many of these open; finish some or raise the limit.
    TooMany = 12, "a limit of this connection is reached";
    /// The operator's policy forbids it.
    Denied = 13, "the policy forbids it";
    /// The asker's program is wrong.
    Invalid = 14, "the request is not valid";
    /// One end must use an encoding that the other knows.
    Encoding = 15, "the payload's encoding does not suit the receiver";
    /// A bug of the broker; it is logged there.
    Internal = 16, "the broker failed while it handled the request";
    /// The receiver does not keep up; try later.
    Overloaded = 17, "the receiver's queue is full";
    /// The answer did not fit; read replies faster.
    ReplyLost = 18, "the call ran, but its reply did not fit the caller's queue";
    /// The connection to the broker ended; the library connects again by itself.
    BrokerGone = 19, "the connection to the broker ended";
    /// There is no connection yet.
    NotConnected = 20, "there is no connection to a broker";
    /// The endpoint must present the token of the bus.
    TokenRefused = 21, "the bus asks for another token";
    /// One end must be updated: they speak different versions of the bus protocol.
    BusVersion = 22, "the bus speaks another version of its protocol";
    /// The caller must name another object, or the other side must serve the protocol; the text lists what it serves.
    NoSuchProtocol = 23, "the other side does not serve this protocol";
    /// One end must be updated: they have different definitions of the same protocol. The text names both.
    ProtocolVersion = 24, "the other side serves another version of this protocol";
    /// The operator must look at the service that provides the object; its failure is in the text.
    ServiceFailed = 25, "the service that provides the object could not be started";
}

codes! {
    /// Why a connection ended. The number crosses the wire in Goodbye.
    CloseReason, unknown Other;
    /// The peer ended it in order.
    Finished = 1, "finished";
    /// The broker is stopping.
    Draining = 2, "the broker is shutting down";
    /// The peer broke the protocol.
    Protocol = 3, "protocol error";
    /// No common protocol version.
    Version = 4, "no common protocol version";
    /// The peer exceeded a window.
    Window = 5, "a credit window was exceeded";
    /// The peer does not read and asked to be disconnected for that.
    SlowConsumer = 6, "it does not read what it subscribed to";
    /// The peer's frames made the broker panic repeatedly.
    Blamed = 7, "its frames made the broker fail repeatedly";
    /// The handshake took too long, or a started frame did.
    Timeout = 8, "a frame did not arrive in time";
    /// Too many connections.
    TooMany = 9, "too many connections";
    /// Not a user that is let in.
    Denied = 10, "this user may not connect";
    /// The socket failed or was closed without a goodbye.
    Lost = 11, "the connection was lost";
    /// A bug of the broker.
    Internal = 12, "the broker failed";
    /// Another process hosts the bus from now on; connect again at once.
    Moved = 13, "the bus moves to another host";
}

impl ErrorCode {
    /// Whether a call that ends with this code may have run, when the frame does not say so itself.
    #[must_use]
    pub const fn may_have_run(self) -> bool {
        matches!(
            self,
            Self::Handler
                | Self::HandlerPanicked
                | Self::CalleeGone
                | Self::Cancelled
                | Self::Deadline
                | Self::Internal
                | Self::ReplyLost
                | Self::BrokerGone
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// How a call or another request failed, as its asker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The kind of failure, to branch on.
    pub code: ErrorCode,
    /// Whether the call may have run: `false` means that trying again cannot do it twice.
    pub may_have_run: bool,
    /// What was wrong, where, and what to do.
    pub message: String,
    /// The handler's own name for its error, when it gave one.
    pub name: Option<String>,
    /// The handler's own value, when it gave one.
    pub payload: Payload,
}

impl CallError {
    /// An error with the code's own judgement of whether the call may have run.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            may_have_run: code.may_have_run(),
            message: message.into(),
            name: None,
            payload: Payload::default(),
        }
    }

    /// What an Error frame says. `payload` is asked for the handler's own value only when the frame has one.
    pub(crate) fn from_frame(view: &FrameView<'_>, payload: impl FnOnce() -> Payload) -> Self {
        let code = ErrorCode::from_code(view.header.aux);
        let entry =
            |key| metadata::get(view.meta, key).map(|text| String::from_utf8_lossy(text).into_owned());
        let (message, payload) = match view.header.encoding {
            Encoding::RAW => {
                let text = String::from_utf8_lossy(view.payload).into_owned();
                (text, Payload::default())
            }
            _ => {
                let text = entry(metadata::ERROR_TEXT);
                (text.unwrap_or_else(|| code.text().to_owned()), payload())
            }
        };
        Self {
            code,
            may_have_run: view.header.flags.has(Flags::MAY_HAVE_RUN),
            message,
            name: entry(metadata::ERROR_NAME),
            payload,
        }
    }

    /// The same error with another judgement of whether the call may have run.
    #[must_use]
    pub const fn ran(mut self, may_have_run: bool) -> Self {
        self.may_have_run = may_have_run;
        self
    }
}

impl From<ErrorCode> for CallError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.text())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() {
            self.code.text()
        } else {
            &self.message
        };
        fmt::Display::fmt(&crate::text::escaped(message), f)?;
        f.write_str(if self.may_have_run {
            " (the call may have run)"
        } else {
            ""
        })
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for std::io::Error {
    fn from(error: CallError) -> Self {
        use std::io::ErrorKind;
        let kind = match error.code {
            ErrorCode::NoSuchObject | ErrorCode::NoSuchMethod | ErrorCode::NoSuchProtocol => {
                ErrorKind::NotFound
            }
            ErrorCode::Deadline => ErrorKind::TimedOut,
            ErrorCode::Denied | ErrorCode::TokenRefused => ErrorKind::PermissionDenied,
            ErrorCode::NameTaken => ErrorKind::AddrInUse,
            ErrorCode::NotRegistered => ErrorKind::AddrNotAvailable,
            ErrorCode::NotConnected => ErrorKind::NotConnected,
            ErrorCode::BrokerGone | ErrorCode::CalleeGone => ErrorKind::ConnectionAborted,
            ErrorCode::Cancelled => ErrorKind::Interrupted,
            ErrorCode::Invalid | ErrorCode::TooLarge | ErrorCode::Encoding => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_one_to_one() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(code.code() as usize, index + 1);
            assert_eq!(ErrorCode::from_code(code.code()), *code);
        }
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.code() as usize, index + 1);
            assert_eq!(CloseReason::from_code(reason.code()), *reason);
        }
        assert_eq!(ErrorCode::from_code(999), ErrorCode::Other(999));
    }

    #[test]
    fn display_says_whether_it_may_have_run() {
        let error = CallError::from(ErrorCode::CalleeGone);
        assert!(error.to_string().ends_with("(the call may have run)"), "{error}");
        assert!(
            !CallError::from(ErrorCode::NoSuchObject)
                .to_string()
                .contains("may have run")
        );
    }
}
