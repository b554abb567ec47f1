//! The older formats: which are understood, and which of their usual addresses are listened on.
//!
//! Owns the names of both lists and what may be wrong with them. Called by `check`.

use crate::transport::Endpoint;
use crate::transport::dialect::{Dialect, Dialects};
use std::ffi::OsString;

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

/// The variable by which ipc-server and its programs are told where the server is: host and port.
const ADDRESS: &str = "ENV_SERVER_ADDRESS";

/// What that variable says.
pub(super) fn address(environment: &[(OsString, OsString)]) -> Option<&str> {
    let found = environment.iter().find(|(name, _)| name == ADDRESS)?;
    // What is no text is no address, either.
    Some(found.1.to_str().unwrap_or("?"))
}

/// Where the clients of these brokers look: of ipc-broker in debug mode `tcp:127.0.0.1:5123` (its README), beside the Unix socket where
/// this broker listens anyway; of ipc-server what [`ADDRESS`] says, else `tcp:127.0.0.1:1986` (its constant).
///
/// # Errors
/// What is wrong, with the variable when it is that; names as in [`named`].
pub(super) fn endpoints(
    names: &[String],
    address: Option<&str>,
) -> Result<Vec<Endpoint>, (Option<&'static str>, String)> {
    let told = address.map(str::trim).filter(|address| !address.is_empty());
    let endpoint = |name: &String| {
        let (origin, address) = match (find(name).map_err(|text| (None, text))?, told) {
            (Dialect::IpcBroker, _) => (None, "127.0.0.1:5123"),
            (Dialect::IpcServer, None) => (None, "127.0.0.1:1986"),
            (Dialect::IpcServer, Some(address)) => (Some(ADDRESS), address),
        };
        let endpoint = format!("tcp:{address}").parse::<Endpoint>();
        endpoint.map_err(|error| {
            let text = format!("{error}; it says where --compat ipc-server listens, as host:port");
            (origin, text)
        })
    };
    names.iter().map(endpoint).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_moves_the_address_of_ipc_server() {
        let names = ["ipc-broker", "ipc-server"].map(str::to_owned);
        for (told, expected) in [
            (None, Ok("tcp:127.0.0.1:1986")),
            (Some(""), Ok("tcp:127.0.0.1:1986")),
            (Some("127.0.0.1:2000"), Ok("tcp:127.0.0.1:2000")),
            (Some(" [::1]:2000 "), Ok("tcp:[::1]:2000")),
            (Some("2000"), Err(Some(ADDRESS))),
            (Some("?"), Err(Some(ADDRESS))),
            (Some("127.0.0.1:many"), Err(Some(ADDRESS))),
        ] {
            let found = endpoints(&names, told);
            let found = found.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
            match expected {
                Ok(expected) => assert_eq!(
                    found,
                    Ok(vec!["tcp:127.0.0.1:5123".to_owned(), expected.to_owned()])
                ),
                Err(origin) => assert_eq!(found.unwrap_err().0, origin, "{told:?}"),
            }
        }
        let only = ["ipc-broker".to_owned()];
        assert!(endpoints(&only, Some("?")).is_ok(), "it is ipc-server's");
        let unknown = ["ipc-serve".to_owned()];
        assert_eq!(endpoints(&unknown, Some("?")).unwrap_err().0, None);
    }
}
