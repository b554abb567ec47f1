//! Where a broker listens or is found, as text.
//!
//! Owns the forms and their grammar: `unix:/path`, `tcp:host:port`, `tls:host:port`, `pipe:name`, `mem:name`. It resolves no
//! host and touches no file. Used by settings, command lines, the broker's Listener and the client.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest name of a pipe or an in-process endpoint, in bytes. Windows takes 256 characters with its own prefix.
pub const NAME_MAX: usize = 200;

/// An address of a broker.
///
/// [`FromStr`] and [`Display`](fmt::Display) are each other's inverse for every value that was parsed. In serde it
/// is that text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// A Unix stream socket at an absolute path: `unix:/run/user/1000/ipc_broker.sock`.
    Unix(PathBuf),
    /// `host:port`, the host an address (IPv6 in brackets) or a name: `tcp:127.0.0.1:5123`. Port 0 lets the system
    /// choose when it is bound.
    Tcp(String),
    /// The same with TLS, also to and from other machines: `tls:broker.example:5124`.
    Tls(String),
    /// A Windows named pipe, without the `\\.\pipe\` before it: `pipe:ipc_broker`.
    Pipe(String),
    /// A name inside this process: `mem:test`.
    Memory(String),
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an endpoint: {reason}; write unix:/path, tcp:host:port, tls:host:port, pipe:name or mem:name"
)]
pub struct EndpointError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl From<EndpointError> for std::io::Error {
    fn from(error: EndpointError) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| EndpointError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Endpoint, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (scheme, rest) = text
        .split_once(':')
        .ok_or("there is no transport before a colon")?;
    match scheme {
        "unix" => path(rest).map(Endpoint::Unix),
        "tcp" => host_and_port(rest).map(|()| Endpoint::Tcp(rest.to_owned())),
        "tls" => host_and_port(rest).map(|()| Endpoint::Tls(rest.to_owned())),
        "pipe" => name(rest).map(Endpoint::Pipe),
        "mem" => name(rest).map(Endpoint::Memory),
        _ => Err("the transport is unknown"),
    }
}

fn path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() {
        return Err("the path is missing");
    }
    if !text.starts_with('/') {
        return Err("the path is not absolute");
    }
    if text.contains('\0') {
        return Err("the path contains a zero byte");
    }
    if text.ends_with('/') {
        return Err("the path names a directory");
    }
    Ok(PathBuf::from(text))
}

fn host_and_port(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    if host.is_empty() {
        return Err("the host is missing");
    }
    if port.is_empty() {
        return Err("the port is missing");
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err("the port is not a number from 0 to 65535");
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner
            .strip_suffix(']')
            .ok_or("the bracket of the IPv6 address is not closed")?;
        let address = address
            .split_once('%')
            .map_or(address, |(address, _zone)| address);
        return address
            .parse::<Ipv6Addr>()
            .map(|_| ())
            .map_err(|_| "what is in the brackets is not an IPv6 address");
    }
    if host.contains(':') {
        return Err("an IPv6 address goes in brackets, as in tcp:[::1]:5123");
    }
    if host
        .chars()
        .any(|letter| letter.is_whitespace() || letter.is_control() || "/\\@[]".contains(letter))
    {
        return Err("the host contains a character that no host name has");
    }
    Ok(())
}

fn name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("the name is missing");
    }
    if text.len() > NAME_MAX {
        return Err("the name is longer than 200 bytes");
    }
    if text
        .chars()
        .any(|letter| letter.is_control() || letter == '\\' || letter == '/')
    {
        return Err("the name contains a slash, a backslash or a control character");
    }
    Ok(text.to_owned())
}

impl Endpoint {
    /// Why this program cannot use such an endpoint, wherever it leads: its build or its platform does not have the
    /// transport. `None`: it can.
    #[must_use]
    pub const fn lacking(&self) -> Option<&'static str> {
        match self {
            Self::Unix(_) if !cfg!(unix) => {
                Some("this program has no Unix sockets on this platform; use pipe:name or tcp:host:port")
            }
            Self::Pipe(_) if !cfg!(windows) => {
                Some("named pipes are there under Windows only; use unix:/path or tcp:host:port")
            }
            Self::Tls(_) if !cfg!(feature = "tls") => Some(super::tls::NOT_BUILT_IN),
            Self::Unix(_) | Self::Tcp(_) | Self::Tls(_) | Self::Pipe(_) | Self::Memory(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Tls(address) => write!(f, "tls:{address}"),
            Self::Pipe(name) => write!(f, "pipe:{name}"),
            Self::Memory(name) => write!(f, "mem:{name}"),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_round_trips() {
        let table = [
            ("unix:/tmp/b.sock", Endpoint::Unix("/tmp/b.sock".into())),
            (
                "unix:/tmp/with space:and colon",
                Endpoint::Unix("/tmp/with space:and colon".into()),
            ),
            ("tcp:127.0.0.1:5123", Endpoint::Tcp("127.0.0.1:5123".into())),
            ("tcp:localhost:0", Endpoint::Tcp("localhost:0".into())),
            ("tcp:[::1]:65535", Endpoint::Tcp("[::1]:65535".into())),
            ("tcp:[fe80::1%eth0]:1", Endpoint::Tcp("[fe80::1%eth0]:1".into())),
            (
                "tls:broker.example:5124",
                Endpoint::Tls("broker.example:5124".into()),
            ),
            ("pipe:ipc_broker", Endpoint::Pipe("ipc_broker".into())),
            ("mem:a:b", Endpoint::Memory("a:b".into())),
        ];
        for (text, endpoint) in table {
            assert_eq!(text.parse(), Ok(endpoint.clone()), "{text}");
            assert_eq!(endpoint.to_string(), text);
            let json = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
        }
    }

    #[test]
    fn errors_name_what_is_wrong_and_the_forms() {
        let long = format!("mem:{}", "x".repeat(NAME_MAX + 1));
        let table = [
            ("", "it is empty"),
            ("/tmp/b.sock", "no transport"),
            ("http:x", "unknown"),
            ("UNIX:/x", "unknown"),
            ("unix:", "path is missing"),
            ("unix:b.sock", "not absolute"),
            ("unix:/tmp/", "directory"),
            ("unix:/a\0b", "zero byte"),
            ("tcp:", "port is missing"),
            ("tcp:localhost", "port is missing"),
            ("tcp:localhost:", "port is missing"),
            ("tcp::1", "host is missing"),
            ("tcp:localhost:65536", "0 to 65535"),
            ("tcp:localhost:+1", "0 to 65535"),
            ("tcp:::1:5", "brackets"),
            ("tcp:[::1:5", "not closed"),
            ("tcp:[nonsense]:5", "not an IPv6"),
            ("tcp:a b:5", "no host name"),
            ("tls:broker.example", "port is missing"),
            ("pipe:", "name is missing"),
            ("pipe:a\\b", "backslash"),
            ("mem:a\nb", "control"),
            (&long, "200 bytes"),
        ];
        for (text, reason) in table {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            for form in [
                "unix:/path",
                "tcp:host:port",
                "tls:host:port",
                "pipe:name",
                "mem:name",
            ] {
                assert!(error.contains(form), "{error}");
            }
        }
    }
}
