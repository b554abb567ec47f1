//! The older formats: which are understood, and which of their usual addresses are listened on.
//!
//! Owns the names of both lists and what may be wrong with them. Called by `check`.

use crate::transport::Endpoint;
use crate::transport::dialect::{Dialect, Dialects};

/// All of them, by the names of the brokers that they come from.
const NAMES: [(&str, Dialect); 2] = [
    ("ipc-broker", Dialect::IpcBroker),
    ("ipc-server", Dialect::IpcServer),
];

/// The names, for a default.
pub(super) fn all() -> Vec<String> {
    NAMES.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// The formats with these names.
///
/// # Errors
/// The name that is none, and those there are.
pub(super) fn named(names: &[String]) -> Result<Dialects, String> {
    let mut dialects = Dialects::NONE;
    for name in names {
        match find(name)? {
            Dialect::IpcBroker => dialects.ipc_broker = true,
            Dialect::IpcServer => dialects.ipc_server = true,
        }
    }
    Ok(dialects)
}

/// Where the clients of these brokers look: of ipc-broker in debug mode `tcp:127.0.0.1:5123` (its README), beside the Unix socket where
/// this broker listens anyway; of ipc-server `tcp:127.0.0.1:1986` (its constant).
///
/// # Errors
/// As [`named`].
pub(super) fn endpoints(names: &[String]) -> Result<Vec<Endpoint>, String> {
    let address = |name: &String| {
        let text = match find(name)? {
            Dialect::IpcBroker => "tcp:127.0.0.1:5123",
            Dialect::IpcServer => "tcp:127.0.0.1:1986",
        };
        text.parse::<Endpoint>().map_err(|error| error.to_string())
    };
    names.iter().map(address).collect()
}

fn find(name: &str) -> Result<Dialect, String> {
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, dialect)| *dialect).ok_or_else(|| {
        let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        format!(
            "{name:?} is none of the older brokers; write {}",
            known.join(" or ")
        )
    })
}
