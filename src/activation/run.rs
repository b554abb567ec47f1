//! One start of a service: the command of its description, and what its end means.
//!
//! Owns the command line, the variables that a child gets and the texts of failures. It refuses to know states and actors. Called by the
//! launcher, on a thread of its own that may block.

use super::service::{AtEnd, Program, Service, Start};
use crate::platform::child::{self, Group};
use crate::transport::Endpoint;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// What is said of a unit where systemd is not.
pub(super) const NO_UNITS: &str =
    "it is a unit of systemd, which this system has not; describe it with process = [\"program\"]";

/// How much of what systemctl says callers are told, in bytes, and one line more.
const SAID_MAX: usize = 512;
/// Lines of one service that are logged in a second, each of at most 4 KiB.
const LINES_A_SECOND: u32 = 100;

/// What a child is told of where the broker is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// For `IPC_BROKER_ADDR`: an endpoint.
    broker: Option<String>,
    /// For `BROKER_ADDR`, which programs of ipc-broker 1.1.5 read, and `ENV_SERVER_ADDRESS` of ipc-server: host and port.
    tcp: Option<String>,
}

impl Addresses {
    /// The first of the endpoints is the one to use; sockets of the machine come before TCP.
    pub(super) fn of(endpoints: &[Endpoint]) -> Self {
        let local = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Unix(_) | Endpoint::Pipe(_));
        let tcp = endpoints.iter().find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(reachable(address)),
            _ => None,
        });
        let broker = endpoints.iter().find(local).map(ToString::to_string);
        Self {
            broker: broker.or_else(|| tcp.as_ref().map(|address| format!("tcp:{address}"))),
            tcp,
        }
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

fn command(service: &Service, addresses: &Addresses) -> Command {
    let mut command = plain_command(service, addresses);
    for name in MANAGERS {
        command.env_remove(name);
    }
    // The service's own are set behind it: its description may mean one.
    if let Start::Process(program) = &service.start {
        command.envs(program.environment.iter().map(|(name, value)| (name, value)));
    }
    command
}

fn plain_command(service: &Service, addresses: &Addresses) -> Command {
    let systemctl = |user: &[&str], unit: &str| {
        let mut command = Command::new("systemctl");
        command
            .args(user)
            .args(["--no-ask-password", "start", "--", unit]);
        command
    };
    match &service.start {
        Start::UserUnit(unit) => systemctl(&["--user"], unit),
        Start::SystemUnit(unit) => systemctl(&[], unit),
        Start::Process(program) => process(program, addresses),
    }
}

fn process(program: &Program, addresses: &Addresses) -> Command {
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
    if let Some(address) = &addresses.broker {
        command.env("IPC_BROKER_ADDR", address);
    }
    match &addresses.tcp {
        Some(address) => command
            .env("BROKER_ADDR", address)
            .env("ENV_SERVER_ADDRESS", address),
        None => command.env_remove("BROKER_ADDR").env_remove("ENV_SERVER_ADDRESS"),
    };
    command
}

/// Starts it and returns when it has ended: the process, or the command that starts the unit.
///
/// # Errors
/// Why it came to nothing, for those who wait: it could not be started, or ended with an error.
pub(super) fn run(service: &Service, addresses: &Addresses, group: &Group) -> Result<(), String> {
    let name = service.name();
    let unit = !matches!(service.start, Start::Process(_));
    if unit && !child::HAS_UNITS {
        return Err(NO_UNITS.into());
    }
    let said = Mutex::new(String::new());
    let pace = Mutex::new(Pace::default());
    let told = |line: &str| {
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, left_out) = pace.line(Instant::now());
        drop(pace);
        if left_out > 0 {
            tracing::warn!(target: "actix_ipc::activation", %service, left_out, "it prints too much; lines were left out");
        }
        if log {
            tracing::info!(target: "actix_ipc::activation", %service, "{line}");
        }
        if unit {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() < SAID_MAX {
                said.push(' ');
                said.push_str(line.trim());
            }
        }
    };
    let kept: Option<&(dyn Fn(&str) + Sync)> = match service.at_end {
        AtEnd::Leave if !unit => None,
        _ => Some(&told),
    };
    let ran = child::run(command(service, addresses), group, kept);
    let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    let what = if unit { "systemctl" } else { name };
    match ran {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if unit => Err(format!("systemctl could not start it ({}):{said}", shown(status))),
        Ok(status) => Err(format!("it ended with {}", shown(status))),
        Err(error) => Err(format!("{what} cannot be started: {error}")),
    }
}

/// How much of what a service prints is logged: the log is everybody's.
#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    lines: u32,
}

impl Pace {
    /// Another line. Whether it is logged, and how many were left out in the second that has just ended.
    fn line(&mut self, now: Instant) -> (bool, u32) {
        let fresh = self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        let mut left_out = 0;
        if fresh {
            left_out = self.lines.saturating_sub(LINES_A_SECOND);
            (self.since, self.lines) = (Some(now), 0);
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= LINES_A_SECOND, left_out)
    }
}

/// `exit status: 1`, `signal: 9 (SIGKILL)`.
fn shown(status: ExitStatus) -> String {
    status.to_string()
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
        let none = Addresses::default();
        let user = Service::new(["math"], Start::UserUnit("math.service".into()));
        let system = Service::new(["math"], Start::SystemUnit("math.service".into()));
        assert_eq!(
            words(&command(&user, &none)),
            [
                "systemctl",
                "--user",
                "--no-ask-password",
                "start",
                "--",
                "math.service"
            ]
        );
        assert_eq!(
            words(&command(&system, &none)),
            ["systemctl", "--no-ask-password", "start", "--", "math.service"]
        );
    }

    #[test]
    fn what_is_logged_of_a_flood_is_bounded_and_the_rest_is_counted() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let logged = (0..1_000).filter(|_| pace.line(start).0).count();
        assert_eq!(logged, LINES_A_SECOND as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(pace.line(later), (true, 1_000 - LINES_A_SECOND));
        assert_eq!(pace.line(later), (true, 0));
    }

    #[test]
    fn a_child_is_told_where_the_broker_is() {
        let table: [(&[&str], Option<&str>, Option<&str>); 4] = [
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
            (&["mem:a"], None, None),
        ];
        for (listening, broker, tcp) in table {
            let program = Program {
                argv: vec!["worker".into(), "a b".into()],
                folder: Some("/".into()),
                environment: vec![("LEVEL".into(), "3".into())],
            };
            let service = Service::new(["math"], Start::Process(program));
            let made = command(&service, &Addresses::of(&endpoints(listening)));
            assert_eq!(words(&made), ["worker", "a b"]);
            let variables: HashMap<_, _> = made.get_envs().collect();
            let variable = |name: &str| variables.get(OsStr::new(name)).copied().flatten();
            assert_eq!(variable("IPC_BROKER_ADDR"), broker.map(OsStr::new));
            for old in ["BROKER_ADDR", "ENV_SERVER_ADDRESS"] {
                assert_eq!(variable(old), tcp.map(OsStr::new));
            }
            assert_eq!(variable("LEVEL"), Some(OsStr::new("3")));
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
