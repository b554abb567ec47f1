//! How rob ends: the exit codes, and which failure gives which.
//!
//! Owns the table that `docs/rob.md` shows. It prints nothing; `main` does. Called by everything in this binary.

use actix_ipc::client::ConnectError;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::platform::closed::is_closed_pipe;
use actix_ipc::platform::signals::EndSignal;
use actix_ipc::transport::Endpoint;
use std::io;
use std::process::ExitCode;

/// The exit codes of rob. 130 and 143 are what a shell reports when SIGINT or SIGTERM ended it; `bench`, which ends in order
/// then, gives them itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The object answered with an error, or the broker failed.
    Remote = 1,
    /// The command line or the request is wrong.
    Usage = 2,
    /// No such object or method.
    NotFound = 3,
    /// The deadline passed.
    Timeout = 4,
    /// No broker could be reached.
    NoBroker = 5,
    /// The broker or the object does not take it: policy, a limit, or it is stopping.
    Refused = 6,
    /// The connection, or the object's process, ended before the answer.
    Lost = 7,
    /// The result could not be written.
    Output = 8,
    /// SIGINT, or ctrl+c.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
    /// Who reads the output closed it: what a shell reports for SIGPIPE.
    ClosedOutput = 141,
}

impl Exit {
    /// Every one but success.
    const ALL: [Self; 11] = [
        Self::Remote,
        Self::Usage,
        Self::NotFound,
        Self::Timeout,
        Self::NoBroker,
        Self::Refused,
        Self::Lost,
        Self::Output,
        Self::Interrupted,
        Self::Terminated,
        Self::ClosedOutput,
    ];

    /// The exit of a command that a signal ended in order. A terminal that is gone, and ctrl+\, end it as SIGTERM does.
    pub(crate) const fn of_signal(signal: EndSignal) -> Self {
        match signal {
            EndSignal::Interrupt => Self::Interrupted,
            EndSignal::Terminate | EndSignal::HangUp | EndSignal::Quit => Self::Terminated,
        }
    }

    /// The exit of this number; what is none of them is a failure like any other.
    pub(crate) fn of_number(number: u8) -> Self {
        let known = Self::ALL.into_iter().find(|exit| *exit as u8 == number);
        known.unwrap_or(Self::Remote)
    }

    /// What stands for the code of an error in `--json` when rob itself found what is wrong.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Remote => "Remote",
            Self::Usage => "Usage",
            Self::NotFound => "NotFound",
            Self::Timeout => "Timeout",
            Self::NoBroker => "NoBroker",
            Self::Refused => "Refused",
            Self::Lost => "Lost",
            Self::Output => "Output",
            Self::Interrupted => "Interrupted",
            Self::Terminated => "Terminated",
            Self::ClosedOutput => "ClosedOutput",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why rob ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What was wrong and what to do next; may hold a peer's text, unescaped.
    pub(crate) message: String,
    /// The error of a call, for `--json` and the handler's own value.
    pub(crate) call: Option<Box<CallError>>,
}

impl Failure {
    /// A failure without a call.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            call: None,
        }
    }

    /// A failure of what the context names (`call math.add`), with the hint that fits its code.
    pub(crate) fn of_call(context: &str, error: CallError) -> Self {
        Self::of_object_call(context, "OBJECT", error)
    }

    /// The same of a call to this object.
    pub(crate) fn of_object_call(context: &str, object: &str, error: CallError) -> Self {
        let text = if error.message.is_empty() {
            error.code.text()
        } else {
            error.message.as_str()
        };
        let mut message = format!("{context}: {text}");
        if let Some(name) = &error.name {
            message.push_str(&format!(" ({name})"));
        }
        // That a handler ran is what its error says anyway.
        if error.may_have_run && !matches!(error.code, ErrorCode::Handler | ErrorCode::HandlerPanicked) {
            message.push_str(" (the call may have run)");
        }
        let hint = hint(error.code).replace("OBJECT", object);
        if !hint.is_empty() {
            message.push_str("; ");
            message.push_str(&hint);
        }
        Self {
            exit: exit_of(error.code),
            message,
            call: Some(Box::new(error)),
        }
    }
}

impl Failure {
    /// The failure to get a connection: nobody was there, or who was there refused.
    pub(crate) fn of_connect(error: ConnectError) -> Self {
        let inside = error
            .tried
            .iter()
            .find(|(at, _)| matches!(at, Endpoint::Memory(_)));
        if let (Some((endpoint, _)), 1) = (inside, error.tried.len()) {
            let text = format!(
                "{endpoint}: mem: leads to a broker inside the same program, and rob is another one; \
                 let that broker listen on unix:/path or tcp:host:port as well"
            );
            return Self::new(Exit::Usage, text);
        }
        let mut message = error.to_string();
        let error = CallError::from(error);
        if error.code == ErrorCode::Draining {
            message.push_str("; ");
            message.push_str(hint(error.code));
        }
        Self {
            exit: exit_of(error.code),
            message,
            call: Some(Box::new(error)),
        }
    }

    /// What programs read as the code: that of the call, or what rob found by itself.
    pub(crate) fn code(&self) -> &'static str {
        match &self.call {
            Some(call) => call.code.name(),
            None => self.exit.name(),
        }
    }

    /// Whether the call may have run: `false` means that trying again cannot do it twice.
    pub(crate) fn may_have_run(&self) -> bool {
        // What cannot be written was answered.
        let by_itself = matches!(self.exit, Exit::Output | Exit::ClosedOutput);
        self.call.as_ref().map_or(by_itself, |call| call.may_have_run)
    }
}

impl From<io::Error> for Failure {
    /// A failure to write the output.
    fn from(error: io::Error) -> Self {
        match is_closed_pipe(&error) {
            true => Self::new(Exit::ClosedOutput, String::new()),
            false => Self::new(Exit::Output, format!("the result cannot be written: {error}")),
        }
    }
}

/// The exit code for an error code.
pub(crate) const fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::Invalid | ErrorCode::Encoding => Exit::Usage,
        ErrorCode::NoSuchObject
        | ErrorCode::NoSuchMethod
        | ErrorCode::NoSuchProtocol
        | ErrorCode::ServiceFailed => Exit::NotFound,
        ErrorCode::Deadline => Exit::Timeout,
        ErrorCode::NotConnected => Exit::NoBroker,
        ErrorCode::TooLarge
        | ErrorCode::Draining
        | ErrorCode::NameTaken
        | ErrorCode::NotRegistered
        | ErrorCode::TooMany
        | ErrorCode::Denied
        | ErrorCode::Overloaded
        | ErrorCode::TokenRefused
        | ErrorCode::BusVersion
        | ErrorCode::ProtocolVersion => Exit::Refused,
        ErrorCode::CalleeGone | ErrorCode::Cancelled | ErrorCode::BrokerGone | ErrorCode::ReplyLost => {
            Exit::Lost
        }
        _ => Exit::Remote,
    }
}

/// What to do next, where the error itself does not say so.
const fn hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Deadline => "--timeout SECONDS waits longer",
        ErrorCode::NoSuchMethod | ErrorCode::NoSuchProtocol => {
            "`rob describe OBJECT` shows what the object says of itself"
        }
        ErrorCode::Draining | ErrorCode::Overloaded => "try again later",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_exit() {
        let table = [
            (
                Exit::Remote,
                &[
                    ErrorCode::Handler,
                    ErrorCode::HandlerPanicked,
                    ErrorCode::Internal,
                ][..],
            ),
            (Exit::Usage, &[ErrorCode::Invalid, ErrorCode::Encoding]),
            (
                Exit::NotFound,
                &[
                    ErrorCode::NoSuchObject,
                    ErrorCode::NoSuchMethod,
                    ErrorCode::NoSuchProtocol,
                    ErrorCode::ServiceFailed,
                ],
            ),
            (Exit::Timeout, &[ErrorCode::Deadline]),
            (Exit::NoBroker, &[ErrorCode::NotConnected]),
            (
                Exit::Refused,
                &[
                    ErrorCode::TooLarge,
                    ErrorCode::Draining,
                    ErrorCode::NameTaken,
                    ErrorCode::NotRegistered,
                    ErrorCode::TooMany,
                    ErrorCode::Denied,
                    ErrorCode::Overloaded,
                    ErrorCode::TokenRefused,
                    ErrorCode::BusVersion,
                    ErrorCode::ProtocolVersion,
                ],
            ),
            (
                Exit::Lost,
                &[
                    ErrorCode::CalleeGone,
                    ErrorCode::Cancelled,
                    ErrorCode::ReplyLost,
                    ErrorCode::BrokerGone,
                ],
            ),
        ];
        let listed: usize = table.iter().map(|(_, codes)| codes.len()).sum();
        assert_eq!(listed, ErrorCode::ALL.len(), "a code is not in the table");
        for (exit, codes) in table {
            for code in codes {
                assert_eq!(exit_of(*code), exit, "{code:?}");
            }
        }
    }
}
