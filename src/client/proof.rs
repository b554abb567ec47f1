//! How a client proves who it is where the kernel does not say it.
//!
//! Owns which token goes to which server, and the reading of its file. [`super::link`] sends it.

use crate::message::Token;
use crate::platform::secret::{self, SecretError};
use crate::transport::{Endpoint, tcp};
use std::io::ErrorKind;
use std::path::Path;

/// The largest token file, in bytes: the digits and some blanks.
const FILE_MAX: usize = 256;

/// The token for `endpoint`, if any. A token that nobody asked to send goes only to a server that the system has said to
/// be this user's or root's: whoever gets a token can use it.
///
/// # Errors
/// Why the file that was asked for, or the usual one that is there, is not used.
pub(super) fn token(endpoint: &Endpoint, asked: Option<&Path>) -> Result<Option<Token>, String> {
    let remote = match endpoint {
        Endpoint::Tcp(_) => false,
        Endpoint::Tls(_) => true,
        Endpoint::Unix(_) | Endpoint::Pipe(_) | Endpoint::Memory(_) => return Ok(None),
    };
    if let Some(path) = asked {
        return read(path).map(Some).map_err(|error| error.0);
    }
    if remote || !tcp::KNOWS_PEERS {
        return Ok(None);
    }
    match super::endpoints::token_file().map(|path| read(&path)) {
        None | Some(Err(Unread(_, true))) => Ok(None),
        Some(Ok(token)) => Ok(Some(token)),
        Some(Err(Unread(why, false))) => Err(why),
    }
}

/// Why a token was not read, and whether that is because there is no file.
struct Unread(String, bool);

fn read(path: &Path) -> Result<Token, Unread> {
    let content = secret::read(path, FILE_MAX).map_err(|error| {
        let absent = matches!(&error, SecretError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
        Unread(format!("the token was not read: {error}"), absent)
    })?;
    Token::parse(&content).map_err(|error| Unread(format!("{}: {error}", path.display()), false))
}
