//! One start of a service, and what its end means.
//!
//! Owns the texts of failures, what is logged of what a service prints, and the look for one that is there already. Its command line is made by
//! `command`. It refuses to know states and actors. Called by the launcher, on a thread of its own that may block.

use super::command::{Addresses, MARK, mark, process, unit};
use super::launcher::Failed;
use super::service::{AtEnd, Program, Service, Start};
use crate::platform::child::{self, Group, Left, Trouble};
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is said of a unit where systemd is not.
pub(super) const NO_UNITS: &str =
    "it is a unit of systemd, which this system has not; describe it with process = [\"program\"]";

/// How much of what systemctl says callers are told, in bytes, and one line more.
const SAID_MAX: usize = 512;
/// Lines of one service that are logged in a second, each of at most 4 KiB.
const LINES_A_SECOND: u32 = 100;

/// Starts it and returns when it has ended: the process, or the command that starts the unit.
///
/// # Errors
/// Why it came to nothing, for those who wait: it could not be started, or ended with an error.
pub(super) fn run(service: &Service, addresses: &Addresses, group: &Group) -> Result<(), Failed> {
    match &service.start {
        Start::UserUnit(unit) => Ok(start_unit(service, true, unit, addresses, group)?),
        Start::SystemUnit(unit) => Ok(start_unit(service, false, unit, addresses, group)?),
        Start::Process(program) => run_process(service, program, addresses, group),
    }
}

fn start_unit(
    service: &Service,
    user: bool,
    name: &str,
    addresses: &Addresses,
    group: &Group,
) -> Result<(), String> {
    if !child::HAS_UNITS {
        return Err(NO_UNITS.into());
    }
    let systemctl = addresses.systemctl()?;
    let (log, said) = (Log::of(service), Mutex::new(String::new()));
    let told = |line: &str| {
        log.line(line);
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < SAID_MAX {
            said.push(' ');
            said.push_str(line.trim());
        }
    };
    let ran = child::run(unit(user, name, systemctl), group, Some(&told));
    let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    match ran {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("systemctl could not start it ({}):{said}", shown(status))),
        Err(Trouble::NotStarted(error)) => Err(format!("{} cannot be started: {error}", systemctl.display())),
        Err(Trouble::Lost(error)) => Err(format!("nobody knows how systemctl ended: {error}; {LOST}")),
    }
}

/// Why the end of a child is not known.
const LOST: &str = "the program that this broker is part of ignores SIGCHLD, or reaps what is not its own";

fn run_process(
    service: &Service,
    program: &Program,
    addresses: &Addresses,
    group: &Group,
) -> Result<(), Failed> {
    let Some(address) = addresses.broker() else {
        let text =
            "the broker listens nowhere that another process can reach; give it an endpoint beside mem:";
        return Err(text.to_owned().into());
    };
    if let Some(left) = Left::find((MARK, &mark(address, service.object())), &program.argv) {
        let pid = left.pid();
        tracing::info!(target: "actix_ipc::activation", %service, pid, "an earlier broker has left it running; it is waited for");
        child::attend(left, group);
        return Err(Failed {
            why: format!("process {pid}, which an earlier broker had started, has ended; how is not known"),
            left: true,
        });
    }
    let log = Log::of(service);
    let told = |line: &str| log.line(line);
    let kept: Option<&(dyn Fn(&str) + Sync)> = match service.at_end {
        AtEnd::Leave => None,
        AtEnd::Stop => Some(&told),
    };
    let command = process(program, service.object(), addresses);
    let why = match child::run(command, group, kept) {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("it ended with {}", shown(status)),
        Err(Trouble::NotStarted(error)) => not_started(program, &error),
        Err(Trouble::Lost(error)) => format!("nobody knows how it ended: {error}; {LOST}"),
    };
    Err(why.into())
}

/// The system has one error for a folder, a program and an interpreter that are not there.
fn not_started(program: &Program, error: &io::Error) -> String {
    let name = program.argv.first().map_or("", String::as_str);
    let folder = program.folder.as_deref().filter(|folder| !folder.is_dir());
    if let Some(folder) = folder {
        return format!(
            "{name} cannot be started: there is no folder {}, in which it is to run",
            folder.display()
        );
    }
    // A name alone is looked for elsewhere than here.
    let is_here = Path::new(name).components().count() > 1 && Path::new(name).is_file();
    let is_script = error.kind() == io::ErrorKind::NotFound && is_here;
    let why = match is_script {
        true => {
            "; the program is there, but not the interpreter in its first line, or not what it is linked with"
        }
        false => "",
    };
    format!("{name} cannot be started: {error}{why}")
}

/// What a service prints, in the broker's log.
struct Log<'a> {
    service: &'a Service,
    pace: Mutex<Pace>,
}

impl<'a> Log<'a> {
    fn of(service: &'a Service) -> Self {
        let pace = Mutex::default();
        Self { service, pace }
    }

    fn line(&self, line: &str) {
        let (service, now) = (self.service, Instant::now());
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, left_out) = pace.line(now);
        drop(pace);
        if left_out > 0 {
            tracing::warn!(target: "actix_ipc::activation", %service, left_out, "it prints too much; lines were left out");
        }
        if log {
            tracing::info!(target: "actix_ipc::activation", %service, "{line}");
        }
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
    use std::path::PathBuf;

    #[test]
    fn what_is_not_there_is_called_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/none/interpreter\n").unwrap();
        let program = |name: &str, folder: Option<PathBuf>| Program {
            argv: vec![name.into()],
            folder,
            environment: Vec::new(),
        };
        let error = io::Error::from(io::ErrorKind::NotFound);
        let (script, missing) = (script.display().to_string(), folder.path().join("none"));
        for (program, says) in [
            (program("/none/worker", None), "/none/worker cannot be started: "),
            (program(&script, None), "interpreter"),
            (program(&script, Some(missing)), "there is no folder"),
        ] {
            let text = not_started(&program, &error);
            assert!(text.contains(says), "{text}");
        }
        assert!(!not_started(&program("/none/worker", None), &error).contains("interpreter"));
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
}
