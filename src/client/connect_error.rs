//! Why a client has no connection, by who must act.
//!
//! Owns the difference between nobody there, a broker that refuses, and a transport that this program lacks, with the words for
//! each. It opens no socket; [`super::link`] finds out which it is.

use super::peer::Role;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::text::printable;
use crate::transport::Endpoint;
use std::fmt;
use std::io;

/// Why there is no connection to a broker. Displays every endpoint that was tried with its own reason. When nobody was there, it
/// displays the command that starts a broker; when a broker refused, what that said.
///
/// The default is that nothing was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectError {
    /// Every endpoint that was tried, in order, with what went wrong there.
    pub tried: Vec<(Endpoint, String)>,
    /// What was wrong before or beside any endpoint.
    pub reason: Option<String>,
    /// A broker was reached and did not take this client: what the first of them said.
    pub refusal: Option<Refusal>,
    /// No endpoint can be used by this program at all: its build or its platform lacks the transports.
    pub unsupported: bool,
    /// It was to be a server of typed protocols, not a broker.
    pub point_to_point: bool,
    /// Somebody listens at an endpoint that was tried, and said nothing in time: a program that is stopped or busy, or that speaks
    /// something else. Starting another one does not help.
    pub unanswered: bool,
    /// A socket or pipe that was tried is another user's, and nobody else let this program in.
    pub forbidden: bool,
}

/// What a broker said instead of a welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it was reached.
    pub endpoint: Endpoint,
    /// Why, to branch on.
    pub reason: CloseReason,
    /// The broker's own words, which name the limit or the rule; not escaped.
    pub text: String,
}

impl ConnectError {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }

    /// Whether the one who listens there is no broker, so that waiting for one is in vain.
    pub(super) fn is_hopeless(&self) -> bool {
        let refusal = self.refusal.as_ref().map(|refusal| refusal.reason);
        self.tried.len() == 1 && refusal == Some(CloseReason::Protocol)
    }

    /// The code of a request that failed for this: [`ErrorCode::NotConnected`] when nobody was there, [`ErrorCode::TooMany`] for a
    /// limit, [`ErrorCode::Denied`] for a policy, a ban or a socket of another user, [`ErrorCode::Draining`] of a broker that stops, [`ErrorCode::Invalid`] for
    /// what the program or who configured it must change: another version of the protocol, a transport that it lacks;
    /// [`ErrorCode::Deadline`] when the broker did not get the greeting in time, [`ErrorCode::Internal`] when it failed itself.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self.refusal.as_ref().map(|refusal| refusal.reason) {
            None if self.unsupported => ErrorCode::Invalid,
            None if self.forbidden => ErrorCode::Denied,
            Some(CloseReason::TooMany) => ErrorCode::TooMany,
            Some(CloseReason::Denied | CloseReason::Blamed) => ErrorCode::Denied,
            Some(CloseReason::Draining) => ErrorCode::Draining,
            Some(CloseReason::Version | CloseReason::Protocol) => ErrorCode::Invalid,
            Some(CloseReason::Timeout) => ErrorCode::Deadline,
            Some(CloseReason::Internal) => ErrorCode::Internal,
            _ => ErrorCode::NotConnected,
        }
    }

    fn write_tried(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.refusal.as_ref().map(|refusal| &refusal.endpoint);
        let others = self
            .tried
            .iter()
            .filter(|(endpoint, _)| Some(endpoint) != refused);
        for (index, (endpoint, reason)) in others.enumerate() {
            let before = match (index, refused) {
                (0, None) => "",
                (0, Some(_)) => "; also tried: ",
                _ => ", ",
            };
            write!(f, "{before}{} ({reason})", shown(endpoint))?;
        }
        Ok(())
    }

    /// How a broker is started where it was looked for. Who looks in the usual places looks in several.
    fn write_start(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tried.as_slice() {
            [(Endpoint::Memory(_), _)] => {
                f.write_str("; only a broker inside the same program can be reached there")
            }
            // It needs a certificate, and may be on another machine.
            [(Endpoint::Tls(_), _)] => f.write_str("; start one there with `ipc-broker`"),
            [(endpoint, _)] => write!(f, "; start one with `ipc-broker --listen {}`", shown(endpoint)),
            _ => f.write_str("; start one with `ipc-broker`, or `cargo run --release` in its repository"),
        }
    }
}

/// An endpoint on one line: a path may have any letter.
fn shown(endpoint: &Endpoint) -> String {
    printable(&endpoint.to_string()).into_owned()
}

impl Refusal {
    fn write(&self, f: &mut impl fmt::Write, who: &str) -> fmt::Result {
        match self.reason {
            // Either side may have found that.
            CloseReason::Version => write!(f, "{}", self.reason)?,
            _ => write!(f, "{who} refused: {}", self.reason)?,
        }
        // A broker with nothing to add repeats the reason.
        if self.text.is_empty() || self.text == self.reason.text() {
            return Ok(());
        }
        write!(f, ": {}", crate::text::text(&self.text))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "the broker")
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refusal) = &self.refusal {
            write!(f, "{}: ", shown(&refusal.endpoint))?;
            refusal.write(
                f,
                if self.point_to_point {
                    "the server"
                } else {
                    "the broker"
                },
            )?;
            return self.write_tried(f);
        }
        if self.unsupported {
            f.write_str("this program cannot use the endpoint: ")?;
            return self.write_tried(f);
        }
        let what = if self.point_to_point { "server" } else { "broker" };
        match (self.forbidden, self.unanswered) {
            (true, _) => write!(f, "no {what} let this user in")?,
            (false, true) => write!(f, "no {what} answered")?,
            (false, false) => write!(f, "no {what} was reached")?,
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        if self.tried.is_empty() {
            return Ok(());
        }
        f.write_str(": ")?;
        self.write_tried(f)?;
        if self.forbidden {
            return write!(
                f,
                "; the {what} there is another user's, who decides who may connect"
            );
        }
        if self.point_to_point || self.unanswered {
            return Ok(());
        }
        self.write_start(f)
    }
}

impl std::error::Error for ConnectError {}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match error.code() {
            ErrorCode::NotConnected => io::ErrorKind::NotConnected,
            ErrorCode::Denied => io::ErrorKind::PermissionDenied,
            _ if error.unsupported => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::ConnectionRefused,
        };
        Self::new(kind, error)
    }
}

impl From<ConnectError> for CallError {
    fn from(error: ConnectError) -> Self {
        // Whatever the code says of other requests: this one was never sent.
        Self::new(error.code(), error.to_string()).ran(false)
    }
}

/// Why one endpoint gave no connection.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// A broker is there and does not take this client.
    Refused(CloseReason, String),
    /// This program does not have the transport.
    Unsupported(String),
    /// Somebody listens and says nothing.
    Silent(String),
    /// The system does not let this user in.
    Forbidden(String),
    /// Anything else.
    Other(String),
}

impl From<String> for Obstacle {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

/// What the attempts at all endpoints come to.
#[derive(Debug)]
pub(super) struct Attempts(ConnectError);

impl Attempts {
    pub(super) fn new(role: Role) -> Self {
        Self(ConnectError {
            unsupported: true,
            point_to_point: role.is_peer(),
            ..ConnectError::default()
        })
    }

    pub(super) fn failed(&mut self, endpoint: &Endpoint, obstacle: Obstacle) {
        let Self(error) = self;
        error.unsupported &= matches!(obstacle, Obstacle::Unsupported(_));
        error.unanswered |= matches!(obstacle, Obstacle::Silent(_));
        error.forbidden |= matches!(obstacle, Obstacle::Forbidden(_));
        let text = match obstacle {
            Obstacle::Refused(reason, text) => {
                let refusal = Refusal {
                    endpoint: endpoint.clone(),
                    reason,
                    text,
                };
                let mut text = String::new();
                // A string takes what is written to it.
                let _ = refusal.write(
                    &mut text,
                    if error.point_to_point {
                        "the server"
                    } else {
                        "the broker"
                    },
                );
                error.refusal.get_or_insert(refusal);
                text
            }
            Obstacle::Unsupported(text)
            | Obstacle::Silent(text)
            | Obstacle::Forbidden(text)
            | Obstacle::Other(text) => text,
        };
        error.tried.push((endpoint.clone(), text));
    }

    pub(super) fn into_error(self) -> ConnectError {
        let Self(mut error) = self;
        error.unsupported &= !error.tried.is_empty();
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(obstacles: Vec<(&str, Obstacle)>) -> ConnectError {
        let mut attempts = Attempts::new(Role::Broker);
        for (endpoint, obstacle) in obstacles {
            attempts.failed(&endpoint.parse().unwrap(), obstacle);
        }
        attempts.into_error()
    }

    #[test]
    fn when_nobody_is_there_it_says_where_it_looked_and_how_to_start_a_broker() {
        let error = after(vec![
            ("unix:/tmp/a.sock", Obstacle::Other("there is no socket".into())),
            ("pipe:x", Obstacle::Unsupported("no pipes".into())),
            ("tcp:127.0.0.1:1", Obstacle::Other("connection refused".into())),
        ]);
        assert_eq!(
            (error.code(), error.unsupported),
            (ErrorCode::NotConnected, false)
        );
        assert_eq!(
            error.to_string(),
            "no broker was reached: unix:/tmp/a.sock (there is no socket), pipe:x (no pipes), tcp:127.0.0.1:1 \
             (connection refused); start one with `ipc-broker`, or `cargo run --release` in its repository"
        );
    }

    #[test]
    fn a_broker_is_started_where_it_was_looked_for() {
        let start = |endpoint: &str| {
            let error = after(vec![(endpoint, Obstacle::Other("nobody".into()))]).to_string();
            let (_, start) = error.split_once("; ").unwrap();
            start.to_owned()
        };
        for endpoint in ["pipe:later", "unix:/tmp/later.sock", "tcp:127.0.0.1:5999"] {
            let expected = format!("start one with `ipc-broker --listen {endpoint}`");
            assert_eq!(start(endpoint), expected);
        }
        assert_eq!(start("tls:host:1"), "start one there with `ipc-broker`");
        assert!(start("mem:here").contains("inside the same program"));
    }

    #[test]
    fn an_endpoint_stays_on_its_line() {
        let other = || Obstacle::Other("there is no socket".into());
        let refused = || Obstacle::Refused(CloseReason::Draining, String::new());
        for obstacle in [other(), refused()] {
            let text = after(vec![("unix:/tmp/a\nb", obstacle), ("unix:/c\rd", other())]).to_string();
            assert!(
                text.contains("unix:/tmp/a\\nb") && text.contains("unix:/c\\rd"),
                "{text}"
            );
            assert!(!text.contains(['\n', '\r']), "{text}");
        }
    }

    #[test]
    fn a_broker_that_refuses_is_quoted_and_nobody_is_told_to_start_another() {
        let limit = || Obstacle::Refused(CloseReason::TooMany, "raise limits.connections\u{1b}".into());
        let error = after(vec![
            ("tcp:127.0.0.1:1", Obstacle::Other("connection refused".into())),
            ("unix:/tmp/a.sock", limit()),
        ]);
        assert_eq!(
            error.to_string(),
            "unix:/tmp/a.sock: the broker refused: too many connections: raise limits.connections\\u{1b}; \
             also tried: tcp:127.0.0.1:1 (connection refused)"
        );
        let call = CallError::from(error);
        assert_eq!((call.code, call.may_have_run), (ErrorCode::TooMany, false));
        let same = Obstacle::Refused(CloseReason::Denied, CloseReason::Denied.text().into());
        assert_eq!(
            after(vec![("unix:/tmp/a.sock", same)]).to_string(),
            "unix:/tmp/a.sock: the broker refused: this user may not connect"
        );
    }

    #[test]
    fn who_is_there_and_says_nothing_is_no_reason_to_start_another() {
        let error = after(vec![
            ("tcp:127.0.0.1:1", Obstacle::Other("connection refused".into())),
            (
                "unix:/tmp/a.sock",
                Obstacle::Silent("connected, but no answer".into()),
            ),
        ]);
        assert_eq!(
            error.to_string(),
            "no broker answered: tcp:127.0.0.1:1 (connection refused), unix:/tmp/a.sock (connected, but no answer)"
        );
        assert_eq!((error.code(), error.unanswered), (ErrorCode::NotConnected, true));
    }

    #[test]
    fn another_users_socket_is_told_as_such() {
        let error = after(vec![
            ("unix:/a.sock", Obstacle::Forbidden("permission denied".into())),
            ("tcp:127.0.0.1:1", Obstacle::Other("connection refused".into())),
        ]);
        assert_eq!(
            error.to_string(),
            "no broker let this user in: unix:/a.sock (permission denied), tcp:127.0.0.1:1 (connection refused); \
             the broker there is another user's, who decides who may connect"
        );
        assert_eq!(error.code(), ErrorCode::Denied);
    }

    #[test]
    fn another_version_is_told_as_what_it_is_and_not_as_somebodys_refusal() {
        let text = "the broker chose protocol version 2, this library speaks 1";
        let error = after(vec![(
            "unix:/a",
            Obstacle::Refused(CloseReason::Version, text.into()),
        )]);
        assert_eq!(
            error.to_string(),
            format!("unix:/a: no common protocol version: {text}")
        );
        assert!(!error.is_hopeless(), "it may be replaced");
        let broker = || Obstacle::Refused(CloseReason::Protocol, "no broker".into());
        assert!(after(vec![("unix:/a", broker())]).is_hopeless());
        assert!(
            !after(vec![
                ("unix:/a", broker()),
                ("unix:/b", Obstacle::Other(String::new()))
            ])
            .is_hopeless()
        );
    }

    #[test]
    fn every_reason_of_a_refusal_has_its_code_and_none_has_run() {
        let table = [
            (CloseReason::TooMany, ErrorCode::TooMany),
            (CloseReason::Denied, ErrorCode::Denied),
            (CloseReason::Blamed, ErrorCode::Denied),
            (CloseReason::Draining, ErrorCode::Draining),
            (CloseReason::Version, ErrorCode::Invalid),
            (CloseReason::Protocol, ErrorCode::Invalid),
            (CloseReason::Timeout, ErrorCode::Deadline),
            (CloseReason::Internal, ErrorCode::Internal),
            (CloseReason::Other(99), ErrorCode::NotConnected),
        ];
        for (reason, code) in table {
            let error = after(vec![("unix:/a", Obstacle::Refused(reason, String::new()))]);
            let call = CallError::from(error);
            assert_eq!((call.code, call.may_have_run), (code, false), "{reason:?}");
        }
    }

    #[test]
    fn a_transport_that_is_lacking_is_the_programs_matter() {
        let error = after(vec![(
            "tls:host:1",
            Obstacle::Unsupported("built without TLS".into()),
        )]);
        assert_eq!((error.code(), error.unsupported), (ErrorCode::Invalid, true));
        assert_eq!(
            error.to_string(),
            "this program cannot use the endpoint: tls:host:1 (built without TLS)"
        );
        assert!(
            !Attempts::new(Role::Broker).into_error().unsupported,
            "nothing was tried"
        );
    }
}
