//! The command of a service: its program and arguments, and the variables that it gets.
//!
//! Owns where the broker is for its children, what of its own variables is no business of theirs, and where `systemctl` is. It
//! starts nothing; `run` does.

use super::service::Program;
use crate::transport::Endpoint;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables of the broker that are no business of its children.
const OWN_PREFIX: &str = "IPC_BROKER_";

/// What a service manager has told the broker alone: a child that took it for its own would speak in the broker's name.
const MANAGERS: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// The variable by which a broker knows a service that an earlier one has left: where that broker listened, and the first object.
pub(super) const MARK: &str = "ACTIX_IPC_SERVICE";

/// Where `systemctl` is looked for, unless the settings say where it is: only where nobody but the system's administrator can put one, and
/// not in `PATH`, because it decides about the units of the system.
const SYSTEMCTL: [&str; 3] = [
    "/usr/bin/systemctl",
    "/bin/systemctl",
    "/run/current-system/sw/bin/systemctl",
];

/// What systemctl gets of the broker's variables: where the managers are reached, and which language is spoken.
const FOR_SYSTEMCTL: [&str; 8] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "USER",
    "XDG_RUNTIME_DIR",
];

/// What a child is told of where the broker is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// For `IPC_BROKER_ADDR`: an endpoint.
    broker: Option<String>,
    /// For `BROKER_ADDR`, which programs of ipc-broker 1.1.5 read, and `ENV_SERVER_ADDRESS` of ipc-server: host and port.
    tcp: Option<String>,
    /// What starts units, if the settings say so.
    systemctl: Option<PathBuf>,
}

impl Addresses {
    /// The first of the endpoints is the one to use; sockets of the machine come before TCP, and TCP before TLS.
    pub(super) fn of(endpoints: &[Endpoint], systemctl: Option<PathBuf>) -> Self {
        let local = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Unix(_) | Endpoint::Pipe(_));
        let tcp = endpoints.iter().find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(reachable(address)),
            _ => None,
        });
        let broker = endpoints.iter().find(local).map(ToString::to_string);
        let tls = || {
            let tls = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Tls(_));
            endpoints.iter().find(tls).map(ToString::to_string)
        };
        Self {
            broker: broker
                .or_else(|| tcp.as_ref().map(|address| format!("tcp:{address}")))
                .or_else(tls),
            tcp,
            systemctl,
        }
    }

    /// Where processes reach the broker, if they do.
    pub(super) fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    /// What starts units.
    ///
    /// # Errors
    /// The system has none, as far as is known.
    pub(super) fn systemctl(&self) -> Result<&Path, String> {
        let usual = || SYSTEMCTL.iter().map(Path::new).find(|path| path.exists());
        self.systemctl.as_deref().or_else(usual).ok_or_else(|| {
            format!(
                "there is no systemctl at {}; name its place with the setting systemctl",
                SYSTEMCTL.join(", ")
            )
        })
    }
}

/// An address to connect to: a listener on all interfaces is reached on loopback.
fn reachable(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => address.to_owned(),
    }
}

/// What starts a unit. It gets what it needs of the broker's variables.
pub(super) fn unit(user: bool, name: &str, systemctl: &Path) -> Command {
    let mut command = Command::new(systemctl);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    for name in FOR_SYSTEMCTL {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
        .args(user.then_some("--user"))
        .args(["--no-ask-password", "start", "--", name]);
    command
}

/// What starts a process: beside the broker's variables, those that tell it where the broker is, and its description's own.
pub(super) fn process(program: &Program, object: &str, addresses: &Addresses) -> Command {
    let mut words = program.argv.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(OWN_PREFIX) {
            command.env_remove(name);
        }
    }
    for name in MANAGERS {
        command.env_remove(name);
    }
    if let Some(address) = &addresses.broker {
        command
            .env("IPC_BROKER_ADDR", address)
            .env(MARK, mark(address, object));
    }
    match &addresses.tcp {
        Some(address) => command
            .env("BROKER_ADDR", address)
            .env("ENV_SERVER_ADDRESS", address),
        None => command.env_remove("BROKER_ADDR").env_remove("ENV_SERVER_ADDRESS"),
    };
    // Behind ours: a description may mean one of them.
    command.envs(program.environment.iter().map(|(name, value)| (name, value)));
    command
}

/// What [`MARK`] says.
pub(super) fn mark(address: &str, object: &str) -> String {
    format!("{address} {object}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsStr;

    fn words(command: &Command) -> Vec<&OsStr> {
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .collect()
    }

    fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn units_are_started_by_argv_and_without_sudo() {
        let place = Path::new("/usr/bin/systemctl");
        let user = unit(true, "math.service", place);
        assert_eq!(
            words(&user),
            [
                "/usr/bin/systemctl",
                "--user",
                "--no-ask-password",
                "start",
                "--",
                "math.service"
            ]
        );
        let system = unit(false, "math.service", place);
        assert_eq!(
            words(&system),
            [
                "/usr/bin/systemctl",
                "--no-ask-password",
                "start",
                "--",
                "math.service"
            ]
        );
        let variables: Vec<_> = system.get_envs().filter_map(|(name, _)| name.to_str()).collect();
        assert!(
            variables
                .iter()
                .all(|name| *name == "PATH" || FOR_SYSTEMCTL.contains(name)),
            "{variables:?}"
        );
    }

    #[test]
    fn systemctl_is_where_the_settings_say_or_where_the_system_has_it() {
        let named = Addresses::of(&[], Some("/opt/systemctl".into()));
        assert_eq!(named.systemctl(), Ok(Path::new("/opt/systemctl")));
        match Addresses::default().systemctl() {
            Ok(path) => assert!(SYSTEMCTL.iter().any(|usual| path == Path::new(usual))),
            Err(text) => assert!(text.contains("setting systemctl"), "{text}"),
        }
    }

    #[test]
    fn a_child_is_told_where_the_broker_is() {
        let table: [(&[&str], Option<&str>, Option<&str>); 6] = [
            (
                &["unix:/a", "tcp:127.0.0.1:5"],
                Some("unix:/a"),
                Some("127.0.0.1:5"),
            ),
            (
                &["tcp:127.0.0.1:5", "unix:/a"],
                Some("unix:/a"),
                Some("127.0.0.1:5"),
            ),
            (&["tcp:0.0.0.0:5"], Some("tcp:127.0.0.1:5"), Some("127.0.0.1:5")),
            (
                &["tls:a.example:7", "tcp:127.0.0.1:5"],
                Some("tcp:127.0.0.1:5"),
                Some("127.0.0.1:5"),
            ),
            (&["tls:a.example:7"], Some("tls:a.example:7"), None),
            (&["mem:a"], None, None),
        ];
        for (listening, broker, tcp) in table {
            let program = Program {
                argv: vec!["worker".into(), "a b".into()],
                folder: Some("/".into()),
                environment: vec![("LEVEL".into(), "3".into())],
            };
            let made = process(&program, "math", &Addresses::of(&endpoints(listening), None));
            assert_eq!(words(&made), ["worker", "a b"]);
            let variables: HashMap<_, _> = made.get_envs().collect();
            let variable = |name: &str| variables.get(OsStr::new(name)).copied().flatten();
            assert_eq!(variable("IPC_BROKER_ADDR"), broker.map(OsStr::new));
            for old in ["BROKER_ADDR", "ENV_SERVER_ADDRESS"] {
                assert_eq!(variable(old), tcp.map(OsStr::new));
            }
            assert_eq!(variable("LEVEL"), Some(OsStr::new("3")));
            let mark = broker.map(|broker| format!("{broker} math"));
            assert_eq!(variable(MARK), mark.as_deref().map(OsStr::new));
            for name in MANAGERS {
                assert_eq!(
                    variables.get(OsStr::new(name)),
                    Some(&None),
                    "{name} is taken out"
                );
            }
        }
    }
}
