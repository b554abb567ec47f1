//! The example programs as child processes.
//!
//! Owns where their executables are (built when they are missing or older than their source), a folder for each test in which
//! everything that they leave behind is found, and the wait for what they print.

use crate::support::{self, Ended, Process};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

pub const PROGRAMS: [&str; 5] = [
    "basic",
    "bidirectional",
    "file_transfer",
    "database",
    "service_mesh",
];

/// The folder with the executables.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_rob")).parent().unwrap();
        let folder = profile.join("examples");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = ["examples", "src", "macros/src"].map(|sources| newest(&root.join(sources)));
        let sources = sources.into_iter().max().unwrap();
        let built = |name| folder.join(name).metadata().and_then(|about| about.modified());
        // `cargo test` has built them; `cargo test --test document_001` has not.
        if PROGRAMS
            .iter()
            .any(|name| built(name).map_or(true, |built| built < sources))
        {
            build(profile);
        }
        folder
    })
}

fn build(profile: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    cargo.args(["build", "--quiet", "--offline"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    match profile.file_name().and_then(OsStr::to_str) {
        Some("release") => drop(cargo.arg("--release")),
        other => assert_eq!(other, Some("debug"), "build the examples first"),
    }
    cargo.args(PROGRAMS.iter().flat_map(|name| ["--example", name]));
    assert!(cargo.status().unwrap().success(), "{cargo:?}");
}

/// When the newest Rust file below a folder was written.
fn newest(folder: &Path) -> SystemTime {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let times = entries.map(|path| match path.is_dir() {
        true => newest(&path),
        false if path.extension().is_some_and(|end| end == "rs") => {
            path.metadata().unwrap().modified().unwrap()
        }
        false => SystemTime::UNIX_EPOCH,
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A test's own folder: temporary files and sockets of its programs go there, and nothing may be left in it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the programs of this test meet.
    pub fn addr(&self) -> String {
        format!("unix:{}", self.path().join("meet.sock").display())
    }

    /// A program with the words of a line as arguments (no quoting), at the usual place of this folder.
    pub fn command(&self, name: &str, line: &str) -> Command {
        let mut command = support::command(folder().join(name).to_str().unwrap());
        command.args(line.split_whitespace());
        self.here(command)
    }

    /// The same where no file may have more than one or two MiB, as on a disk that is almost full.
    pub fn confined(&self, name: &str, line: &str) -> Command {
        let mut command = support::command("sh");
        let script = r#"trap "" XFSZ; ulimit -f 2048; exec "$0" "$@""#;
        command.args(["-c", script]).arg(folder().join(name));
        command.args(line.split_whitespace());
        self.here(command)
    }

    fn here(&self, mut command: Command) -> Command {
        command
            .env("TMPDIR", self.path())
            .env("XDG_CACHE_HOME", self.path())
            .env("XDG_RUNTIME_DIR", self.path());
        command
    }

    /// The same, left running.
    #[track_caller]
    pub fn start(&self, name: &str, line: &str) -> Process {
        Process::spawn(&mut self.command(name, line))
    }

    /// A program that has said that it listens.
    #[track_caller]
    pub fn listening(&self, name: &str, line: &str) -> Process {
        let process = self.start(name, line);
        said(&process, "listening on");
        process
    }

    /// The same, run to its end.
    #[track_caller]
    pub fn run(&self, name: &str, line: &str) -> Ended {
        support::run(&mut self.command(name, line))
    }

    /// The names of what is in the folder.
    pub fn left(&self) -> Vec<String> {
        let entries = self.path().read_dir().unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Reads up to the first line that holds `part`, and returns that line.
#[track_caller]
pub fn said(process: &Process, part: &str) -> String {
    process.wait_for(part)
}

/// Everything that a program has printed must be among these words in this order.
#[track_caller]
pub fn says_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("`{part}` is missing, or not in its place, in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// Asks a program to end, as Ctrl-C does, and checks that it does so in order.
#[track_caller]
pub fn interrupt(process: Process) -> Ended {
    process.signal(rustix::process::Signal::INT);
    let ended = process.end();
    assert!(ended.status.success(), "{ended:#?}");
    ended
}

/// The number behind a text in what was printed.
#[track_caller]
pub fn number(text: &str, before: &str) -> u64 {
    let at = text
        .find(before)
        .unwrap_or_else(|| panic!("`{before}` is missing in:\n{text}"));
    let digits: String = text[at + before.len()..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number behind `{before}` in:\n{text}"))
}
