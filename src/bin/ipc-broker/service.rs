//! `ipc-broker service`: registered with the service manager of Windows, taken out, and run by it.
//!
//! Owns the words of that command line, what of the others' flags is registered, and that a broker which nobody can read writes its log to a
//! file. What the manager is told is `platform::service`'s.

use super::voice::{self, complain, say};
use super::{Arguments, EXIT_INTERNAL, EXIT_SETTINGS};
use actix_ipc::platform::log_file::LogFile;
use actix_ipc::platform::plain::device_in;
use actix_ipc::platform::secret;
use actix_ipc::platform::service::{self, End, Registration, ServiceError};
use actix_ipc::settings::Problems;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The largest file with a password, in bytes.
const PASSWORD_MAX: usize = 1024;

/// What is to be done about the service.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Service {
    /// Register the broker with the flags that are given here; the system starts it whenever it starts itself, and after a crash.
    Install(Install),
    /// End it in order, and take it out.
    Remove(Named),
    /// What the service manager starts: the broker, until the manager asks it to end. The log goes to a file.
    Run(Run),
}

/// Which service.
#[derive(Clone, Debug, Args)]
pub(crate) struct Named {
    /// Its name.
    #[arg(long, value_name = "NAME", default_value = "ipc-broker", value_parser = name)]
    name: String,
}

/// How it is registered.
#[derive(Clone, Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    named: Named,
    /// The account that it runs as, as in .\ada or EXAMPLE\ada; without it SYSTEM.
    #[arg(long, value_name = "ACCOUNT", requires = "password_file", value_parser = account)]
    account: Option<OsString>,
    /// A file whose first line is that account's password.
    #[arg(long, value_name = "FILE", requires = "account")]
    password_file: Option<PathBuf>,
    /// Where its log goes, instead of the usual folder for such files.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

/// How it runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    named: Named,
    /// Where the log goes, instead of the usual folder for such files.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

/// What the manager starts a service with, and by which one of this program is known.
const RUN: [&str; 3] = ["service", "run", "--name"];

/// As the service manager takes it, and as a file can have it.
fn name(text: &str) -> Result<String, String> {
    let good = |letter: char| letter.is_ascii_alphanumeric() || "-_. ".contains(letter);
    if !(1..=80).contains(&text.len()) || !text.chars().all(good) || text.starts_with(['.', ' ']) {
        return Err(
            "1 to 80 letters (a to z), digits, spaces, `-`, `_` or `.`, with no dot or space in front".into(),
        );
    }
    // The log has its name.
    match device_in(text) {
        Some(device) => Err(format!(
            "no file can be named {device}: it is a device of Windows"
        )),
        None => Ok(text.to_owned()),
    }
}

fn account(text: &str) -> Result<OsString, String> {
    match text.trim().is_empty() {
        true => Err("it is empty; leave the flag out for SYSTEM".into()),
        false => Ok(text.into()),
    }
}

/// Registers it, unless the settings that it would start with are wrong; `checked` says whether they have a policy.
pub(crate) fn install(arguments: &Arguments, install: &Install, checked: Result<bool, Problems>) -> u8 {
    let has_policy = match checked {
        Ok(has_policy) => has_policy,
        Err(problems) => {
            problems.0.iter().for_each(complain);
            return EXIT_SETTINGS;
        }
    };
    let account = match (&install.account, &install.password_file) {
        (Some(account), Some(file)) => match password(file) {
            Ok(password) => Some((account.clone(), password)),
            Err(error) => {
                complain(format_args!("--password-file: {error}"));
                return EXIT_SETTINGS;
            }
        },
        _ => None,
    };
    let others = account.is_some() || has_policy;
    let registration = Registration {
        name: install.named.name.clone(),
        arguments: registered(install, arguments),
        account,
        // The others that it believes, and their folders, are judged whenever they are read.
        files: arguments.config.as_deref().map(whole).into_iter().collect(),
        log: install.log_file.as_deref().map(whole),
    };
    if let Err(error) = service::install(&registration) {
        return failed(&error);
    }
    let name = match registration.name.contains(' ') {
        true => format!("\"{}\"", registration.name),
        false => registration.name,
    };
    say(format_args!(
        "the service {name} is registered; `sc.exe start {name}` starts it now"
    ));
    if !others {
        complain(
            "it runs as SYSTEM and serves SYSTEM alone until a policy admits others: --policy FILE, or --account",
        );
    }
    0
}

fn password(path: &Path) -> Result<OsString, String> {
    let content = secret::read(path, PASSWORD_MAX).map_err(|error| error.to_string())?;
    let line =
        first_line(&content).ok_or_else(|| format!("{}: is not UTF-8; save it as UTF-8", path.display()))?;
    Ok(line.into())
}

/// The first line of a text in UTF-8. The mark in front with which programs of Windows say that it is UTF-8 is none of it.
fn first_line(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Some(text.lines().next().unwrap_or_default())
}

/// The path as it is written from the root: the manager starts the program in another folder.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The words behind the program's own name with which the manager is to start it. It does so from another folder.
fn registered(install: &Install, arguments: &Arguments) -> Vec<OsString> {
    let name = &install.named.name;
    let mut words: Vec<OsString> = RUN.map(OsString::from).into();
    words.push(name.into());
    let mut flag = |flag: &str, value: OsString| words.extend([flag.into(), value]);
    for (name, path) in [
        ("--log-file", &install.log_file),
        ("--config", &arguments.config),
        ("--policy", &arguments.policy),
        ("--bus-tokens", &arguments.bus_tokens),
        ("--activation", &arguments.activation),
    ] {
        path.iter()
            .for_each(|path| flag(name, whole(path).into_os_string()));
    }
    for (name, texts) in [
        ("--listen", &arguments.listen),
        ("--bus", &arguments.bus),
        ("--compat", &arguments.compat),
    ] {
        texts.iter().for_each(|text| flag(name, text.into()));
    }
    for (name, text) in [
        ("--log", &arguments.log),
        ("--log-format", &arguments.log_format),
        ("--dashboard", &arguments.dashboard),
        ("--arbiters", &arguments.arbiters.map(|number| number.to_string())),
    ] {
        text.iter().for_each(|text| flag(name, text.into()));
    }
    let alone = [
        ("--system", arguments.system),
        ("--dashboard-anyone", arguments.dashboard_anyone),
    ];
    words.extend(
        alone
            .iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name.into()),
    );
    words
}

/// Ends it and takes it out.
pub(crate) fn remove(named: &Named) -> u8 {
    match service::remove(&named.name, &RUN.join(" ")) {
        Ok(()) => {
            say(format_args!("the service {} is taken out", named.name));
            0
        }
        Err(error) => failed(&error),
    }
}

/// Runs `broker` as the service, with its words going to a file.
pub(crate) fn run(run: &Run, broker: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    let Run { named, log_file } = run.clone();
    let body = move || {
        let opened = match log_file {
            Some(path) => Ok(path),
            None => service::log_path(&named.name),
        }
        .and_then(|path| LogFile::open(&path));
        match opened {
            Ok(file) => voice::write_to(file),
            // Nobody reads this, but the manager shows the code; another start would end the same way.
            Err(_) => return End::Reported(EXIT_INTERNAL),
        }
        end(broker())
    };
    match service::run(&run.named.name, body) {
        Ok(()) => 0,
        Err(error) => failed(&error),
    }
}

/// What the manager is to make of the code: wrong settings and taken endpoints stay so until somebody does something about them.
const fn end(code: u8) -> End {
    match code {
        EXIT_INTERNAL => End::Failed(code),
        code => End::Reported(code),
    }
}

fn failed(error: &ServiceError) -> u8 {
    complain(error);
    EXIT_INTERNAL
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_manager_starts_it_with_what_was_given() {
        let line = [
            "ipc-broker",
            "--listen",
            "tcp:127.0.0.1:1",
            "--system",
            "--policy",
            "policy.toml",
            "--arbiters",
            "2",
            "service",
            "install",
            "--name",
            "of ada",
        ];
        let written = Arguments::parse_from(line);
        let Some(super::super::Command::Service(Service::Install(install))) = &written.command else {
            panic!("{written:?}");
        };
        let words = registered(install, &written);
        let policy = std::path::absolute("policy.toml").unwrap();
        let mut again = vec![OsString::from("ipc-broker")];
        again.extend(words.clone());
        // It is read as it was written, by the program that it is for.
        let read = Arguments::parse_from(again);
        assert!(
            matches!(&read.command, Some(super::super::Command::Service(Service::Run(run))) if run.named.name == "of ada")
        );
        assert_eq!(
            (read.listen, read.system),
            (vec!["tcp:127.0.0.1:1".to_owned()], true)
        );
        assert_eq!((read.policy, read.arbiters), (Some(policy), Some(2)));
        assert_eq!(words.len(), 4 + 2 + 2 + 2 + 1);
    }

    #[test]
    fn a_password_is_the_first_line_and_nothing_in_front_of_it() {
        for (content, password) in [
            ("secret", Some("secret")),
            ("secret\r\nmore", Some("secret")),
            ("\u{feff}secret\n", Some("secret")),
            ("\u{feff}", Some("")),
            ("", Some("")),
            (" se\u{feff}cret ", Some(" se\u{feff}cret ")),
        ] {
            assert_eq!(first_line(content.as_bytes()), password, "{content:?}");
        }
        assert_eq!(first_line(b"\xff\xfes\0"), None);
    }

    #[test]
    fn names_are_such_as_files_can_have() {
        for good in ["ipc-broker", "of ada", "b_2.x"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["con", "NUL.x", "lpt9 .x"] {
            assert!(name(bad).is_err_and(|why| why.contains("device")), "{bad}");
        }
        for bad in ["", "a/b", r"a\b", "..", " a", "a:b", "\u{fc}", &"x".repeat(81)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
