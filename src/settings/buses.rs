//! The buses that the daemon hosts, each with its token.
//!
//! Owns the file of the tokens and its checks; what a token is good for is the bus's business. Called by the daemon.

use crate::message::bus::BUS_TOKEN_MAX;
use crate::platform::secret;
use crate::terminal::printable;
use figment::providers::{Format, Toml};
use std::collections::BTreeMap;
use std::path::Path;
use zeroize::Zeroizing;

/// The largest file of tokens, in bytes.
const FILE_MAX: usize = 1 << 20;

/// A bus to be hosted.
#[derive(Clone, PartialEq, Eq)]
pub struct Bus {
    /// Its name; any text.
    pub identifier: String,
    /// What endpoints must present; empty: nothing.
    pub token: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bus({:?}, token not shown)", self.identifier)
    }
}

/// The buses with these identifiers, each with its token in the file, if it has one there.
///
/// # Errors
/// The file can be read by others, is no TOML of texts, has a token that is too long, or one of a bus that is not hosted.
pub fn read(identifiers: &[String], tokens: Option<&Path>) -> Result<Vec<Bus>, String> {
    let mut known = match tokens {
        Some(path) => table(path)?,
        None => BTreeMap::new(),
    };
    let bus = |identifier: &String| Bus {
        identifier: identifier.clone(),
        token: known.remove(identifier).unwrap_or_default(),
    };
    let buses: Vec<Bus> = identifiers.iter().map(bus).collect();
    let file = tokens.map(Path::display);
    match (known.first_key_value(), file) {
        (Some((identifier, _)), Some(file)) => Err(format!(
            "{file}: has a token of the bus {}, which is not hosted; add it to `bus`, or take it out here",
            printable(&format!("{identifier:?}"))
        )),
        _ => Ok(buses),
    }
}

fn table(path: &Path) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, String> {
    let content = secret::read(path, FILE_MAX).map_err(|error| error.to_string())?;
    let wrong = |what: &str| format!("{}: {what}", path.display());
    let text = std::str::from_utf8(&content).map_err(|_| wrong("is not UTF-8; save it as UTF-8"))?;
    // What the reader says quotes lines of the file, which are secret.
    let tokens: BTreeMap<String, String> =
        Toml::from_str(text).map_err(|_| wrong("is not a list of lines \"identifier\" = \"token\""))?;
    let tokens = tokens.into_iter().map(|(identifier, token)| {
        let token = Zeroizing::new(token.into_bytes());
        match token.len() {
            ..=BUS_TOKEN_MAX => Ok((identifier, token)),
            length => Err(wrong(&format!(
                "the token of {} has {length} bytes, at most {BUS_TOKEN_MAX}",
                printable(&format!("{identifier:?}"))
            ))),
        }
    });
    tokens.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_bus_has_its_token_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let plain = read(&names(&["a", ""]), None).unwrap();
        assert!(plain.iter().all(|bus| bus.token.is_empty()) && plain.len() == 2);
        secret::create(&path, b"\"com.solar\" = \"secret\"\n\"\" = \"nobody\"\n").unwrap();
        let buses = read(&names(&["com.solar", "b", ""]), Some(&path)).unwrap();
        let tokens: Vec<&[u8]> = buses.iter().map(|bus| &bus.token[..]).collect();
        assert_eq!(tokens, [&b"secret"[..], b"", b"nobody"]);
        assert!(!format!("{buses:?}").contains("secret"));
    }

    #[test]
    fn a_wrong_file_is_refused_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("\"a\" = \"{}\"\n", "x".repeat(BUS_TOKEN_MAX + 1));
        let table = [
            (
                "\"a\" = \"secret\"\n\"b\" = \"secret\"\n",
                "the bus \"b\", which is not hosted",
            ),
            ("\"a\" = secret\n", "is not a list of lines"),
            ("\"a\" = 5\n", "is not a list of lines"),
            (&long, "bytes, at most"),
        ];
        for (index, (content, says)) in table.into_iter().enumerate() {
            let path = folder.path().join(index.to_string());
            secret::create(&path, content.as_bytes()).unwrap();
            let error = read(&names(&["a"]), Some(&path)).unwrap_err();
            assert!(error.contains(says) && !error.contains("secret"), "{error}");
        }
        let missing = folder.path().join("missing");
        assert!(
            read(&names(&["a"]), Some(&missing))
                .unwrap_err()
                .contains("cannot be opened")
        );
    }
}
