//! Where a client looks for a broker.
//!
//! Owns the default list, which the broker binds too, and the reading of `IPC_BROKER_ADDR`. It opens no socket.

use super::connect_error::ConnectError;
use crate::platform::process;
use crate::transport::Endpoint;
use std::path::{Path, PathBuf};

/// The variable that names the broker's endpoint for clients.
pub const ADDRESS_VARIABLE: &str = "IPC_BROKER_ADDR";
/// The Unix socket that every program of one user finds without any variable.
const SHARED_SOCKET: &str = "/tmp/ipc_broker.sock";
/// The name of the socket in a user's run-time directory.
const SOCKET_NAME: &str = "ipc_broker.sock";
/// The name of the token file beside it.
const TOKEN_NAME: &str = "ipc_broker.token";
/// The Windows pipe.
const PIPE: &str = "ipc_broker";
/// The address on loopback.
const LOOPBACK: &str = "127.0.0.1:5123";

/// The default endpoints, in the order in which clients try them and the broker binds them:
/// `$XDG_RUNTIME_DIR/ipc_broker.sock` when that variable holds an absolute path, `/tmp/ipc_broker.sock`, and
/// `tcp:127.0.0.1:5123`. On Windows: `pipe:ipc_broker`, then TCP.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    defaults(cfg!(windows), run_time_dir().as_deref())
}

fn defaults(windows: bool, run_time_dir: Option<&Path>) -> Vec<Endpoint> {
    let mut list = Vec::with_capacity(3);
    if windows {
        list.push(Endpoint::Pipe(PIPE.to_owned()));
    } else {
        list.extend(
            run_time_dir
                .filter(|dir| dir.is_absolute())
                .map(|dir| Endpoint::Unix(dir.join(SOCKET_NAME))),
        );
        list.push(Endpoint::Unix(PathBuf::from(SHARED_SOCKET)));
    }
    list.push(Endpoint::Tcp(LOOPBACK.to_owned()));
    list
}

/// Where a token of this user's broker may lie: `$XDG_RUNTIME_DIR/ipc_broker.token`, when that variable holds an absolute
/// path.
#[must_use]
pub fn token_file() -> Option<PathBuf> {
    run_time_dir().map(|dir| dir.join(TOKEN_NAME))
}

/// The user's run-time directory. A process that has more rights than who started it believes none of its variables.
fn run_time_dir() -> Option<PathBuf> {
    if process::has_more_rights_than_its_caller() {
        return None;
    }
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
}

/// What a client that was told nothing tries: `IPC_BROKER_ADDR` alone when it is set and not empty, otherwise
/// [`endpoints`]. In a process that runs with more rights than its caller (set-user-id, file capabilities) the caller's
/// variables are not read.
///
/// # Errors
/// The text of a variable that names no endpoint, with the reason.
pub(crate) fn from_environment() -> Result<Vec<Endpoint>, ConnectError> {
    let variable = std::env::var_os(ADDRESS_VARIABLE)
        .filter(|text| !text.is_empty() && !process::has_more_rights_than_its_caller());
    match variable {
        None => Ok(endpoints()),
        Some(text) => {
            let text = text.to_string_lossy();
            parse_address(&text)
                .map(|endpoint| vec![endpoint])
                .map_err(|reason| ConnectError::because(format!("{ADDRESS_VARIABLE} is set, but {reason}")))
        }
    }
}

/// Reads an endpoint as people write it: `unix:/path`, `tcp:host:port`, `tls:host:port`, `pipe:name`, `mem:name`, and also a plain
/// `/path` or `host:port`.
///
/// # Errors
/// Why the text is none of these.
pub fn parse_address(text: &str) -> Result<Endpoint, crate::transport::EndpointError> {
    let full = if text.starts_with('/') {
        format!("unix:{text}")
    } else if is_plain_host_and_port(text) {
        format!("tcp:{text}")
    } else {
        text.to_owned()
    };
    full.parse()
}

/// `localhost:5123`, `127.0.0.1:5123` or `[::1]:5123`, but not `mem:5123`.
fn is_plain_host_and_port(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let port = text
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    port && !["unix", "tcp", "tls", "pipe", "mem"].contains(&scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[Endpoint]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    #[cfg_attr(windows, ignore = "its paths are absolute on Unix alone")]
    fn the_user_directory_comes_first() {
        let table: [(bool, Option<&str>, &[&str]); 4] = [
            (false, None, &["unix:/tmp/ipc_broker.sock", "tcp:127.0.0.1:5123"]),
            (
                false,
                Some("/run/user/7"),
                &[
                    "unix:/run/user/7/ipc_broker.sock",
                    "unix:/tmp/ipc_broker.sock",
                    "tcp:127.0.0.1:5123",
                ],
            ),
            (
                false,
                Some("relative"),
                &["unix:/tmp/ipc_broker.sock", "tcp:127.0.0.1:5123"],
            ),
            (
                true,
                Some("/run/user/7"),
                &["pipe:ipc_broker", "tcp:127.0.0.1:5123"],
            ),
        ];
        for (windows, dir, expected) in table {
            assert_eq!(
                texts(&defaults(windows, dir.map(Path::new))),
                expected,
                "{windows} {dir:?}"
            );
        }
    }

    /// Does nothing by itself: it is the set-user-id process of the next test.
    #[cfg(target_os = "linux")]
    #[test]
    fn says_where_it_looks() {
        if std::env::var_os("SAY_WHERE").is_some() {
            let looks = from_environment().map(|list| texts(&list));
            let more = process::has_more_rights_than_its_caller();
            println!("more rights: {more}; looks: {looks:?}; token: {:?}", token_file());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_set_user_id_program_does_not_believe_its_callers_variables() {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can make a set-user-id program of another user");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let allow =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        allow(folder.path(), 0o755);
        let said = |mode| {
            allow(&program, mode);
            let mut command = std::process::Command::new(&program);
            command
                .args([
                    "client::endpoints::tests::says_where_it_looks",
                    "--exact",
                    "--nocapture",
                ])
                .env("SAY_WHERE", "")
                .env(ADDRESS_VARIABLE, "unix:/trap/broker.sock")
                .env("XDG_RUNTIME_DIR", "/trap")
                .uid(65_534)
                .current_dir("/");
            let output = command.output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let plain = said(0o755);
        assert!(plain.contains("more rights: false"), "{plain}");
        assert!(
            plain.contains("looks: Ok([\"unix:/trap/broker.sock\"])"),
            "{plain}"
        );
        let raised = said(0o4755);
        if raised.contains("more rights: false") {
            eprintln!(
                "SKIPPED: the file system of {} ignores set-user-id",
                folder.path().display()
            );
            return;
        }
        assert!(raised.contains("more rights: true"), "{raised}");
        assert!(
            raised.contains("looks: Ok([\"unix:/tmp/ipc_broker.sock\""),
            "{raised}"
        );
        assert!(!raised.contains("trap"), "{raised}");
    }

    #[test]
    fn plain_addresses_are_understood() {
        let table = [
            ("/tmp/a.sock", "unix:/tmp/a.sock"),
            ("localhost:5123", "tcp:localhost:5123"),
            ("[::1]:5123", "tcp:[::1]:5123"),
            ("tcp:127.0.0.1:1", "tcp:127.0.0.1:1"),
            ("mem:5123", "mem:5123"),
            ("pipe:x", "pipe:x"),
        ];
        for (text, expected) in table {
            assert_eq!(parse_address(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "nonsense", "http://x", "tcp:5123"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }
}
