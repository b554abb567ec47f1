//! The real binaries as child processes: started in a folder of their own, awaited by what they print, killed on drop.
//!
//! For every test that needs a broker process: `mod support;`, then [`Broker::start`]. Nothing here touches a
//! global path or sleeps; what does not happen within [`PATIENCE`] fails the test and shows what was printed.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

#[path = "guard.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each harness brings its own, and a test may use two"
)]
mod guard;
#[path = "place.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each harness brings its own, and a test may use two"
)]
mod place;
#[path = "until.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each harness brings its own, and a test may use two"
)]
mod until;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;
use tempfile::TempDir;

#[allow(unused_imports, reason = "each test file uses its own part of the harness")]
pub use until::{PATIENCE, found, until, until_with_others};

/// Gives it a console of its own where the system has such, so that ctrl+c can be typed to it and to nobody else; instead of the
/// creation flags that it has.
pub fn with_console(command: &mut Command) -> &mut Command {
    #[cfg(windows)]
    {
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        std::os::windows::process::CommandExt::creation_flags(command, CREATE_NO_WINDOW);
    }
    command
}

/// Variables that change what our programs do, beside those that begin with [`OURS`].
const CHANGING: [&str; 14] = [
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "HOME",
    "APPDATA",
    "ProgramData",
    "RUST_LOG",
    "NO_COLOR",
    "CI",
    "COLUMNS",
    "LINES",
    "TRACEPARENT",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// What the names of more of them begin with.
const OURS: [&str; 4] = ["IPC_BROKER_", "ROB_COMPLETE", "CLICOLOR", "LISTEN_"];

/// The variables of this process that a program of a test must not find: who runs the tests has set them for something else.
pub fn changing() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        let name = name.to_string_lossy();
        OURS.iter().any(|ours| name.starts_with(ours))
            || CHANGING
                .iter()
                .any(|changing| name.eq_ignore_ascii_case(changing))
    })
}

/// A command with none of the variables that change what the binaries do.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in changing() {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The daemon, without arguments yet.
pub fn broker_command() -> Command {
    command(env!("CARGO_BIN_EXE_ipc-broker"))
}

/// `rob`, without arguments yet.
pub fn rob_command() -> Command {
    command(env!("CARGO_BIN_EXE_rob"))
}

/// This test program once more, as one of its tests, which is a role: that does nothing without the variables that tell it what to be.
pub fn this_program(role: &str) -> Command {
    let mut command = command(std::env::current_exe().unwrap());
    command.args(["--exact", role, "--nocapture", "--test-threads=1"]);
    command
}

/// Has a shell do something first, in the process that becomes the command.
pub fn through_shell(command: &mut Command, first: &str) {
    let mut shell = self::command("sh");
    shell
        .args(["-c", &format!("{first} && exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    *command = shell;
}

/// Has it find this rob before any other.
pub fn with_rob_on_path(command: &mut Command) -> &mut Command {
    let rob = std::path::absolute(env!("CARGO_BIN_EXE_rob")).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = rob
        .parent()
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(path).unwrap())
}

/// A child process with both of its outputs read line by line.
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// How a process ended and what it printed that was not read before.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit code; fails when a signal ended the process.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Fails unless the process ended well; returns what it printed.
    #[track_caller]
    pub fn success(&self) -> &str {
        assert!(self.status.success(), "{self:#?}");
        &self.stdout
    }
}

impl Process {
    /// Starts the command with its outputs captured.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with(command.stdout(Stdio::piped()))
    }

    /// The same with the standard output that the command has already.
    #[track_caller]
    pub fn spawn_with(command: &mut Command) -> Self {
        Self::spawn_here(with_console(command))
    }

    /// The same with the console, if any, that this process has, or as the command says.
    #[track_caller]
    pub fn spawn_here(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map_or_else(Lines::none, Lines::of);
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output, without its line break.
    #[track_caller]
    pub fn line(&self) -> String {
        let line = self.stdout.next_by(Instant::now() + PATIENCE);
        line.unwrap_or_else(|why| panic!("no line on stdout ({why}); stderr: {}", self.stderr.so_far()))
    }

    /// The next line of standard error.
    #[track_caller]
    pub fn error_line(&self) -> String {
        self.stderr
            .next_by(Instant::now() + PATIENCE)
            .unwrap_or_else(|why| panic!("no line on stderr ({why})"))
    }

    /// Reads standard output up to the first line that holds `part`, and returns that line.
    #[track_caller]
    pub fn wait_for(&self, part: &str) -> String {
        let line = self.stdout.find(part);
        line.unwrap_or_else(|why| panic!("no {part:?} on stdout ({why}); stderr: {}", self.stderr.so_far()))
    }

    /// Reads standard error up to the first line that holds `part`, and returns that line.
    #[track_caller]
    pub fn wait_for_error_line(&self, part: &str) -> String {
        let line = self.stderr.find(part);
        line.unwrap_or_else(|why| panic!("no {part:?} on stderr ({why})"))
    }

    /// Sends a signal; `signals` has those that there are on every system.
    #[cfg(unix)]
    #[track_caller]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends the process at once, as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        // Both outputs end when the process does, so no polling is needed.
        let stdout = self.stdout.rest();
        let stderr = self.stderr.rest();
        let (Ok(stdout), Ok(stderr)) = (&stdout, &stderr) else {
            panic!("the process does not end; stdout: {stdout:?}, stderr: {stderr:?}");
        };
        let status = self.child.wait().unwrap();
        Ended {
            status,
            stdout: stdout.clone(),
            stderr: stderr.clone(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A thread that reads lines, so that no pipe fills up and every wait has an end.
struct Lines(Receiver<String>);

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
                // When nobody listens any more, the process may still write.
                let _ = send.send(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        });
        Self(lines)
    }

    /// An output that is not captured.
    fn none() -> Self {
        Self(channel().1)
    }

    fn next_by(&self, limit: Instant) -> Result<String, RecvTimeoutError> {
        self.0
            .recv_timeout(limit.saturating_duration_since(Instant::now()))
            .map(|line| line.trim_end_matches('\n').to_owned())
    }

    /// The next line that holds this: others, however many, give it no more time.
    fn find(&self, part: &str) -> Result<String, RecvTimeoutError> {
        let limit = Instant::now() + PATIENCE;
        loop {
            let line = self.next_by(limit)?;
            if line.contains(part) {
                return Ok(line);
            }
            if Instant::now() >= limit {
                return Err(RecvTimeoutError::Timeout);
            }
        }
    }

    fn so_far(&self) -> String {
        self.0.try_iter().collect()
    }

    /// Everything up to the end of the output.
    fn rest(&self) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut text = String::new();
        loop {
            match self
                .0
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => text.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => return Ok(text),
                Err(RecvTimeoutError::Timeout) => return Err(text),
            }
        }
    }
}

/// A Unix socket in the folder; elsewhere a pipe of its name.
pub fn endpoint_in(folder: &Path) -> String {
    place::endpoint_in(folder).to_string()
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    Process::spawn_here(command.stdout(Stdio::piped())).end()
}

/// A broker process in a folder of its own. When it is dropped, it must have as many descriptors and threads as when it had just
/// started: drop clients before it.
pub struct Broker {
    // The first, so that it is dropped while the process lives.
    as_before: guard::AsBefore,
    /// The process; its "listening" lines are read already.
    pub process: Process,
    endpoint: String,
    /// Where raw clients connect, where that is not the endpoint.
    port: Option<PathBuf>,
    folder: TempDir,
}

impl Broker {
    /// Starts a broker on a Unix socket in a new folder (elsewhere on a pipe of that name) and waits until it listens.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same with more arguments or variables.
    #[track_caller]
    pub fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = endpoint_in(folder.path());
        Self::start_at(folder, &endpoint, change)
    }

    /// Starts a broker on the endpoint, with the folder as its home.
    #[track_caller]
    pub fn start_at(folder: TempDir, endpoint: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = broker_command();
        command
            .args(["--listen", endpoint])
            // Not a flag: a test may give one.
            .env("IPC_BROKER_LOG", "debug")
            .env("HOME", folder.path());
        change(&mut command);
        let process = Process::spawn(&mut command);
        let line = process.line();
        let endpoint = line
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned();
        Self {
            as_before: guard::AsBefore::of(process.id()),
            process,
            endpoint,
            port: None,
            folder,
        }
    }

    /// Starts a broker that raw clients reach at [`Self::socket`]: where its endpoint is a pipe, it listens on TCP beside it.
    #[track_caller]
    pub fn start_raw() -> Self {
        Self::start_raw_with(|_| {})
    }

    /// The same with more arguments or variables.
    #[track_caller]
    pub fn start_raw_with(change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = endpoint_in(folder.path());
        if cfg!(unix) {
            return Self::start_at(folder, &endpoint, change);
        }
        let mut broker = Self::start_at(folder, &endpoint, |command| {
            command.args(["--listen", "tcp:127.0.0.1:0"]);
            change(command);
        });
        let line = broker.process.line();
        let address = line.strip_prefix("listening on tcp:");
        broker.port = Some(address.unwrap_or_else(|| panic!("{line}")).into());
        broker
    }

    /// What began beside the broker is complete: what it has at this moment is what it must have at the end.
    pub fn is_complete(&mut self) {
        self.as_before.again();
    }

    /// Where it listens, as `--addr` takes it; port 0 is resolved.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The folder that lasts as long as the broker.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where raw clients connect: the path of its Unix socket or pipe; elsewhere than on Unix the address of one that was started for them.
    #[track_caller]
    pub fn socket(&self) -> PathBuf {
        let of_unix = || self.endpoint.strip_prefix("unix:").map(PathBuf::from);
        let of_pipe = || Some(format!(r"\\.\pipe\{}", self.endpoint.strip_prefix("pipe:")?).into());
        let port = self.port.clone();
        port.or_else(of_unix).or_else(of_pipe).unwrap()
    }

    /// `rob` for this broker.
    pub fn rob_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = rob_command();
        command.env("IPC_BROKER_ADDR", &self.endpoint).args(arguments);
        command
    }

    /// Runs `rob` with the words of a line (no quoting) to its end.
    #[track_caller]
    pub fn rob(&self, line: &str) -> Ended {
        run(&mut self.rob_command(line.split_whitespace()))
    }

    /// Starts `rob` with the words of a line and leaves it running.
    #[track_caller]
    pub fn start_rob(&self, line: &str) -> Process {
        Process::spawn(&mut self.rob_command(line.split_whitespace()))
    }

    /// Kills the broker as `kill -9` does and starts another one in its place.
    #[track_caller]
    pub fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    /// The same with more arguments or variables.
    #[track_caller]
    pub fn restart_with(self, change: impl FnOnce(&mut Command)) -> Self {
        let Self {
            mut process,
            endpoint,
            folder,
            ..
        } = self;
        process.kill();
        drop(process);
        Self::start_at(folder, &endpoint, change)
    }
}
