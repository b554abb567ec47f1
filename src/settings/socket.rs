//! Who may reach the Unix sockets: the keys of `[socket]`, and what `system` asks for.
//!
//! Owns the reading of mode and group and what must not go together. Called by `settings` alone.

use super::check::Problem;
use crate::platform::folders::system_socket;
use crate::platform::users::Tables;
use crate::policy::Users;
use crate::transport::{Endpoint, UnixOptions};
use serde::{Deserialize, Serialize};

/// Where a broker for several users listens when nothing else was asked for, if this system has a place for it.
#[must_use]
pub fn system_endpoint() -> Option<Endpoint> {
    system_socket().map(|path| Endpoint::Unix(path.into()))
}

/// The keys of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Values {
    /// Octal. Empty: 0600, or 0660 of a broker for several users.
    mode: String,
    /// A name or a number. Empty: the process's own.
    group: String,
}

/// What the sockets are to be like.
pub(super) fn options(
    values: &super::Values,
    origin: &dyn Fn(&str) -> String,
    problems: &mut Vec<Problem>,
) -> UnixOptions {
    let mut complain = |key: &str, text: String| problems.push(Problem::new(&origin(key), Some(key), text));
    let mut options = UnixOptions::default();
    if values.system {
        options.mode = 0o660;
        if values.policy.is_empty() {
            let text = "a broker for several users needs a policy; add --policy FILE, or the key `policy`";
            complain("system", text.into());
        }
        if values.listen.is_empty() && system_socket().is_none() {
            let text = "here a broker for several users listens only where it is told to; add --listen tcp:127.0.0.1:PORT";
            complain("system", text.into());
        }
    }
    match mode(&values.socket.mode) {
        Ok(None) => {}
        Ok(Some(mode)) => {
            options.mode = mode;
            if mode & 0o077 != 0 && values.policy.is_empty() {
                let text = "without a policy other users are refused, so the socket is its user's alone; add --policy FILE";
                complain("socket.mode", text.into());
            }
        }
        Err(text) => complain("socket.mode", text),
    }
    match group(&values.socket.group) {
        Ok(gid) => options.gid = gid,
        Err(text) => complain("socket.group", text),
    }
    options.own_folder = values.system || options != UnixOptions::default();
    options
}

fn mode(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let mode = mode.ok_or_else(|| format!("{text:?} is no mode of a socket; write \"0660\" or less"))?;
    if mode & 0o600 != 0o600 {
        return Err(format!("{mode:04o} keeps the broker's own user out; add 0600"));
    }
    Ok(Some(mode))
}

fn group(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = text.parse() {
        return Ok(Some(number));
    }
    let tables = Tables::read().map_err(|error| error.to_string())?;
    match tables.gid(text) {
        Some(gid) => Ok(Some(gid)),
        None => Err(format!(
            "there is no group {text:?} in /etc/group; write its number"
        )),
    }
}
